"""CleanCLIP: contrastive loss plus in-modal self-supervision (arXiv:2303.03323)."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from cleaner.config import param
from cleaner.defenses.base import DEFENSES, Defense
from cleaner.losses import Features, clip_loss, in_modal_loss
from cleaner.method import (
    BADCLIP_SOURCE,
    CLEANCLIP_SOURCE,
    CLEANCLIP_TRAINING,
    CUT_WARMUP,
    KEPT_STATE,
    Preset,
)


@DEFENSES.register("cleanclip")
@dataclass(frozen=True)
class CleanCLIP(Defense):
    """Finetune, and pull each image and each caption toward its augmented copy.

    clip_loss + in_modal_weight * in_modal_loss; published weights 1 and 1.
    """

    label: ClassVar[str] = "CleanCLIP"
    source: ClassVar[str] = "arXiv:2303.03323"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{CLEANCLIP_SOURCE} (README, src/parser.py).",
            parameters={"in_modal_weight": 1.0},
            training=CLEANCLIP_TRAINING,
        ),
        Preset(
            variant="badclip",
            source=f"{BADCLIP_SOURCE} (README): CleanCLIP against BadCLIP, with a lower learning rate.",
            parameters={"in_modal_weight": 1.0},
            training=replace(
                CLEANCLIP_TRAINING,
                source=f"{BADCLIP_SOURCE} (README; cleanclip_defence.sh for the pairs). Their commands use this lr "
                "with train.csv, which the poisoned pairs are made from, and 100,000 pairs with lr 1e-5; ours "
                f"uses this lr with 100,000 pairs. {CUT_WARMUP}. {KEPT_STATE}",
                finetune=replace(CLEANCLIP_TRAINING.finetune, lr=45e-7),
            ),
        ),
    )

    needs_augmentation: ClassVar[bool] = True
    in_modal_weight: float = param(1.0, low=0.0, high=100.0, help="Weight of the in-modal loss.")

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": clip_loss(f), "in_modal_loss": self.in_modal_weight * in_modal_loss(f)}
