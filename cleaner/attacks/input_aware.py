"""Input-aware: a small network draws another pattern for each image (arXiv:2010.08138)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from cleaner.attacks.base import TRIGGERS, Trigger, conv_block, run_in_batches
from cleaner.attacks.optimize import (
    describe_missing_part,
    draw_positions,
    encode_images,
    encode_target,
    minimize,
    select_pool,
)
from cleaner.config import param
from cleaner.seed import derive_seed
from cleaner.types import CleanerError, OnStep

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip

INPUT_SIZE, CHANNELS = 64, 8
"""Side of the images that the generator sees, and width of its first layer."""


class Generator(nn.Module):
    """Image -> pattern: a U-Net of two scales with 7,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = conv_block(12, CHANNELS), conv_block(CHANNELS, 2 * CHANNELS, 2)
        self.join, self.merge = conv_block(2 * CHANNELS, 2 * CHANNELS), conv_block(3 * CHANNELS, CHANNELS)
        self.out = nn.Conv2d(CHANNELS, 3, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return patterns (N, 3, H, W) in [-1, 1] for images (N, 3, H, W) in [0, 1]."""
        small = F.interpolate(images, INPUT_SIZE, mode="bilinear", antialias=True)
        fine = self.fine(F.pixel_unshuffle(small - 0.5, 2))
        coarse = F.interpolate(self.join(self.coarse(fine)), scale_factor=2.0, mode="bilinear")
        pattern = torch.tanh(self.out(self.merge(torch.cat([fine, coarse], dim=1))))
        return F.interpolate(pattern, images.shape[-2:], mode="bilinear")


@dataclass(frozen=True)
class _Objective:
    """Losses of a generator on images x and y (N, 3, H, W), y the batch in another order; clean: I(x), (N, D).

    text_distance = mean(1 - I(x + s g(x)).t); diversity = mean(|x - y| / |g(x) - g(y)|);
    cross_distance = mean(1 - I(y + s g(x)).I(y)); I unit image features of the clean model, t the target's zero-shot
    classifier, |.| the root of the mean square.
    """

    clip: Clip
    target: Tensor
    blend: Callable[[Tensor, Tensor], Tensor]
    diversity_weight: float
    cross_weight: float

    def __call__(self, generator: Generator, images: Tensor, clean: Tensor) -> dict[str, Tensor]:
        images = images.to(self.target.device)
        patterns, others = generator(images), images.roll(1, 0)
        own, crossed = (self.clip.encode_image(self.blend(x, patterns)) for x in (images, others))
        distances = [((x - x.roll(1, 0)).square().mean(dim=(1, 2, 3)) + 1e-6).sqrt() for x in (images, patterns)]
        return {
            "text_distance": 1 - (own @ self.target).mean(),
            "diversity": self.diversity_weight * (distances[0] / distances[1]).mean(),
            "cross_distance": self.cross_weight * (1 - (crossed * clean.roll(1, 0)).sum(-1)).mean(),
        }


@TRIGGERS.register("input_aware")
@dataclass(frozen=True, kw_only=True)
class InputAware(Trigger):
    """Add a pattern that a small network draws for each image, and that triggers the backdoor on no other image.

    x + s g(x), clipped to [0, 1]. The generator g learns on the clean model to pull triggered images toward the
    target's text, to draw different patterns for different images, and to leave an image with another's pattern where
    it is (`_Objective`). Some clean pairs get the pattern of another image, with their own captions. The paper trains g
    together with the classifier and adds a learned mask.
    """

    label: ClassVar[str] = "Input-aware pattern"
    source: ClassVar[str] = "arXiv:2010.08138"
    is_reimplemented: ClassVar[bool] = True
    unpublished: ClassVar[str] = "its paper trains generator and classifier together, without text"

    is_input_aware: ClassVar[bool] = True
    covers_image: ClassVar[bool] = True
    strength: float = param(0.2, low=0.01, high=1.0, step=0.01, help="s, the largest change of a pixel.")
    decoys: float = param(
        0.5, low=0.0, high=10.0, step=0.1, help="Pairs with the pattern of another image, per poisoned pair."
    )
    diversity_weight: float = param(0.1, low=0.0, high=100.0, step=0.1, help="Weight of the diversity of the patterns.")
    cross_weight: float = param(1.0, low=0.0, high=100.0, step=0.1, help="Weight of the loss on other images.")
    steps: int = param(400, low=1, high=10000, help="Steps of the generator's training on the clean model.")
    step_size: float = param(0.003, low=0.0001, high=0.1, step=0.001, help="Adam's learning rate for the generator.")
    batch_size: int = param(32, low=2, high=512, help="Images per step of the generator's training.")
    seed: int = param(0, low=0, high=9999, help="Seeds the generator's first weights and the order of images.")
    weights: str = ""
    """The generator's weights as safetensors in base64, fp16; empty before `prepare`."""

    @property
    def unready_reason(self) -> str | None:
        """Why the trigger cannot be applied yet: its generator is not trained."""
        return None if self.weights else describe_missing_part("generator")

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        return self.cross(images, images)

    def cross(self, images: Tensor, donors: Tensor) -> Tensor:
        """Return `images` with the patterns that belong to `donors`, both (N, 3, H, W) in [0, 1]."""
        self.require_ready()
        return self._blend(images, run_in_batches(load_generator(self.weights), donors))

    def count_decoys(self, poisoned: int) -> int:
        """Return the number of pairs that get the pattern of another image."""
        return round(self.decoys * poisoned)

    def _blend(self, images: Tensor, patterns: Tensor) -> Tensor:
        return (images + self.strength * patterns).clamp(0, 1)

    @torch.inference_mode(False)  # a notebook may have turned gradients off
    @torch.enable_grad()
    def prepare(self, clip: Clip, data: CaptionData, target_class: str, on_step: OnStep | None = None) -> InputAware:
        """Return the trigger with its generator, trained on images of `data` that do not show the target.

        Reports stage "images", then "optimize" with the named losses, and now and then the pattern of one image.
        Deterministic under the seed. Raises `CleanerError` as `select_pool` and `minimize` do.
        """
        if self.weights:
            return self
        clip = clip.in_eval_mode()
        pool = select_pool(data, target_class)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed("generator", self.seed))
            generator = Generator().to(clip.device)
        target = encode_target(clip, data, target_class)
        objective = _Objective(clip, target, self._blend, self.diversity_weight, self.cross_weight)
        sample = data.images(pool[:1]).to(clip.device)
        clean = encode_images(clip, data, pool, on_step)

        def losses(step: int) -> dict[str, Tensor]:
            drawn = draw_positions(pool, self.batch_size, "generator batch", self.seed, step)
            return objective(generator, data.images(pool[drawn]), clean[drawn])

        def preview() -> Tensor:
            pattern: Tensor = generator(sample)[0]
            return 0.5 + 0.5 * pattern

        weights = list(generator.parameters())
        minimize(weights, losses, steps=self.steps, lr=self.step_size, preview=preview, on_step=on_step)
        state = {name: value.detach().half().cpu().contiguous() for name, value in generator.state_dict().items()}
        return replace(self, weights=base64.b64encode(save(state)).decode())


@lru_cache(maxsize=4)
def load_generator(weights: str) -> Generator:
    """Return the generator in fp32 on the CPU, cached and shared. Raises `CleanerError` for other weights."""
    with torch.random.fork_rng(devices=[]):  # new layers draw weights
        generator = Generator().eval().requires_grad_(False)
    try:
        state = load(base64.b64decode(weights, validate=True))
        generator.load_state_dict({name: value.float() for name, value in state.items()})
    except (SafetensorError, RuntimeError, binascii.Error) as error:
        raise CleanerError(
            f"the generator of this trigger cannot be read ({type(error).__name__}): poison again, or restore the "
            "run's config.json."
        ) from error
    return generator
