"""States of a run: only those that may follow are written, and changes at once are kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import pytest

from cleaner.runs.status import (
    NEXT_STATES,
    STOPPED,
    RunState,
    StateError,
    Status,
    read_status,
    transition,
    write_status,
)


@pytest.mark.parametrize("before", RunState)
@pytest.mark.parametrize("state", RunState)
def test_a_run_reaches_only_the_states_that_may_follow(before: RunState, state: RunState, tmp_path: Path) -> None:
    write_status(tmp_path, Status(before, step=3))
    if state == before or state in NEXT_STATES[before]:
        after = transition(tmp_path, state, message="x")
        assert replace(after, updated=0.0) == Status(state, step=3, message="x")
        assert (read_status(tmp_path).state, read_status(tmp_path).step) == (state, 3)
    else:
        with pytest.raises(StateError, match=tmp_path.name):
            transition(tmp_path, state)
        assert read_status(tmp_path).state == before


def test_a_run_that_ended_is_not_revived_by_a_worker_that_was_silent(tmp_path: Path) -> None:
    for ended in (RunState.DONE, *STOPPED):
        write_status(tmp_path, Status(ended))
        for state in (RunState.RUNNING, RunState.DONE):
            if state != ended:
                with pytest.raises(StateError):
                    transition(tmp_path, state)


def test_changes_at_once_lose_none(tmp_path: Path) -> None:
    write_status(tmp_path, Status("running"))
    names = [f.name for f in fields(Status) if f.name in ("step", "total", "eta", "pid", "begun", "started")]
    with ThreadPoolExecutor(len(names)) as pool:
        for number in range(1, 11):
            list(pool.map(lambda name, n=number: transition(tmp_path, RunState.RUNNING, **{name: n}), names))
            assert {getattr(read_status(tmp_path), name) for name in names} == {number}
