"""How far figures vary by seed and by processor: computed from the result files, said in the report."""

from __future__ import annotations

import json
from pathlib import Path

from cleaner.reports import html
from cleaner.reports.variation import describe_variation, measure_spread
from cleaner.runs.record import RunRecord


def write(folder: Path, name: str, rows: list[dict[str, object]]) -> None:
    (folder / name).write_text(json.dumps({"rows": rows}))


def seed_row(defense: str | None, asr: float, ca: float, part: str = "comparison") -> dict[str, object]:
    metrics = {"asr": {"1": asr}, "ca": {"1": ca}}
    return {"part": part, "model": "m", "trigger": "badnet", "defense": defense, "metrics": metrics}


def test_spreads_are_highest_minus_lowest_in_points() -> None:
    spread = measure_spread([[0.1, 0.3, 0.2], [0.5, 0.5], [0.0, 0.4]])
    assert (round(spread.median), round(spread.largest)) == (20, 40)


def test_seeds_and_processors_are_told_apart(tmp_path: Path) -> None:
    assert describe_variation(tmp_path) == ""
    rows = [seed_row("a", 0.10, 0.90), seed_row("a", 0.17, 0.88), seed_row("b", 0.9, 0.9)]
    rows += [seed_row(None, 0.99, 0.9), seed_row(None, 1.0, 0.9)]
    write(tmp_path, "attack_defense.json", [*rows, seed_row("a", 0.99, 0.1, part="ablations")])
    text = describe_variation(tmp_path)
    assert "only in the seed, ASR@1 varies by up to 7.0 points (median 7.0 in the 1 setting whose mean" in text
    assert "clean accuracy by up to 2.0 (median 1.0; 2 settings of m: badnet)" in text
    assert "another processor" not in text
    own = {"model": "lite", "trigger": "badnet", "method": "none", "seed": 1}
    rows = [own | {"processor": "AVX2", "asr": 0.5, "ca": 0.9}, own | {"processor": "all", "asr": 0.53, "ca": 0.9}]
    write(tmp_path, "processors.json", rows)
    assert "a stand-in for another processor), ASR@1 varies by up to 3.0 points " in describe_variation(tmp_path)


def test_the_report_says_it(runs: list[RunRecord]) -> None:
    assert describe_variation() in html.render_html(runs[:1]).replace("&#39;", "'")
    assert "repeats to the last bit" in describe_variation()
