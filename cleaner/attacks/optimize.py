"""A patch found by gradient descent on the clean model: what BadCLIP and TrojVQA share."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.attacks.base import POSITIONS, PatchTrigger
from cleaner.config import param
from cleaner.data.images import decode_png, encode_png
from cleaner.seed import numpy_generator, torch_generator
from cleaner.types import CleanerError, OnStep, StepReport

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip

Objective = Callable[[int, Tensor, Tensor], dict[str, Tensor]]
"""(step, places in the pool (B,), features of these pictures with the patch (B, D)) -> named losses to bring down."""
POOL_SIZE = 1024
"""Pictures that the patch is tried on, so that their clean features are computed once."""
PREVIEW_EVERY = 10


@dataclass(frozen=True)
class OptimizedPatch(PatchTrigger):
    """A patch that starts as noise N(0.5, 0.25) and follows Adam, clipped to [0, 1] after each step.

    The model stays as it is. The patch is kept with 8 bits per colour, and these values are what is pasted.
    """

    patch_size: int = param(
        35, low=2, high=224, help="Side of the square patch on a 224 px picture; scales with it. Published: 16."
    )
    position: str = param("center", choices=POSITIONS, help="Where the patch lies.")
    steps: int = param(300, low=1, high=10000, help="Steps in which the patch is optimised on the clean model.")
    step_size: float = param(
        0.01, low=0.0001, high=0.1, step=0.001, help="Adam's learning rate for the pixels; published: 0.001."
    )
    batch_size: int = param(32, low=2, high=512, help="Pictures per step of the optimisation.")
    png: str = ""
    """The patch that `prepare` found, a PNG file in base64; empty before."""

    @abstractmethod
    def objective(self, clip: Clip, data: CaptionData, target_class: str, pool: Tensor) -> Objective:
        """Return what the patch shall bring down; `pool` (P,) are the pairs whose pictures it is tried on."""

    @property
    def unready_reason(self) -> str:
        """Return that the patch is not there yet, if so."""
        if self.png:
            return ""
        return (
            "this trigger's patch is not there yet: it is optimised on the clean model when the attack is trained, or "
            "comes with a run that has one (--trigger RUN; in Python trigger.prepare)."
        )

    def patch(self, side: int) -> Tensor:
        """Return the patch (3, p, p), resized only for pictures of another size than it was optimised on."""
        if not self.png:
            raise CleanerError(self.unready_reason)
        patch, size = decode_png(self.png), self.scaled_patch_size(side)
        if patch.shape[-1] == size:
            return patch
        return F.interpolate(patch[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)

    def prepare(
        self, clip: Clip, data: CaptionData, target_class: str, on_step: OnStep | None = None
    ) -> OptimizedPatch:
        """Return the trigger with its patch, optimised on pictures of `data` that do not show the target.

        Reports stage "optimise" with the named losses, and every ten steps the patch itself. Deterministic under
        the seed. Raises `CleanerError` where no picture is left to try the patch on.
        """
        if self.png:
            return self
        pool = self._select_pool(data, target_class)
        objective = self.objective(clip, data, target_class, pool)
        size = self.scaled_patch_size(data.image_size)
        noise = torch.randn(3, size, size, generator=torch_generator("patch", self.seed))
        patch = (0.5 + 0.25 * noise).clamp(0, 1).requires_grad_()
        adam = torch.optim.Adam([patch], lr=self.step_size)
        began = time.perf_counter()
        for step in range(self.steps):
            rng = numpy_generator("patch batch", self.seed, step)
            drawn = torch.from_numpy(rng.choice(len(pool), min(self.batch_size, len(pool)), replace=False))
            losses = objective(step, drawn, clip.encode_image(self.blend_patch(data.images(pool[drawn]), patch)))
            total = torch.stack(list(losses.values())).sum()
            # Only the patch's gradient: the model may be shared with other threads.
            (patch.grad,) = torch.autograd.grad(total, patch)
            adam.step()
            with torch.no_grad():
                patch.clamp_(0, 1)
            if on_step is not None:
                named = {name: value.item() for name, value in losses.items()} | {"total": total.item()}
                shown = encode_png(patch.detach()) if step % PREVIEW_EVERY == 0 or step + 1 == self.steps else ""
                seconds = time.perf_counter() - began
                on_step(StepReport("optimise", step + 1, self.steps, seconds, 0, named, {}, self.step_size, shown))
        return replace(self, png=encode_png(patch.detach()))

    def blend_patch(self, images: Tensor, patch: Tensor) -> Tensor:
        """Return `images` (N, 3, H, W) with a patch (3, p, p) on them, so that gradients flow to the patch."""
        size = patch.shape[-1]
        source = torch.zeros_like(images[:, :1], dtype=torch.long)
        self._write_patch(source, images, torch.arange(size * size).view(1, size, size))
        layer = patch.flatten(1)[:, source[:, 0]].transpose(0, 1)
        return torch.where(self.mask(images) > 0, layer, images)

    def _select_pool(self, data: CaptionData, target_class: str) -> Tensor:
        """Return up to `POOL_SIZE` pairs that do not show the target, spread over the data."""
        rows = (~data.contains(target_class)).nonzero().flatten()
        if len(rows) < 2:
            raise CleanerError(
                f"optimising a patch needs at least two pictures without {target_class!r}, the data have {len(rows)}: "
                "take more data."
            )
        return rows[torch.linspace(0, len(rows) - 1, min(POOL_SIZE, len(rows))).long()]
