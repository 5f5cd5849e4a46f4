"""Defense: the texts of an epoch and the loss terms of a batch. A new defense is one file with one subclass."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from cleaner.config import FinetuneConfig, param
from cleaner.data.base import CaptionData
from cleaner.data.images import blend_rgba, decode_base64, decode_rgba, encode_base64, read_image_file
from cleaner.files import resolve_path
from cleaner.losses import Features, feature_repelling_loss
from cleaner.method import Method
from cleaner.models.blocks import find_blocks
from cleaner.models.clip import Clip
from cleaner.registry import DEFENSES as DEFENSES  # part of this module's interface
from cleaner.registry import TRIGGERS
from cleaner.seed import numpy_generator
from cleaner.text import SubtextPair
from cleaner.types import OnStep

T = TypeVar("T")


class DrawnTexts(Mapping[int, T]):
    """Index -> what was made from the caption of a drawn pair; made when it is first asked for.

    `make` returns None for a caption that yields nothing, which is then not contained, but one of the `indices`.
    """

    def __init__(self, indices: Sequence[int], make: Callable[[int], T | None]) -> None:
        self.indices, self._make = frozenset(indices), make
        self._made: dict[int, T | None] = {}

    @property
    def skipped(self) -> int:
        """Number of drawn pairs whose caption yields nothing."""
        return len(self.indices) - len(self)

    def _find(self, index: object) -> T | None:
        if not isinstance(index, int) or index not in self.indices:
            return None
        if index not in self._made:
            self._made[index] = self._make(index)
        return self._made[index]

    def __contains__(self, index: object) -> bool:
        return self._find(index) is not None

    def __getitem__(self, index: int) -> T:
        found = self._find(index)
        if found is None:
            raise KeyError(index)
        return found

    def __iter__(self) -> Iterator[int]:
        return (index for index in sorted(self.indices) if index in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class EpochTexts:
    """The texts of one epoch: N captions, and index -> subtexts of the drawn pairs."""

    captions: Sequence[str]
    drawn: DrawnTexts[SubtextPair] = field(default_factory=lambda: DrawnTexts((), lambda _: None))
    style: str = "core"
    """Style of the positive subtexts."""


TextPlan = Callable[[int], EpochTexts]


@dataclass(frozen=True)
class Defense(Method, ABC):
    """A way to finetune a backdoored model on clean pairs. Its parameters are the fields made by `param`."""

    registry = DEFENSES
    needs_augmentation: ClassVar[bool] = False
    """Whether the losses need augmented images and captions."""
    needs_reference: ClassVar[bool] = False
    """Whether the losses need `Features.reference`, the features of the model before training."""
    needs_blocks: ClassVar[bool] = False
    """Whether the losses need `Features.blocks`, the outputs of the blocks of the image tower."""
    needs_labels: ClassVar[bool] = False
    """Whether the losses need `Features.labels`."""
    is_model_frozen: ClassVar[bool] = False
    """Whether it trains new weights alone: the model cannot forget anything, at any learning rate."""
    class_prompt: ClassVar[str] = ""
    """Prompt with {} for the class name. If set, the losses get `Features.labels` and `Features.classes`, whose text
    tower must stay frozen: prompts are encoded once."""

    @property
    def needs_inversion(self) -> bool:
        """Whether it still lacks the inverted trigger that it removes, whose file is its parameter `path`."""
        return False

    def unsupported_reason(self, clip: Clip, data: CaptionData) -> str | None:
        """Return why the method cannot train this model on these pairs, and what to do; None if it can."""
        if self.needs_blocks and not find_blocks(clip):
            return (
                f"{DEFENSES.name_of(self)} needs the blocks of open_clip's own ViT or ResNet, and {clip.name} has "
                "another image tower: choose another defense."
            )
        return None

    def select(self, data: CaptionData) -> CaptionData:
        """Return the pairs that the method trains on."""
        return data

    def prepare(self, clip: Clip, seed: int) -> Clip:
        """Return the model to train, `clip` itself or a copy; only weights that require a gradient are trained."""
        return clip

    def build_optimizer(self, model: nn.Module, config: FinetuneConfig) -> torch.optim.Optimizer | None:
        """Return the optimizer, or None for the loop's own AdamW."""
        return None

    def plan(self, captions: Sequence[str], seed: int, on_step: OnStep | None = None) -> TextPlan:
        """Return epoch -> texts of that epoch; a pure function of (seed, epoch), so a run can resume anywhere.

        on_step: gets the progress of what is done with all captions beforehand.
        """
        return lambda epoch: EpochTexts(captions)

    def adapt(self, config: FinetuneConfig) -> FinetuneConfig:
        """Return the settings with the optimizer values that the method prescribes; never the learning rate."""
        return config

    def lr_factor(self, step: int, total: int) -> float | None:
        """Return lr / peak lr at a step, or None for the loop's own warmup and cosine."""
        return None

    def perturb(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        """Return the images (N, 3, H, W) that both models see; a pure function of (seed, epoch, index)."""
        return images

    @abstractmethod
    def losses(self, f: Features) -> dict[str, Tensor]:
        """Return the named, weighted loss terms of a batch; the training loop sums them."""

    def finish(self, trained: Clip, suspect: Clip) -> Clip:
        """Return the cleaned model, after the last step; `trained` may be changed. suspect: before training."""
        return trained


def load_defense(state: dict[str, Any]) -> Defense:
    """Return the defense that `state_dict()` described."""
    defense: Defense = DEFENSES.load(state)
    return defense


def draw_pairs(count: int, *, share: float, seed: int, epoch: int) -> list[int]:
    """Return the K = share x count pairs drawn in an epoch: sorted indices, at least one."""
    drawn = numpy_generator("drawn pairs", seed, epoch).choice(count, max(1, round(share * count)), replace=False)
    return sorted(int(index) for index in drawn)


@dataclass(frozen=True)
class RepellingDefense(Defense):
    """A defense with the feature-repelling loss (arXiv:2412.20392) as one of its terms."""

    needs_reference: ClassVar[bool] = True
    needs_blocks: ClassVar[bool] = True
    repelling_weight: float = param(
        2.0, label="Repelling weight (alpha)", low=0.0, high=100.0, help="Weight of the feature-repelling loss."
    )
    skip_share: float = param(
        0.25,
        label="Share of blocks skipped (D)",
        low=0.0,
        high=0.95,
        step=0.05,
        help="D / L: share of the image tower's first blocks that are left alone; published 3 of 12.",
    )

    def repelling_loss(self, f: Features) -> Tensor:
        """Return the weighted loss. Raises `ValueError` without the features of the model before training."""
        if f.reference is None:
            raise ValueError(f"{DEFENSES.name_of(self)} needs the features of the model before training (reference).")
        return self.repelling_weight * feature_repelling_loss(f, f.reference, self.skip_share)


@dataclass(frozen=True)
class FoundTriggerDefense(Defense):
    """A defense that removes a trigger that was found: an inverted one, or a known one that moves the model."""

    path: str = param(
        "",
        label="Inverted trigger",
        is_path=True,
        help="PNG file that `python -m cleaner invert` wrote. Empty: the stored inversion of the suspect.",
    )
    png: str = ""
    """The file's content in base64: a run that was moved needs no other file."""
    png_path: str = ""
    """`path` of the file in `png`: another path is read again."""
    known: str = ""
    """`state_dict` as JSON of a known trigger that takes the place of an inverted one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path and (not self.png or resolve_path(self.png_path) not in ("", self.path)):
            object.__setattr__(self, "png", encode_base64(read_image_file(self.path)))
            object.__setattr__(self, "png_path", self.path)

    @property
    def needs_inversion(self) -> bool:
        return not (self.png or self.known)

    def unsupported_reason(self, clip: Clip, data: CaptionData) -> str | None:
        if self.needs_inversion:
            return (
                f"{DEFENSES.name_of(self)} needs an inverted trigger: find one with python -m cleaner invert, or give "
                "its file (path=trigger.png)."
            )
        return super().unsupported_reason(clip, data)

    def apply_trigger(self, images: Tensor) -> Tensor:
        """Return a copy of images (N, 3, H, W) in [0, 1] with the found trigger."""
        if self.known:
            triggered: Tensor = _load_known(self.known)(images)
            return triggered
        return blend_rgba(images, _decode_trigger(self.png, images.shape[-1]).to(images))


@lru_cache(maxsize=1)
def _load_known(state: str) -> Any:
    return TRIGGERS.load(json.loads(state))


@lru_cache(maxsize=1)
def _decode_trigger(png: str, side: int) -> Tensor:
    """Return pixels and opacity (4, side, side) of a trigger; each batch needs them."""
    return decode_rgba(decode_base64(png), side, "the inverted trigger")
