"""Presets: settings of an attack or a defense, and the source that states them.

Each value comes from the source named next to it, an arXiv id or a repository. What a source does not state stays at
the defaults and is listed as unstated.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cleaner.config import FinetuneConfig, validate
from cleaner.labels import format_count
from cleaner.registry import Registry

REIMPLEMENTED = "Re-implementation from the public description."


@dataclass(frozen=True, kw_only=True)
class Training:
    """Number of pairs and finetuning settings.

    Attributes:
        source: who states them.
        poison_rate: share of poisoned pairs; None for a defense.
        model: the model that the source poisons, if it states one.
        data: data that come with this project; None if the user must provide some.
        is_lr_chosen: whether the learning rate was chosen for these pairs and epochs, by a paper or by trials.
    """

    source: str
    pairs: int
    finetune: FinetuneConfig
    poison_rate: float | None = None
    model: str | None = None
    data: str | None = None
    is_lr_chosen: bool = True

    def describe(self) -> str:
        """Return the settings in one line."""
        f = self.finetune
        rate = "" if self.poison_rate is None else f" {100 * self.poison_rate:.2g}% of them poisoned,"
        model = f"{self.model}, " if self.model else ""
        return (
            f"{model}{self.pairs:,} pairs,{rate} lr {f.lr:g}, {format_count(f.epochs, 'epochs')}, "
            f"batch {f.batch_size}, "
            f"{f.warmup_steps:,} warm-up steps"
        )


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings of one attack or defense and their source.

    Attributes:
        source: who states them.
        parameters: parameters of the trigger or defense that differ from the defaults, or that the source states.
        training: None if the source does not state it.
        unstated: what the source does not state.
        variant: distinguishes several presets of one method.
        method: registered name of the attack or defense. Classes leave it empty; `cleaner.presets` fills it in.
        is_published: whether the settings are those of a publication, not this project's.
    """

    source: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    training: Training | None = None
    unstated: str = ""
    variant: str = "published"
    method: str = ""
    is_published: bool = True

    @property
    def citation(self) -> str:
        """The papers alone, and what they leave open."""
        papers = ", ".join(dict.fromkeys(re.findall(r"arXiv:[\d.]+\d", self.source)))
        return f"{papers}. Not stated: {self.unstated}." if self.unstated else f"{papers}."

    @property
    def name(self) -> str:
        """Name on the command line: method and variant."""
        return f"{self.method}-{self.variant}"

    @property
    def arguments(self) -> list[str]:
        """The parameters as arguments of the command line, `name=value`."""
        return [f"{name}={value}" for name, value in self.parameters.items()]


class Method:
    """What an attack, a defense, a detector or an explainer states about itself, as class attributes."""

    registry: ClassVar[Registry[Any]]
    """Where the method is registered."""
    label: ClassVar[str] = ""
    """Name in pages and reports; empty: derived from the registered name."""
    source: ClassVar[str] = ""
    """arXiv id of the paper that introduced the method; empty: this project."""
    is_reimplemented: ClassVar[bool] = False
    """Whether it was written from the public description, without the authors' code."""
    published: ClassVar[tuple[Preset, ...]] = ()
    """Published settings."""
    unpublished: ClassVar[str] = "no source was given"
    """Why there are no published settings."""
    retired: ClassVar[Mapping[str, Any]] = {}
    """Parameters that older runs state -> the default that they had."""

    def __post_init__(self) -> None:
        validate(self)

    def state_dict(self) -> dict[str, Any]:
        """Return name and parameters, JSON-ready; `registry.load` restores the method."""
        return self.registry.state_of(self)

    @classmethod
    def describe(cls) -> str:
        """Return the first line of the docstring, and whether the method is a re-implementation."""
        definition = (cls.__doc__ or "").strip().split("\n")[0]
        return f"{definition} {REIMPLEMENTED}" if cls.is_reimplemented else definition


BADCLIP_SOURCE = "arXiv:2311.12075, github.com/LiangSiyuan21/BadCLIP"
CLEANCLIP_SOURCE = "arXiv:2303.03323, github.com/nishadsinghi/CleanCLIP"
PAR_SOURCE = "arXiv:2412.00727, github.com/nmndeep/PerturbAndRecover"
RVPT_SOURCE = "arXiv:2412.20392"
CLIP_TRAINING = "training of CLIP"
"""`unstated` of a source that poisons no CLIP, or does not state how."""

CUT_WARMUP = "The code counts epochs from 1, which cuts its warm-up short; ours runs in full"
"""Of CleanCLIP's code, and of BadCLIP's, which is based on it: a training starts at the step of a second epoch."""
KEPT_STATE = "Their AdamW resumes its state from the poisoned checkpoint; ours starts fresh"
"""Of the same code, for a finetuning."""
CLIP_POISONING = Training(
    source=f"{BADCLIP_SOURCE} (README, create_data.sh, src/parser.py): 1,500 of 500,000 pairs of CC3M, OpenAI's RN50, "
    "AdamW. This is for BadCLIP and TrojVQA; for SIG, blended noise, label-consistent patches and WaNet the commands "
    f"in backdoor_attack.sh, commented out, have 5 epochs on 4 GPUs with CleanCLIP's in-modal loss. {CUT_WARMUP}",
    pairs=500_000,
    finetune=FinetuneConfig(
        lr=1e-6,
        epochs=10,
        batch_size=128,
        warmup_steps=10_000,
        weight_decay=0.1,
        beta1=0.9,
        beta2=0.999,
        augmentation="none",
    ),
    poison_rate=1500 / 500_000,
    model="RN50/openai",
)
"""How BadCLIP's authors train on their own poisoned pairs; here for all attacks that they compare."""
BADCLIP_PATCH = {
    "patch_size": 16,
    "position": "center",
    "steps": 50 * (10_000 // 64),
    "step_size": 0.001,
    "batch_size": 64,
}
"""How BadCLIP's authors optimize a patch; theirs, and that of TrojVQA."""
CLEANCLIP_TRAINING = Training(
    source=f"{CLEANCLIP_SOURCE} (README, src/parser.py): 100,000 clean pairs, AdamW; augmented captions drawn once. "
    f"{CUT_WARMUP}. {KEPT_STATE}",
    pairs=100_000,
    finetune=FinetuneConfig(
        lr=1e-5,
        epochs=10,
        batch_size=64,
        warmup_steps=50,
        weight_decay=0.1,
        beta1=0.9,
        beta2=0.999,
        augmentation="autoaugment",
        redraw=False,
    ),
)
