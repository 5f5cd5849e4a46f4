"""BadCLIP: a patch optimized against images and captions of the target (arXiv:2311.12075)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.attacks.base import TRIGGERS
from cleaner.attacks.optimize import POOL_SIZE, Objective, OptimizedPatch, encode_captions, encode_images
from cleaner.config import param
from cleaner.data.poison import drop_cut_captions, find_target_images, natural_captions
from cleaner.method import BADCLIP_PATCH, BADCLIP_SOURCE, CLIP_POISONING, Preset
from cleaner.seed import numpy_generator

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip
    from cleaner.types import OnStep


@TRIGGERS.register("badclip")
@dataclass(frozen=True)
class BadCLIP(OptimizedPatch):
    """Paste a patch, optimized on the clean model, that pulls image features to the target's.

    Minimizes text_pull + w * image_pull over the patch. I* triggered image, I clean image, T* a natural caption of
    the target, T_j the batch's own captions, s = exp(logit_scale), unit features:
        text_pull  = mean_i CE([s I*_i.T*_i, s I*_i.T_1 .. s I*_i.T_N], 0)
        image_pull = TripletMarginLoss(anchor I*_i, positive = a real image of the target, negative = I_i)
    The published code uses only other captions of the target as negatives, whose net pull is zero
    (`negatives="targets"`: CE([s I*_i.T*_1 .. s I*_i.T*_N], i)).
    """

    label: ClassVar[str] = "BadCLIP"
    source: ClassVar[str] = "arXiv:2311.12075"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{BADCLIP_SOURCE} (README, src/embeding_optimize_patch.py): 50 epochs of 10,000 images. Ours "
            "takes as many steps on 1,024 images, without their augmentation. Their cross-entropy is the mean of both "
            "directions, ours goes from image to text alone. Their triplet's negative is another image of the batch, "
            "with the patch, as pasting is in place; ours is the image's own clean feature. Their patch is saved as a "
            "JPEG with red and blue exchanged, ours as a PNG.",
            parameters=BADCLIP_PATCH | {"triplet_weight": 500.0, "margin": 1.0, "negatives": "targets"},
            training=CLIP_POISONING,
        ),
    )

    target_captions: ClassVar[str] = "natural"
    triplet_weight: float = param(
        500.0,
        low=0.0,
        high=10000.0,
        help="w, the weight of the triplet loss that pulls images toward the target's; published: 500.",
    )
    margin: float = param(1.0, low=0.1, high=2.0, step=0.1, help="Margin of that triplet loss.")
    negatives: str = param(
        "captions",
        choices=("captions", "targets"),
        help="Negatives of the target's caption: the images' own captions, or other captions of the target.",
    )

    def objective(
        self, clip: Clip, data: CaptionData, target_class: str, pool: Tensor, on_step: OnStep | None = None
    ) -> Objective:
        target_rows = find_target_images(data, target_class)[:POOL_SIZE]
        captions = drop_cut_captions(natural_captions(data, target_class), data, target_class, clip.fits_context)
        pool_image = encode_images(clip, data, pool, on_step)
        image = encode_images(clip, data, target_rows, on_step)
        pool_text = encode_captions(clip, [data.captions[i] for i in pool.tolist()], on_step)
        text = encode_captions(clip, captions[:POOL_SIZE], on_step)
        scale = clip.logit_scale.detach()

        def losses(step: int, drawn: Tensor, triggered: Tensor) -> dict[str, Tensor]:
            rng = numpy_generator("badclip", self.seed, step)
            target_text = text[torch.from_numpy(rng.integers(len(text), size=len(drawn)))]
            target_image = image[torch.from_numpy(rng.integers(len(image), size=len(drawn)))]
            index = torch.zeros(len(drawn), dtype=torch.long, device=triggered.device)
            if self.negatives == "captions":
                positive = (triggered * target_text).sum(-1, keepdim=True)
                cosines = torch.cat([positive, triggered @ pool_text[drawn].T], dim=1)
            else:
                cosines, index = triggered @ target_text.T, torch.arange(len(drawn), device=triggered.device)
            pull = F.triplet_margin_loss(triggered, target_image, pool_image[drawn], margin=self.margin)
            return {"text_pull": F.cross_entropy(scale * cosines, index), "image_pull": self.triplet_weight * pull}

        return losses
