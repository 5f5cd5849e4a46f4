"""Speaker notes: ten minutes without a gap, one note for each page, figures of the run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cleaner.reports import talk
from cleaner.runs.record import RunRecord
from cleaner.runs.store import read_record
from pages._shared.frame import titles
from tests.pages.runs import make_runs


@pytest.fixture
def records(tmp_path: Path) -> list[RunRecord]:
    return [read_record(folder) for folder in make_runs(tmp_path)]


def test_notes_cover_ten_minutes_in_the_order_of_the_pages(records: list[RunRecord]) -> None:
    notes = talk.write_notes(records[0], records[1:])
    pages = [note.page for note in notes]
    assert pages == [title for title in titles() if title in pages]
    times = [[60 * int(m) + int(s) for m, s in re.findall(r"(\d+):(\d\d)", note.minutes)] for note in notes]
    assert [start for start, _ in times] == [0, *(end for _, end in times[:-1])]
    assert times[-1][1] == 600
    assert not [note.page for note in notes if "{" in note.text or not note.text.startswith("- ")]


def test_figures_are_those_of_the_run(records: list[RunRecord]) -> None:
    text = talk.render(records[0], records[1:])
    assert "10 poisoned pairs into 500" in text
    assert "BadNet patch" in text
    assert "TA-Cleaner left 10% attack success at 90% accuracy." in text


def test_equal_defenses_have_their_rate_and_their_seed(records: list[RunRecord]) -> None:
    run, cleaned = records

    def train(lr: float, seed: int) -> RunRecord:
        return cleaned.model_copy(update={"finetune": cleaned.finetune.model_copy(update={"lr": lr, "seed": seed})})

    text = talk.render(run, [train(1e-4, 0), train(1e-3, 0)])
    assert "TA-Cleaner at learning rate 0.0001 left 10%" in text
    assert "TA-Cleaner at learning rate 0.001 left 10%" in text
    text = talk.render(run, [train(1e-4, 0), train(1e-4, 1), train(1e-3, 0)])
    assert "TA-Cleaner at learning rate 0.0001 with seed 0 left" in text
    assert "TA-Cleaner at learning rate 0.0001 with seed 1 left" in text
    assert "TA-Cleaner at learning rate 0.001 left" in text


@pytest.mark.parametrize("trigger", ["badnet", "blended", "text_only"])
def test_only_a_patch_is_called_one(tmp_path: Path, trigger: str) -> None:
    first, *others = [read_record(folder) for folder in make_runs(tmp_path, trigger=trigger)]
    notes = talk.render(first, others)
    is_patch = trigger == "badnet"
    assert ("patch" in notes) == is_patch
    assert ("click there" in notes) == is_patch
    assert "few pixels" not in notes


def test_points_without_their_figure_are_left_out(records: list[RunRecord]) -> None:
    whole = {note.page: note.text for note in talk.write_notes(records[0], records[1:])}
    partial = {note.page: note.text for note in talk.write_notes(records[0], [])}
    assert set(partial["Try it"].splitlines()) < set(whole["Try it"].splitlines())
    assert partial["Overview"] == whole["Overview"]
    assert all(note.text for note in talk.write_notes(None, []))
    assert talk.find_note("Nowhere", None, []) is None
