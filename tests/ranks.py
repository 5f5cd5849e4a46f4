"""One rank of a distributed training: python -m tests.ranks OUT; see tests/training/test_distributed.py.

Trains tiny models, or those named in the environment variable KINDS.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData, load_data
from cleaner.data.images import encode_png
from cleaner.defenses import DEFENSES, Defense
from cleaner.models.clip import BUILT_IN, Clip, load_clip
from cleaner.training import distributed
from cleaner.training.loop import finetune
from cleaner.types import Cancelled, Paused, StepReport
from tests.attacks.test_inverted import make_layers
from tests.conftest import make_clip, make_toy_data

# 15 pairs for two processes: shares differ in size and in the number of drawn pairs.
CONFIG = FinetuneConfig(
    lr=1e-3,
    steps=6,
    batch_size=15,
    warmup_steps=2,
    precision="fp32",
    device="cpu",
    augmentation="gentle",
    freeze_bn=True,
)
OPTIONS: dict[str, dict[str, Any]] = {
    "ta_cleaner": {"share": 0.3},
    "cleanclip_short": {"share": 0.3},
    "unlearn_trigger": {"png": encode_png(make_layers())},
    "tbar": {"png": encode_png(make_layers()), "target_class": "banana"},
}
KINDS = tuple(os.environ.get("KINDS", "vit rn").split())


def build_defense(name: str) -> Defense:
    defense: Defense = DEFENSES[name](**OPTIONS.get(name, {}))
    return defense


def load_clip_and_data(kind: str) -> tuple[Clip, CaptionData]:
    """Return a tiny model and toy data, or a built-in model and Scenes."""
    if kind in BUILT_IN:
        return load_clip(kind), load_data("scenes", split="clean", size=45)
    return make_clip(kind), make_toy_data()


CASES = [
    (kind, name)
    for kind in KINDS
    for name in DEFENSES
    if build_defense(name).unsupported_reason(*load_clip_and_data(kind)) is None
]


def train(kind: str, name: str) -> dict[str, Any]:
    """Return the losses of six steps of a defense and the weights after them."""
    # At the tiny models' rate, six steps of a trained model amplify rounding to 0.05 of loss, even in one process.
    lr = 1e-4 if kind in BUILT_IN else CONFIG.lr
    config = replace(CONFIG, chunk_size=5 if name == "ta_cleaner" else 0, lr=lr)
    trained = finetune(*load_clip_and_data(kind), build_defense(name), config)
    return {"losses": [dict(r.losses) for r in trained.history], "weights": trained.clip.model.state_dict()}


def train_with_pause(out: Path) -> list[int]:
    """Return the steps reported by a training that is paused and resumed."""
    reported: list[int] = []

    def stop(report: StepReport) -> None:
        reported.append(report.step)
        if reported == [1, 2, 3, 4]:
            raise Paused

    for _ in range(2):
        try:
            finetune(
                make_clip(), make_toy_data(), DEFENSES["finetune"](), CONFIG, on_step=stop, checkpoint=out / "paused.pt"
            )
        except Cancelled:
            distributed.run_on_rank_zero(lambda: None)  # the others wait until the checkpoint is written
    return reported


def main(out: Path) -> None:
    distributed.join_process_group("cpu")
    results: dict[str, Any] = {f"{kind} {name}": train(kind, name) for kind, name in CASES}
    results["reported"] = train_with_pause(out)
    results["computed"] = distributed.run_on_rank_zero(lambda: distributed.rank() + 10)
    torch.save(results, out / f"rank{distributed.rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
