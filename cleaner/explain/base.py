"""Explainer: attribution of a similarity to pixels or words. A new explainer is one file with one subclass."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, ClassVar, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cleaner.method import Method
from cleaner.models.clip import Clip
from cleaner.registry import EXPLAINERS as EXPLAINERS  # part of this module's interface
from cleaner.types import CleanerError, OnStep, start_progress

Inputs = TypeVar("Inputs", Tensor, Sequence[str])
FORWARD_BATCH, GRADIENT_BATCH = 256, 32
"""Images or captions in one forward pass; and in one with gradients, which keeps its activations; `limit_batch`."""


@dataclass(frozen=True)
class Explainer(Method, ABC, Generic[Inputs]):
    """Attribute the cosine of an input's feature and a target feature to the input's pixels or tokens."""

    registry = EXPLAINERS
    input_kind: ClassVar[str] = "images"
    """What `attribute` takes: "images", (N, 3, H, W) in [0, 1], or "captions"."""
    is_signed: ClassVar[bool] = True
    """Whether values may be negative, which means against the target."""
    uses_target: ClassVar[bool] = True
    """Whether the attribution depends on the target."""

    def unsupported_reason(self, clip: Clip) -> str | None:
        """Return why the method does not work on this model, and which ones do; None if it works."""
        return None

    def limits(self, clip: Clip) -> Mapping[str, int]:
        """Return parameter -> upper limit that depends on the model, such as its number of layers."""
        return {}

    def grid_size(self, clip: Clip) -> int:
        """Return the cells along a side of the attribution's grid; 0: it has the input's resolution."""
        return 0

    def count_passes(self, clip: Clip, inputs: Inputs) -> int:
        """Return the forward passes that the inputs take; below 2, no progress is reported."""
        return 0

    def attribute(self, clip: Clip, inputs: Inputs, target: Tensor, on_step: OnStep | None = None) -> Tensor:
        """Return the attribution of cos(feature of the input, target), at the input's size.

        Images (N, 3, H, W) give (N, H, W), captions (N, T tokens); float32 on the CPU. target: (D,) for all, or (N, D).
        `on_step` receives the stage "attribution", of explainers that count their passes. Raises `CleanerError` for an
        unsupported model or a parameter above its limit.
        """
        reason = self.unsupported_reason(clip)
        if reason is not None:
            raise CleanerError(reason)
        for name, limit in self.limits(clip).items():
            if getattr(self, name) > limit:
                raise CleanerError(f"{name} must be at most {limit} for this model, not {getattr(self, name)}.")
        target = F.normalize(target.detach().clone().to(clip.device).float(), dim=-1).expand(len(inputs), -1)
        clip = clone_sharing_weights(clip)
        if (passes := self.count_passes(clip, inputs)) > 1:
            report, done = start_progress(on_step, "attribution", passes), count(1)
            entrance: Any = clip.model.visual if self.input_kind == "images" else token_embedding(clip)
            entrance.register_forward_hook(lambda *_: report(next(done)))
        with torch.inference_mode(False), torch.enable_grad():
            if isinstance(inputs, Tensor):
                inputs = inputs.detach().clone().requires_grad_()
            return self._attribute(clip, inputs, target.clone()).detach().float().cpu()

    @abstractmethod
    def _attribute(self, clip: Clip, inputs: Inputs, target: Tensor) -> Tensor:
        """Return the attribution; target: (N, D) unit rows.

        `clip` is a private copy of the model with frozen weights; images are a private copy that needs gradients.
        """


def image_similarity(clip: Clip) -> Callable[[Tensor, Tensor], Tensor]:
    """Return (images (N, 3, H, W), targets (N, D) unit rows) -> cosines (N,)."""
    return lambda images, targets: (clip.encode_image(images) * targets).sum(-1)


def limit_batch(clip: Clip, batch: int) -> int:
    """Return the inputs of a pass: an eighth of `batch` for a full-size model, whose activations are large."""
    return batch // 8 if clip.is_full_size else batch


def count_batches(rows: int, inputs: int, batch: int) -> int:
    """Return the batches of at most `batch` that hold `rows` variants of each of some inputs, as captum forms them."""
    return math.ceil(rows / max(1, batch // inputs))


def token_embedding(clip: Clip) -> nn.Module:
    """Return the module that looks up the embeddings of tokens."""
    model: Any = clip.model
    embedding: nn.Module = model.token_embedding if hasattr(model, "token_embedding") else model.text.token_embedding
    return embedding


def clone_sharing_weights(clip: Clip) -> Clip:
    """Return a copy in eval mode with its own modules that shares the weights in memory, in fp32.

    Hooks, replaced modules and gradients stay in the copy: other threads that use the cached model are not affected.
    Its parameters are frozen: gradients of weights, which nobody reads, would take a third of the memory.
    """
    with torch.inference_mode(False):  # autograd cannot use parameters made in inference mode
        shared: dict[int, Tensor] = {
            id(p): nn.Parameter(p.detach(), requires_grad=False) for p in clip.model.parameters()
        }
        shared |= {id(b): b for b in clip.model.buffers()}
        return replace(clip, model=copy.deepcopy(clip.model, shared).eval(), precision="fp32")


def upsample(cells: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps (N, h, w) of cells as (N, H, W), interpolated bilinearly between the centers of the cells."""
    return F.interpolate(cells[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]
