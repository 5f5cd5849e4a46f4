"""A queue in one process: what is taken over, what stays with its own process, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cleaner.files import write_json
from cleaner.jobs import handover, local, process
from cleaner.runs.request import Request
from cleaner.runs.run import load_run
from cleaner.runs.status import Status, read_status, write_status
from cleaner.runs.store import create_run
from tests.jobs.test_local import CONFIG, make_request, seconds_to_cancel
from tests.waiting import MAX_CANCEL_SECONDS, sleeping_process, wait_until, wait_until_state, wait_until_step


@pytest.fixture
def request_(tiny_model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, warm_python: None) -> Request:
    """A small poisoning, in a run store of its own."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    request = make_request(tiny_model)
    return replace(request, finetune=replace(request.finetune, device="cpu"))


def start_queue(request: Request, count: int, *, first_epochs: int = 8) -> list[Path]:
    """Start equal runs, the first one longer; return their folders once all have a process."""
    longer = replace(request.finetune, epochs=first_epochs)
    folders = [create_run(replace(request, finetune=longer)), *(create_run(request) for _ in range(count - 1))]
    for folder in folders:
        local.start(folder)
    wait_until(lambda: all(read_status(folder).device for folder in folders))
    return folders


def test_a_worker_takes_over_the_waiting_runs_in_their_order(request_: Request) -> None:
    folders = start_queue(request_, 3)
    own = [read_status(folder).pid for folder in folders]
    assert len(set(own)) == 3
    ended = [wait_until_state(folder, "done") for folder in folders]
    assert [status.pid for status in ended] == [own[0]] * 3
    assert ended[0].updated < ended[1].updated < ended[2].updated
    assert {status.token for status in ended} == {str(folders[0].resolve())}
    for before, status, folder in zip(ended, ended[1:], folders[1:], strict=False):
        assert load_run(folder).config["timing"]["real"] < status.updated - before.updated + 0.5  # without the wait
    assert load_run(folders[1]).clip.sha256() == load_run(folders[2]).clip.sha256()
    assert not any((folder / handover.CLAIM).exists() for folder in folders)
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in own))

    alone = create_run(request_)
    local.start(alone)
    wait_until_state(alone, "done")
    assert load_run(alone).clip.sha256() == load_run(folders[2]).clip.sha256()


def test_canceled_and_killed_runs_take_no_other_run_with_them(request_: Request) -> None:
    first, canceled, second = start_queue(request_, 3, first_epochs=900)  # until it is killed
    assert seconds_to_cancel(canceled) < MAX_CANCEL_SECONDS
    own = read_status(second).pid
    os.kill(read_status(first).pid, signal.SIGKILL)
    assert wait_until_state(second, "done").pid == own
    assert [local.poll_status(folder).state for folder in (first, canceled)] == ["died", "cancelled"]


def test_a_run_that_was_taken_over_is_paused_resumed_and_found_dead(request_: Request) -> None:
    first, second = start_queue(replace(request_, finetune=replace(CONFIG, epochs=900)), 2)
    worker = read_status(first).pid
    wait_until_step(second, 3)
    assert read_status(second).pid == worker
    local.pause(second)
    wait_until_state(second, "paused")
    local.start(second)
    wait_until_step(second, read_status(second).step + 5)
    os.kill(read_status(second).pid, signal.SIGKILL)
    assert "process is gone" in wait_until_state(second, "died").message


def test_a_run_with_other_settings_keeps_its_process(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "_claim", lambda folder, worker: True)
    own, folder = psutil.Process(), create_run(request_)
    for cwd, environment, is_claimed in (
        (own.cwd(), own.environ(), True),
        (own.cwd(), own.environ() | {"CLEANER_OTHER": "1"}, False),
        (str(tmp_path), own.environ(), False),
    ):
        with sleeping_process(str(folder), cwd=cwd, env=environment) as waiting:
            started = psutil.Process(waiting.pid).create_time()
            host = process.socket.gethostname()
            write_status(folder, Status("queued", device="cpu", pid=waiting.pid, started=started, host=host))
            claimed = handover.claim_next(tmp_path / "done", "cpu", own.cmdline()[-1])
            assert claimed == (folder if is_claimed else None)


def test_only_a_living_worker_that_proves_its_identity_gets_a_run(tmp_path: Path) -> None:
    claim = process.own_identity("no argument of this process")
    own = process.own_identity(psutil.Process().cmdline()[-1])
    for content in (claim, own | {"started": 0.0, "start_ticks": 0}, own | {"start_ticks": 1}, {"pid": 1}):
        write_json(tmp_path / handover.CLAIM, content)
        handover.raise_if_claimed(tmp_path)
        assert not (tmp_path / handover.CLAIM).exists()
    assert handover.claim_next(tmp_path, "cpu", "no argument of this process") is None


def test_the_answer_to_a_claim_may_come_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "CLAIM_TIMEOUT_SECONDS", 0.2)
    own = process.own_identity(psutil.Process().cmdline()[-1])

    def answer() -> None:
        wait_until((tmp_path / handover.CLAIM).exists)
        with pytest.raises(handover.HandedOver) as claimed:
            handover.raise_if_claimed(tmp_path)
        time.sleep(1)
        write_status(tmp_path, replace(read_status(tmp_path), **claimed.value.worker))

    with sleeping_process(str(tmp_path)) as waiting:
        started = psutil.Process(waiting.pid).create_time()
        write_status(tmp_path, Status("queued", pid=waiting.pid, started=started, host=process.socket.gethostname()))
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            assert handover._claim(tmp_path, own)
        finally:
            thread.join()


def test_a_claim_that_is_withdrawn_while_it_is_read_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = process.own_identity(psutil.Process().cmdline()[-1])
    write_json(tmp_path / handover.CLAIM, own)
    monkeypatch.setattr(handover, "read_json", lambda path: path.unlink() or own)
    handover.raise_if_claimed(tmp_path)
