"""GradCAM (arXiv:1610.02391) on a stage of a ResNet, by captum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from captum.attr import LayerGradCam
from torch import Tensor

from cleaner.config import param
from cleaner.explain.base import EXPLAINERS, Explainer, upsample
from cleaner.models.clip import Clip

MIN_GRID_SIZE = 7
STRIDES = (4, 8, 16, 32)
"""Pixels of the model's picture behind one cell of the four stages."""


@EXPLAINERS.register("grad_cam")
@dataclass(frozen=True)
class GradCam(Explainer[Tensor]):
    """Where a stage's feature maps raise the similarity to the target text."""

    label: ClassVar[str] = "GradCAM"
    source: ClassVar[str] = "arXiv:1610.02391"

    is_signed: ClassVar[bool] = False
    stage: int = param(0, low=0, high=4, help="Stage of the ResNet; 0: the last one with at least 7 x 7 cells.")

    def unsupported_reason(self, clip: Clip) -> str | None:
        if all(hasattr(clip.model.visual, f"layer{stage}") for stage in (1, 2, 3, 4)):
            return None
        return "GradCAM looks into the stages of a ResNet: choose rollout, integrated gradients or occlusion."

    def resolve_stage(self, clip: Clip) -> int:
        """Return the stage that is looked at, 1..4."""
        fine = [stage for stage in (1, 2, 3, 4) if clip.image_size // STRIDES[stage - 1] >= MIN_GRID_SIZE]
        return self.stage or max(fine, default=1)

    def grid_size(self, clip: Clip) -> int:
        return clip.image_size // STRIDES[self.resolve_stage(clip) - 1]

    def _attribute(self, clip: Clip, images: Tensor, target: Tensor) -> Tensor:
        stage: Any = getattr(clip.model.visual, f"layer{self.resolve_stage(clip)}")
        cam = LayerGradCam(lambda x: (clip.encode_image(x) * target).sum(-1), stage)
        cells: Tensor = cam.attribute(images, relu_attributions=True)
        return upsample(cells[:, 0], images.shape[-2:])
