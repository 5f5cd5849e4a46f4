"""The stages of the recipe, checks of its data, and the text of its plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cleaner.config import FinetuneConfig
from cleaner.published import Preset, Training
from cleaner.runs.request import parse_data_arguments
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from cleaner.data.pairs import FileData

PROBE_PAIRS = 20
"""Pairs that are loaded to check a data set."""


@dataclass(frozen=True)
class Stage:
    """One training of the recipe; `state` is the `state_dict()` of its trigger or defense."""

    name: str
    preset: Preset
    training: Training
    pairs: int
    config: FinetuneConfig
    state: dict[str, Any]


def probe_data(spec: Sequence[str], required: int, option: str) -> FileData:
    """Load a few pairs of data in files; raises `CleanerError` if they are unusable or fewer than `required`.

    option: the flag that lowers the required number.
    """
    from cleaner.data.base import load_data, resolve_source
    from cleaner.data.pairs import FileData

    name, options = parse_data_arguments(spec)
    source, _ = resolve_source(name)
    if not (isinstance(source, type) and issubclass(source, FileData)):
        raise CleanerError(f"{name} is not data in files: name a table, an image folder, a .tar or a .zip.")
    data = load_data(name, split="all", size=PROBE_PAIRS, **{**options, "most_broken": 0.5})
    assert isinstance(data, FileData)
    count = len(data.table.keys)
    if count < required:
        raise CleanerError(f"{name} has {count:,} pairs, the recipe needs {required:,}: add pairs, or lower {option}.")
    return data


def describe_stage(stage: Stage) -> list[str]:
    """Return all settings of a stage and their sources, as lines."""
    parameters = " ".join(f"{name}={value}" for name, value in stage.state.items() if name not in ("name", "png"))
    training = " ".join(f"{name}={value}" for name, value in vars(stage.config).items())
    lines = [f"{stage.preset.name}: {stage.state['name']} {parameters}", training, f"source: {stage.preset.source}"]
    if stage.preset.unstated:
        lines.append(f"not stated: {stage.preset.unstated}")
    return [f"     {line}" for line in [*lines, f"source of the training: {stage.training.source}"]]
