"""The patch in a SigLIP model: the choice of the attack, and the table of complete seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import siglip
from benchmarks.markdown import text_tables
from benchmarks.poison_setting import quick_poison
from tests.benchmarks.result_files import ORIGIN, write_lines
from tests.benchmarks.test_tables import make_row


def trial(epochs: int, lr: float, ca: float, asr: float) -> dict[str, Any]:
    return {"phase": "attack_trials", "epochs": epochs, "lr": lr, "ca": ca, "asr": asr}


def test_the_most_accurate_attack_that_works_is_chosen() -> None:
    weak, works, costly = trial(2, 1e-3, 0.95, 0.5), trial(4, 1e-3, 0.94, 0.96), trial(4, 2e-3, 0.93, 0.99)
    assert siglip.choose_attack([weak, costly, works]) == replace(siglip.QUICK, epochs=4, lr=1e-3)
    assert siglip.choose_attack([weak]) == replace(siglip.QUICK, epochs=2, lr=1e-3)


def test_the_table_has_the_trials_and_the_seeds_with_all_methods(tmp_path: Path) -> None:
    origin = ORIGIN | {"phase": "rows", "model": siglip.MODEL, "trigger": siglip.ATTACK, "suspect_sha256": "0"}
    cells = [(name, 1) for name in siglip.ROWS] + [(None, 2)]
    rows = [make_row(name, seed, 0.9) | origin for name, seed in cells]
    write_lines(tmp_path, siglip.PATH.name, [trial(4, 1e-3, 0.94, 0.96), *rows])
    table = text_tables.siglip(tmp_path)
    assert table.count("| `badnet` |") == len(siglip.ROWS)
    assert "Seed 1;" in table
    assert "4 epochs at 0.001: 0.940, 0.960." in table


def test_the_app_attacks_the_model_with_the_chosen_setting() -> None:
    rows = siglip.TaskFile(siglip.PATH).rows("attack_trials")
    assert quick_poison(siglip.MODEL) == siglip.choose_attack(rows)
