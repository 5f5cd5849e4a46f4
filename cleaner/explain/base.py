"""Explainer: which pixels or words a similarity comes from. A new method is one file with one subclass."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, ClassVar, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.config import to_dict, validate
from cleaner.models.clip import Clip
from cleaner.published import Method
from cleaner.registry import Registry
from cleaner.types import CleanerError

EXPLAINERS: Registry[Any] = Registry("explainer", "cleaner.explain")
Inputs = TypeVar("Inputs", Tensor, Sequence[str])


@dataclass(frozen=True)
class Explainer(Method, ABC, Generic[Inputs]):
    """Shares out the cosine of an input's feature with a target feature over the input's pixels or tokens."""

    input_kind: ClassVar[str] = "pictures"
    """What `attribute` takes: "pictures", (N, 3, H, W) in [0, 1], or "captions"."""
    is_signed: ClassVar[bool] = True
    """Whether values below zero occur and speak against the target."""

    def __post_init__(self) -> None:
        validate(self)

    def unsupported_reason(self, clip: Clip) -> str | None:
        """Return why the method cannot look into this model, with what can, or None if it can."""
        return None

    def limits(self, clip: Clip) -> Mapping[str, int]:
        """Return upper limits of parameters that depend on the model, such as its number of layers."""
        return {}

    def grid_size(self, clip: Clip) -> int:
        """Return the side of the grid of cells in which the model is looked into; 0: single pixels or tokens."""
        return 0

    def attribute(self, clip: Clip, inputs: Inputs, target: Tensor) -> Tensor:
        """Return the attribution of cos(feature of the input, target), of the input's size.

        Pictures (N, 3, H, W) give (N, H, W), captions (N, T tokens). target: (D,) for all, or (N, D). On the CPU,
        float32. Raises `CleanerError` for a model or a parameter that the method cannot work with.
        """
        reason = self.unsupported_reason(clip)
        if reason is not None:
            raise CleanerError(reason)
        for name, limit in self.limits(clip).items():
            if getattr(self, name) > limit:
                raise CleanerError(f"{name} must be at most {limit} for this model, not {getattr(self, name)}.")
        target = F.normalize(target.detach().clone().to(clip.device).float(), dim=-1).expand(len(inputs), -1)
        with torch.inference_mode(False), torch.enable_grad():
            return self._attribute(clone_sharing_weights(clip), inputs, target.clone()).detach().float().cpu()

    @abstractmethod
    def _attribute(self, clip: Clip, inputs: Inputs, target: Tensor) -> Tensor:
        """Do the work of `attribute` on a private twin of the model; target: (N, D) unit rows."""

    def state_dict(self) -> dict[str, Any]:
        """Return name and parameters, JSON-ready."""
        return {"name": EXPLAINERS.name_of(self), **to_dict(self)}


def clone_sharing_weights(clip: Clip) -> Clip:
    """Return a twin with modules of its own and the same weights in memory, in fp32.

    Hooks and exchanged modules stay in the twin: other threads that use the cached model neither see nor disturb them.
    """
    shared = {id(t): t for t in [*clip.model.parameters(), *clip.model.buffers()]}
    return replace(clip, model=copy.deepcopy(clip.model, shared), precision="fp32", lock=Lock())


def upsample(cells: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps (N, h, w) of cells as (N, H, W), interpolated between the cells' centres."""
    return F.interpolate(cells[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]
