"""GELU or QuickGELU? Weights do not say with which they were trained, so both are tried on the user's images."""

from dataclasses import dataclass, replace

import torch

from cleaner.data.base import CaptionData
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.metrics import in_top_k
from cleaner.models.architectures import find_open_clip_name
from cleaner.models.clip import Clip
from cleaner.types import OnStep

TRIED_IMAGES = 64
MIN_DIFFERENCE = 2.0
"""Standard errors of the difference above which one activation counts as better."""


@dataclass(frozen=True)
class ActivationTrial:
    """Zero-shot accuracy of the same weights with either activation, on the same `n` images.

    Attributes:
        name: how to load the model with GELU, "ViT-B-32:weights.pt"; None if open_clip lists no such architecture.
        difference: GELU minus QuickGELU, in standard errors of the paired difference.
    """

    quick_gelu: float
    gelu: float
    n: int
    difference: float
    name: str | None

    def __str__(self) -> str:
        """Return in two sentences what was found and what to do."""
        found = f"Accuracy on {self.n} images: {self.quick_gelu:.1%} with QuickGELU, {self.gelu:.1%} with GELU."
        if self.difference > MIN_DIFFERENCE:
            load = f"load it as {self.name}" if self.name else "give a local-dir: folder with open_clip_config.json"
            return f"{found} It was trained with GELU: {load}."
        if self.difference < -MIN_DIFFERENCE:
            return f"{found} QuickGELU, which was assumed, fits."
        return f"{found} That does not tell which one it was trained with; QuickGELU is assumed."


@torch.inference_mode()
def try_activations(clip: Clip, data: CaptionData, on_step: OnStep | None = None) -> ActivationTrial | None:
    """Return the accuracy with each activation; None without labels or if the file states its own."""
    rows = data.labeled_rows(TRIED_IMAGES)
    if not clip.has_assumed_activation or not len(rows):
        return None
    hits = {}
    for quick_gelu, model in ((True, clip), (False, _with_gelu(clip))):
        encoder = Encoder(model, templates=1, on_step=on_step)
        features = encoder.encode_rows(data, rows)
        hits[quick_gelu] = in_top_k(features, encoder.build_classifier(data), data.labels[rows]).double()
    change = hits[False] - hits[True]
    error = max(change.std(correction=0).item() / len(rows) ** 0.5, 0.5 / len(rows))
    listed = find_open_clip_name(replace(clip.architecture, quick_gelu=False))
    return ActivationTrial(
        quick_gelu=hits[True].mean().item(),
        gelu=hits[False].mean().item(),
        n=len(rows),
        difference=change.mean().item() / error,
        name=f"{listed}:{clip.source}" if listed else None,
    )


def _with_gelu(clip: Clip) -> Clip:
    """Return a model with the same weights, in the same memory, and GELU."""
    architecture = replace(clip.architecture, quick_gelu=False)
    model = architecture.build_for_weights().eval()
    model.load_state_dict(clip.model.state_dict(), assign=True)
    return replace(clip, model=model.to(clip.device), architecture=architecture)
