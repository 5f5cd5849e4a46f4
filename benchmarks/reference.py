"""assets/reference.json: this project's own results in tables small enough to ship; written by benchmarks.tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import photos, quick_captions
from benchmarks.json_lines import read_json_lines
from benchmarks.markdown.captions import describe_protocol
from benchmarks.markdown.cells import Row, group_rows
from benchmarks.protocol2 import plan, rule, summary
from benchmarks.protocol2.records import results_path
from benchmarks.tasks import TaskFile
from benchmarks.variation import describe_variation
from cleaner.files import read_json
from cleaner.reports.results import parse_row_metrics
from cleaner.variant import Variant

TITLES = {
    "full": "Full schedule",
    "quick": "Quick setting",
    "mixed": "Quick setting, mixed captions",
    "photos": "Photos",
}
"""Name of a table in figures -> its title."""
DIGITS = 4
LostPairs = Iterable[Sequence[str]]
"""(model, method) pairs whose learning rate lost more validation accuracy than the budget."""


def collect(root: Path) -> dict[str, Any]:
    """Return the tables, and in words how far results vary by seed and processor."""
    folder = root / "benchmarks" / "results"
    full = [
        (model, rows, lost)
        for model in plan.MODELS
        for rows, lost in select_full(model, folder / results_path(model).name)
    ]
    quick, on_photos = read_json(folder / "quick_setting.json"), read_json(folder / "cifar10.json")
    mixed = TaskFile(folder / quick_captions.PATH.name)
    mixed_rates = {quick_captions.MODEL: quick_captions.choose_rates(mixed.rows("trials"))}
    quick_rows = [row for row in quick["rows"] if row["defense"] in {None, *quick["chosen"][row["model"]]}]
    tables = [
        *(make_table(TITLES["full"], rows, rule.BUDGET, lost, results_path(model).name) for model, rows, lost in full),
        make_table(TITLES["quick"], quick_rows, quick["budget"], _find_lost(quick["chosen"]), "quick_setting.json"),
        make_table(
            TITLES["mixed"],
            mixed.rows("rows"),
            quick["budget"],
            _find_lost(mixed_rates),
            quick_captions.PATH.name,
        ),
        make_table(
            TITLES["photos"], on_photos["rows"], on_photos["budget"], on_photos["lost_accuracy"], "cifar10.json"
        ),
    ]
    seeds = [row for _, rows, _ in full for row in rows]
    return {"tables": tables, "variation": describe_variation(map(_name_figures, seeds), _read_processors(folder))}


def select_full(model: str, path: Path) -> Iterable[tuple[list[Row], LostPairs]]:
    """Yield the rows of protocol 2's main table, each method at its own rate, once its grid is complete."""
    lines = read_json_lines(path)
    decided = summary.decide(model, lines)
    if decided is None:
        return
    attacks, methods = decided
    measured = summary.select_cells(lines)
    cells = [
        cell
        for attack in attacks.settings
        for cell in summary.select_chosen(summary.main_cells(measured, attack, attacks.targets[0]))
    ]
    rows = [
        {**cell.row, "defense": cell.variant.key if cell.task.method else None, "label": cell.variant.label}
        | {"seed": cell.task.seed, "trigger": cell.task.attack}
        for cell in cells
    ]
    choices = [methods.rates.get((cell.task.method, cell.task.form)) for cell in cells]
    lost = [
        (model, row["defense"])
        for row, choice in zip(rows, choices, strict=True)
        if choice is not None and choice.lost_accuracy
    ]
    yield rows, lost


def make_table(title: str, rows: Sequence[Row], budget: float, lost: LostPairs, file: str) -> dict[str, Any]:
    """Return a table with one row per attack and method: means over seeds, and where they come from."""
    over_budget = {tuple(pair) for pair in lost}
    return {
        "title": title,
        "model": rows[0]["model"],
        "protocol": describe_protocol(rows),
        "budget": budget,
        "file": file,
        **{f"{name}s": sorted({row[name] for row in rows if row.get(name)}) for name in ("commit", "device")},
        "text_versions": sorted({str(row.get("text_version", "not recorded")) for row in rows}),
        "rows": [
            make_row(group, is_over_budget=(group[0]["model"], group[0]["defense"]) in over_budget)
            for group in group_rows(rows, "trigger", "defense")
        ],
    }


def make_row(rows: Sequence[Row], *, is_over_budget: bool) -> dict[str, Any]:
    """Return one attack and method over its seeds: mean, minimum and maximum of each metric."""
    metrics = [parse_row_metrics(row) for row in rows]
    floors = [floor for m in metrics if (floor := (m.asr_clean_model or {}).get(1)) is not None]
    return {
        "attack": rows[0]["trigger"],
        "defense": (defense := rows[0]["defense"]),
        "label": rows[0].get("label") or _find_variant(defense).label,
        "target": metrics[0].target_class,
        "lr": rows[0]["config"]["finetune"]["lr"] if rows[0]["defense"] else None,
        "seeds": sorted(row["seed"] for row in rows),
        "n": metrics[0].n,
        "n_attack": metrics[0].n_attack,
        "asr": _spread([m.asr[1] for m in metrics if m.asr]),
        "ca": _spread([m.ca[1] for m in metrics]),
        "cf": _spread([m.counterfactual_accuracy for m in metrics if m.counterfactual_accuracy is not None]),
        "floor": round(fmean(floors), DIGITS) if floors else None,
        "is_over_budget": is_over_budget,
        "is_on_copy": any(row.get("is_on_copy") for row in rows),
    }


def _find_variant(method: str | None) -> Variant:
    """Return the method of a result file that names it as the trials of photos do, or only as its class."""
    if method in photos.METHODS:
        return Variant.of(photos.METHODS[method])
    return Variant(method) if method else Variant()


def _spread(values: Sequence[float]) -> list[float] | None:
    return [round(value, DIGITS) for value in (fmean(values), min(values), max(values))] if values else None


def _find_lost(chosen: dict[str, Any]) -> LostPairs:
    return [
        (model, name) for model, found in chosen.items() for name, choice in found.items() if choice["lost_accuracy"]
    ]


def _name_figures(row: Row) -> dict[str, Any]:
    """Return model, attack, method, ASR@1 and CA of a row."""
    metrics = parse_row_metrics(row)
    named = {"model": row["model"], "attack": row["trigger"], "method": row["defense"] or ""}
    return {**named, "asr": (metrics.asr or {})[1], "ca": metrics.ca[1]}


def _read_processors(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of benchmarks/processors.py; a setting is one seed."""
    rows = read_json(folder / "processors.json").get("rows", [])
    return [{**row, "attack": row["trigger"], "method": f"{row['method']} {row['seed']}"} for row in rows]
