"""How far figures vary between trainings that should be alike: by seeds and by processors."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cleaner.labels import format_count

REPEATS = "On one kind of processor, with the same number of threads, a run repeats to the last bit."
OPEN_LOW, OPEN_HIGH = 0.05, 0.95
"""Mean ASR@1 between which an attack is neither removed nor untouched: only there can it vary much."""
Values = tuple[list[float], list[float]]
"""ASR@1 and CA of the trainings of one setting."""
Groups = dict[tuple[str, str, str], Values]
"""(model, attack, method) -> values."""


@dataclass(frozen=True)
class Spread:
    """Differences between the highest and the lowest value of each setting, in points."""

    median: float
    largest: float


def describe_variation(seeds: Iterable[Mapping[str, Any]], processors: Iterable[Mapping[str, Any]]) -> str:
    """Return in a few sentences how far ASR@1 and CA vary by seed and by processor; empty if nothing was measured.

    seeds: rows of trainings that differ in the seed alone; processors: rows of benchmarks/processors.py. Each names
    model, attack, method, asr and ca.
    """
    sentences = []
    if groups := _group(seeds):
        sentences.append(f"Across trainings that differ only in the seed, {_describe(groups)}.")
    if groups := _group(processors):
        sentences.append(
            "Across vector instructions and numbers of threads on one machine, at the same seed (a stand-in for "
            f"another processor), {_describe(groups)}."
        )
    return " ".join([*sentences, REPEATS]) if sentences else ""


def _group(rows: Iterable[Mapping[str, Any]]) -> Groups:
    """Return the settings that were trained more than once."""
    groups: Groups = {}
    for row in rows:
        values = groups.setdefault((row["model"], row["attack"], row["method"]), ([], []))
        for listed, name in zip(values, ("asr", "ca"), strict=True):
            listed.append(row[name])
    return {key: values for key, values in groups.items() if len(values[0]) > 1}


def _describe(groups: Groups) -> str:
    """Return "ASR@1 varies by up to 70.5 points ...; clean accuracy ... (...; 42 settings of scenes-rn: badnet)"."""
    asr, ca = ([values[i] for values in groups.values()] for i in (0, 1))
    models, attacks = (", ".join(sorted({key[i] for key in groups})) for i in (0, 1))
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
