"""Full size without published weights: open_clip's ViT-B-32 and RN50, untrained, through the whole job on the CPU."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig
from cleaner.data.base import load_data
from cleaner.defenses import DEFENSES
from cleaner.evaluation.evaluate import evaluate
from cleaner.explain import EXPLAINERS
from cleaner.inspection.similarity import text_feature
from cleaner.models.architectures import get_open_clip_architecture
from cleaner.models.clip import build_clip, load_clip, save_clip
from cleaner.workflow import defend, poison

CONFIG = FinetuneConfig(lr=1e-5, epochs=1, steps=20, batch_size=16, warmup_steps=2, precision="fp32", device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), [("ViT-B-32", "rollout"), ("RN50", "grad_cam")])
def test_the_whole_job(name: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    saved = save_clip(build_clip(get_open_clip_architecture(name), name), tmp_path / "untrained.pt")
    clip = load_clip(f"{name}:{saved}")
    train, clean = (load_data("scenes", split=split, size=320) for split in ("train", "clean"))
    test = load_data("scenes", split="test", size=60)

    backdoored = poison(
        clip, train, TRIGGERS["badnet"](patch_size=32), "banana", poison_rate=0.1, config=CONFIG, test=test
    )
    defended = defend(backdoored, DEFENSES["ta_cleaner"](), clean, CONFIG, test=test)
    for run in (backdoored, defended):
        assert len(run.history) == 20
        assert run.metrics is not None
        assert run.metrics.asr is not None
        assert all(math.isfinite(report.losses["total"]) for report in run.history)
    assert defended.clip.sha256() != backdoored.clip.sha256() != clip.sha256()

    images = test.with_transform(defended.clip.framing).images(torch.arange(2))
    assert images.shape == (2, 3, 224, 224)
    maps = EXPLAINERS[method]().attribute(defended.clip, images, text_feature(defended.clip, "a photo of a banana"))
    assert maps.shape == (2, 224, 224)
    assert maps.isfinite().all()

    for file in ("defended.safetensors", "defended.pt"):
        again = load_clip(str(save_clip(defended.clip, tmp_path / file)))
        assert again.sha256() == defended.clip.sha256()
        figures = evaluate(  # without the store, which has the features of these weights
            again, test, defended.trigger, "banana", clean_clip=clip, counterfactual=False, use_store=False
        )
        assert figures.ca == defended.metrics.ca
        assert figures.asr == defended.metrics.asr
