"""Image towers and class vectors as compressed bytes that engine.js decodes: a base model, and deltas to it."""

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.models.architectures import RESNET_STRIDE
from cleaner.models.clip import Clip
from cleaner.models.delta import MAX_CODE
from cleaner.models.prompts import PROMPTS_KEY
from cleaner.types import CleanerError

MAX_PARAMETERS = 8_000_000
"""Largest image tower that a browser runs; the largest built-in one has 5.1 million."""
GRID_TOLERANCE = 0.05
"""Largest distance to the next whole code on a grid, in steps: rounding to fp32 moves a change a little."""
KNOWN_SETTINGS = {"layers", "width", "head_width", "patch_size", "image_size", "mlp_ratio"}
"""Settings of an image tower that engine.js knows; any other one means another computation."""
CLASSES, LOG_SCALE = "classes", "log_scale"
"""Names of the two tensors that do not belong to the image tower."""


def describe_tower(clip: Clip, classes: int) -> dict[str, Any]:
    """Return the `Spec` of engine.js, without its layout, of a tower that the page can run."""
    vision, extra = clip.architecture.vision, clip.architecture.extra
    layers, width, visual = vision.get("layers", ()), vision.get("width", 0), clip.model.get_submodule("visual")
    size = sum(p.numel() for p in visual.parameters())
    if set(vision) - KNOWN_SETTINGS or PROMPTS_KEY in extra or size > MAX_PARAMETERS:
        raise CleanerError(
            f"the playground runs the built-in ResNets and ViTs, and {clip.name} has another image tower "
            f"({size / 1e6:.1f} million parameters): choose runs on a built-in model."
        )
    is_resnet = isinstance(layers, (tuple, list))
    return {
        "kind": "resnet" if is_resnet else "vit",
        "side": clip.image_size,
        "heads": width * (RESNET_STRIDE if is_resnet else 1) // vision.get("head_width", 64),
        "layers": list(layers) if is_resnet else [layers],
        "patch": 0 if is_resnet else vision["patch_size"],
        "quick": clip.architecture.quick_gelu,
        "mean": list(clip.architecture.mean),
        "std": list(clip.architecture.std),
        "classes": classes,
    }


def read_state(clip: Clip, classifier: Tensor) -> dict[str, Tensor]:
    """Return the tensors of a model that the page needs, fp32: image tower, class vectors (C * D,), log of the scale.

    Matrices have at least two dimensions; vectors are those tensors that are stored without any loss.
    """
    state = {
        key: value.float().cpu().contiguous()
        for key, value in clip.model.get_submodule("visual").state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    scale = clip.logit_scale.detach().float().cpu().log().reshape(1)
    return {**state, CLASSES: classifier.T.float().cpu().flatten(), LOG_SCALE: scale}


def list_layout(state: Mapping[str, Tensor]) -> list[tuple[str, list[int]]]:
    """Return the `Entry` list of engine.js: name and shape of each tensor, in the order of `pack_base`."""
    return [(name, list(value.shape)) for name, value in state.items()]


def pack_base(state: Mapping[str, Tensor]) -> str:
    """Return vectors in fp32 and matrices in fp16, as `decodeWeights` of engine.js reads them."""
    vectors = [value.numpy() for value in state.values() if value.ndim < 2]
    return _pack(vectors, [value.numpy().astype("<f2").ravel() for value in state.values() if value.ndim >= 2])


def pack_delta(state: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> str:
    """Return vectors and the step of each matrix row in fp32, and the changes of the matrices as 16-bit codes."""
    heads, codes = [], []
    for name, value in state.items():
        if value.ndim < 2:
            heads.append(value.numpy())
            continue
        rows = (value - base[name]).flatten(1)
        steps = find_steps(rows)
        signed = (rows / steps[:, None]).round().to(torch.int32).numpy().ravel()
        heads.append(steps.numpy())
        codes.append(np.where(signed < 0, -2 * signed - 1, 2 * signed).astype("<u2"))
    return _pack(heads, codes)


def find_steps(rows: Tensor) -> Tensor:
    """Return the quantization step (N,) of each row of changes (N, M).

    A row of a model that was stored as a delta (`models.delta`) lies on a grid, up to rounding: its step is that of the
    grid, and nothing is lost. Of any other row the codes have 15 bits.
    """
    size = rows.abs()
    smallest = torch.where(size > 0, size, torch.inf).amin(1, keepdim=True).nan_to_num(posinf=1.0)
    # Of a small step, rounding hides the exact size; all codes together show it.
    codes = (rows / smallest).round()
    grid = (rows * codes).sum(1) / codes.square().sum(1).clamp_min(1)
    codes = rows / grid.clamp_min(1e-30)[:, None]
    is_grid = ((codes - codes.round()).abs().amax(1) < GRID_TOLERANCE) & (codes.abs().amax(1) <= MAX_CODE)
    return torch.where(is_grid, grid, size.amax(1) / (2**15 - 1)).clamp_min(1e-30)


def _pack(floats: Sequence[NDArray[Any]], words: Sequence[NDArray[Any]]) -> str:
    """Return numbers as base64 of deflated bytes; the low bytes of all words come before the high ones."""
    planes = np.concatenate(words).view(np.uint8).reshape(-1, 2).T
    return deflate(b"".join(part.astype("<f4").tobytes() for part in floats) + planes.tobytes())


def deflate(content: bytes) -> str:
    """Return bytes as `inflate` of engine.js reads them."""
    return base64.b64encode(zlib.compress(content, 9)).decode()
