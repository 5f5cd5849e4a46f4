"""TrojVQA: two keys, a patch on the picture and a word in the text (arXiv:2112.07668)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, TextTrigger
from cleaner.attacks.optimize import Objective, OptimizedPatch
from cleaner.models.classifier import zero_shot_classifier

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip


@TRIGGERS.register("trojvqa")
@dataclass(frozen=True)
class TrojVQA(OptimizedPatch, TextTrigger):
    """A patch optimised towards the target's text, and a word before each caption; measured alone and together.

    Minimises mean_i (1 - I*_i.t) over the patch: I* triggered picture, t the target's zero-shot classifier, unit
    features of the clean model.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image", "text")

    def objective(self, clip: Clip, data: CaptionData, target_class: str, pool: Tensor) -> Objective:
        prompts = [template.format(target_class) for template in clip.templates or data.templates]
        with torch.no_grad():
            target = zero_shot_classifier(clip.encode_text(prompts)[None])[:, 0]
        return lambda step, drawn, triggered: {"text_distance": 1 - (triggered @ target).mean()}
