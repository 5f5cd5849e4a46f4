"""Single figures in prose: <!-- figure:TABLE/ATTACK/DEFENSE/METRIC -->41%<!-- /figure -->."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from benchmarks.json_lines import read_json_lines
from benchmarks.markdown.cells import read_measurement, read_result
from benchmarks.reference import TITLES
from cleaner.labels import NO_DEFENSE
from cleaner.reports.reference import ReferenceRow, Spread, read_reference


def format_figure(key: str, root: Path) -> str:
    """Return a mean over seeds as a percentage, for the metric "lost" the points of accuracy that a defense costs.

    "rival/MODEL/PRECISION" is the share of the published loop's time, "pretrain/MODEL" the minutes that the training of
    a built-in model took, "probe/STAGE" the ASR of a linear probe on BadCLIP's models before any defense. Raises
    `KeyError` for a name that nothing was measured for.
    """
    table, *rest = key.split("/")
    if table == "probe":
        return f"{100 * _mean_probe(*rest, root=root):.0f}%"
    if table == "rival":
        return _format_rival(*rest, root=root)
    if table == "pretrain":
        return f"{read_result(root / 'assets' / rest[0] / 'card.json')['seconds'] / 60:.0f}"
    attack, defense, metric = rest
    if metric == "lost":
        return f"{lost_points(table, attack, defense, root):.1f}"
    value: Spread | float | None = getattr(find_row(table, attack, defense, root), metric)
    if value is None:
        raise KeyError(key)
    return f"{100 * (value[0] if isinstance(value, tuple) else value):.0f}%"


def lost_points(table: str, attack: str, defense: str, root: Path) -> float:
    """Return the points of clean test accuracy that a defense costs on average."""
    before, after = (find_row(table, attack, name, root) for name in (NO_DEFENSE, defense))
    return 100 * (before.ca[0] - after.ca[0])


def find_row(table: str, attack: str, defense: str, root: Path) -> ReferenceRow:
    """Return a row of assets/reference.json; raise `KeyError` without one."""
    reference = read_reference(root / "assets" / "reference.json")
    for row in (row for found in reference.tables if found.title == TITLES[table] for row in found.rows):
        if (row.attack, row.defense or NO_DEFENSE) == (attack, defense):
            return row
    raise KeyError(f"{table}/{attack}/{defense}")


def _mean_probe(stage: str, *, root: Path) -> float:
    """Return the mean over the seeds of BadCLIP's first target; stage: "clean" or "backdoored"."""
    lines = read_json_lines(root / "benchmarks" / "results" / "undefended.jsonl")
    rows = [row for row in lines if row["attack"] == "badclip"]
    return fmean(row[stage]["probe"]["asr"] for row in rows if row["target"] == rows[0]["target"])


def _format_rival(model: str, precision: str, *, root: Path) -> str:
    shares = {found["model"]: found["of_published"] for found in read_measurement(root, "rival.json")["models"]}
    return f"{shares[model][precision]:.2f}"
