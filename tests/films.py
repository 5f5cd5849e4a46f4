"""Runs with films, trained on toy data."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from cleaner import FinetuneConfig, defend, poison, save_clip, save_run
from cleaner.attacks import TRIGGERS
from cleaner.defenses import DEFENSES
from cleaner.runs.run import Run
from tests.conftest import make_clip, make_toy_data

CONFIG = FinetuneConfig(
    lr=3e-3,
    epochs=20,
    batch_size=16,
    warmup_steps=4,
    precision="fp32",
    device="cpu",
    augmentation="gentle",
    eval_every=1,
)
TRIGGER = TRIGGERS["badnet"](patch_size=56)
TOTAL = 60
"""Steps of a training with `CONFIG`."""


def make_backdoored(kind: str = "rn", film: bool = True, config: FinetuneConfig = CONFIG, **options: object) -> Run:
    """Return a backdoored toy model; its validation images are those of the film."""
    data = make_toy_data()
    options = {"validation": data, "test": data, "film": film, **options}
    return poison(make_clip(kind), data, TRIGGER, "banana", poison_rate=0.4, config=config, **options)


@cache
def train_runs() -> dict[str, Run]:
    """Return a backdoored run and two defenses of it, by their folder's name."""
    backdoored, data = make_backdoored(), make_toy_data()
    runs = {"attack": backdoored}
    for name, rate in (("finetune", 1e-3), ("cleanclip", 3e-3)):
        config = replace(CONFIG, epochs=5, lr=rate)
        runs[name] = defend(backdoored, DEFENSES[name](), data, config, validation=data, test=data, film=True)
        runs[name].config |= {"parent": "attack"}
    return runs


def save_runs(root: Path) -> list[Path]:
    """Write the runs of `train_runs` and their clean model; return the folders."""
    clean = save_clip(make_clip("rn"), root.parent / "clean.safetensors")
    folders = []
    for name, run in train_runs().items():
        # The toy data have no name that a page could load.
        config = {**run.config, "data": "scenes/train", "data_name": "scenes", "clean_model": str(clean)}
        folders.append(save_run(replace(run, config=config), root / name))
    return folders
