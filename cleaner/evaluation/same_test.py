"""Whether two models were measured in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEST_FIELDS = ("n", "data", "n_attack", "data_sha256", "protocol", "target_class")
"""Fields of `Metrics.to_dict` that are equal for two models measured on the same images."""


def is_same_test(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two `Metrics.to_dict` were measured in the same way: their values can be compared.

    The number of prompts counts only where both state it: older runs do not.
    """
    has_same_prompts = len({m["templates"] for m in (one, other) if m.get("templates")}) < 2
    return has_same_prompts and all(one.get(name) == other.get(name) for name in TEST_FIELDS)
