"""Processes of jobs: which ones end with a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cleaner.files import child_environment, source_root
from cleaner.jobs import process
from tests.waiting import wait_until_ended


def test_jobs_on_a_cluster_get_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_PASSWORD", "correct horse")
    monkeypatch.setenv("CLEANER_RUNS", "/runs")
    exported = process.exported_environment()
    assert exported["CLEANER_RUNS"] == "/runs"
    assert "CLEANER_PASSWORD" not in exported


def test_no_file_in_the_working_directory_shadows_a_module_of_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit(7)", encoding="utf-8")
    (tmp_path / "cleaner").mkdir()
    (tmp_path / "cleaner" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    worker = process.start_detached("cleaner.worker", log=tmp_path / "log.txt")
    assert worker.wait(60) == 2, (tmp_path / "log.txt").read_text()  # the worker's own answer to a wrong call
    assert process.exported_environment()["PYTHONSAFEPATH"] == "1"


def test_a_child_of_a_child_has_the_same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/libraries")
    first = child_environment()
    assert first["PYTHONPATH"] == os.pathsep.join([str(source_root()), "/libraries"])
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    assert child_environment() == first


def test_on_windows_a_child_has_a_console_without_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"CREATE_NEW_PROCESS_GROUP": 0x200, "CREATE_NO_WINDOW": 0x8000000, "DETACHED_PROCESS": 0x8}
    for name, value in flags.items():
        monkeypatch.setattr(subprocess, name, value, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    assert process._detach_options() == {"creationflags": 0x8000200}


PARENT = """
import subprocess, sys, time
from pathlib import Path
from cleaner.jobs import process
sleep = "import time; time.sleep(60)"
attached = subprocess.Popen([sys.executable, "-c", sleep])
detached = process.start_detached("timeit", "-n1", "-r1", sleep, log=Path(sys.argv[1]))
print(attached.pid, detached.pid, flush=True)
if sys.argv[2] == "children":
    process.kill_children()
time.sleep(60)
"""


@pytest.mark.parametrize("how", ["parent", "children"])
def test_a_detached_process_outlives_its_killed_parent(how: str, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", PARENT, str(tmp_path / "log.txt"), how]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        attached, detached = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
        if how == "parent":
            process.kill(psutil.Process(parent.pid))
        wait_until_ended(attached.pid)
        assert detached.is_running()
        detached.kill()
        parent.kill()


PRINT_PEAKS = """
from cleaner.jobs import process
print(process.peak_memory())
block = b"x" * 300_000_000
del block
print(process.peak_memory(), process.reset_peak_memory())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_the_peak_of_memory_is_of_this_process_and_can_be_reset() -> None:
    block = b"x" * 500_000_000  # Linux passes the peak of a process on to its children
    del block
    printed = subprocess.run([sys.executable, "-c", PRINT_PEAKS], capture_output=True, check=True, text=True).stdout
    start, peak, after = map(float, printed.split())
    assert start < 250_000_000
    assert peak - start == pytest.approx(300_000_000, rel=0.1)
    assert after < start + 50_000_000
