"""Pages with damaged run folders: each page shows them and lives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inputs import runs
from tests.inputs.cases import CASES, Case, drawing
from tests.pages.conftest import OpenPage, builtin_model, go_to, open_page  # noqa: F401  # fixtures

RUN_PAIRS = [pair for pair, builder in CASES.items() if builder.__module__ == runs.__name__]
TITLES = ("Overview", "Poison", "Defend", "Compare")
FAST_ROUNDS, SLOW_ROUNDS, RUNS_PER_ROUND = 1, 25, 8


def show_damaged_runs(open_page: OpenPage, place: Path, rounds: int, is_repeatable: bool) -> int:  # noqa: F811
    """Open pages on `RUNS_PER_ROUND` damaged runs, `rounds` times; return the number of runs."""
    shown = 0

    @drawing(rounds, is_repeatable)
    @given(data=st.data())
    def show(data: st.DataObject) -> None:
        nonlocal shown
        for name in ("runs", "case"):  # an example that hypothesis gives up leaves its case
            shutil.rmtree(place / name, ignore_errors=True)
        (place / "runs").mkdir()
        for number in range(RUNS_PER_ROUND):
            pair = data.draw(st.sampled_from(RUN_PAIRS))
            folder = place / "case"
            folder.mkdir()
            CASES[pair](Case(pair[0], folder, data))
            for run in folder.iterdir():
                run.rename(place / "runs" / f"{number}-{run.name}"[:100])
            folder.rmdir()
            shown += 1
        app = open_page("Overview")
        app.session_state["run_table"] = True
        for title in TITLES:
            go_to(app, title)

    show()
    return shown


def test_pages_live_with_a_few_damaged_runs(open_page: OpenPage, tmp_path: Path) -> None:  # noqa: F811
    assert show_damaged_runs(open_page, tmp_path, FAST_ROUNDS, is_repeatable=True) > 0


@pytest.mark.slow
def test_pages_live_with_damaged_runs(
    open_page: OpenPage,  # noqa: F811
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("cases", show_damaged_runs(open_page, tmp_path, SLOW_ROUNDS, is_repeatable=False))
