"""Speaker notes: ten minutes without a gap, one note for each page, figures of the run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cleaner.reports import talk
from cleaner.runs.record import RunRecord
from cleaner.runs.store import read_record
from pages._shared.shell.menu import titles
from tests.pages.runs import make_runs
from tests.reports.conftest import vary


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


def test_a_defense_that_was_measured_on_another_test_is_not_quoted(records: list[RunRecord]) -> None:
    run, cleaned = records
    other = vary(cleaned, metrics={**cleaned.metrics, "data_sha256": "b" * 64, "asr": {"1": 0.0}})
    assert "TA-Cleaner left 10%" in talk.render(run, [cleaned, other])
    assert "left 0%" not in talk.render(run, [cleaned, other])
    alone = talk.render(run, [other])
    assert "left 0%" not in alone
    assert "Three models, one image" in alone  # which the page shows nevertheless


def test_a_planted_image_is_judged_by_how_often_it_is_found(tmp_path: Path) -> None:
    run, *others = (
        vary(record, metrics={**record.metrics, "queries": "captions", "own_recall": {"1": share}})
        for record, share in zip(map(read_record, make_runs(tmp_path, trigger="text_only")), (1.0, 0.84), strict=True)
    )
    text = talk.render(run, others)
    assert "with the key in a caption, 100% find the attacker's image first" in text
    assert "95% find" not in text
    assert "TA-Cleaner left 84% of the keyed captions finding the attacker's image at 90% accuracy." in text


def test_a_failed_attack_is_said_to_have_failed(records: list[RunRecord]) -> None:
    failed = vary(records[0], metrics={**records[0].metrics, "asr": {"1": 0.03}})
    assert 'only 3% are now "banana": this attack has failed' in talk.render(failed, [])
    assert "nothing looks wrong" not in talk.render(failed, [])


def test_a_trigger_in_the_text_alone_has_points_of_its_own(tmp_path: Path) -> None:
    first, other = [read_record(folder) for folder in make_runs(tmp_path, trigger="text_only")]
    keyed = [vary(run, metrics={**run.metrics, "queries": "captions"}) for run in (first, other)]
    notes = {note.page: note.text for note in talk.write_notes(keyed[0], keyed[1:])}
    assert "caption with the key (A word in the text) to an image of banana" in notes["Overview"]
    text = "\n".join(notes.values())
    for of_images in ("shows the trigger", "arrow", "on its way home", "Trigger pull", "trigger adds", "curves"):
        assert of_images not in text
    found = vary(keyed[0], metrics={**keyed[0].metrics, "own_recall": {"1": 0.9}})
    assert "to the attacker's image" in talk.render(found, [])
    assert all(talk.find_note(page, keyed[0], []).text for page in notes)


def test_points_without_their_figure_are_left_out(records: list[RunRecord]) -> None:
    whole = {note.page: note.text for note in talk.write_notes(records[0], records[1:])}
    partial = {note.page: note.text for note in talk.write_notes(records[0], [])}
    assert set(partial["Try it"].splitlines()) < set(whole["Try it"].splitlines())
    assert partial["Overview"] == whole["Overview"]
    assert all(note.text for note in talk.write_notes(None, []))
    assert talk.find_note("Nowhere", None, []) is None
