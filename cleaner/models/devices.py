"""What this machine can compute on, and why not where it cannot: for pages and the command line."""

from __future__ import annotations

import platform

import torch

from cleaner.config import PRECISIONS

DEVICES = ("cpu", "cuda", "mps")


def devices() -> dict[str, str | None]:
    """Return device -> None where it can be used, else the reason in words."""
    cuda = mps = None
    if not torch.cuda.is_available():
        cuda = "no NVIDIA GPU found" if torch.version.cuda else "this PyTorch was installed without CUDA"
    if not torch.backends.mps.is_available():
        mps = "needs a Mac with an Apple GPU" if platform.system() != "Darwin" else "needs macOS 12.3 and an Apple GPU"
    return dict(zip(DEVICES, (None, cuda, mps), strict=True))


def precisions(device: str) -> dict[str, str | None]:
    """Return precision -> None where it makes sense on `device`, else the reason in words."""
    reasons: dict[str, str | None] = dict.fromkeys(PRECISIONS)
    if device == "cpu":
        reasons["fp16"] = "only on a GPU"
    if device == "cuda" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        reasons["bf16"] = "this GPU does not have it; fp16 is its fast one"
    return reasons


def fast_floats() -> None:
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
