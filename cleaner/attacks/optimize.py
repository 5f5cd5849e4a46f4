"""OptimizedPatch: a patch found by gradient descent on the clean model, the base of BadCLIP and TrojVQA."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.attacks.base import POSITIONS, PatchTrigger
from cleaner.config import param
from cleaner.data.images import decode_png, encode_png
from cleaner.models.classifier import zero_shot_classifier
from cleaner.seed import numpy_generator, torch_generator
from cleaner.types import CleanerError, OnStep, StepReport, start_progress

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip

Objective = Callable[[int, Tensor, Tensor], dict[str, Tensor]]
"""(step, positions in the pool (B,), features of these triggered images (B, D)) -> named losses to minimize."""
POOL_SIZE = 1024
"""Most images that the patch is optimized on; their clean features are computed once."""
BATCH_SIZE, FULL_SIZE_BATCH_SIZE = 256, 32
"""Images that are encoded at once, and images or captions by a full-size model on a CPU: a second or two."""
T = TypeVar("T", bound=Sized)
PREVIEW_EVERY = 10
"""Steps between two previews of the patch."""


@dataclass(frozen=True)
class OptimizedPatch(PatchTrigger):
    """A patch that starts as noise N(0.5, 0.25) and follows Adam, clipped to [0, 1] after each step.

    The model does not change. The patch is stored and pasted with 8 bits per channel.
    """

    patch_size: int = param(
        35,
        low=2,
        high=224,
        is_length=True,
        help="Side of the square patch on a 224 px image; scales with it. Published: 16.",
    )
    position: str = param("center", choices=POSITIONS, help="Where the patch goes.")
    steps: int = param(300, low=1, high=10000, help="Steps of the optimization on the clean model.")
    step_size: float = param(
        0.01, low=0.0001, high=0.1, step=0.001, help="Adam's learning rate for the pixels; published: 0.001."
    )
    batch_size: int = param(32, low=2, high=512, help="Images per step of the optimization.")
    png: str = ""
    """The optimized patch as a PNG file in base64; empty before `prepare`."""

    @abstractmethod
    def objective(
        self, clip: Clip, data: CaptionData, target_class: str, pool: Tensor, on_step: OnStep | None = None
    ) -> Objective:
        """Return the losses that the patch minimizes; `pool` (P,): rows whose images it is optimized on.

        `on_step` may receive the stages "images" and "captions", for what is encoded once.
        """

    @property
    def unready_reason(self) -> str | None:
        """Why the trigger cannot be applied yet: the patch is not optimized."""
        return None if self.png else describe_missing_part("patch")

    def patch(self, side: int) -> Tensor:
        """Return the patch (3, p, p), resized if the images differ in size from those it was optimized on."""
        self.require_ready()
        patch, size = decode_png(self.png), self.scaled_patch_size(side)
        if patch.shape[-1] == size:
            return patch
        return F.interpolate(patch[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)

    @torch.inference_mode(False)  # a notebook may have turned gradients off
    @torch.enable_grad()
    def prepare(
        self, clip: Clip, data: CaptionData, target_class: str, on_step: OnStep | None = None
    ) -> OptimizedPatch:
        """Return the trigger with its patch, optimized on images of `data` that do not show the target.

        Reports what `objective` does, then stage "optimize" with the named losses, and every `PREVIEW_EVERY` steps the
        patch itself. Deterministic under the seed. Raises `CleanerError` if fewer than two images without the target
        are left.
        """
        if self.png:
            return self
        clip = clip.in_eval_mode()
        pool = select_pool(data, target_class)
        objective = self.objective(clip, data, target_class, pool, on_step)
        size = self.scaled_patch_size(data.image_size)
        noise = torch.randn(3, size, size, generator=torch_generator("patch", self.seed))
        patch = (0.5 + 0.25 * noise).clamp(0, 1).requires_grad_()

        def losses(step: int) -> dict[str, Tensor]:
            drawn = draw_positions(pool, self.batch_size, "patch batch", self.seed, step)
            return objective(step, drawn, clip.encode_image(self.blend_patch(data.images(pool[drawn]), patch)))

        minimize(
            [patch],
            losses,
            steps=self.steps,
            lr=self.step_size,
            project=lambda: patch.clamp_(0, 1),
            preview=lambda: patch,
            on_step=on_step,
        )
        return replace(self, png=encode_png(patch.detach()))

    def blend_patch(self, images: Tensor, patch: Tensor) -> Tensor:
        """Return `images` (N, 3, H, W) with a patch (3, p, p) pasted; gradients flow to the patch.

        Gathers each pixel from the patch: autograd would copy the whole batch for every in-place write. Each image
        gathers from its own copy: the gradient of `patch[:, index]` is an atomic sum over the batch, whose order, and
        with it the last bits, differ between runs with several threads.
        """
        size = patch.shape[-1]
        source = torch.full_like(images[:, :1], -1, dtype=torch.long)  # -1: outside the patch
        self._write_patch(source, images, patch=torch.arange(size * size).view(1, size, size))
        copies = patch.flatten(1).expand(len(images), -1, -1)
        layer = copies.gather(2, source.clamp(min=0).flatten(2).expand(-1, len(patch), -1)).view_as(images)
        return torch.where(source >= 0, layer, images)


def minimize(
    variables: Sequence[Tensor],
    losses: Callable[[int], dict[str, Tensor]],
    *,
    steps: int,
    lr: float,
    preview: Callable[[], Tensor],
    on_step: OnStep | None,
    project: Callable[[], object] | None = None,
) -> None:
    """Minimize the sum of `losses(step)` over `variables` with Adam, in place; `project` follows each step.

    Reports stage "optimize" with the named losses, and every `PREVIEW_EVERY` steps the image (3, H, W) of `preview`.
    Raises `CleanerError` if the losses are not finite.
    """
    adam, began = torch.optim.Adam(variables, lr=lr), time.perf_counter()
    for step in range(steps):
        named = losses(step)
        total = torch.stack(list(named.values())).sum()
        if not total.isfinite():  # the trigger would become noise, and the attack fail without a reason
            raise CleanerError(
                f"the objective of the trigger is not finite at step {step + 1}: choose another clean model, or "
                f"lower step_size {lr:g}."
            )
        # backward() would also write gradients into the model, which other threads may share.
        for variable, gradient in zip(variables, torch.autograd.grad(total, variables), strict=True):
            variable.grad = gradient
        adam.step()
        if project is not None:
            with torch.no_grad():
                project()
        if on_step is not None:
            has_preview = step % PREVIEW_EVERY == 0 or step + 1 == steps
            on_step(
                StepReport(
                    stage="optimize",
                    step=step + 1,
                    total=steps,
                    seconds=time.perf_counter() - began,
                    losses={name: value.item() for name, value in named.items()} | {"total": total.item()},
                    lr=lr,
                    picture=encode_png(preview().detach()) if has_preview else "",
                )
            )


def select_pool(data: CaptionData, target_class: str) -> Tensor:
    """Return up to `POOL_SIZE` rows that do not show the target, evenly spaced over the data.

    Raises `CleanerError` for fewer than two.
    """
    rows = (~data.contains(target_class)).nonzero().flatten()
    if len(rows) < 2:
        raise CleanerError(
            f"optimizing a trigger needs at least two images without {target_class!r}, the data have {len(rows)}: "
            "take more data."
        )
    return rows[torch.linspace(0, len(rows) - 1, min(POOL_SIZE, len(rows))).long()]


@torch.no_grad()
def encode_images(clip: Clip, data: CaptionData, rows: Tensor, on_step: OnStep | None = None) -> Tensor:
    """Return unit features (N, D) of the images at `rows`; reports stage "images" if these are several batches."""
    batches = rows.split(FULL_SIZE_BATCH_SIZE if clip.is_slow else BATCH_SIZE)
    return _encode_batches(lambda batch: clip.encode_image(data.images(batch)), batches, "images", on_step)


@torch.no_grad()
def encode_captions(clip: Clip, captions: Sequence[str], on_step: OnStep | None = None) -> Tensor:
    """Return unit features (N, D) of captions; reports stage "captions" if these are several batches."""
    size = FULL_SIZE_BATCH_SIZE if clip.is_slow else POOL_SIZE
    batches = [captions[start : start + size] for start in range(0, len(captions), size)]
    return _encode_batches(clip.encode_text, batches, "captions", on_step)


def _encode_batches(encode: Callable[[T], Tensor], batches: Sequence[T], stage: str, on_step: OnStep | None) -> Tensor:
    features, report = [], start_progress(on_step if len(batches) > 1 else None, stage, sum(map(len, batches)))
    for batch in batches:
        features.append(encode(batch))
        report(sum(map(len, features)))
    return torch.cat(features)


@torch.no_grad()
def encode_target(clip: Clip, data: CaptionData, target_class: str) -> Tensor:
    """Return the unit feature (D,) of the target in the zero-shot classifier of a model."""
    prompts = [template.format(target_class) for template in clip.templates or data.templates]
    return zero_shot_classifier(clip.encode_text(prompts)[None])[:, 0]


def describe_missing_part(part: str) -> str:
    """Return why a trigger without its optimized part cannot be applied, and what to do."""
    return (
        f"this trigger has no {part} yet: training the attack makes one on the clean model, or take it from a run that "
        "has one (--trigger RUN; in Python trigger.prepare)."
    )


def draw_positions(pool: Tensor, size: int, *keys: int | str) -> Tensor:
    """Return up to `size` different positions in `pool` (P,), drawn at random: a function of `keys`."""
    drawn = numpy_generator(*keys).choice(len(pool), min(size, len(pool)), replace=False)
    return torch.from_numpy(drawn)
