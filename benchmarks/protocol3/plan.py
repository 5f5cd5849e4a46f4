"""plan.toml, and the cells that it names."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks import RESULTS_DIR

PATH = Path(__file__).with_name("plan.toml")
ROWS_PATH = RESULTS_DIR / "protocol3.jsonl"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One line of the result file: a backdoored model (no method) or a defense of it at one learning rate."""

    arm: str
    attack: str
    seed: int
    short_captions: float = 0.0
    method: str = ""
    lr: float = 0.0

    @property
    def key(self) -> str:
        """The cell's name in the result file."""
        if not self.method:
            return f"{self.attack} {self.seed}"
        return f"{self.attack} {self.seed}, {self.short_captions:g} short, {self.method}, {self.lr:g}"


@cache
def read_plan() -> dict[str, Any]:
    """Return plan.toml."""
    return tomllib.loads(PATH.read_text(encoding="utf-8"))


def hash_plan() -> str:
    """Return the hash of plan.toml that every row carries."""
    return sha256(PATH.read_bytes()).hexdigest()[:12]


def list_groups(arm: str) -> Iterator[list[Cell]]:
    """Yield the cells of each seed and attack of an arm, the backdoored model first."""
    plan = read_plan()
    settings = plan["arms"][arm]
    for seed in settings["seeds"]:
        for attack in settings.get("attacks", plan["world"]["attacks"]):
            yield [
                Cell(arm=arm, attack=attack, seed=seed),
                *(
                    Cell(arm=arm, attack=attack, seed=seed, short_captions=share, method=method, lr=lr)
                    for share in settings["short_captions"]
                    for method in settings["methods"]
                    for lr in plan["grid"]["rates"]
                ),
            ]
