"""plan.toml, and the cells that it names."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks import RESULTS_DIR
from benchmarks.markdown.cells import Row

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


def select_complete(keys: set[str], rows: Iterable[Row]) -> list[Row]:
    """Return the rows of a group by one processor that measured all cells; empty without one.

    keys: of the group's cells; rows: of its arm.
    """
    return next((found for found in _by_processor(keys, rows).values() if {row["key"] for row in found} == keys), [])


def select_most(keys: set[str], rows: Iterable[Row]) -> list[Row]:
    """Return the rows of a group by the processor that measured most of its cells."""
    return max(_by_processor(keys, rows).values(), key=len, default=[])


def select_counting(keys: set[str], processor: str, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of a group that count: those of one processor that measured all, else those of this one."""
    return select_complete(keys, rows) or _by_processor(keys, rows).get(processor, [])


def _by_processor(keys: set[str], rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["key"] in keys and row["plan"] == hash_plan():
            found.setdefault(row["processor"], []).append(row)
    return found
