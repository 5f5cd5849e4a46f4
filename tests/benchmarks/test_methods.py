"""Tables of attacks and defenses: one row per registered class, from its attributes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import methods
from cleaner.attacks import TRIGGERS
from cleaner.defenses import DEFENSES


@pytest.mark.parametrize(("table", "registry"), [(methods.attacks, TRIGGERS), (methods.defenses, DEFENSES)])
def test_one_row_per_registered_class(table: object, registry: object) -> None:
    assert callable(table)
    _, _, *rows = table(Path()).splitlines()
    assert [row.split(" | ")[0] for row in rows] == [f"| `{name}`" for name in registry]  # type: ignore[attr-defined]
    assert all(len(row.split(" | ")) == 4 for row in rows)


def test_row_has_label_definition_and_source() -> None:
    assert (
        "| `badnet` | BadNet patch | Paste the same patch on every image; the seed is the attacker's secret. "
        "| arXiv:1708.06733 |"
    ) in methods.attacks(Path())
