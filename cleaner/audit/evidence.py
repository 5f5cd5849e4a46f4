"""The tests of an audit: how far does a model stand out, and is that more than clean models do?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.scan import ScanResult, find_scannable_triggers, scan
from cleaner.evaluation.scan_variants import list_variants
from cleaner.inspection.inversion import invert
from cleaner.models.clip import Clip
from cleaner.runs.inversion_result import MAD_SCALE, Inversion, InversionConfig
from cleaner.types import OnStep

KNOWN, INVERSION, ALL = "Known triggers", "Trigger inversion", "Both tests"
SCANNED, SEARCHED, PATCH_STEPS = 100, 400, 200
"""Images of the scan and of the inversion, and steps that optimize its patch."""
MIN_SPREAD = 0.05
"""Smallest spread of a score over models: 5 points of images, or a step of the inversion's search."""
Scores = Mapping[str, Mapping[str, float]]
"""Test -> what it tried -> score; higher is more suspicious."""


@dataclass(frozen=True)
class Evidence:
    """What the tests found in a model.

    Attributes:
        triggers: setting -> known trigger; rises: setting -> the class that it moves most images to.
    """

    triggers: Mapping[str, Trigger]
    rises: Mapping[str, ScanResult]
    inversion: Inversion

    @property
    def scores(self) -> Scores:
        """The increase of each setting's class, and for each class -log of the inversion's resistance.

        Strong settings move clean models too, each to another class: hence one score for a setting, whatever the class.
        """
        sizes = self.inversion.classes.items()
        return {
            KNOWN: {setting: round(result.rise, 4) for setting, result in self.rises.items()},
            INVERSION: {name: round(-math.log(size), 4) for name, size in sizes},
        }


@dataclass(frozen=True)
class Finding:
    """What stands out most in a test, how far, the farthest of the references, and the p-value."""

    test: str
    name: str
    distance: float
    largest_reference: float | None
    p: float


def run_tests(clip: Clip, data: CaptionData, on_step: OnStep | None = None, patch_steps: int = PATCH_STEPS) -> Evidence:
    """Try the known triggers at many settings, and invert the trigger. Labels are not used."""
    triggers = list_variants(find_scannable_triggers()[0])
    rises: dict[str, ScanResult] = {}
    for result in scan(clip, data, triggers, SCANNED, on_step):
        rises[result.trigger] = max(result, rises.get(result.trigger, result), key=lambda each: each.rise)
    config = InversionConfig(images=SEARCHED, patch_steps=patch_steps)
    return Evidence(triggers, rises, invert(clip, data, config, on_step))


def compare(scores: Scores, references: Sequence[Scores]) -> list[Finding]:
    """Return a finding of each test, and of both together (last), against clean models.

    Full conformal p-values: with n references, (1 + how many stand out at least as much) / (n + 1). A score stands out
    by (score - median) / max(1.4826 MAD, `MIN_SPREAD`), with median and MAD of the same score in all n + 1 models, and
    a model by its farthest score, for both tests in either of them. p is at most alpha with probability alpha or less
    for a model that is exchangeable with the references. A score that a reference lacks, as of a new attack, is left
    out.
    """
    distances, names = {}, {}
    for test, own in scores.items():
        names[test] = [name for name in own if all(name in each[test] for each in references)]
        values = np.array([[each[test][name] for name in names[test]] for each in (scores, *references)])
        median = np.median(values, axis=0)
        spread = np.maximum(MAD_SCALE * np.median(np.abs(values - median), axis=0), MIN_SPREAD)
        distances[test] = (values - median) / spread
    distances[ALL] = np.concatenate(list(distances.values()), axis=1)
    names[ALL] = [name for own in names.values() for name in own]
    findings = []
    for test, each in distances.items():
        farthest = each.max(axis=1)
        largest, p = (float(farthest[1:].max()) if references else None), float((farthest >= farthest[0]).mean())
        findings.append(Finding(test, names[test][int(each[0].argmax())], float(farthest[0]), largest, p))
    return findings
