"""The budget benchmark takes a row of the table only where the settings are the same."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import budget, protocol
from benchmarks.budget import BASE_PAIRS, BASE_STEPS, Options
from cleaner import presets

LR = Options().lr


def row(**changes: Any) -> dict[str, Any]:
    # As older rows are stored: without parameters that the defence has got since.
    made = {"finetune": {"lr": LR}, "defense": {"name": "ta_cleaner", "share": 0.1}}
    known = {"model": "scenes-rn", "trigger": "badclip", "seed": 0, "defense": "a name of its own", "config": made}
    return known | changes


def test_a_row_of_the_table_with_the_same_settings_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"finetune": {"lr": LR}, "defense": protocol.METHODS["ta_cleaner K 100 %"].state_dict()}
    slow = {**row()["config"], "finetune": {"lr": 1e-4}}
    backdoored = row(defense=None, config={"finetune": {"lr": LR}})
    rows = [backdoored, row(seed=1), row(model="scenes-vit"), row(config=other), row(config=slow)]
    monkeypatch.setattr(presets, "read_attack_defense_rows", lambda: rows)
    assert budget.find_table_row(Options(), "ta_cleaner", BASE_PAIRS, BASE_STEPS) is None
    rows.append(row())
    assert budget.find_table_row(Options(), "ta_cleaner", BASE_PAIRS, BASE_STEPS) == row(
        defense="ta_cleaner", pairs=BASE_PAIRS, steps=BASE_STEPS
    )
    assert budget.find_table_row(Options(), "ta_cleaner", BASE_PAIRS, 2 * BASE_STEPS) is None
    assert budget.find_table_row(Options(lr=2 * LR), "ta_cleaner", BASE_PAIRS, BASE_STEPS) is None
