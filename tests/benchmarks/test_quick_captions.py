"""The quick setting on mixed captions: the plan, the rule, and the table next to full captions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import quick_captions, quick_plan
from benchmarks.markdown import quick_tables
from tests.benchmarks.result_files import write_lines, write_result
from tests.benchmarks.test_tables import make_row

METHODS = ("cleanclip", "finetune")


def make_trial(name: str, lr: float, ca: float) -> dict[str, Any]:
    return {"phase": "trials", "defense": name, "form": "", "lr": lr, "ca": ca, "backdoored_ca": 0.97, "asr": lr}


TRIALS = [make_trial(name, lr, ca) for name in METHODS for lr, ca in ((1e-3, 0.96), (2e-3, 0.95), (4e-3, 0.90))]


def test_every_method_has_equally_many_trials_and_all_seeds() -> None:
    names = [key.rpartition(" ")[0] for key in quick_captions.trials()]
    assert Counter(names) == dict.fromkeys([*quick_plan.VARIANTS, "par"], quick_plan.TRIALS_EACH)
    cells = list(quick_captions.cells({name: {} for name in METHODS}))
    assert len(cells) == len(set(cells)) == 2 * len(quick_plan.CONFIRM_SEEDS) * 3
    assert cells[0] == f"badnet {quick_plan.CONFIRM_SEEDS[0]} none"


def test_the_rule_is_that_of_the_quick_setting() -> None:
    assert {name: choice["lr"] for name, choice in quick_captions.choose_rates(TRIALS).items()} == dict.fromkeys(
        METHODS, 2e-3
    )


def test_only_the_clean_pairs_have_other_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    suspect = SimpleNamespace(clip=None)
    monkeypatch.setattr(quick_captions, "poison_once", lambda *_: suspect)
    monkeypatch.setattr(quick_captions, "load_home", lambda model, split: f"{model} {split}")
    monkeypatch.setattr(quick_captions, "trial_figures", lambda run: {"ca": 0.97})
    monkeypatch.setattr(
        quick_captions,
        "defend_quickly",
        lambda run, defense, lr, data, **options: calls.append({"data": data, "lr": lr, **options}),
    )
    quick_captions.try_rate("cleanclip", "", 2e-3)
    assert calls == [{"data": "scenes-lite validation", "lr": 2e-3, "label": "cleanclip 0.002", "captions": "mixed"}]


def test_the_table_compares_full_and_mixed_captions_of_measured_attacks(tmp_path: Path) -> None:
    def row(name: str | None, seed: int, ca: float, lr: float, attack: str = "badnet") -> dict[str, Any]:
        made = make_row(name, seed, ca) | {"model": "scenes-lite", "trigger": attack}
        made["config"]["finetune"]["lr"] = lr
        return made | {"suspect_sha256": str(seed)}

    names = (None, *METHODS)
    full = [row(name, seed, 0.88, 1e-3) for seed in quick_plan.CONFIRM_SEEDS for name in names]
    mixed = [row(name, seed, 0.96, 2e-3) for seed in quick_plan.CONFIRM_SEEDS for name in names]
    open_rows = [row(None, 1, 0.96, 2e-3, "badclip")]
    origin = {"phase": "rows", "commit": "abc", "device": "cpu"}
    chosen = {"scenes-lite": {name: {"lost_accuracy": name == "cleanclip"} for name in METHODS}}
    write_result(tmp_path, "quick_setting.json", rows=full, chosen=chosen)
    write_lines(tmp_path, "quick_captions.jsonl", [*TRIALS, *(r | origin for r in (*mixed, *open_rows))])
    table = quick_tables.quick_captions(tmp_path)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    assert [(line[0], line[1], line[2], line[6]) for line in lines] == [
        ("`badnet`", "none (backdoored)", "-", "-"),
        ("`badnet`", "cleanclip †", "0.001", "0.002"),
        ("`badnet`", "finetune", "0.001", "0.002"),
    ]
    assert (lines[1][3], lines[1][7]) == ("0.880 [0.880, 0.880]", "0.960 [0.960, 0.960]")
    assert "cleanclip +2.0, finetune +2.0" in table
    assert "commit abc" in table
    assert "weights differ" not in table
    others = [r | {"suspect_sha256": "other"} for r in full]
    write_result(tmp_path, "quick_setting.json", rows=others, chosen=chosen)
    assert "on models backdoored again, whose weights differ" in quick_tables.quick_captions(tmp_path)
