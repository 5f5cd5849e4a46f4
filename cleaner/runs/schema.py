"""Whether what a run folder holds is what runs hold there: folders are copied from elsewhere, and edited by hand.

Lists and pages read many runs at once, and none of them may stumble over one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NUMBER = int | float
_CONFIG: dict[str, Any] = {
    **dict.fromkeys(("trigger", "defense", "variant", "finetune", "request", "rebound", "data_options"), dict | None),
    **dict.fromkeys(("pairs", "seconds"), NUMBER),
    **dict.fromkeys(("poison_rate", "test_size"), NUMBER | None),
    **dict.fromkeys(("target_class", "model", "clean_model", "parent", "data_name", "sweep"), str | None),
    **dict.fromkeys(("stage", "created"), str),
}
_NESTED: dict[str, dict[str, Any]] = {
    "trigger": {"name": str},
    "defense": {"name": str},
    "variant": {"share": NUMBER},
    "finetune": dict.fromkeys(("lr", "seed", "epochs", "steps", "batch_size"), NUMBER),
    "request": {"defense": dict | None, "finetune": dict},
    "rebound": {"after": dict | None, "steps": int},
}
_METRICS_AT_K = ("ca", "asr", "ra", "base_rate", "asr_clean_model")
_METRICS: dict[str, Any] = {
    **dict.fromkeys(("n", "classes", "n_attack", "n_counterfactual", "n_gallery"), int),
    **dict.fromkeys(("counterfactual_accuracy", "retrieval_asr", "retrieval_base_rate"), NUMBER | None),
    **dict.fromkeys(("data", "protocol", "target_class"), str | None),
    **dict.fromkeys((*_METRICS_AT_K, *(f"{name}_interval" for name in _METRICS_AT_K)), dict | None),
    **dict.fromkeys(("asr_by_key", "counterfactual_by_kind", "outcomes"), dict | None),
}


def find_invalid_field(values: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return the name of the first field that is there and not of its kind; empty if there is none."""
    return next((name for name, kind in expected.items() if name in values and not isinstance(values[name], kind)), "")


def find_invalid_config_field(config: Mapping[str, Any]) -> str:
    """Return the name of a field of config.json that does not hold what it should; empty if there is none."""
    return find_invalid_field(config, _CONFIG) or next(
        (name for name, kinds in _NESTED.items() if find_invalid_field(config.get(name) or {}, kinds)), ""
    )


def is_valid_metrics(metrics: Mapping[str, Any]) -> bool:
    """Return whether this may be what `Metrics.to_dict` has written."""
    if not {"ca", "n", "classes", "data"} <= metrics.keys() or find_invalid_field(metrics, _METRICS):
        return False
    keyed = (metrics.get("asr_by_key") or {}).values()
    shares = [metrics.get(name) or {} for name in _METRICS_AT_K]
    bounds = [ends for name in _METRICS_AT_K for ends in (metrics.get(f"{name}_interval") or {}).values()]
    return (
        all(_is_share_by_k(values) for values in [*shares, *keyed])
        and all(isinstance(ends, list) and list(map(_is_number, ends)) == [True, True] for ends in bounds)
        and all(map(_is_number, (metrics.get("counterfactual_by_kind") or {}).values()))
        and all(isinstance(text, str) for text in (metrics.get("outcomes") or {}).values())
    )


def _is_share_by_k(values: Any) -> bool:
    """Return whether this is a share for each k."""
    return isinstance(values, dict) and all(k.isdecimal() and _is_number(share) for k, share in values.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, NUMBER)
