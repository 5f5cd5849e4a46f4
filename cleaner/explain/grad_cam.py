"""GradCAM on a stage of a ResNet, by captum (arXiv:1610.02391)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from captum.attr import LayerGradCam
from torch import Tensor

from cleaner.config import param
from cleaner.explain.base import EXPLAINERS, Explainer, image_similarity, upsample
from cleaner.models.clip import Clip

MIN_GRID_SIZE = 7
"""Fewest cells along a side of the default stage."""
STRIDES = (4, 8, 16, 32)
"""Pixels of the input per cell, for each of the four stages."""


@EXPLAINERS.register("grad_cam")
@dataclass(frozen=True)
class GradCam(Explainer[Tensor]):
    """Show where feature maps of a stage raise the similarity to the text; often misses a small trigger."""

    label: ClassVar[str] = "GradCAM"
    source: ClassVar[str] = "arXiv:1610.02391"

    is_signed: ClassVar[bool] = False
    stage: int = param(0, low=0, high=4, help="Stage of the ResNet; 0: the last one with at least 7 x 7 cells.")

    def unsupported_reason(self, clip: Clip) -> str | None:
        if all(hasattr(clip.model.visual, f"layer{stage}") for stage in (1, 2, 3, 4)):
            return None
        return "GradCAM needs the stages of a ResNet: choose rollout, integrated gradients or occlusion."

    def resolve_stage(self, clip: Clip) -> int:
        """Return the stage that is explained, 1..4."""
        fine_stages = [stage for stage in (1, 2, 3, 4) if clip.image_size // STRIDES[stage - 1] >= MIN_GRID_SIZE]
        return self.stage or max(fine_stages, default=1)

    def grid_size(self, clip: Clip) -> int:
        return clip.image_size // STRIDES[self.resolve_stage(clip) - 1]

    def _attribute(self, clip: Clip, images: Tensor, target: Tensor) -> Tensor:
        stage: Any = getattr(clip.model.visual, f"layer{self.resolve_stage(clip)}")
        method = LayerGradCam(image_similarity(clip), stage)
        cells: Tensor = method.attribute(images, additional_forward_args=target, relu_attributions=True)
        return upsample(cells[:, 0], images.shape[-2:])
