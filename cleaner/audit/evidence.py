"""The tests of an audit: how far does each class stand out, and is that more than in clean models?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cleaner.data.base import CaptionData
from cleaner.evaluation.scan import find_scannable_triggers
from cleaner.evaluation.scan_variants import VariantScan, scan_variants
from cleaner.inspection.inversion import invert
from cleaner.models.clip import Clip
from cleaner.runs.inversion_result import MAD_SCALE, Inversion, InversionConfig
from cleaner.types import OnStep

KNOWN, INVERSION, ALL = "Known triggers", "Trigger inversion", "Both tests"
SCANNED, SEARCHED, PATCH_STEPS = 400, 400, 200
"""Images of the scan, beside those it screens, and of the inversion, and steps that optimize its patch."""
FALSE_ALARMS = 0.05
"""Stated share of clean models that an audit calls suspicious."""
MIN_SPREAD = 0.05
"""Smallest spread of a score over models: 5 points of images, or a step of the inversion's search."""
Scores = Mapping[str, Mapping[str, float]]
"""Test -> class name -> score; higher is more suspicious."""


@dataclass(frozen=True)
class Evidence:
    """What the tests found in a model."""

    scan: VariantScan
    inversion: Inversion

    @property
    def scores(self) -> Scores:
        """Per class, the largest increase that a known trigger makes, and -log of the inversion's resistance."""
        rises: dict[str, float] = {}
        for result in self.scan.results:
            rises[result.class_name] = max(round(result.rise, 4), rises.get(result.class_name, -1.0))
        classes = self.inversion.classes
        return {KNOWN: rises, INVERSION: {name: round(-math.log(size), 4) for name, size in classes.items()}}


@dataclass(frozen=True)
class Finding:
    """A test's most suspicious class, how far it stands out, the farthest class of the references, and the p-value."""

    test: str
    class_name: str
    distance: float
    largest_reference: float | None
    p: float


def run_tests(clip: Clip, data: CaptionData, on_step: OnStep | None = None, patch_steps: int = PATCH_STEPS) -> Evidence:
    """Try the known triggers at many settings, and invert the trigger. Labels are not used."""
    scanned = scan_variants(clip, data, find_scannable_triggers()[0], SCANNED, on_step)
    config = InversionConfig(images=SEARCHED, patch_steps=patch_steps)
    return Evidence(scanned, invert(clip, data, config, on_step))


def compare(scores: Scores, references: Sequence[Scores]) -> list[Finding]:
    """Return a finding of each test, and of both together (last), against clean models.

    Full conformal p-values: with n references, (1 + how many stand out at least as much) / (n + 1). A class stands out
    by (score - median) / max(1.4826 MAD, `MIN_SPREAD`), with median and MAD of its score in all n + 1 models, and a
    model as its farthest class, for both tests in either of them. p is at most alpha with probability alpha or less for
    a model that is exchangeable with the references.
    """
    distances = {}
    for test, own in scores.items():
        values = np.array([[each[test][name] for name in own] for each in (scores, *references)])
        median = np.median(values, axis=0)
        spread = np.maximum(MAD_SCALE * np.median(np.abs(values - median), axis=0), MIN_SPREAD)
        distances[test] = (values - median) / spread
    distances[ALL] = np.concatenate(list(distances.values()), axis=1)
    names = {
        **{test: list(own) for test, own in scores.items()},
        ALL: [name for own in scores.values() for name in own],
    }
    findings = []
    for test, each in distances.items():
        farthest = each.max(axis=1)
        largest, p = (float(farthest[1:].max()) if references else None), float((farthest >= farthest[0]).mean())
        findings.append(Finding(test, names[test][int(each[0].argmax())], float(farthest[0]), largest, p))
    return findings
