"""Feature repelling: the loss of Repulsive Visual Prompt Tuning, without its prompts and labels (arXiv:2412.20392).

Reimplemented from the public description.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.defenses.base import DEFENSES, RepellingDefense
from cleaner.losses import Features, clip_loss
from cleaner.method import RVPT_SOURCE, Preset


@DEFENSES.register("feature_repelling")
@dataclass(frozen=True)
class FeatureRepelling(RepellingDefense):
    """Finetune, and turn the outputs of the image tower's later blocks away from the backdoored model's.

    clip_loss + repelling_weight * FR on all weights; FR is the mean cosine between the class tokens of both models over
    the later blocks of a ViT, as published. On a ResNet, which is this project's extension, it compares the pooled
    outputs of the later stages. Captions suffice. On a ViT both models agree at the first step: FR is 1 and has no
    gradient yet.
    """

    label: ClassVar[str] = "Feature repelling"
    source: ClassVar[str] = "arXiv:2412.20392"
    is_reimplemented: ClassVar[bool] = True
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{RVPT_SOURCE} (Table 8): CLIP's loss on CC3M, ViT-B/32, with the paper's own loss. D 3 of 12 "
            "blocks and alpha 2 are those of its main method.",
            parameters={"repelling_weight": 2.0, "skip_share": 0.25},
            unstated="training, weight and blocks of this ablation",
        ),
    )

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": clip_loss(f), "repelling_loss": self.repelling_loss(f)}
