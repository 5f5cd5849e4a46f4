"""Evidence of a model that was never tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cleaner.attacks.base import TRIGGERS
from cleaner.audit.evidence import Evidence, Scores
from cleaner.data.base import CaptionData
from cleaner.evaluation.scan import ScanResult
from cleaner.runs.inversion_result import Inversion


def make_evidence(data: CaptionData, rise: float) -> Evidence:
    """Return evidence in which a patch moves a share of the images to the second class."""
    name, triggers = data.class_names[1], {label: TRIGGERS[label]() for label in ("badnet", "sig")}
    rises = {
        label: ScanResult(label, name, 0.0, up, (up - 0.1, up + 0.1), 40)
        for label, up in [("badnet", rise), ("sig", 0.1)]
    }
    sizes = dict.fromkeys(data.class_names, 0.03)
    inversion = Inversion(model="m", data="d", classes=sizes, suspect=None, settings={}, seconds=0.0)
    return Evidence(triggers, rises, inversion)


def make_population(references: Sequence[Scores]) -> dict[str, Any]:
    """Return the names and models of a population file."""
    names = {test: list(each) for test, each in references[0].items()}
    models = [{"scores": {test: list(each.values()) for test, each in scores.items()}} for scores in references]
    return {"names": names, "models": models}


@pytest.fixture
def references(toy_data: CaptionData) -> list[Scores]:
    """Scores of 19 clean models."""
    return [make_evidence(toy_data, 0.01 + i / 1000).scores for i in range(19)]
