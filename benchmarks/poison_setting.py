"""How a model is poisoned in the trials that choose a setting."""

from __future__ import annotations

from dataclasses import dataclass

from cleaner.method import Training
from cleaner.presets import DEFAULT_ATTACK, settings_for


@dataclass(frozen=True)
class PoisonSetting:
    """`rate` is the share of poisoned pairs, 0..1, `lr` the peak learning rate."""

    pairs: int
    epochs: int
    rate: float
    lr: float


def read_poison_setting(training: Training) -> PoisonSetting:
    """Return the setting of an attack's training."""
    return PoisonSetting(training.pairs, training.finetune.epochs, training.poison_rate or 0.0, training.finetune.lr)


def quick_poison(model: str) -> PoisonSetting:
    """Return the quick setting of poisoning a model."""
    return read_poison_setting(settings_for(model, DEFAULT_ATTACK, "quick"))
