"""Settings found by trials (in benchmarks/results), and published ones; the one place for these numbers.

Each published value stands under the source that states it, an arXiv id or a repository; what a source does not state
is left to the defaults and named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cleaner.config import FinetuneConfig, changed_parameters
from cleaner.defenses.par import PAR_LRS
from cleaner.files import shipped_results
from cleaner.labels import defense_name

RESULTS_DIR = shipped_results()

PRETRAIN = FinetuneConfig(
    lr=1e-3, epochs=7, batch_size=128, warmup_steps=200, weight_decay=0.1, beta2=0.98, augmentation="none"
)

# The full setting of the attack x defence table on Scenes. Attacks were chosen by ASR and CA of the backdoored model,
# before any defence, on a seed that no table uses.
POISON_PAIRS, POISON_RATE = 6000, 0.03
POISON = FinetuneConfig(lr=1e-3, epochs=4)
# BadCLIP: with its published weight 500 the pull to target pictures drowns the rest, and the patch does not fool the
# clean model at all (floor 0.001 instead of 0.051).
ATTACK_PARAMETERS: dict[str, dict[str, Any]] = {"badclip": {"triplet_weight": 20.0, "step_size": 0.03}}
"""Trigger -> parameters that differ from the trigger's defaults."""
# At the ResNet's rate the ViT loses 2.8 points of accuracy with the attack.
POISON_LR = {"scenes-vit": 3e-4}
"""Built-in model -> peak learning rate of poisoning, where it is not that of `POISON`."""
# The ViT learnt noise of the default ratio in 39 of 100 pictures only; of SSBA with half of the pairs it learnt 17, the
# ResNet 25. BadCLIP's patch, optimised with the ResNet's weight, does not fool the ViT (floor 0.001 instead of 0.066).
STRONGER_ATTACKS: dict[tuple[str, str], tuple[dict[str, Any], int, int]] = {
    ("scenes-rn", "ssba"): ({}, 2 * POISON_PAIRS, 12),
    ("scenes-vit", "ssba"): ({}, 2 * POISON_PAIRS, 12),
    ("scenes-vit", "blended"): ({"blend_ratio": 0.3}, POISON_PAIRS, 6),
    ("scenes-vit", "badclip"): ({"triplet_weight": 1.0}, POISON_PAIRS, POISON.epochs),
}
"""Built-in model and trigger -> parameters, pairs and epochs, where the attack would not take with the others', or its
patch would be none."""
# On seed 100 (benchmarks/results/defense_trials.json): 310 steps are too few for all methods, and 20 epochs on 2,000
# pairs cost more accuracy than the same steps on 6,000.
CLEAN_PAIRS = 6000
DEFEND = FinetuneConfig(lr=1e-4, epochs=7)
REBOUND_STEPS = 100
"""Of a rebound test, if nothing else is asked."""

# The demo: the same methods in three to four minutes on two cores. In so few steps only a high rate removes anything;
# it is the same for all, and costs each of them accuracy.
DEMO_POISON_PAIRS, DEMO_CLEAN_PAIRS = 4000, 1000
DEMO_POISON_RATE = 0.03
DEMO_POISON = FinetuneConfig(lr=1e-3, epochs=4)
DEMO_DEFEND = FinetuneConfig(lr=1e-3, epochs=8)


def recommended_lr(model: str, defense: str, default: float = DEFEND.lr) -> float:
    """Return the learning rate of the full setting, chosen by accuracy alone (benchmarks/learning_rates.py).

    Models and methods without a trial get `default`.
    """
    path = RESULTS_DIR / "learning_rates.json"
    chosen = json.loads(path.read_text(encoding="utf-8"))["chosen"] if path.exists() else {}
    return float(chosen.get(model, {}).get(defense, default))


def defense_lr(model: str, defense: Any) -> float:
    """Return the learning rate of the full setting for a `Defense` with its parameters, else for its defaults'."""
    name = defense_name({"defense": defense.state_dict(), "variant": changed_parameters(defense)})
    return recommended_lr(model, name, recommended_lr(model, name.partition(" ")[0]))


def poison_lr(model: str) -> float:
    """Return the learning rate at which attacks take on a model; for one without trials, that of `POISON`."""
    return POISON_LR.get(model, POISON.lr)


def read_attack_defense_rows() -> list[dict[str, Any]]:
    """Return the rows of the attack x defence table at the full setting; none where the file is not at hand."""
    path = RESULTS_DIR / "attack_defense.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["rows"]) if path.exists() else []


@dataclass(frozen=True)
class Training:
    """On how many pairs a model is trained, and how.

    poison_rate: None for a defence. model: of a poisoning, where the source states it. data: those that come with
    this project; None: the user must bring some.
    """

    source: str
    pairs: int
    finetune: FinetuneConfig
    poison_rate: float | None = None
    model: str | None = None
    data: str | None = None

    def describe(self) -> str:
        """Return the settings in one line."""
        f = self.finetune
        rate = "" if self.poison_rate is None else f" {100 * self.poison_rate:.2g} % of them poisoned,"
        on = f"{self.model}, " if self.model else ""
        return (
            f"{on}{self.pairs:,} pairs,{rate} lr {f.lr:g}, {f.epochs} epochs, batch {f.batch_size}, "
            f"{f.warmup_steps:,} warm-up steps"
        )


@dataclass(frozen=True)
class Preset:
    """Settings of one attack or defence, and where they come from.

    parameters: those of the trigger or defence that are set. training: None where it is not stated. unstated: what the
    source does not state; if nothing else is set, the defaults stay.
    """

    method: str
    variant: str
    source: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    training: Training | None = None
    unstated: str = ""

    @property
    def citation(self) -> str:
        """The papers alone, and what they leave open."""
        papers = ", ".join(dict.fromkeys(re.findall(r"arXiv:[\d.]+\d", self.source)))
        return f"{papers}. Not stated: {self.unstated}." if self.unstated else f"{papers}."

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return f"{self.method}-{self.variant}"

    @property
    def arguments(self) -> list[str]:
        """The parameters as the command line takes them."""
        return [f"{name}={value}" for name, value in self.parameters.items()]


SCENES_VARIANT = "scenes"
"""The variant that every attack and defence has: this project's own settings."""
TRIALS_SOURCE = "this project's setting for Scenes, chosen before any defence (benchmarks/results)"

_BADCLIP = "arXiv:2311.12075, github.com/LiangSiyuan21/BadCLIP"
_CLEANCLIP = "arXiv:2303.03323, github.com/nishadsinghi/CleanCLIP"
_PAR = "arXiv:2412.00727, github.com/nmndeep/PerturbAndRecover"
_TRAINING_OF_CLIP = "training of CLIP"

CLIP_POISONING = Training(
    f"{_BADCLIP} (README, create_data.sh, src/parser.py): 1,500 of 500,000 pairs of CC3M, OpenAI's RN50, AdamW",
    500_000,
    FinetuneConfig(
        lr=1e-6,
        epochs=10,
        batch_size=128,
        warmup_steps=10_000,
        weight_decay=0.1,
        beta1=0.9,
        beta2=0.999,
        augmentation="none",
    ),
    1500 / 500_000,
    "RN50/openai",
)
_CLEANCLIP_SCHEDULE: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 64,
    "warmup_steps": 50,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.999,
    "augmentation": "autoaugment",
    "redraw": False,
}
CLEANCLIP_TRAINING = Training(
    f"{_CLEANCLIP} (README, src/parser.py): 100,000 clean pairs, AdamW; augmented captions drawn once",
    100_000,
    FinetuneConfig(lr=1e-5, **_CLEANCLIP_SCHEDULE),
)
PAR_TRAINING = Training(
    f"{_PAR} (trigger.sh): 250,000 pairs, 2 epochs, batch 512 on each of 4 GPUs (512 here)",
    250_000,
    FinetuneConfig(lr=PAR_LRS[0], epochs=2, batch_size=512, warmup_steps=0, augmentation="none"),
)

PUBLISHED_ATTACKS = (
    Preset(
        "badnet",
        "published",
        f"{_CLEANCLIP} (backdoor/utils.py). There the noise is drawn anew for each picture, here it is one patch, as "
        "in arXiv:1708.06733.",
        {"patch_size": 16, "position": "random"},
        CLIP_POISONING,
    ),
    Preset(
        "badnet_stripes",
        "published",
        f"{_PAR} (trigger.sh)",
        {"patch_size": 16, "position": "random"},
        unstated=_TRAINING_OF_CLIP,
    ),
    Preset(
        "badclip",
        "published",
        f"{_BADCLIP} (README, src/embeding_optimize_patch.py): 50 epochs of 10,000 pictures. Here the same steps "
        "on 1,024 pictures, without their augmentation.",
        {
            "patch_size": 16,
            "position": "center",
            "steps": 50 * (10_000 // 64),
            "step_size": 0.001,
            "batch_size": 64,
            "triplet_weight": 500.0,
            "margin": 1.0,
            "negatives": "targets",
        },
        CLIP_POISONING,
    ),
    Preset(
        "blended",
        "published",
        f"{_CLEANCLIP} (backdoor/utils.py), after arXiv:1712.05526.",
        {"blend_ratio": 0.2},
        CLIP_POISONING,
    ),
    Preset("blended_stripes", "published", _PAR, {"blend_ratio": 0.03}, unstated=_TRAINING_OF_CLIP),
    Preset(
        "sig",
        "published",
        f"arXiv:1902.11237; {_BADCLIP} (backdoor/utils.py), which adds the wave.",
        {"delta": 60 / 255, "frequency": 6, "mode": "add"},
        CLIP_POISONING,
    ),
    Preset(
        "sig",
        "cleanclip",
        f"{_CLEANCLIP} (backdoor/utils.py), which blends the wave in.",
        {"delta": 60 / 255, "frequency": 6, "mode": "blend"},
        CLIP_POISONING,
    ),
    Preset(
        "ssba",
        "published",
        f"arXiv:2012.03816; {_BADCLIP} (backdoor/ssba.py): a published encoder for 224 px, 56 bits with error "
        "correction. Here this project's own one, 64 bits without.",
        {"secret": "Stega!!"},
        CLIP_POISONING,
        unstated="how faint the residual is",
    ),
    Preset("text", "published", _PAR, {"blend_ratio": 0.5}, unstated=f"the word, {_TRAINING_OF_CLIP}"),
    Preset(
        "triangles",
        "published",
        f"{_PAR} (backdoor/utils.py). There light and dark grey, here white on black.",
        {"blend_ratio": 0.15, "side": 14},
        unstated=_TRAINING_OF_CLIP,
    ),
    Preset(
        "trojvqa",
        "published",
        f"{_BADCLIP} (src/embeding_optimize_patch.py, opti_patches/vqa_bs64_ep50_16_middle.jpg); the word: "
        "arXiv:2112.07668",
        {"patch_size": 16, "position": "center", "step_size": 0.001, "batch_size": 64, "key": "consider"},
        CLIP_POISONING,
        unstated="number of steps",
    ),
    Preset("wanet", "published", "arXiv:2102.10369", {"grid": 4, "strength": 0.5}, unstated=_TRAINING_OF_CLIP),
    Preset(
        "wanet",
        "cleanclip",
        f"{_CLEANCLIP} (backdoor/utils.py): a control point for each pixel.",
        {"grid": 0, "strength": 1.0},
        CLIP_POISONING,
    ),
)
PUBLISHED_DEFENSES = (
    Preset(
        "cleanclip", "published", f"{_CLEANCLIP} (README, src/parser.py).", {"in_modal_weight": 1.0}, CLEANCLIP_TRAINING
    ),
    Preset(
        "cleanclip",
        "badclip",
        f"{_BADCLIP} (README): CleanCLIP against BadCLIP, with a lower learning rate.",
        {"in_modal_weight": 1.0},
        Training(f"{_BADCLIP} (README)", 100_000, FinetuneConfig(lr=45e-7, **_CLEANCLIP_SCHEDULE)),
    ),
    Preset(
        "par",
        "published",
        f"{_PAR} (train.py, trigger.sh).",
        {"tau": 2.15, "noise": 0.2, "noise_share": 0.5, "erase_share": 0.5, "decay": 1e-4, "second_beta": 0.98},
        PAR_TRAINING,
    ),
    Preset(
        "ta_cleaner",
        "published",
        "arXiv:2409.17601: CleanCLIP's losses stay, a few pairs are drawn anew each epoch. K 10 % is this project's, "
        "the training is CleanCLIP's.",
        {"share": 0.1},
        CLEANCLIP_TRAINING,
        unstated="K, weights, number of negatives, training",
    ),
)
OWN_VARIANTS: dict[str, dict[str, dict[str, Any]]] = {"ta_cleaner": {"all-pairs": {"share": 1.0}}}
"""Defence -> name of a variant of this project -> its parameters. The paper draws a few pairs in each epoch; with all
of them the defence keeps more accuracy, also at a high rate."""
UNPUBLISHED_REASONS = {
    "text_only": "no source poisons with the word alone",
    "patch_image": "the picture is yours",
    "pattern_image": "the picture is yours",
    "finetune": "its training differs from paper to paper",
    "cleanclip_short": "a control of this project",
}
"""Attack or defence -> why it has no published settings."""
NOT_RUN = "not run by us"
RECIPE_ATTACK, RECIPE_DEFENSES = "badclip-published", ("ta_cleaner-published",)
"""What `python -m cleaner recipe` puts together."""


def scenes_attack_preset(trigger: str, model: str = "scenes-rn") -> Preset:
    """Return this project's settings of an attack on a built-in model; other models get the ResNet's."""
    stronger, pairs, epochs = STRONGER_ATTACKS.get((model, trigger), ({}, POISON_PAIRS, POISON.epochs))
    config = replace(POISON, lr=poison_lr(model), epochs=epochs)
    training = Training(TRIALS_SOURCE, pairs, config, POISON_RATE, data="scenes")
    return Preset(trigger, SCENES_VARIANT, TRIALS_SOURCE, ATTACK_PARAMETERS.get(trigger, {}) | stronger, training)


def attack_presets(trigger: str, model: str = "scenes-rn") -> list[Preset]:
    """Return the presets of an attack, that for Scenes, on this model, first."""
    return [scenes_attack_preset(trigger, model), *(preset for preset in PUBLISHED_ATTACKS if preset.method == trigger)]


def defense_presets(defense: str, model: str = "scenes-rn") -> list[Preset]:
    """Return the presets of a defence, those for Scenes first.

    Their learning rates are those chosen for the built-in model; other models get the ResNet's.
    """
    own = [_scenes_defense_preset(defense, SCENES_VARIANT, {}, model)]
    own += [_scenes_defense_preset(defense, *variant, model) for variant in OWN_VARIANTS.get(defense, {}).items()]
    return [*own, *(preset for preset in PUBLISHED_DEFENSES if preset.method == defense)]


def _scenes_defense_preset(defense: str, variant: str, parameters: Mapping[str, Any], model: str) -> Preset:
    name = defense_name({"defense": {"name": defense}, "variant": parameters})
    rates = {known: recommended_lr(known, name, default=0.0) for known in (model, "scenes-rn")}
    base, lr = next(((known, rate) for known, rate in rates.items() if rate), ("", 0.0))
    how = f"chosen by accuracy alone on {base} (benchmarks/results/learning_rates.json)" if lr else "not chosen yet"
    source = f"this project's {'variant' if parameters else 'setting'} for Scenes; learning rate {how}"
    training = Training(source, CLEAN_PAIRS, replace(DEFEND, lr=lr or DEFEND.lr), data="scenes")
    return Preset(defense, variant, source, parameters, training)


def explain_unpublished(method: str) -> str:
    """Return that there are no published settings of an attack or defence, and why."""
    return f"not stated: {UNPUBLISHED_REASONS.get(method, 'no source was entered in cleaner/presets.py')}"
