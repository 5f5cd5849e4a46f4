"""Tables of attacks and defenses: one row per registered class, from its attributes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tables import TABLES
from cleaner.attacks import TRIGGERS
from cleaner.defenses import DEFENSES

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(("table", "registry"), [("attacks", TRIGGERS), ("defenses", DEFENSES)])
def test_one_row_per_registered_class(table: str, registry: object) -> None:
    _, _, *rows = TABLES[table](Path()).splitlines()
    assert [row.split(" | ")[0] for row in rows] == [f"| `{name}`" for name in registry]  # type: ignore[attr-defined]
    assert all(len(row.split(" | ")) == 4 for row in rows)


def test_row_has_label_definition_and_source() -> None:
    badnet = TRIGGERS["badnet"]
    definition = (badnet.__doc__ or "").splitlines()[0]
    assert f"| `badnet` | {badnet.label} | {definition} | {badnet.source} |" in TABLES["attacks"](Path()).splitlines()


def test_re_implementations_are_marked() -> None:
    mark = "Re-implementation from the public description."
    marked = {row.split("`")[1] for row in TABLES["defenses"](Path()).splitlines() if mark in row}
    assert {"ta_cleaner", "feature_repelling"} <= marked
    assert marked.isdisjoint({"cleanclip", "cleanclip_short", "finetune", "par"})
