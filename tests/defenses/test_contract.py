"""Contract of every defense; a new one is picked up through the registry."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES, Defense, load_defense
from cleaner.models.clip import Clip
from cleaner.training.loop import finetune
from tests.attacks.test_contract import image_file
from tests.repeated import make_defense

CONFIG = FinetuneConfig(
    lr=3e-3, epochs=4, batch_size=8, warmup_steps=2, precision="fp32", device="cpu", augmentation="gentle"
)


@pytest.fixture(params=list(DEFENSES))
def defense(request: pytest.FixtureRequest, tmp_path: Path) -> Defense:
    return make_defense(request.param, image_file(tmp_path))


def test_losses_are_named_and_finite_and_fall_and_the_input_model_stays(
    defense: Defense, tiny_clip: Clip, toy_data: TensorData
) -> None:
    before = tiny_clip.sha256()
    history = finetune(tiny_clip, toy_data, defense, CONFIG).history
    assert tiny_clip.sha256() == before
    assert len(history) == 24
    assert history[0].losses.keys() == history[-1].losses.keys()
    assert {"clip_loss", "class_loss"} & history[0].losses.keys()
    assert all(torch.isfinite(torch.tensor(list(report.losses.values()))).all() for report in history)
    total = [report.losses["total"] for report in history]
    assert sum(total[-4:]) < sum(total[:4])


def test_plan_is_a_function_of_seed_and_epoch(defense: Defense, toy_data: TensorData) -> None:
    plan, same_plan = defense.plan(toy_data.captions, seed=3), defense.plan(toy_data.captions, seed=3)
    plan(0)
    assert plan(1) == same_plan(1)
    assert len(plan(1).captions) == len(toy_data)


def test_state_dict_restores_the_defense(defense: Defense) -> None:
    assert load_defense(defense.state_dict()) == defense
