"""The second step of trigger inversion: the smallest patch and mask that move images to one class."""

import math
import time
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.attacks.optimize import PREVIEW_EVERY, draw_positions
from cleaner.data.images import blend_rgba, encode_png
from cleaner.inspection.inversion_probe import Probe
from cleaner.losses.target import inversion_loss
from cleaner.seed import torch_generator
from cleaner.types import CleanerError, OnStep, StepReport

FIRST_LOGIT = -2.0
"""Logit of the mask at the start, everywhere: a faint pattern over the whole image."""
STEP_SIZE, BETAS = 0.1, (0.5, 0.9)
"""Adam's, as in Neural Cleanse."""
WEIGHT, RAISE, LOWER = 2.0, 1.5, 1.5**1.5
"""lambda at the start, and the factors by which it grows while the images are moved, and shrinks while they are not."""
ADAPT_EVERY, SMOOTHING = 5, 0.8
"""Steps between two changes of lambda, and the weight of earlier batches in the share of moved images."""
CANDIDATE_RATIO = 1.05
"""Of masks whose sizes differ by less than this factor, the last one is a candidate."""


def invert_patch(
    probe: Probe,
    target_index: int,
    *,
    steps: int,
    batch_size: int,
    success: float,
    seed: int,
    on_step: OnStep | None = None,
) -> tuple[Tensor, float]:
    """Return pattern and mask (4, H, W) in [0, 1], with 8 bits, and the share of all images of `probe` that they move.

    Neural Cleanse (doi:10.1109/SP.2019.00031): Adam on the logits of m and p of x (1 - m) + m p minimizes
    `losses.target.inversion_loss`, whose lambda grows while at least `success` of the images are moved, else
    shrinks. The mask is the smallest that moves a share `success` of all images; if none does, the largest that moved
    it in recent batches, or the last. `on_step` receives "invert", with previews, and "images".
    """
    side = probe.pixels.shape[-1]
    noise = 0.1 * torch.randn(3, side, side, generator=torch_generator("inverted pattern", seed))
    logits = torch.cat([noise, torch.full((1, side, side), FIRST_LOGIT)]).to(probe.clip.device).requires_grad_()
    adam = torch.optim.Adam([logits], lr=STEP_SIZE, betas=BETAS)
    candidates: dict[int, Tensor] = {}
    moved, weight, start = 0.0, WEIGHT, time.perf_counter()
    for step in range(steps):
        layers = logits.sigmoid()
        images = probe.images(draw_positions(probe.predicted, batch_size, "inverted patch", seed, step))
        features = probe.clip.encode_image(blend_rgba(images, layers))
        total = inversion_loss(
            features,
            probe.classifier,
            torch.full((len(images),), target_index, device=images.device),
            logit_scale=probe.clip.logit_scale.detach(),
            mask=layers[3],
            mask_weight=weight,
        )
        if not total.isfinite():
            raise CleanerError(f"the loss of the inversion is not finite at step {step + 1}: choose another model.")
        (logits.grad,) = torch.autograd.grad(total, logits)
        hits = (probe.classify(features) == target_index).float().mean().item()
        moved, share = SMOOTHING * moved + (1 - SMOOTHING) * hits, layers[3].mean().item()
        if moved >= success:
            candidates[round(math.log(share, CANDIDATE_RATIO))] = _quantize(layers)
        if (step + 1) % ADAPT_EVERY == 0:
            weight = weight * RAISE if moved >= success else weight / LOWER
        adam.step()
        if on_step is not None:
            figures = {"mask": share, "total": total.item()}
            has_preview = step % PREVIEW_EVERY == 0 or step + 1 == steps
            picture = encode_png(draw_layers(layers.detach())) if has_preview else ""
            seconds = time.perf_counter() - start
            on_step(StepReport("invert", step + 1, steps, seconds, losses=figures, picture=picture))
    found = [candidates[size] for size in sorted(candidates)] or [_quantize(logits.sigmoid())]
    return _choose_smallest(probe, target_index, found, success, on_step)


def _quantize(layers: Tensor) -> Tensor:
    """Return layers as uint8: what is measured is what a file stores."""
    return (layers.detach() * 255).round().to(torch.uint8)


def _choose_smallest(
    probe: Probe, target_index: int, candidates: Sequence[Tensor], success: float, on_step: OnStep | None = None
) -> tuple[Tensor, float]:
    """Return the first candidate (smallest first) that moves `success` of all images, by bisection."""

    @cache
    def measure(index: int) -> float:
        layers = candidates[index].float() / 255
        return probe.count(lambda images: blend_rgba(images, layers.to(images)), target_index, on_step) / len(probe)

    first, last = 0, len(candidates) - 1
    while first < last:
        middle = (first + last) // 2
        if measure(middle) >= success:
            last = middle
        else:
            first = middle + 1
    return candidates[first].float() / 255, measure(first)


def draw_layers(layers: Tensor) -> Tensor:
    """Return the masked pattern on gray and, to its right, the mask in white, (3, H, 2 W) in [0, 1]."""
    gray = torch.full_like(layers[None, :3], 0.5)
    return torch.cat([blend_rgba(gray, layers)[0], layers[3:].expand(3, -1, -1)], dim=-1)


def draw_trigger(trigger: Trigger, side: int) -> Tensor:
    """Return a known trigger on gray and, to its right, its mask, as `draw_layers` does."""
    gray = torch.full((1, 3, side, side), 0.5)
    return torch.cat([trigger(gray), trigger.mask(gray).expand(-1, 3, -1, -1)], dim=-1)[0]
