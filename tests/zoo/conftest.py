"""A zoo of four models that were trained for two steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

from cleaner.zoo import build, plan
from cleaner.zoo.store import Zoo

KINDS = ["badnet", "", "trojvqa", "blended"]
PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def short_trainings() -> Iterator[None]:
    """Plans of four models on the light model, one of them with a public answer."""
    ranges = copy.deepcopy(plan.read_ranges()) | {"kinds": KINDS, "models": ["scenes-lite"], "pool": 200}
    ranges["training"] |= {"pairs": [100, 160]}
    ranges["model"]["scenes-lite"]["steps"] = 2
    with pytest.MonkeyPatch.context() as patch:
        for module in (plan, build):
            patch.setattr(module, "read_ranges", lambda: ranges)
        patch.setattr(plan, "CUT_SIZE", 1)
        for name, value in {"TEST_PAIRS": 60, "CHECKED_PAIRS": 50, "KEYED_PAIRS": 1}.items():
            patch.setattr(build, name, value)
        patch.setitem(plan.presets.ATTACK_PARAMETERS, "trojvqa", {"steps": 2})
        yield


@pytest.fixture(scope="module")
def built(short_trainings: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Zoo]:
    """The output of a build."""
    out = tmp_path_factory.mktemp("zoo")
    return out, build.build(out, len(KINDS), seed=3, passphrase=PASSPHRASE)
