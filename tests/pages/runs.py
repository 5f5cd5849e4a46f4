"""Write runs to disk: tiny untrained models with the metrics of a real evaluation."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from cleaner.attacks import TRIGGERS
from cleaner.evaluation.evaluate import Metrics
from cleaner.models.clip import Clip, save_clip
from cleaner.runs.run import Run, save_run
from tests.conftest import make_clip


def make_metrics(asr: float, ca: float = 0.9) -> Metrics:
    return Metrics(
        ca={1: ca, 3: 0.95},
        n=100,
        classes=32,
        data="scenes/test",
        target_class="banana",
        asr={1: asr, 3: 0.99},
        ra={1: 0.1, 3: 0.5},
        base_rate={1: 0.02, 3: 0.1},
        n_attack=96,
        asr_clean_model={1: 0.01, 3: 0.1},
        counterfactual_accuracy=0.7,
        n_counterfactual=80,
    )


@functools.cache
def make_clips(kind: str) -> tuple[Clip, Clip, Clip]:
    """Return a clean, a backdoored and a defended model, built once; a saved model stays as it is."""
    return make_clip(kind, 0), make_clip(kind, 1), make_clip(kind, 2)


def move_to_example(tmp_path: Path) -> Path:
    """Put the runs in place of the shipped example; return their folder."""
    (tmp_path / "assets").mkdir(exist_ok=True)
    return (tmp_path / "runs").rename(tmp_path / "assets" / "example")


def make_runs(tmp_path: Path, kind: str = "rn", trigger: str = "badnet", seed: int = 0) -> tuple[Path, Path]:
    """Write a backdoored and a defended run; return their folders."""
    clean, attacked, defended = make_clips(kind)
    source = save_clip(clean, tmp_path / f"clean-{kind}.safetensors")
    attack = TRIGGERS[trigger]()
    finetune = {"lr": 1e-3, "epochs": 1, "batch_size": 64, "seed": seed}
    common: dict[str, Any] = {
        "trigger": attack.state_dict(),
        "target_class": "banana",
        "clean_model": str(source),
        "model": f"tiny-{kind}",
        "data": "scenes/train",
        "data_name": "scenes",
        "test_size": 100,
        "pairs": 500,
        "finetune": finetune,
        "seconds": 1.0,
        "created": f"2026-01-01T00:00:0{seed}Z",
    }
    first: dict[str, Any] = {"stage": "backdoored", "poison_rate": 0.02, **common}
    second = {
        "stage": "defended",
        "defense": {"name": "ta_cleaner"},
        "suspect": first,
        **common,
        "finetune": {**finetune, "lr": 1e-4},
    }
    folders = tmp_path / "runs" / f"{trigger}-{kind}-{seed}", tmp_path / "runs" / f"{trigger}-{kind}-{seed}-defended"
    save_run(Run(defended, [], make_metrics(0.1 + seed / 10), second, attack, "banana"), folders[1])
    save_run(Run(attacked, [], make_metrics(0.95), first, attack, "banana"), folders[0])
    return folders
