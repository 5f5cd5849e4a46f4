"""The budget benchmark reuses a row of the table only if all settings are equal."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import budget, protocol
from benchmarks.budget import BASE_PAIRS, BASE_STEPS, Options
from cleaner import presets

LR = Options().lr


def row(**changes: Any) -> dict[str, Any]:
    # Older rows lack parameters that the defense gained later.
    config = {"finetune": {"lr": LR}, "defense": {"name": "ta_cleaner", "share": 0.1}}
    fields = {"model": "scenes-rn", "trigger": "badclip", "seed": 0, "defense": "another name", "config": config}
    return fields | changes


def find(*, pairs: int = BASE_PAIRS, steps: int = BASE_STEPS, lr: float = LR) -> dict[str, Any] | None:
    return budget.find_table_row(Options(lr=lr), "ta_cleaner", pairs=pairs, steps=steps)


def test_a_row_of_the_table_with_equal_settings_is_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"finetune": {"lr": LR}, "defense": protocol.METHODS["ta_cleaner K 100 %"].state_dict()}
    slow = {**row()["config"], "finetune": {"lr": 1e-4}}
    backdoored = row(defense=None, config={"finetune": {"lr": LR}})
    rows = [backdoored, row(seed=1), row(model="scenes-vit"), row(config=other), row(config=slow)]
    monkeypatch.setattr(presets, "read_attack_defense_rows", lambda: rows)
    assert find() is None
    rows.append(row())
    assert find() == row(defense="ta_cleaner", pairs=BASE_PAIRS, steps=BASE_STEPS)
    assert find(steps=2 * BASE_STEPS) is None
    assert find(pairs=2 * BASE_PAIRS) is None
    assert find(lr=2 * LR) is None
