"""Plain finetuning on clean pairs with CLIP's own loss: the baseline of every table."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.defenses.base import DEFENSES, Defense
from cleaner.losses import Features, clip_loss


@DEFENSES.register("finetune")
@dataclass(frozen=True)
class Finetune(Defense):
    """Finetune on clean pairs with CLIP's own loss: clip_loss alone."""

    label: ClassVar[str] = "Plain finetuning"
    unpublished: ClassVar[str] = "its training differs from paper to paper"

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": clip_loss(f)}
