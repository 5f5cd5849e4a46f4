"""WaNet: a smooth warp of the whole image, the same for all images (arXiv:2102.10369)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger
from cleaner.config import param
from cleaner.method import CLEANCLIP_SOURCE, CLIP_POISONING, CLIP_TRAINING, Preset
from cleaner.seed import torch_generator


@TRIGGERS.register("wanet")
@dataclass(frozen=True)
class WaNet(Trigger):
    """Shift each pixel slightly along a fixed smooth field, on average by about 0.4 px per axis at strength 1.

    A k x k control grid, uniform in [-1, 1] over its mean absolute value, upsampled bicubically (align_corners) to
    g (H, W, 2); sampled bilinearly at clamp(identity + s g / H, -1, 1). WaNet: k = 4, s = 0.5; CleanCLIP: k = H, s = 1.
    The mean shift per axis is s / 2 px at the control points; between those of a small k it is less, in all 0.4 s px.
    No model learns a shift of 0.2 px on 64 px images, hence the default s = 4.
    """

    label: ClassVar[str] = "Warp (WaNet)"
    source: ClassVar[str] = "arXiv:2102.10369"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source="arXiv:2102.10369. For each of their poisoned images, two others with randomly perturbed warps "
            "keep their labels (noise mode); in ours, as in CleanCLIP's code, none do.",
            parameters={"grid": 4, "strength": 0.5},
            unstated=CLIP_TRAINING,
        ),
        Preset(
            variant="cleanclip",
            source=f"{CLEANCLIP_SOURCE} (backdoor/utils.py): one control point per pixel.",
            parameters={"grid": 0, "strength": 1.0},
            training=CLIP_POISONING,
        ),
    )

    covers_image: ClassVar[bool] = True
    strength: float = param(4.0, low=0.1, high=20.0, step=0.1, help="s; pixels move by about 0.4 s px along each axis.")
    grid: int = param(4, low=0, high=64, help="k, control points along a side; 0: one per pixel, as in CleanCLIP.")
    seed: int = param(0, low=0, high=9999, help="Seeds the field.")

    def sampling_grid(self, height: int, width: int) -> Tensor:
        """Return the source of each pixel, (H, W, 2) as x, y in [-1, 1]."""
        k = self.grid or height
        control = torch.rand(1, 2, k, k, generator=torch_generator("wanet", self.seed)) * 2 - 1
        control = control / control.abs().mean()
        smooth = F.interpolate(control, (height, width), mode="bicubic", align_corners=True)[0].permute(1, 2, 0)
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return (torch.stack([x, y], dim=-1) + self.strength * smooth / height).clamp(-1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        field = self.sampling_grid(*images.shape[-2:]).to(images).expand(len(images), -1, -1, -1)
        return F.grid_sample(images, field, mode="bilinear", align_corners=True).clamp(0, 1)
