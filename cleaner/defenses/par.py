"""PAR, Perturb and Recover: push the features away from the backdoored model's (arXiv:2412.00727).

The published settings are the defaults.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.config import FinetuneConfig, param
from cleaner.defenses.base import DEFENSES, Defense
from cleaner.losses import Features, clip_loss, push_loss
from cleaner.losses.par import PUBLISHED_TAU
from cleaner.method import PAR_SOURCE, Preset, Training
from cleaner.seed import torch_generator

PUBLISHED_LRS = (3e-5, 3e-6, 1e-9)
"""PAR's learning rate at the start, in the middle and at the end of training (its train.py)."""
MEAN_COLOR = (0.4815, 0.4578, 0.4082)
"""What 0 is after CLIP's normalization: the color of PAR's squares (its utils.py)."""


@DEFENSES.register("par")
@dataclass(frozen=True, kw_only=True)
class PAR(Defense):
    """Finetune, and push the features away from the backdoored model's until they are tau apart.

    clip_loss + push_loss, push_loss = -0.5 (cut(d_I) + cut(d_T)). Both models see the same images, half of them with
    Gaussian noise that only brightens and half with a small square of the mean color. The temperature stays fixed.
    AdamW with betas (0.9, 0.98) and decay 1e-4. The learning rate falls from the given peak linearly to a tenth in the
    first half, then along a cosine to almost 0, in the proportions of `PUBLISHED_LRS`.
    """

    label: ClassVar[str] = "PAR"
    source: ClassVar[str] = "arXiv:2412.00727"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{PAR_SOURCE} (train.py, utils.py, trigger.sh).",
            parameters={
                "tau": 2.15,
                "noise": 0.2,
                "noise_share": 0.5,
                "erase_share": 0.5,
                "decay": 1e-4,
                "second_beta": 0.98,
            },
            training=Training(
                source=f"{PAR_SOURCE} (trigger.sh): 250,000 pairs, 2 epochs, batch 512 on each of 4 GPUs (ours: 512)",
                pairs=250_000,
                finetune=FinetuneConfig(
                    lr=PUBLISHED_LRS[0], epochs=2, batch_size=512, warmup_steps=0, augmentation="none"
                ),
            ),
        ),
    )

    needs_reference: ClassVar[bool] = True
    tau: float = param(PUBLISHED_TAU, low=0.0, high=4.0, step=0.05, help="Mean squared distance that ends the push.")
    noise: float = param(0.2, low=0.0, high=1.0, step=0.01, help="Standard deviation of the noise; 1: black to white.")
    noise_share: float = param(0.5, low=0.0, high=1.0, step=0.05, help="Share of the images that get noise.")
    erase_share: float = param(0.5, low=0.0, high=1.0, step=0.05, help="Share of the images that get a square.")
    decay: float = param(1e-4, low=0.0, high=1.0, help="AdamW's weight decay; overrides the shared setting.")
    second_beta: float = param(0.98, low=0.0, high=0.99999, help="AdamW's beta 2; overrides the shared setting.")

    def adapt(self, config: FinetuneConfig) -> FinetuneConfig:
        return replace(config, weight_decay=self.decay, beta1=0.9, beta2=self.second_beta, warmup_steps=0)

    def lr_factor(self, step: int, total: int) -> float:
        half, (middle, last) = max(1, total // 2), (lr / PUBLISHED_LRS[0] for lr in PUBLISHED_LRS[1:])
        if step < half:
            return 1 + (middle - 1) * step / half
        return last + (middle - last) * 0.5 * (1 + math.cos(math.pi * (step - half) / max(1, total - half)))

    def perturb(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        perturbed = images.clone()
        shares = torch.tensor([self.noise_share, self.erase_share])
        for image, index in zip(perturbed, indices, strict=True):
            generator = torch_generator("par", seed, epoch, index)
            is_noisy, is_erased = (torch.rand(2, generator=generator) < shares).tolist()
            if is_noisy:
                noise = (self.noise * torch.randn(image.shape, generator=generator)).clamp(min=0)
                image.copy_((image + noise.to(image)).clamp(max=1))
            if is_erased:
                top, left, side = _random_square(image.shape[-2], image.shape[-1], generator)
                image[:, top : top + side, left : left + side] = image.new_tensor(MEAN_COLOR).view(3, 1, 1)
        return perturbed

    def losses(self, f: Features) -> dict[str, Tensor]:
        if f.reference is None:
            raise ValueError("par needs the features of the model before training (Features.reference).")
        fixed = replace(f, logit_scale=torch.as_tensor(f.logit_scale).detach())
        return {"clip_loss": clip_loss(fixed), "push_loss": push_loss(f, f.reference, self.tau)}


def _random_square(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int]:
    """Return top, left and side: 0.5 to 1% of the image's area."""
    size, y, x = torch.rand(3, generator=generator).tolist()
    side = max(1, round(math.sqrt(height * width * (0.005 + 0.005 * size))))
    return int(y * (height - side + 1)), int(x * (width - side + 1)), side
