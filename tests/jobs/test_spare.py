"""The spare worker: takes run after run at once, is found and stopped like any worker, never outlives its server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
import torch

from cleaner import files
from cleaner.jobs import local, prediction, process, spare, spare_worker, timing
from cleaner.models import devices
from cleaner.runs.request import Request
from cleaner.runs.run import load_run
from cleaner.runs.status import Status, read_status, write_status
from cleaner.runs.store import create_run
from tests.conftest import save_tiny_model
from tests.jobs.test_local import CONFIG, make_request, seconds_to_cancel
from tests.waiting import MAX_CANCEL_SECONDS, wait_until, wait_until_ended, wait_until_state, wait_until_step


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Request]:
    """A small poisoning. All tests have the same environment, and thereby share a spare that is ready."""
    folder = tmp_path_factory.mktemp("spare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEANER_RUNS", str(folder / "runs"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv(spare.SWITCH)
        # pytest changes this variable with every test.
        patch.setattr(files, "LIBRARY_VARIABLES", files.LIBRARY_VARIABLES | {"PYTEST_CURRENT_TEST"})
        yield make_request(save_tiny_model(folder))
        spare.dismiss()


def waiting_process() -> psutil.Process:
    """Return the process of the spare."""
    assert spare._spare is not None
    return psutil.Process(spare._spare.process.pid)


@pytest.mark.slow
def test_a_spare_executes_run_after_run(request_: Request) -> None:
    spare.ensure()
    running = waiting_process()
    spare.ensure()
    assert waiting_process() == running
    first, second, third = (create_run(request_) for _ in range(3))
    local.start(first)
    assert not spare.is_waiting()
    wait_until(lambda: read_status(first).pid)
    status = read_status(first)
    assert (status.pid, status.state in ("queued", "running")) == (running.pid, True)
    assert status.token in running.cmdline()
    local.keep_spare()  # a run is active: loading another spare would slow it down
    local.start(second)  # in a process of its own, until the spare takes it over
    wait_until(lambda: read_status(second).pid)
    assert read_status(second).pid != running.pid or read_status(first).state == "done"
    assert [wait_until_state(folder, "done").pid for folder in (first, second)] == [running.pid] * 2
    wait_until(spare.is_waiting)
    local.keep_spare()
    assert waiting_process() == running
    local.start(third)
    assert wait_until_state(third, "done").pid == running.pid
    assert len({load_run(folder).clip.sha256() for folder in (first, second, third)}) == 1
    assert not any((folder / "log.txt").read_text() for folder in (first, second, third))


def test_a_spare_that_ends_or_may_take_over_another_run_is_given_none(request_: Request) -> None:
    first, second = create_run(request_), create_run(request_)
    done = Status("done", device="cpu", token="its own")
    idle = spare.Spare(cast(Any, SimpleNamespace(poll=lambda: None)), done.token, run=first)
    write_status(first, done)
    assert idle.is_ready()
    write_status(second, Status("queued"))
    assert not idle.is_ready(), "it may be taking this run over"
    assert idle.is_ready(second)
    write_status(second, replace(done, state="failed"))
    assert not idle.is_ready(), "after a failure it ends"
    write_status(second, done)
    write_status(first, replace(done, device="cuda"))
    assert not idle.is_ready(), "after a run on a GPU it ends"


def test_the_spare_measures(request_: Request) -> None:
    request = replace(request_, finetune=replace(CONFIG, batch_size=8))
    assert prediction.predict(request) is None
    spare.ensure()
    assert spare.measure(request)
    wait_until(lambda: prediction.predict(request) is not None)


def test_a_request_that_kills_the_spare_is_not_measured_again(request_: Request) -> None:
    request = replace(request_, finetune=replace(CONFIG, batch_size=9))
    spare.ensure()
    assert spare.measure(request)
    waiting_process().kill()
    wait_until(lambda: not spare.is_waiting())
    assert prediction.is_measurable(request)
    spare.ensure()
    assert not prediction.is_measurable(request)


@pytest.mark.parametrize(("exit_status", "is_measurable"), [(-9, False), (0, True), (None, True)])
def test_only_a_spare_that_was_killed_has_failed_to_measure(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_status: int | None, is_measurable: bool
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    request = make_request(tiny_model)
    ended = spare.Spare(cast(Any, SimpleNamespace(poll=lambda: exit_status)), "token", measured=request)
    ended.record_failure()
    assert prediction.is_measurable(request) == is_measurable


def test_a_measurement_keeps_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    results = iter([False, True])  # a run has the device, then not
    monkeypatch.setattr(process, "take_input", lambda: None)
    monkeypatch.setattr(spare_worker, "DEVICE_RETRY_SECONDS", 0)
    monkeypatch.setattr(timing, "measure", lambda *_: events.append("measure") or next(results))
    monkeypatch.setattr(timing, "prepare_defenses", lambda *_: events.append("prepare"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: events.append("cuda"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: events.append("mps"))
    monkeypatch.setattr(devices, "release_freed_memory", lambda: events.append("cpu"))
    spare_worker.SpareWorker()._measure({})
    assert events == ["measure", "cuda", "mps", "cpu"] * 2 + ["prepare"]


def test_a_run_starts_in_the_spare(request_: Request) -> None:
    spare.ensure()
    running, folder = waiting_process(), create_run(request_)
    local.start(folder)
    assert wait_until_state(folder, "done").pid == running.pid


def test_a_run_of_a_spare_is_canceled_and_its_kill_is_noticed(request_: Request) -> None:
    folder = create_run(replace(request_, finetune=replace(CONFIG, epochs=900)))
    spare.ensure()
    local.start(folder)
    wait_until_step(folder, 3)
    os.kill(read_status(folder).pid, signal.SIGKILL)
    assert "process is gone" in wait_until_state(folder, "died").message

    spare.ensure()
    local.start(folder)
    wait_until(lambda: read_status(folder).pid)  # it still loads its libraries
    assert seconds_to_cancel(folder) < MAX_CANCEL_SECONDS


def test_a_reused_pid_of_a_spare_is_neither_trusted_nor_signaled(tmp_path: Path) -> None:
    """Without the token in the command line, a process is no worker, even one that names the folder."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path), spare.OPTION])
    try:
        wait_until(lambda: psutil.Process(stranger.pid).cmdline())
        started = psutil.Process(stranger.pid).create_time()
        host = process.socket.gethostname()
        write_status(tmp_path, Status("running", pid=stranger.pid, started=started, host=host, token="a" * 32))
        assert local.poll_status(tmp_path).state == "died"
        local.cancel(tmp_path)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


SERVER = """
import sys, time
from pathlib import Path
from cleaner.jobs import local, spare
spare.ensure()
print(spare._spare.process.pid, flush=True)
if len(sys.argv) > 1:
    local.start(Path(sys.argv[1]))
    print("started", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("has_run", [False, True])
def test_a_killed_server_ends_a_waiting_spare_but_not_a_run(has_run: bool, request_: Request) -> None:
    folder = create_run(replace(request_, finetune=replace(CONFIG, epochs=900)))
    arguments = [str(folder)] if has_run else []
    server = subprocess.Popen([sys.executable, "-c", SERVER, *arguments], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    if has_run:
        assert server.stdout.readline() == "started\n"
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


def test_an_unusable_spare_is_replaced_and_an_idle_one_ends(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare.ensure()
    first = waiting_process().pid
    monkeypatch.setenv("KMP_INIT_AT_FORK", "FALSE")  # libraries set such variables as they load
    assert spare.is_waiting()
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "elsewhere"))  # a worker reads its settings at its start
    assert not spare.is_waiting()
    assert not spare.execute(create_run(request_))
    monkeypatch.setattr(spare, "IDLE_SECONDS", 0.2)
    spare.ensure()
    second = waiting_process().pid
    wait_until_ended(first, second)
    spare.ensure()
    waiting_process().kill()
    wait_until(lambda: not spare.is_waiting())
    assert not spare.execute(tmp_path)
    monkeypatch.setenv(spare.SWITCH, "0")
    spare.ensure()
    assert not spare.is_waiting()
    assert not spare.measure(request_)


class Listener(spare.Spare):
    """A spare that is always ready and keeps its orders: the pairs of a request to measure, 0 for a run."""

    def __init__(self) -> None:
        self.token, self.orders = "token", list[int]()

    def is_ready(self, run: Path | None = None) -> bool:
        return True

    def restart_idle_time(self) -> None:
        """Never end it."""

    def order(self, value: dict[str, Any]) -> bool:
        self.orders.append(value["measure"]["pairs"] if "measure" in value else 0)
        return True


def test_measurements_of_two_sessions_do_not_stop_each_other(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, now = Listener(), [0.0]
    monkeypatch.setattr(spare, "_spare", listener)
    monkeypatch.setattr(spare, "_asked", {})
    monkeypatch.setattr(spare, "time", SimpleNamespace(monotonic=lambda: now[0]))
    first, second, third = (replace(make_request(tiny_model), pairs=pairs) for pairs in (100, 200, 300))
    for _ in range(3):  # both pages ask again and again
        assert spare.measure(first, "a")
        assert spare.measure(second, "b")
        now[0] += 1.0
    assert listener.orders == [100]
    now[0] += spare.ASK_SECONDS  # the first one has its result
    assert spare.measure(second, "b")
    assert spare.measure(third, "b")  # the user moved a control: the earlier result is not needed
    assert listener.orders == [100, 200, 300]
    assert spare.execute(tmp_path)
    assert spare.measure(third, "b")  # the run has stopped its measurement
    assert listener.orders == [100, 200, 300, 0, 300]
