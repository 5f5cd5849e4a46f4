"""assets/exercises/figures.json: what defenses cost and left, for two exercises. Written by benchmarks.tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks import RESULTS_DIR
from cleaner.files import read_json
from cleaner.labels import to_label
from cleaner.presets import COMPARED_DEFENSES, QUICK_MODEL
from cleaner.reports.reference import Reference

Row = tuple[str, float, float, float, float]
NO_DEFENSE = "no defense"
ATTACK = "badclip"
SURVIVE = ("finetune", "cleanclip", "par", "feature_repelling", "cleanclip_short K 100 %", "ta_cleaner K 100 %")
"""Rows of the full schedule that students compare."""


def collect(reference: Reference) -> dict[str, dict[str, list[Row]]]:
    """Return table -> group -> rows: label, accuracy, attack success, and its smallest and largest value, in percent.

    The first row of a group is the one without a defense.
    """
    table = next(table for table in reference.tables if table.title == "Full schedule")
    rows = {row.defense: row for row in table.rows if row.attack == ATTACK}
    named = ((rows[name].label if name else NO_DEFENSE, rows[name]) for name in (None, *SURVIVE))
    survive = [_percent(label, (row.ca[0], *row.asr)) for label, row in named]
    return {"rate": dict(_collect_rates()), "survive": {to_label(ATTACK): survive}}


def _collect_rates() -> Iterable[tuple[str, list[Row]]]:
    """Yield label of a defense and the rows of its learning rates, of one seed on the validation split."""
    result = read_json(RESULTS_DIR / "quick_setting.json")
    chosen = result["chosen"][QUICK_MODEL]
    trials = [t for t in result["trials"] if t["model"] == QUICK_MODEL and t["epochs"] == result["setting"]["epochs"]]
    attack = next(t for t in result["attack_trials"] if t["ca"] == trials[0]["backdoored_ca"])
    for name in COMPARED_DEFENSES:
        rows = [t for t in trials if t["defense"] == name and t["form"] == chosen[name]["form"]]
        labeled: list[tuple[str, dict[str, Any]]] = [(NO_DEFENSE, attack)]
        labeled += [(f"{t['lr']:g}", t) for t in sorted(rows, key=lambda t: t["lr"])]
        yield to_label(name), [_percent(label, (t["ca"], *3 * [t["asr"]])) for label, t in labeled]


def _percent(label: str, shares: Iterable[float]) -> Row:
    accuracy, success, low, high = (round(100 * share, 1) for share in shares)
    return label, accuracy, success, low, high
