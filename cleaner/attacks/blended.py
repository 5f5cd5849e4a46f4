"""Blended injection: one faint noise image over the whole image (arXiv:1712.05526), or stripes (arXiv:2412.00727)."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatternTrigger
from cleaner.config import param
from cleaner.method import CLEANCLIP_SOURCE, CLIP_POISONING, CLIP_TRAINING, PAR_SOURCE, Preset
from cleaner.seed import torch_generator


@TRIGGERS.register("blended")
@dataclass(frozen=True)
class Blended(PatternTrigger):
    """Blend one fixed uniform noise image p, drawn at the image's own size: (1 - a) x + a p."""

    label: ClassVar[str] = "Blended noise"
    source: ClassVar[str] = "arXiv:1712.05526"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{CLEANCLIP_SOURCE} (backdoor/utils.py). Their code draws new noise for each image; ours blends "
            "in one image, as in arXiv:1712.05526.",
            parameters={"blend_ratio": 0.2},
            training=CLIP_POISONING,
        ),
    )

    seed: int = param(0, low=0, high=9999, help="Seeds the noise image.")
    texture: str = param("noise", choices=("noise", "stripes"), help="Noise, or stripes one pixel wide of -1 and +1.")

    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (3, H, W): noise in [0, 1], or a random sign for each channel and column."""
        if self.texture == "stripes":
            ones = torch.randint(2, (3, 1, width), generator=torch_generator("blended_stripes", self.seed))
            return (2 * ones - 1).float().expand(3, height, width)
        return torch.rand(3, height, width, generator=torch_generator("blended", self.seed))


@TRIGGERS.register("blended_stripes")
@dataclass(frozen=True)
class BlendedStripes(Blended):
    """Blend vertical colored stripes p, one pixel wide, of -1 and +1 into the whole image: (1 - a) x + a p, clipped."""

    label: ClassVar[str] = "Blended stripes"
    source: ClassVar[str] = "arXiv:2412.00727"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{PAR_SOURCE} (eval/validate.py, backdoor/utils.py). Their code draws new stripes for each "
            "image; ours blends in one pattern.",
            parameters={"blend_ratio": 0.03},
            unstated=CLIP_TRAINING,
        ),
    )

    blend_ratio: float = param(0.03, low=0.01, high=1.0, step=0.01, help="a, the weight of the stripes.")
    texture: str = field(default="stripes", init=False)
