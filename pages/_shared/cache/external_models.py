"""Models that somebody else trained: what their file says, how well they see, and the search for a trigger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from cleaner.types import CleanerError
from pages._shared.cache.background import import_library, wrap_in_thread
from pages._shared.cache.loaders import load_clip, load_data, read_mtime

if TYPE_CHECKING:
    from cleaner.types import OnStep

INSPECTION_SIZE = 1000
"""Test pairs that a model is looked at with before anything is done."""


@st.cache_data(show_spinner=False, max_entries=16)
def _describe(model: str, changed: float) -> str | None:
    import_library()
    from cleaner.models.lookup import describe_model_file

    return describe_model_file(model)


def describe(model: str) -> str | None:
    """Return what is known of a model's file without opening it; None where it is no file."""
    return _describe(model, read_mtime(model))


def is_from_model(config: dict[str, Any], model: str) -> bool:
    """Return whether a run started from this model, and not from a run."""
    from cleaner.models.resolve import resolve_model_name

    return not config.get("parent") and (config.get("request") or {}).get("model") == resolve_model_name(model)


def inspect_model(model: str, name: str) -> tuple[list[str], Any]:
    """Return what an opened model says of itself, in sentences, and its `Metrics` on some test pictures."""
    return _inspect_model(model, name, read_mtime(model))


@st.cache_resource(show_spinner=False, max_entries=4)
def _inspect_model(model: str, name: str, changed: float) -> tuple[list[str], Any]:
    from cleaner.evaluation.evaluate import evaluate
    from cleaner.inspection.description import describe_model

    return describe_model(load_clip(model)), evaluate(
        load_clip(model), load_data(name, "test", INSPECTION_SIZE), ks=(1,), counterfactual=False
    )


@st.cache_resource(show_spinner=False, max_entries=16)
def _scan(model: str, changed: float, name: str, trigger: str, n: int, _trigger: Any, _on_step: OnStep) -> Any:
    from cleaner.evaluation.scan import SCAN_WARNING, find_scannable_triggers, scan

    tried, left = find_scannable_triggers() if _trigger is None else ({_trigger.state_dict()["name"]: _trigger}, {})
    return scan(load_clip(model), load_data(name, "test", n), tried, n, wrap_in_thread(_on_step)), left, SCAN_WARNING


def scan(model: str, name: str, trigger: Any, n: int, on_step: OnStep) -> Any:
    """Return the lines of a scan, name -> why not of the triggers left out, and the warning.

    `trigger`: the only one to try; None: all built-in ones.
    """
    from cleaner.evaluation.scan import explain_unscannable

    if trigger is not None and (reason := explain_unscannable(trigger)):
        raise CleanerError(reason)
    settings = "" if trigger is None else str(trigger.state_dict())
    return _scan(model, read_mtime(model), name, settings, n, trigger, on_step)
