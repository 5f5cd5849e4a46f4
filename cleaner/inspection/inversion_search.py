"""The first step of trigger inversion: how strong must a perturbation be to move images to each class?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from cleaner.attacks.optimize import draw_positions
from cleaner.inspection.inversion_probe import Probe
from cleaner.losses.target import target_loss
from cleaner.types import CleanerError, OnStep, start_progress

FIRST_SIZE, MAX_SIZE = 0.02, 0.25
"""Root mean square of a perturbation at the start, and the largest, as shares of the range of a pixel."""
HALF = 0.5
"""Share of the images that a perturbation has to move."""
GROWTH, SMOOTHING = 1.05, 0.7
"""Factor by which the size changes in a step, and the weight of earlier batches in the share of moved images."""
STEP_SIZE, MOMENTUM = 0.1, 0.9
"""Length of a step as a share of the perturbation's size, and how much of the last step is kept."""
AVERAGED = 10
"""Last steps over which the size is averaged."""


def search_classes(
    probe: Probe, *, steps: int, batch_size: int, seed: int, on_step: OnStep | None = None
) -> list[float]:
    """Return for each class its resistance: the size of the universal perturbation that moves half of the images to it.

    A perturbation d of each class descends the class's `losses.target.target_loss` along the normalized gradient,
    with momentum, within the ball of its size (root mean square over pixels and channels, at most `MAX_SIZE`); the size
    shrinks while at least half of the batch is classified as the class, and grows while it is not. All classes see the
    same batches, without the images that the model takes for the class anyway; a class that fills a batch gets one of
    other images. A class that was never reached resists at `MAX_SIZE`. `on_step` receives "search", which counts the
    classes of every step.
    """
    classes = probe.classifier.shape[1]
    side = probe.pixels.shape[-1]
    perturbation = torch.zeros(classes, 3, side, side, device=probe.clip.device)
    velocity, sizes = torch.zeros_like(perturbation), torch.full((classes,), FIRST_SIZE, device=probe.clip.device)
    moved, has_moved = torch.zeros_like(sizes), torch.zeros_like(sizes, dtype=torch.bool)
    history, report = [], start_progress(on_step, "search", steps * classes)
    for step in range(steps):
        done = step * classes
        for rows, group in _draw_batches(probe, batch_size, "inversion search", seed, step):
            gradient, hits = _push(probe, rows, perturbation[group], group)
            moved[group] = SMOOTHING * moved[group] + (1 - SMOOTHING) * hits
            velocity[group] = MOMENTUM * velocity[group] + gradient
            done += len(group)
            report(done)  # a step takes 20 minutes where there are 1,000 classes
        has_moved |= moved >= HALF
        sizes = torch.where(moved >= HALF, sizes / GROWTH, sizes * GROWTH).clamp(max=MAX_SIZE)
        perturbation = _clip_size(perturbation - STEP_SIZE * sizes.view(-1, 1, 1, 1) * velocity, sizes)
        history.append(sizes)
    final = torch.stack(history[-AVERAGED:]).mean(dim=0)
    resistance: list[float] = torch.where(has_moved, final, MAX_SIZE).tolist()
    return resistance


def _draw_batches(probe: Probe, size: int, *keys: int | str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows (B,) and the classes (K,) searched on them; a class that fills the batch gets other rows."""
    rows, classes = draw_positions(probe.predicted, size, *keys), torch.arange(probe.classifier.shape[1])
    filling = probe.predicted[rows[:1]]
    if (probe.predicted[rows] == filling).all():
        classes = classes[classes != filling]
        others = (probe.predicted != filling).nonzero().flatten()
        if len(others):
            yield others[draw_positions(others, size, *keys)], filling
    for group in classes.split(max(1, probe.pass_images // size)):
        yield rows, group


def _push(probe: Probe, rows: Tensor, perturbation: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Return each class's gradient (K, 3, H, W) of root mean square 1, and its share of moved images (K,)."""
    images, is_other = probe.images(rows), (probe.predicted[rows] != group[:, None]).to(perturbation)
    perturbation = perturbation.clone().requires_grad_()
    perturbed = (images[None] + perturbation[:, None]).clamp(0, 1).flatten(0, 1)
    targets = group.to(images.device).repeat_interleave(len(images))
    features = probe.clip.encode_image(perturbed)
    loss = target_loss(features, probe.classifier, targets, probe.clip.logit_scale.detach())
    (gradient,) = torch.autograd.grad((loss * is_other.flatten()).sum(), perturbation)
    if not gradient.isfinite().all():
        raise CleanerError("the gradient of this model is not finite: choose another checkpoint.")
    size = _measure_size(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)
    hits = (probe.classify(features) == targets).view_as(is_other) * is_other
    return gradient / size, hits.sum(dim=1) / is_other.sum(dim=1)


def _measure_size(perturbation: Tensor) -> Tensor:
    """Return the root mean square of each perturbation, (K, 1, 1, 1)."""
    return perturbation.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


def _clip_size(perturbation: Tensor, sizes: Tensor) -> Tensor:
    """Return the perturbations (K, 3, H, W) scaled down to their sizes (K,) where they are larger."""
    current = _measure_size(perturbation).clamp(min=torch.finfo(perturbation.dtype).tiny)
    return perturbation * (sizes.view(-1, 1, 1, 1) / current).clamp(max=1)
