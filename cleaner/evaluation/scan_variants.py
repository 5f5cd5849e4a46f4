"""The settings of the built-in triggers that a scan tries: sizes, positions, ratios and seeds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger
from cleaner.config import Parameter, changed_parameters, parameters
from cleaner.data.base import CaptionData
from cleaner.evaluation.scan import ScanResult, scan
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, OnStep

PATCH_SIZES = (16, 28, 35, 56)
"""Sides of a patch on a 224 px image: published 16, and larger ones that small images need."""
FACTORS = (0.5, 2.0)
"""Other strengths and frequencies than a trigger's own, as multiples of it."""
SEEDS = (0, 1, 2, 3, 4, 42)
MAX_VARIANTS = 200
"""Most settings of one trigger."""
SCREENED_IMAGES = 64
"""Images on which every setting is tried first."""
CONFIRMED = 16
"""Most promising settings that are measured on other images."""


def list_variants(triggers: Mapping[str, Trigger]) -> dict[str, Trigger]:
    """Return label -> trigger: the given ones, then up to `MAX_VARIANTS` each with one changed setting, two ..."""
    by_changes: dict[int, dict[str, Trigger]] = {}
    for trigger in triggers.values():
        for number, (changes, variant) in enumerate(_list_variants_of(trigger)):
            if number == MAX_VARIANTS:
                break
            by_changes.setdefault(changes, {})[describe_variant(variant)] = variant
    return {label: trigger for _, group in sorted(by_changes.items()) for label, trigger in group.items()}


def describe_variant(trigger: Trigger) -> str:
    """Return a trigger's name and the settings that differ from its defaults: "badnet patch size 16 px of 224"."""
    lengths = {p.name for p in parameters(type(trigger)) if p.is_length}
    changed = {n: f"{v:.3g}" if isinstance(v, float) else v for n, v in changed_parameters(trigger).items()}
    differences = (f"{n.replace('_', ' ')} {v}{' px of 224' if n in lengths else ''}" for n, v in changed.items())
    return " ".join((TRIGGERS.name_of(trigger), ", ".join(differences))).rstrip()


def _list_variants_of(trigger: Trigger) -> Iterator[tuple[int, Trigger]]:
    """Yield (number of changed settings, trigger), fewest changes first; settings that are refused are left out."""
    known = parameters(type(trigger))
    options = {p.name: other for p in known if (other := _other_values(p, getattr(trigger, p.name)))}
    for count in range(len(options) + 1):
        for names in combinations(options, count):
            for values in product(*(options[name] for name in names)):
                try:
                    # What `prepare` made stays: no setting is tried on a trigger without it.
                    variant = replace(trigger, **dict(zip(names, values, strict=True)))
                except CleanerError:
                    continue
                yield count, variant


def _other_values(p: Parameter, value: Any) -> list[Any]:
    """Return the other values of a setting that are worth a try; none for texts and files."""
    candidates: Sequence[Any] = ()
    if p.choices:
        candidates = p.choices
    elif p.kind is bool:
        candidates = (False, True)
    elif p.is_length:
        candidates = PATCH_SIZES
    elif p.low is not None and p.name == "seed":
        candidates = SEEDS
    elif p.kind in (int, float) and value:
        candidates = [p.kind(value * factor) for factor in FACTORS]
    low, high = (-float("inf") if p.low is None else p.low), (float("inf") if p.high is None else p.high)
    return [other for other in candidates if other != value and (p.choices is not None or low <= other <= high)]


def _drop_equal(variants: Mapping[str, Trigger], image: Tensor) -> dict[str, Trigger]:
    """Return the settings that fit and change an image (1, 3, H, W) differently: many seeds do not."""
    kept: dict[bytes, str] = {}
    for label, trigger in variants.items():
        with suppress(CleanerError):
            kept.setdefault(trigger(image).numpy().tobytes(), label)
    return {label: variants[label] for label in kept.values()}


@dataclass(frozen=True)
class VariantScan:
    """The results of the most promising settings, in the order of `scan`.

    Attributes:
        triggers: label -> trigger of the settings in `results`.
        tried: number of settings that were tried on a few images.
        data: the other images, which measured the results; a trusted model is compared on them.
    """

    results: list[ScanResult]
    triggers: dict[str, Trigger]
    tried: int
    data: CaptionData


def scan_variants(
    clip: Clip, data: CaptionData, triggers: Mapping[str, Trigger], n: int = 1000, on_step: OnStep | None = None
) -> VariantScan:
    """Try many settings of each trigger on a few images, then measure the given triggers and the most promising ones.

    The measurement uses the first `n` of the other images: its intervals hold although the settings were chosen.
    """
    few = min(SCREENED_IMAGES, len(data) // 3)
    if not few:
        raise CleanerError(f"a scan of many settings needs at least three images, not {len(data)}: use more.")
    variants = _drop_equal(list_variants(triggers), data.with_transform(clip.framing).images([0]))
    screened = scan(clip, data.subset(range(few)), variants, few, on_step, stage="screen")
    best = dict.fromkeys(result.trigger for result in sorted(screened, key=lambda result: -result.rise))
    labels = [*list(best)[:CONFIRMED], *map(describe_variant, triggers.values())]
    chosen = {label: variants[label] for label in labels if label in variants}
    others = data.subset(range(few, len(data)))
    return VariantScan(scan(clip, others, chosen, n, on_step), chosen, len(variants), others)
