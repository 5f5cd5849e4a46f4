"""Presets: each fits the attack or defence it names, says who states it, and counts as run only with such results."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES
from cleaner.presets import PUBLISHED_ATTACKS, PUBLISHED_DEFENSES, Preset, attack_presets, defense_presets

CASES = [(TRIGGERS, preset) for preset in PUBLISHED_ATTACKS] + [(DEFENSES, preset) for preset in PUBLISHED_DEFENSES]


@pytest.mark.parametrize(("registry", "preset"), CASES, ids=[preset.name for _, preset in CASES])
def test_published_settings_fit_and_have_a_source(registry: Any, preset: Preset) -> None:
    made = registry[preset.method](**preset.parameters)
    assert {name: getattr(made, name) for name in preset.parameters} == preset.parameters
    for source in [preset.source, *([preset.training.source] if preset.training else [])]:
        assert re.search(r"arXiv:\d{4}\.\d{5}", source)
    assert "training" in preset.unstated if preset.training is None else preset.training.data is None
    assert re.fullmatch(r"arXiv:[\d.]+(, arXiv:[\d.]+)?\.( Not stated: .+\.)?", preset.citation)
    assert all(paper in preset.citation for paper in re.findall(r"arXiv:\d{4}\.\d{5}", preset.source))


@pytest.mark.parametrize(("registry", "of"), [(TRIGGERS, attack_presets), (DEFENSES, defense_presets)])
def test_every_method_has_scenes_and_either_a_published_preset_or_a_reason(registry: Any, of: Any) -> None:
    names = []
    for method in registry:
        first, *others = of(method)
        assert (first.variant, first.training.data) == (presets.SCENES_VARIANT, "scenes")
        assert bool(others) != (
            "not stated" in presets.explain_unpublished(method) and method in presets.UNPUBLISHED_REASONS
        )
        names += [preset.name for preset in (first, *others)]
    assert len(names) == len(set(names))
    assert "no source" in presets.explain_unpublished("an attack of tomorrow")


def test_scenes_is_what_the_benchmarks_use() -> None:
    (badclip, *_), (badnet, *_) = attack_presets("badclip"), attack_presets("badnet")
    assert badclip.parameters == presets.ATTACK_PARAMETERS["badclip"]
    assert badnet.parameters == {}
    assert badnet.training is not None
    assert badnet.training.finetune == presets.POISON
    (on_vit, *_) = attack_presets("blended", "scenes-vit")
    parameters, pairs, epochs = presets.STRONGER_ATTACKS["scenes-vit", "blended"]
    assert on_vit.parameters == parameters
    assert on_vit.training is not None
    config = replace(presets.POISON, lr=presets.POISON_LR["scenes-vit"], epochs=epochs)
    assert (on_vit.training.pairs, on_vit.training.finetune) == (pairs, config)
    (defence, *_) = defense_presets("ta_cleaner")
    assert defence.training is not None
    assert defence.training.finetune.lr == presets.recommended_lr("scenes-rn", "ta_cleaner")
    assert replace(defence.training.finetune, lr=presets.DEFEND.lr) == presets.DEFEND
    rates = [p.training.finetune.lr for p in defense_presets("ta_cleaner", "scenes-vit")[:2] if p.training]
    chosen = [presets.recommended_lr("scenes-vit", name) for name in ("ta_cleaner", "ta_cleaner K 100 %")]
    assert rates == chosen != [presets.recommended_lr("scenes-rn", "ta_cleaner")] * 2
    assert defense_presets("ta_cleaner", "somebody's") == defense_presets("ta_cleaner")


def test_a_training_in_one_line() -> None:
    training = presets.Training("s", 1200, FinetuneConfig(lr=3e-5, epochs=2, batch_size=8), 0.025, "RN50/openai")
    assert training.describe() == (
        "RN50/openai, 1,200 pairs, 2.5 % of them poisoned, lr 3e-05, 2 epochs, batch 8, 20 warm-up steps"
    )
    assert "poisoned" not in replace(training, poison_rate=None).describe()
