"""The published result files: the code still reads the methods that their rows state, and names them as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import RESULTS_DIR
from benchmarks.json_lines import read_json_lines
from cleaner.defenses import DEFENSES, load_defense
from cleaner.files import read_json
from cleaner.variant import Variant

NAMES = {
    "finetune",
    "cleanclip",
    "cleanclip_short",
    "cleanclip_short K 100 %",
    "feature_repelling",
    "par",
    "rvpt",
    "rvpt skip share 0.0",
    "ta_cleaner",
    "ta_cleaner K 100 %",
    "ta_cleaner K 100 %, negatives 1, formula reviewed",
    "ta_cleaner negatives 1, formula reviewed",
}


def find_states(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the `state_dict` of each defense in a JSON value."""
    if isinstance(value, dict) and value.get("name") in DEFENSES:
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from find_states(part)


@pytest.mark.parametrize("path", sorted(RESULTS_DIR.glob("*.json*")), ids=lambda path: path.name)
def test_stated_defenses_are_read_and_keep_their_names(path: Path) -> None:
    rows = read_json_lines(path) if path.suffix == ".jsonl" else [read_json(path)]
    for state in find_states(rows):
        defense = load_defense(state)
        kept = {key: value for key, value in state.items() if key not in defense.retired}
        assert defense.state_dict() == {**defense.state_dict(), **kept}
        assert Variant.of(defense).key in NAMES
