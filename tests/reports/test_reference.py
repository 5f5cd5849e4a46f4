"""This project's own results: complete, small, and said in reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.markdown.figures import format_figure
from benchmarks.reference import TITLES
from cleaner.files import shipped_assets
from cleaner.labels import NO_DEFENSE
from cleaner.reports import html
from cleaner.reports.reference import Reference, read_reference
from cleaner.runs.record import RunRecord

ROOT = Path(__file__).parents[2]


def test_every_row_has_its_origin_and_every_attack_its_backdoored_model() -> None:
    reference = read_reference()
    assert {table.title for table in reference.tables} == set(TITLES.values())
    for table in reference.tables:
        assert table.protocol
        for row in table.rows:
            assert row.seeds
            assert row.n >= row.n_attack > 0
            assert row.asr[1] <= row.asr[0] <= row.asr[2]
            assert (row.lr is None) == (row.defense is None)
        assert {row.attack for row in table.rows} == {row.attack for row in table.rows if row.defense is None}
    assert (shipped_assets() / "reference.json").stat().st_size < 100_000


@pytest.mark.parametrize("text", ["", "{", '{"tables": [{"title": 1}]}'])
def test_a_damaged_file_leaves_no_table(text: str, tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_text(text)
    assert read_reference(path) == Reference()
    assert read_reference(tmp_path / "missing.json") == Reference()


def test_a_figure_in_prose_is_the_mean_of_its_row() -> None:
    (table,) = (table for table in read_reference().tables if table.title == TITLES["quick"])
    row = next(row for row in table.rows if row.attack == "badnet" and row.defense is None)
    assert format_figure(f"quick/badnet/{NO_DEFENSE}/asr", ROOT) == f"{100 * row.asr[0]:.0f}%"
    with pytest.raises(KeyError):
        format_figure("quick/badnet/nothing/asr", ROOT)


def test_the_report_says_how_far_results_vary(runs: list[RunRecord]) -> None:
    variation = read_reference().variation
    assert "repeats to the last bit" in variation
    assert variation in html.render_html(runs[:1]).replace("&#39;", "'")
