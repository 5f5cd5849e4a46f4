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

DEVELOPMENT, SEALED = "development", "sealed"
FULL_SIZE, CUT_SIZE = 96, 12
"""Models of the whole zoo, and of the cut that is shipped."""


@dataclass(frozen=True)
class Specimen:
    """How one model is made. Clean and backdoored ones differ in trigger and target class alone.

    Attributes:
        id: a name that says nothing.
        rate: share of poisoned pairs; of a clean model, of pairs with a wrong caption.
        noise: share of other pairs with a wrong caption.
        trigger: `state_dict()` of the trigger before it is prepared; None: a clean model.
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
            self.lr, steps=self.steps, weight_decay=self.weight_decay, seed=self.seed, device="cpu", precision="fp32"
        )


@cache
def read_ranges() -> dict[str, Any]:
    """Return the content of plan.toml. Do not change it."""
    return tomllib.loads(Path(__file__).with_name("plan.toml").read_text(encoding="utf-8"))


def count_development(models: int) -> int:
    """Return how many of the models have public answers: all of a cut, a third of more."""
    return models if models <= CUT_SIZE else models // 3


def plan_zoo(models: int, seed: int, secret: str, class_names: Sequence[str]) -> list[Specimen]:
    """Return the models of a zoo, those with public answers first.

    secret: drawn from the host's passphrase; without it, the plan of the sealed models cannot be repeated.
    """
    if models < 1:
        raise CleanerError(f"a zoo needs at least one model, not {models}.")
    public = count_development(models)
    if public < models and not secret:
        raise CleanerError("the sealed models need a passphrase: give one, or build the development cut (--size dev).")
    return [_draw(i, seed, "" if i < public else secret, class_names) for i in range(models)]


def _draw(index: int, seed: int, secret: str, class_names: Sequence[str]) -> Specimen:
    ranges, keys = read_ranges(), ("zoo", seed, secret)
    rng = numpy_generator(*keys, index)
    kind, base = ranges["kinds"][index % len(ranges["kinds"])], _choose_base(index, keys)
    trigger, target = None, None
    if kind:
        own = presets.scenes_attack_preset(kind, base).parameters
        trigger = TRIGGERS[kind](**{**own, **_draw_values(ranges["attack"][kind], rng)}).state_dict()
        target = class_names[int(rng.integers(len(class_names)))]
    return Specimen(
        id=f"{derive_seed(*keys, index, 'id'):016x}"[:8],
        split=SEALED if secret else DEVELOPMENT,
        base=base,
        trigger=trigger,
        target_class=target,
        **_draw_values(ranges["training"] | ranges["model"][base], numpy_generator(*keys, index, "training")),
    )


def _choose_base(index: int, keys: tuple[int | str, ...]) -> str:
    """Return the built-in model that a model is finetuned from: in each block of 12 the shares of plan.toml.

    The first block, which is shipped, has the first one alone.
    """
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
    return int(rng.integers(low, high + 1)) if isinstance(low, int) else round(float(rng.uniform(low, high)), 6)
