"""The plan of a zoo: how each model is made, drawn from plan.toml by a seed. Equal seeds give equal plans."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cleaner import presets
from cleaner.config import FinetuneConfig
from cleaner.registry import TRIGGERS
from cleaner.seed import derive_seed, numpy_generator
from cleaner.types import CleanerError

DEVELOPMENT, SEALED, REFERENCE = "development", "sealed", "reference"
FULL_SIZE, CUT_SIZE = 96, 12
"""Models of the whole zoo, and of the cut that is shipped."""
LR_SPREAD = (0.8, 1.2)
"""Learning rates of references without a range of their own, relative to that of poisoning."""


@dataclass(frozen=True)
class Specimen:
    """How one model is made. Clean and backdoored ones differ in trigger and target class alone.

    rate: share of poisoned pairs, if there is a trigger. noise: share of pairs with a wrong caption. trigger:
    `state_dict()` of the trigger before it is prepared; None: a clean model.
    """

    id: str
    split: str
    base: str
    pairs: int
    steps: int
    lr: float
    weight_decay: float
    rate: float
    noise: float
    seed: int
    trigger: dict[str, Any] | None = None
    target_class: str | None = None

    @property
    def finetune(self) -> FinetuneConfig:
        """The settings of its training; on the CPU and in fp32, which give the same bytes each time."""
        return FinetuneConfig(
            lr=self.lr, steps=self.steps, weight_decay=self.weight_decay, seed=self.seed, device="cpu", precision="fp32"
        )


@cache
def read_ranges() -> dict[str, Any]:
    """Return the content of plan.toml. Do not change it."""
    return tomllib.loads(Path(__file__).with_name("plan.toml").read_text(encoding="utf-8"))


def plan_zoo(models: int, seed: int, secret: str, class_names: Sequence[str]) -> list[Specimen]:
    """Return the models of a zoo, those with public answers first: a third, or all of a cut.

    secret: drawn from the host's passphrase; without it, the plan of the sealed models cannot be repeated.
    """
    public = models if models <= CUT_SIZE else models // 3
    if public < models and not secret:
        raise CleanerError("the sealed models need a passphrase: give one, or build at most 12 models.")
    return [_draw(i, ("zoo", seed, "" if i < public else secret), class_names) for i in range(models)]


def plan_references(base: str, models: int) -> list[Specimen]:
    """Return clean models finetuned from `base`, as those of a zoo are."""
    return [_draw_training(base, REFERENCE, ("reference", base, i)) for i in range(models)]


def _draw(index: int, keys: tuple[int | str, ...], class_names: Sequence[str]) -> Specimen:
    ranges, rng = read_ranges(), numpy_generator(*keys, index)
    kind, base = ranges["kinds"][index % len(ranges["kinds"])], _choose_base(index, keys)
    attack: dict[str, Any] = {}
    if kind:
        own = presets.scenes_attack_preset(kind, base).parameters
        attack["trigger"] = TRIGGERS[kind](**{**own, **_draw_values(ranges["attack"][kind], rng)}).state_dict()
        attack["target_class"] = class_names[int(rng.integers(len(class_names)))]
    return _draw_training(base, SEALED if keys[-1] else DEVELOPMENT, (*keys, index), attack)


def _draw_training(
    base: str, split: str, keys: tuple[int | str, ...], attack: Mapping[str, Any] | None = None
) -> Specimen:
    usual = presets.settings_for(base, presets.DEFAULT_ATTACK).finetune.lr
    own = read_ranges()["model"].get(base, {"lr": [factor * usual for factor in LR_SPREAD], "steps": 300})
    values = _draw_values(read_ranges()["training"] | own, numpy_generator(*keys, "training"))
    return Specimen(id=f"{derive_seed(*keys, 'id'):016x}"[:8], split=split, base=base, **values, **(attack or {}))


def _choose_base(index: int, keys: tuple[int | str, ...]) -> str:
    """Return the built-in model that a model is finetuned from: in each block of 12 the shares of plan.toml."""
    ranges = read_ranges()
    block, place = divmod(index, len(ranges["kinds"]))
    if block == 0:
        return str(ranges["models"][0])
    names = [ranges["models"][i % len(ranges["models"])] for i in range(len(ranges["kinds"]))]
    return str(numpy_generator(*keys, block, "base").permutation(names)[place])


def _draw_values(ranges: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {name: _draw_value(values, rng) for name, values in ranges.items()}


def _draw_value(values: Any, rng: np.random.Generator) -> Any:
    if not isinstance(values, list):
        return values
    if len(values) != 2 or isinstance(values[0], str):
        return values[int(rng.integers(len(values)))]
    low, high = values
    return (
        int(rng.integers(low, high + 1))
        if isinstance(low, int)
        else round(float(rng.uniform(low, high)), 6 if high > 1e-4 else 9)
    )
