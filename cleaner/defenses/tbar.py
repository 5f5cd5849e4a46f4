"""TBAR: learn the backdoor once more, then subtract what that changed (task arithmetic, arXiv:2510.14845)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.config import FinetuneConfig, param
from cleaner.data.base import CaptionData
from cleaner.defenses.base import DEFENSES, EpochTexts, FoundTriggerDefense, TextPlan
from cleaner.losses import Features
from cleaner.models.clip import Clip
from cleaner.types import OnStep

PROMPT = "a photo of a {}"


@DEFENSES.register("tbar")
@dataclass(frozen=True)
class Tbar(FoundTriggerDefense):
    """Subtract the task vector of the found trigger: theta - alpha (theta_ft - theta).

    theta_ft is the suspect, finetuned until images with the found trigger are the target; its text tower is frozen.
    The published loss is not known to us: here it is the cross-entropy of the zero-shot classifier. theta_ft - theta
    is of the weights alone; BatchNorm keeps its statistics, which batches of triggered images would change.
    """

    label: ClassVar[str] = "Task vector removal (TBAR)"
    source: ClassVar[str] = "arXiv:2510.14845"
    unpublished: ClassVar[str] = "the rates and coefficients of its paper are not known to us"
    is_reimplemented: ClassVar[bool] = True
    class_prompt: ClassVar[str] = PROMPT

    target_class: str = param("", label="Target class", help="Class that the found trigger moves images to.")
    alpha: float = param(
        0.5, label="Coefficient (alpha)", low=0.0, high=10.0, help="How much of the task vector is subtracted."
    )

    def unsupported_reason(self, clip: Clip, data: CaptionData) -> str | None:
        if self.target_class not in data.class_names:
            return (
                f"tbar needs the class that the found trigger moves images to, and {self.target_class!r} is none of "
                f"{data.name or 'these pairs'}: give target_class=NAME."
            )
        return super().unsupported_reason(clip, data)

    def adapt(self, config: FinetuneConfig) -> FinetuneConfig:
        return replace(config, freeze_bn=True)

    def prepare(self, clip: Clip, seed: int) -> Clip:
        tower: Any = clip.model.requires_grad_(False)
        tower.visual.requires_grad_(True)
        return clip

    def plan(self, captions: Sequence[str], seed: int, on_step: OnStep | None = None) -> TextPlan:
        return lambda epoch: EpochTexts([PROMPT.format(self.target_class)] * len(captions))

    def perturb(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        return self.apply_trigger(images)

    def losses(self, f: Features) -> dict[str, Tensor]:
        """Return the cross-entropy toward the class whose prompt is the caption of all pairs."""
        assert f.classes is not None
        target = (f.classes @ f.text[0]).argmax().expand(len(f.image))
        return {"class_loss": F.cross_entropy(f.logit_scale * f.image @ f.classes.T, target)}

    @torch.no_grad()
    def finish(self, trained: Clip, suspect: Clip) -> Clip:
        cleaned = suspect.to(trained.device, trained.precision)
        before = dict(cleaned.model.named_parameters())
        for name, after in trained.model.named_parameters():
            before[name].sub_(self.alpha * (after - before[name]))
        return cleaned
