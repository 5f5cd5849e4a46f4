"""The wall clock jumps during a run, forward and back: the run ends with the same weights, and lists stay readable."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cleaner import load_run
from cleaner.files import write_json
from cleaner.jobs import local, session, slurm, slurm_queue, sweep, worker
from cleaner.runs.status import Status, read_status, write_status
from cleaner.runs.store import create_run, list_entries, read_record
from tests.jobs.test_local import make_request

DAY = 86_400.0


def run_here(folder: Path) -> str:
    worker.run_job(session.RunSession(folder))
    assert read_status(folder).state == "done"
    return load_run(folder).clip.sha256()


def test_a_clock_that_jumps_changes_no_weights(
    tiny_model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = run_here(create_run(make_request(tiny_model)))
    now, offsets = time.time, itertools.cycle([0.0, -DAY, DAY, -1000 * DAY])
    jumping: Callable[[], float] = lambda: now() + next(offsets)  # noqa: E731
    monkeypatch.setattr(time, "time", jumping)
    folder = create_run(make_request(tiny_model))
    assert run_here(folder) == expected
    for entry in list_entries():
        assert entry.label
        assert local.poll_status(entry.folder).state == "done"


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_run_that_never_began_is_not_waited_for_after_a_jump(
    tiny_model: str,
    jump: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = create_run(make_request(tiny_model))
    write_status(folder, Status("queued", queued=time.time()))
    assert local.poll_status(folder).state == "queued"
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    assert local.poll_status(folder).state == "died"


def test_a_dead_job_does_not_keep_running_until_a_clock_set_back_has_caught_up(
    tiny_model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = create_run(make_request(tiny_model))
    write_json(folder / slurm.JOB_FILE, {"job": "5"})
    write_status(folder, Status("running", place=slurm.SLURM, pid=1, host="node-7"))
    answers = [("RUNNING", "is running"), ("", "")]
    monkeypatch.setattr(slurm_queue, "query_job", lambda job: answers[0])
    assert local.poll_status(folder).state == "running"
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - DAY)
    assert local.poll_status(folder).state == "running", "the clock of its node is ahead"
    answers.pop(0)
    assert local.poll_status(folder).state == "died"


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_stopped_sweep_does_not_continue_after_a_jump(
    tiny_model: str, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(make_request(tiny_model))
    write_status(folder, Status(sweep.WAITING_STATE))
    assert sweep.is_active([read_record(folder, needs_metrics=False)]), "the next run is about to start"
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    assert not sweep.is_active([read_record(folder, needs_metrics=False)])
