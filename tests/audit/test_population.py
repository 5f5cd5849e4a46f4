"""Reference populations: clean models, built one after the other, each tested once."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from cleaner.audit import population
from cleaner.audit.evidence import Evidence, Scores, compare
from cleaner.audit.population import build_population, find_population, list_scores
from cleaner.data.base import CaptionData, load_data
from cleaner.files import read_json
from cleaner.models.clip import Clip, load_clip
from cleaner.zoo import build, plan
from tests.audit.conftest import make_evidence


def test_a_population_is_continued_and_found(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = copy.deepcopy(plan.read_ranges()) | {"pool": 80, "model": {tiny_model: {"lr": [1e-3, 2e-3], "steps": 2}}}
    for module in (plan, build):
        monkeypatch.setattr(module, "read_ranges", lambda: ranges)
    monkeypatch.setattr(build, "TEST_PAIRS", 10)
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    tested: list[str] = []
    expected: list[Scores] = []

    def run_tests(clip: Clip, data: CaptionData, *_: object, **__: object) -> Evidence:
        tested.append(clip.sha256())
        evidence = make_evidence(data, len(tested) / 100)
        if len(tested) == 2:  # a scan lists what it tried in another order for each model
            evidence = replace(evidence, rises=dict(reversed(evidence.rises.items())))
        expected.append(evidence.scores)
        return evidence

    monkeypatch.setattr(population, "run_tests", run_tests)
    data, path = load_data("scenes", split="test", size=40), tmp_path / "audit" / "tiny.json"
    for models in (1, 3):
        build_population(tiny_model, ("scenes", {}), data, models, path, None)
    assert len(set(tested)) == len(tested) == 3
    assert load_clip(tiny_model).sha256() not in tested
    found = find_population(load_clip(tiny_model), data)
    assert found == read_json(path)
    assert found["base"] == tiny_model
    assert list_scores(found) == expected
    assert {"commit", "command", "device", "text_version"} <= found.keys()
    assert compare(make_evidence(data, 0.9).scores, list_scores(found))[-1].p == 1 / 4
