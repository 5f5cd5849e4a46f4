"""What the second protocol fixes before any test figure: models, methods, attacks, seeds, targets, schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.protocol import ATTACKS
from benchmarks.protocol2.lines import CLAIM_STEPS, OWN_FORMULA
from cleaner import presets
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData, load_data
from cleaner.data.poison import PoisonedData
from cleaner.data.scenery.facts import OBJECT_NAMES
from cleaner.defenses import DEFENSES, Defense
from cleaner.runs.run import Run
from cleaner.seed import numpy_generator
from cleaner.variant import Variant

PRECISION = "fp32"
"""Of all cells, on every machine."""
STEPS, LONG_STEPS = CLAIM_STEPS, 2 * CLAIM_STEPS
REBOUND_STEPS, REBOUND_LR = 186, 3e-4
"""Steps and learning rate of harmless finetuning after a defense, equal for all: two epochs of the same pairs."""
TRIAL_SEED, GRID_SEED = 100, 0
"""Seeds of the attack trials and of the grid; no table shows them."""
TARGETS = 3
"""Targets of badclip; the first one is the target of everything else."""
MIN_ASR, MAX_FLOOR = 0.9, 0.1
"""A target is replaced if an attack stays below the first, or the clean model is above the second."""
JUDGES = ("badnet", "badclip")
"""Attacks that judge every target; the first target must satisfy the others too."""
FINE_TARGET = "yellow banana"
FINE_KS = (1, 10)


@dataclass(frozen=True)
class ModelPlan:
    """The part of the protocol that a model gets."""

    seeds: tuple[int, ...]
    attacks: tuple[str, ...]
    parts: tuple[str, ...]
    few_seeds: tuple[int, ...] = (3, 4, 5)
    """Seeds of everything but badnet and badclip in the main table."""


PARTS: dict[str, str] = {
    "attacks": "settings of each attack, and targets, on seed 100 and validation images, before any defense",
    "grid": "validation accuracy of each method and form over the learning rates, on the badnet model of seed 0",
    "main": "badnet and badclip, all seeds in order: each method at its rate, then over its five rates",
    "targets": "badclip on the two other targets, first seed",
    "data": "the defender's pairs: overlap, few, poisoned",
    "classes": "352 classes (scenes-fine), badclip",
    "aware": "an attacker who also minimizes the subtext loss",
    "others": "the other attacks",
    "rivals": "feature repelling (and RVPT on a ViT): grid, then badnet and badclip",
    "long": "twice the steps",
    "rest": "the rest of the grid, below the rates that the rule needed",
}
"""Part of the command -> what it measures, in the order of measuring."""
MODELS = {
    "scenes-lite": ModelPlan(seeds=(3, 4, 5, 6, 7), attacks=ATTACKS, parts=tuple(PARTS)),
    "scenes-rn": ModelPlan(seeds=(3,), attacks=JUDGES, parts=("attacks", "grid", "main")),
    "scenes-vit": ModelPlan(
        seeds=(3,), attacks=ATTACKS, parts=("attacks", "grid", "main", "others", "rivals"), few_seeds=(3,)
    ),
}
REASON = (
    "The ResNet of this protocol is scenes-lite, a ModifiedResNet as scenes-rn: on two cores that give 1.25 threads a "
    "run of 651 steps takes 40 to 100 s on scenes-lite and about 5 min on scenes-rn, whose hundreds of cells cannot be "
    "measured there. scenes-rn and scenes-vit follow with seed 3 and the same command (--model)."
)


@dataclass(frozen=True)
class AttackSetting:
    """A change of an attack's preset (presets.scenes_attack_preset)."""

    pairs: float = 1.0
    """Factor of the pairs."""
    epochs: float = 1.0
    """Factor of the epochs."""
    parameters: dict[str, Any] = field(default_factory=dict)


COMMON_LADDER = (AttackSetting(), AttackSetting(1, 1.5), AttackSetting(2, 1.5), AttackSetting(2, 3))
STRONGER_BLEND = {"blend_ratio": 0.3}
LADDERS: dict[str, tuple[AttackSetting, ...]] = {
    "blended": (*COMMON_LADDER[:2], AttackSetting(1, 1.5, STRONGER_BLEND), AttackSetting(2, 1.5, STRONGER_BLEND)),
}
"""Attack -> settings, tried in this order on the first target until the attack takes; else `COMMON_LADDER`."""


def ladder(attack: str) -> tuple[AttackSetting, ...]:
    """Return the settings to try for an attack, the preset first."""
    return LADDERS.get(attack, COMMON_LADDER)


FORMS: dict[str, dict[str, Any]] = {
    f"{formula}, {positive}": {"formula": formula, "negatives": negatives, "positive": positive}
    for formula, negatives in ((OWN_FORMULA, 3), ("reviewed", 1))
    for positive in ("core", "relation")
}
"""Forms of TA-Cleaner that the grid compares: formula and style of positive subtexts."""
PLAIN = ("finetune", "cleanclip", "par")
DRAWING = [Variant(name, {"share": share}) for name in ("ta_cleaner", "cleanclip_short") for share in (0.1, 1.0)]
"""Methods that draw K pairs each epoch."""
SPARSE_METHOD, FULL_METHOD, SPARSE_CONTROL, CONTROL = (variant.key for variant in DRAWING)
SHARES = {variant.key: variant.changed["share"] for variant in DRAWING}
RIVALS = {"scenes-lite": ("feature_repelling",), "scenes-rn": (), "scenes-vit": ("feature_repelling", "rvpt")}
ALL_RIVALS = tuple(dict.fromkeys(name for names in RIVALS.values() for name in names))
METHODS = {variant.key: variant for variant in (*map(Variant, (*PLAIN, *ALL_RIVALS)), *DRAWING)}
ORDER = ("", *PLAIN, *ALL_RIVALS, *sorted(SHARES))
"""Methods of all models in the order of tables, the backdoored model first."""
KEY_METHODS = ("cleanclip", CONTROL, FULL_METHOD)
"""Method, control and baseline of the claim: those of the parts data, classes and aware."""


def build_defense(method: str, form: str = "") -> Defense:
    """Return a method; `form`: of TA-Cleaner and its control, one of `FORMS`."""
    variant = METHODS[method]
    values = dict(variant.changed)
    if variant.method == "ta_cleaner":
        values |= FORMS[form]
    elif variant.method == "cleanclip_short":
        values["positive"] = FORMS[form]["positive"]
    defense: Defense = DEFENSES[variant.method](**values)
    return defense


def other_formula(form: str) -> str:
    """Return the form with the other formula and the same style of positive subtexts."""
    formula, positive = form.split(", ")
    return next(other for other in FORMS if other.endswith(f", {positive}") and not other.startswith(formula))


def defense_config(lr: float, seed: int, steps: int = STEPS) -> FinetuneConfig:
    """Return the schedule that all defenses share."""
    return replace(presets.DEFEND, lr=lr, seed=seed, steps=steps, precision=PRECISION)


def draw_targets() -> list[str]:
    """Return all classes in the order of the lottery: targets, then their replacements."""
    order = numpy_generator("protocol 2", "targets").permutation(len(OBJECT_NAMES))
    return [OBJECT_NAMES[i] for i in order.tolist()]


def load_clean(world: str = "scenes", size: int = presets.CLEAN_PAIRS, captions: str | None = None) -> CaptionData:
    """Return the defender's pairs; captions: "full" or "mixed", None: the default of the data."""
    return load_data(world, split="clean", size=size, captions=captions)


def _poisoned(rate: float) -> Callable[[Run], CaptionData]:
    def load(suspect: Run) -> CaptionData:
        assert suspect.trigger is not None
        assert suspect.target_class is not None
        seed = int(suspect.config["finetune"]["seed"])
        return PoisonedData(load_clean(), suspect.trigger, suspect.target_class, rate, seed)

    return load


DEFENDER_DATA: dict[str, Callable[[Run], CaptionData]] = {
    "disjoint": lambda suspect: load_clean(),
    "overlap": lambda suspect: load_data("scenes", split="train", size=int(suspect.config["pairs"]), captions="full"),
    "500 pairs": lambda suspect: load_clean(size=500),
    "1,500 pairs": lambda suspect: load_clean(size=1500),
    "0.1 % poisoned": _poisoned(0.001),
    "1 % poisoned": _poisoned(0.01),
}
"""The defender's pairs: 6,000 that the attacker never saw (the default); the attacker's own images, untriggered, with
full true captions; fewer; and 6,000 of which some are poisoned after all."""
OTHER_DATA = tuple(name for name in DEFENDER_DATA if name != "disjoint")
