"""What this machine can compute on, and why not where it cannot: for pages and the command line."""

from __future__ import annotations

import platform
from collections.abc import Callable

import torch

from cleaner.config import PRECISIONS
from cleaner.types import CleanerError

DEVICES = ("cpu", "cuda", "mps")


def check_devices() -> dict[str, str | None]:
    """Return device -> None where it can be used, else the reason in words."""
    cuda = mps = None
    if not torch.cuda.is_available():
        cuda = "no NVIDIA GPU found" if torch.version.cuda else "this PyTorch was installed without CUDA"
    if not torch.backends.mps.is_available():
        mps = "needs a Mac with an Apple GPU" if platform.system() != "Darwin" else "needs macOS 12.3 and an Apple GPU"
    return dict(zip(DEVICES, (None, cuda, mps), strict=True))


def check_precisions(device: str) -> dict[str, str | None]:
    """Return precision -> None where it makes sense on `device`, else the reason in words."""
    reasons: dict[str, str | None] = dict.fromkeys(PRECISIONS)
    if device == "cpu":
        reasons["fp16"] = "only on a GPU"
    if device == "cuda" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        reasons["bf16"] = "this GPU does not have it; fp16 is its fast one"
    return reasons


def flush_denormals() -> None:
    """Let the processor take numbers below 1e-38 for 0: products with them cost ten times the time.

    Gradients of a saturated attention pool are such numbers in fp32. It holds for the thread that calls and those it
    starts later, so a process that trains calls this first of all.
    """
    torch.set_flush_denormal(True)


def device_name(device: str) -> str:
    """Return what stands behind a device, in words."""
    if device == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return {"cpu": f"processor, {torch.get_num_threads()} threads", "mps": "Apple GPU"}.get(device, device)


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device asked for; "auto" is cuda, mps or cpu, the first there is. Raises `CleanerError` if absent."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if available[name]))
    kind = str(device).split(":")[0]
    if not available.get(kind, False):
        usable = ", ".join(name for name, there in available.items() if there)
        raise CleanerError(f"the device {str(device)!r} is not available here. Use one of: {usable}.")
    return torch.device(device)


def pick_precision(device: str | torch.device, precision: str = "auto") -> str:
    """Return the precision asked for; "auto" is the fast one of a device: "bf16", "fp16" or "fp32".

    A processor multiplies bf16 quickly only where it has tiles for it (AMX); without them, training the built-in models
    in fp32 was 1.2 to 1.3 times as fast.
    """
    kind = torch.device(device).type
    if precision != "auto":
        return precision
    if kind == "mps":
        return "bf16"
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    tiles: Callable[[], bool] = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return "bf16" if tiles() else "fp32"
