"""One of several processes that train together: python -m tests.ranks OUT, started by tests/test_parallel.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from cleaner import parallel
from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES
from cleaner.train import finetune
from cleaner.types import Cancelled, Paused, StepReport
from tests.conftest import make_clip, make_toy_data

# 15 pairs for two processes: the parts differ, as do the numbers of drawn pairs in them.
CONFIG = FinetuneConfig(
    lr=1e-3, steps=10, batch_size=15, warmup_steps=2, precision="fp32", device="cpu", augmentation="gentle",
    freeze_bn=True,
)  # fmt: skip
OPTIONS = {"ta_cleaner": {"share": 0.3}, "cleanclip_short": {"share": 0.3}}
CASES = [(kind, name) for kind in ("vit", "rn") for name in DEFENSES]


def train(kind: str, name: str) -> dict[str, Any]:
    """Return the losses of ten steps of a defence and the weights after them."""
    done = finetune(make_clip(kind), make_toy_data(), DEFENSES[name](**OPTIONS.get(name, {})), CONFIG)
    return {"losses": [dict(r.losses) for r in done.history], "weights": done.clip.model.state_dict()}


def stopped(out: Path) -> list[int]:
    """Return the steps that were told of by a training that is paused and goes on."""
    told: list[int] = []

    def stop(report: StepReport) -> None:
        told.append(report.step)
        if told == [1, 2, 3, 4]:
            raise Paused

    for _ in range(2):
        try:
            finetune(make_clip(), make_toy_data(), DEFENSES["finetune"](), CONFIG, stop, checkpoint=out / "paused.pt")
        except Cancelled:
            parallel.from_first(lambda: None)  # the others wait until the checkpoint is there
    return told


def main(out: Path) -> None:
    parallel.start("cpu")
    results: dict[str, Any] = {f"{kind} {name}": train(kind, name) for kind, name in CASES}
    results["told"] = stopped(out)
    results["made"] = parallel.from_first(lambda: parallel.rank() + 10)
    torch.save(results, out / f"rank{parallel.rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
