"""How far figures vary between trainings that should be alike: by seeds and by processors, from the result files."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cleaner.files import read_json_cached
from cleaner.labels import format_count
from cleaner.presets import RESULTS_DIR

REPEATS = "On one kind of processor, with the same number of threads, a run repeats to the last bit."


OPEN_LOW, OPEN_HIGH = 0.05, 0.95
"""Mean ASR@1 between which an attack is neither removed nor untouched: only there can it vary much."""


@dataclass(frozen=True)
class Spread:
    """Differences between the highest and the lowest value of each setting, in points."""

    median: float
    largest: float


def describe_variation(results: Path = RESULTS_DIR) -> str:
    """Return in a few sentences how far ASR@1 and CA vary by seed and by processor; empty if nothing was measured."""
    seeds = _read_seeds(read_json_cached(results / "attack_defense.json"))
    processors = _read_processors(read_json_cached(results / "processors.json"))
    sentences = []
    if seeds:
        sentences.append(f"Across trainings that differ only in the seed, {_describe(seeds)}.")
    if processors:
        sentences.append(
            "Across vector instructions and numbers of threads on one machine, at the same seed (a stand-in for "
            f"another processor), {_describe(processors)}."
        )
    return " ".join([*sentences, REPEATS]) if sentences else ""


Groups = dict[tuple[Any, ...], list[tuple[float, float]]]
"""Setting -> (ASR@1, CA) of each of its trainings."""


def _read_seeds(result: Mapping[str, Any]) -> Groups:
    """Return the settings of the attack x defense table that were trained with several seeds."""
    groups: Groups = {}
    for row in result.get("rows", []):
        if row.get("part") == "comparison":
            key = row["model"], row["trigger"], row["defense"]
            groups.setdefault(key, []).append((row["metrics"]["asr"]["1"], row["metrics"]["ca"]["1"]))
    return _keep_repeated(groups)


def _read_processors(result: Mapping[str, Any]) -> Groups:
    """Return the settings of benchmarks/processors.py: one seed each, trained in several ways."""
    groups: Groups = {}
    for row in result.get("rows", []):
        key = row["model"], row["trigger"], row["method"], row["seed"]
        groups.setdefault(key, []).append((row["asr"], row["ca"]))
    return _keep_repeated(groups)


def _keep_repeated(groups: Groups) -> Groups:
    return {key: values for key, values in groups.items() if len(values) > 1}


def _describe(groups: Groups) -> str:
    """Return "ASR@1 varies by up to 70.5 points ...; clean accuracy ... (...; 42 settings of scenes-rn: badnet)"."""
    asr, ca = ([[value[i] for value in values] for values in groups.values()] for i in (0, 1))
    models, attacks = (", ".join(sorted({str(key[i]) for key in groups})) for i in (0, 1))
    still_open = [values for values in asr if OPEN_LOW <= statistics.fmean(values) <= OPEN_HIGH]
    median = (
        f" (median {measure_spread(still_open).median:.1f} in the {format_count(len(still_open), 'settings')} whose "
        f"mean ASR@1 is between {OPEN_LOW:g} and {OPEN_HIGH:g})"
        if still_open
        else ""
    )
    accuracy, settings = measure_spread(ca), format_count(len(groups), "settings")
    return (
        f"ASR@1 varies by up to {measure_spread(asr).largest:.1f} points{median}; clean accuracy by up to "
        f"{accuracy.largest:.1f} (median {accuracy.median:.1f}; {settings} of {models}: {attacks})"
    )


def measure_spread(groups: Iterable[Sequence[float]]) -> Spread:
    """Return the spread of shares, 0..1, in at least one group."""
    ranges = [100 * (max(values) - min(values)) for values in groups]
    return Spread(statistics.median(ranges), max(ranges))
