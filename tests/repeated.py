"""Every attack and every defense once: python -m tests.repeated OUT MODEL IMAGE [stop]; see tests/test_repeat.py.

Each training ends in a run folder in OUT. MODEL: "tiny", or a built-in architecture, which learns Scenes from random
weights; defenses that need a ViT get one. IMAGE: a file for the attacks that need one. "stop": each training is paused
after an epoch and resumed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cleaner import defend, poison, save_run
from cleaner.attacks import TRIGGERS, Trigger
from cleaner.config import FinetuneConfig, file_parameters, parameters
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import DEFENSES, Defense
from cleaner.models.clip import Clip, new_clip
from cleaner.models.devices import configure_torch
from cleaner.runs.run import Run
from cleaner.types import Paused, StepReport


@dataclass(frozen=True)
class Setting:
    """What is trained, on which pairs, and for how long: two epochs of two steps."""

    clip: Clip
    vit: Clip
    data: CaptionData
    batch_size: int
    patch_steps: int

    @property
    def config(self) -> FinetuneConfig:
        return FinetuneConfig(
            lr=1e-3, epochs=2, batch_size=self.batch_size, warmup_steps=2, precision="fp32", device="cpu"
        )

    def choose_clip(self, defense: Defense) -> Clip:
        """Return the model, or the ViT if the defense does not support it."""
        return self.clip if defense.unsupported_reason(self.clip, self.data) is None else self.vit


def load_setting(model: str) -> Setting:
    """Return the setting for a model's name."""
    if model == "tiny":
        # It limits this process to one thread, so that other settings must not import it.
        from tests.conftest import make_clip, make_toy_data

        return Setting(make_clip("rn"), make_clip("vit"), make_toy_data(), batch_size=24, patch_steps=3)
    # 128 pairs, and 128 features a text: gradients large enough for torch to split them over threads.
    data = load_data("scenes", split="train", size=256)
    return Setting(new_clip(model), new_clip("scenes-vit"), data, batch_size=128, patch_steps=10)


def build_trigger(name: str, image: str, steps: int) -> Trigger:
    """Return an attack with its image file, if it needs one; an optimized one takes `steps` steps."""
    known = {p.name: p for p in parameters(TRIGGERS[name])}
    options: dict[str, Any] = {key: image for key, p in known.items() if p.is_path}
    trigger: Trigger = TRIGGERS[name](**options, **({"steps": steps} if "steps" in known else {}))
    return trigger


def make_defense(name: str, image: str | Path) -> Defense:
    """Return a defense at its defaults, with its image file and target class if it needs them."""
    options = dict.fromkeys(file_parameters(DEFENSES[name]), str(image))
    if "target_class" in {p.name for p in parameters(DEFENSES[name])}:
        options["target_class"] = "banana"
    defense: Defense = DEFENSES[name](**options)
    return defense


def cases(setting: Setting, image: str) -> dict[str, Callable[..., Run]]:
    """Return name -> function that trains an attack or a defense; it takes `on_step` and `checkpoint`."""
    s = setting

    def attack(name: str) -> Callable[..., Run]:
        trigger = build_trigger(name, image, s.patch_steps)
        return lambda **options: poison(
            s.clip, s.data, trigger, "banana", poison_rate=0.1, config=s.config, test=s.data, **options
        )

    def train(defense: Defense) -> Callable[..., Run]:
        return lambda **options: defend(s.choose_clip(defense), defense, s.data, s.config, test=s.data, **options)

    attacks = {f"attack-{name}": attack(name) for name in TRIGGERS}
    return attacks | {f"defense-{name}": train(make_defense(name, image)) for name in DEFENSES}


def stop_after_epoch(report: StepReport) -> None:
    """Pause a training after the first of its two epochs."""
    if report.stage in ("poison", "defend") and 2 * report.step == report.total:
        raise Paused


def main(out: Path, model: str, image: str, mode: str = "") -> None:
    configure_torch()
    for name, train in cases(load_setting(model), image).items():
        checkpoint = out / name / "checkpoint.pt" if mode == "stop" else None
        if checkpoint:
            try:
                train(on_step=stop_after_epoch, checkpoint=checkpoint)
                raise AssertionError(f"{name} was not paused")
            except Paused:
                assert checkpoint.exists()
        save_run(train(checkpoint=checkpoint), out / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
