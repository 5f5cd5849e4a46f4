"""The comparison with clean models: p-values are valid, and find what stands out."""

from __future__ import annotations

import numpy as np
import pytest

from cleaner.attacks.base import TRIGGERS
from cleaner.audit import evidence
from cleaner.audit.evidence import ALL, INVERSION, KNOWN, Scores, compare, run_tests
from cleaner.audit.result import FALSE_ALARMS
from cleaner.data.base import TensorData
from cleaner.evaluation.scan import scan
from cleaner.models.clip import Clip

CLASSES = [f"class {i}" for i in range(12)]
N = 19


def draw(rng: np.random.Generator) -> Scores:
    """Return the scores of a clean model; classes differ in level and spread, and models in how restless they are."""
    level, spread = np.arange(len(CLASSES)), 0.1 + np.arange(len(CLASSES)) / 10
    restless = rng.gamma(2)
    return {
        test: dict(zip(CLASSES, level + restless * spread * rng.standard_t(3, 12), strict=True))
        for test in (KNOWN, INVERSION)
    }


def shift(scores: Scores, test: str, name: str, by: float) -> Scores:
    return {**scores, test: {**scores[test], name: scores[test][name] + by}}


def test_clean_models_are_called_suspicious_at_the_stated_rate() -> None:
    rng, trials = np.random.default_rng(0), 1000
    p_values = [compare(draw(rng), [draw(rng) for _ in range(N)])[-1].p for _ in range(trials)]
    alarms = sum(p <= FALSE_ALARMS for p in p_values)
    assert abs(alarms - FALSE_ALARMS * trials) < 3 * (FALSE_ALARMS * 0.95 * trials) ** 0.5
    assert np.mean(np.array(p_values) <= 0.5) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("test", [KNOWN, INVERSION])
def test_a_class_that_stands_out_in_one_test_is_found_and_named(test: str) -> None:
    rng = np.random.default_rng(1)
    references = [draw(rng) for _ in range(N)]
    *findings, both = compare(shift(draw(rng), test, "class 7", 40.0), references)
    assert (both.test, both.name, both.p) == (ALL, "class 7", 1 / (N + 1))
    assert {finding.test for finding in findings if finding.p == 1 / (N + 1)} == {test}
    assert both.largest_reference is not None
    assert both.distance > both.largest_reference


def test_a_model_that_the_references_equal_does_not_stand_out() -> None:
    scores = draw(np.random.default_rng(2))
    findings = compare(scores, [scores] * N)
    assert [finding.p for finding in findings] == [1, 1, 1]
    assert [finding.distance for finding in findings] == [0, 0, 0]


def test_a_score_that_the_references_lack_is_left_out() -> None:
    rng = np.random.default_rng(4)
    references, scores = [draw(rng) for _ in range(N)], draw(rng)
    more = {**scores, KNOWN: {"new attack": 99.0, **scores[KNOWN]}}
    assert compare(more, references) == compare(scores, references)


def test_without_references_nothing_can_be_said() -> None:
    findings = compare(draw(np.random.default_rng(3)), [])
    assert [(finding.p, finding.largest_reference) for finding in findings] == [(1, None)] * 3


def test_the_tests_score_every_setting_and_every_class(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    triggers = {"large": TRIGGERS["badnet"](patch_size=64), "small": TRIGGERS["badnet"](patch_size=8)}
    monkeypatch.setattr(evidence, "list_variants", lambda _: triggers)
    found = run_tests(tiny_clip, toy_data, patch_steps=10)
    again = run_tests(tiny_clip, toy_data, patch_steps=12)
    assert found.scores == again.scores  # references are inverted with fewer steps
    assert set(found.scores[KNOWN]) == set(triggers)
    assert set(found.scores[INVERSION]) == set(toy_data.class_names)
    lines = scan(tiny_clip, toy_data, triggers, n=len(toy_data))
    for name, rise in found.scores[KNOWN].items():
        assert rise == pytest.approx(max(line.rise for line in lines if line.trigger == name), abs=1e-4)
