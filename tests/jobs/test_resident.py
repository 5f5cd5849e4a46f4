"""Resident workers: run after run in their order, found and stopped like any worker, and none ends with another run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cleaner.jobs import execution, local, locks, process, resident, worker
from cleaner.runs.request import Request
from cleaner.runs.run import load_run
from cleaner.runs.status import Status, read_status, write_status
from cleaner.runs.store import create_run
from tests.jobs.test_local import CONFIG, make_request, seconds_to_cancel
from tests.waiting import (
    MAX_CANCEL_SECONDS,
    sleeping_process,
    wait_until,
    wait_until_ended,
    wait_until_state,
    wait_until_step,
)


@pytest.fixture
def request_(tiny_model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, warm_python: None) -> Iterator[Request]:
    """A small poisoning, in a run store of its own, whose workers are killed at the end."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    yield make_request(tiny_model)
    monkeypatch.setenv(resident.SWITCH, "0")
    for running in psutil.process_iter():
        try:
            if str(tmp_path) in running.cmdline() and resident.OPTION in running.cmdline():
                running.kill()
        except psutil.Error:
            pass


def start_queue(request: Request, count: int, *, first_epochs: int = 8) -> list[Path]:
    """Start equal runs, the first one longer; return their folders."""
    longer = replace(request.finetune, epochs=first_epochs)
    folders = [create_run(replace(request, finetune=longer)), *(create_run(request) for _ in range(count - 1))]
    for folder in folders:
        local.start(folder)
    return folders


def test_one_worker_takes_the_runs_in_their_order(request_: Request) -> None:
    folders = start_queue(request_, 3)
    assert [read_status(folder).pid for folder in folders[1:]] == [0, 0]
    ended = [wait_until_state(folder, "done") for folder in folders]
    assert len({status.pid for status in ended}) == 1
    assert ended[0].updated < ended[1].updated < ended[2].updated
    for before, status, folder in zip(ended, ended[1:], folders[1:], strict=False):
        assert load_run(folder).config["timing"]["real"] < status.updated - before.updated + 0.5  # without the wait
    assert load_run(folders[1]).clip.sha256() == load_run(folders[2]).clip.sha256()
    assert not any((folder / "log.txt").read_text() for folder in folders)
    wait_until_ended(ended[0].pid)

    alone = create_run(request_)
    assert worker.main([str(alone)]) == 0
    assert load_run(alone).clip.sha256() == load_run(folders[2]).clip.sha256()


def test_canceled_and_killed_runs_take_no_other_run_with_them(request_: Request) -> None:
    first, canceled, paused, second = start_queue(request_, 4, first_epochs=900)  # until it is killed
    assert seconds_to_cancel(canceled) < MAX_CANCEL_SECONDS
    local.pause(paused)
    assert local.poll_status(paused).state == "paused"
    wait_until_step(first, 3)
    os.kill(read_status(first).pid, signal.SIGKILL)
    wait_until_state(second, "done")
    assert [local.poll_status(folder).state for folder in (first, canceled, paused)] == ["died", "cancelled", "paused"]
    local.start(paused)
    wait_until_state(paused, "done")


def test_the_run_behind_a_canceled_or_failed_one_is_executed(request_: Request) -> None:
    first, second = start_queue(request_, 2, first_epochs=900)
    wait_until_step(first, 3)
    assert seconds_to_cancel(first) < MAX_CANCEL_SECONDS
    wait_until_state(second, "done")
    failing, third = create_run(replace(request_, model="scenes-none")), create_run(request_)
    local.start_all([failing, third])
    wait_until_state(third, "done")
    assert local.poll_status(failing).state == "failed"


def test_a_second_run_of_the_worker_is_paused_resumed_and_found_dead(request_: Request) -> None:
    long = replace(request_, finetune=replace(CONFIG, epochs=900))
    first, second = create_run(request_), create_run(long)
    local.start_all([first, second])
    wait_until_step(second, 3)
    local.pause(second)
    wait_until_state(second, "paused")
    local.start(second)
    wait_until_step(second, read_status(second).step + 5)
    os.kill(read_status(second).pid, signal.SIGKILL)
    assert "process is gone" in wait_until_state(second, "died").message


def test_a_waiting_worker_takes_a_run_at_once(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(resident.SWITCH)
    local.keep_worker("cpu")
    token = resident.token_of(tmp_path, "cpu")
    assert process.is_registered(token)
    local.keep_worker("cpu")  # rings for the same one
    pids = []
    for _ in range(2):
        folder = create_run(request_)
        local.start(folder)
        pids.append(wait_until_state(folder, "done").pid)
        assert not (folder / "log.txt").read_text()
    assert pids[0] == pids[1]
    assert process.is_registered(token, pids[0])
    psutil.Process(pids[0]).kill()
    wait_until(lambda: not process.is_registered(token))
    lost = create_run(request_)
    write_status(lost, Status("queued", queued=time.time(), token=token))
    local.keep_worker("cpu")
    wait_until_state(lost, "done")


@pytest.mark.parametrize("change", ["environment", "folder", "device", "store"])
def test_a_run_in_another_place_has_a_queue_of_its_own(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_PASSWORD", "secret")
    before, store, device = resident.token_of(tmp_path, "cpu"), tmp_path, "cpu"
    monkeypatch.setenv("KMP_INIT_AT_FORK", "FALSE")  # libraries set such variables as they load
    monkeypatch.setenv("CLEANER_PASSWORD", "another")
    assert resident.token_of(tmp_path, "cpu") == before
    if change == "environment":
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
    elif change == "folder":
        monkeypatch.chdir(tmp_path)
    elif change == "device":
        device = "cuda"
    else:
        store = tmp_path / "elsewhere"
    assert resident.token_of(store, device) != before


def test_only_a_living_worker_that_proves_its_identity_is_registered(tmp_path: Path) -> None:
    token = "a" * 32
    with sleeping_process(str(tmp_path)) as stranger, sleeping_process(token) as own:
        process.register(token, stranger.pid)
        assert not process.is_registered(token)
        write_status(tmp_path, Status("queued", queued=time.time() - 3600, token=token))
        assert local.poll_status(tmp_path).state == "died"
        process.register(token, own.pid)
        assert process.is_registered(token)
        assert local.poll_status(tmp_path).state == "queued"
        process.unregister(token)  # that of another process stays
        assert process.is_registered(token)
    assert not process.is_registered(token)
    assert not process.is_registered("../status")


def test_a_run_that_no_worker_can_begin_leaves_the_queue(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ENDING_SECONDS", 0.1)
    monkeypatch.setattr(process, "redirect_output", lambda log: None)
    folder = create_run(request_)
    write_status(folder, Status("queued", queued=time.time(), token="a" * 32))
    with locks.try_lock(folder):
        assert worker.serve("a" * 32, tmp_path, os.getpid()) == 0
    assert read_status(folder).state == "died"


REAL_PYTHON = sys.executable
SERVER = """
import sys, time
from pathlib import Path
from cleaner.files import runs_root
from cleaner.jobs import local, process, resident
local.keep_worker("cpu")
token = resident.token_of(runs_root(), "cpu")
if len(sys.argv) > 1:
    local.start(Path(sys.argv[1]))
print(process.read_json(process.registration(token))["pid"], flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("has_run", [False, True])
def test_a_killed_server_ends_a_waiting_worker_but_not_a_run(
    has_run: bool, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(resident.SWITCH)
    folder = create_run(replace(request_, finetune=replace(CONFIG, epochs=900)))
    arguments = [str(folder)] if has_run else []
    server = subprocess.Popen([REAL_PYTHON, "-c", SERVER, *arguments], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    if has_run:
        wait_until_step(folder, 3)
    server.kill()
    server.wait()
    server.stdout.close()
    if has_run:
        step = read_status(folder).step
        wait_until_step(folder, step + 5)
        assert local.poll_status(folder).pid == pid
        local.cancel(folder)
    wait_until_ended(pid)


def test_images_are_prepared_unless_a_run_comes(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(execution, "QUICK_CLEAN_PAIRS", 400)

    def prepared() -> list[str]:
        return [path.name for path in (tmp_path / "cache").rglob("*-clean-*-n400.npy")]

    execution.prepare_data(replace(request_, data="nowhere.csv"), lambda: False)
    execution.prepare_data(request_, lambda: True)
    assert not prepared()
    assert not list((tmp_path / "cache").rglob("*.tmp"))
    execution.prepare_data(request_, lambda: False)
    assert len(prepared()) == 1
