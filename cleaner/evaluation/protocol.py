"""Whether two models were measured in the same way."""

from collections.abc import Mapping
from typing import Any

IMAGE_FIELDS = ("data", "data_sha256", "protocol", "target_class")
TEST_FIELDS = (*IMAGE_FIELDS, "n", "n_attack")
"""Fields of `Metrics.to_dict` that are equal for two models measured on the same images; without and with numbers."""
PROMPT_FIELDS = ("templates", "class_names_sha256")
"""Fields that are equal for two models measured with the same prompts: their number per class, and the classes."""


def is_same_test(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two `Metrics.to_dict` are comparable; names only count where content is not hashed."""
    is_hashed = one.get("data_sha256") and other.get("data_sha256")
    fields = [name for name in TEST_FIELDS if name != "data" or not is_hashed]
    return has_same_prompts(one, other) and all(one.get(name) == other.get(name) for name in fields)


def has_same_prompts(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two `Metrics.to_dict` come from the same prompts, where both state these: older runs do not."""
    stated = ({m[name] for m in (one, other) if m.get(name)} for name in PROMPT_FIELDS)
    return all(len(values) < 2 for values in stated)
