"""Devices and precisions: which are available, which to use, and how torch is configured for training."""

import ctypes
import gc
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable

import torch

from cleaner.config import PRECISIONS
from cleaner.models.cpu_attention import install_cpu_attention
from cleaner.types import CleanerError

DEVICES = ("cpu", "cuda", "mps")
# torch's checks for instructions that make bf16 fast; older versions lack some.
BF16_CHECKS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
SWITCH_SECONDS = 0.0005
"""Seconds until a Python thread lets another one run. Each pass of a tower starts and ends in Python, where it waits
for the thread that loads the next batch; with Python's 0.005 that took an eighth of a small model's step."""


def check_devices() -> dict[str, str | None]:
    """Return device -> None if it is available, else the reason."""
    cuda = mps = None
    if not torch.cuda.is_available():
        cuda = (
            "no NVIDIA GPU found, or its driver is too old for this PyTorch"
            if torch.version.cuda
            else "this PyTorch was installed without CUDA; pytorch.org has builds with it"
        )
    elif torch.version.cuda and not _has_code_for(torch.cuda.get_device_capability(), torch.cuda.get_arch_list()):
        cuda = "this PyTorch has no code for this GPU; install another build of it"
    if not torch.backends.mps.is_available():
        mps = "needs a Mac with an Apple GPU" if platform.system() != "Darwin" else "needs macOS 14 and an Apple GPU"
    return dict(zip(DEVICES, (None, cuda, mps), strict=True))


def _has_code_for(capability: tuple[int, int], architectures: Iterable[str]) -> bool:
    """Return whether code that was compiled for architectures, such as "sm_75", runs on a GPU of this capability.

    Machine code (sm_XY) runs on cards of its major version from its minor version on; PTX (compute_XY) is compiled on
    the card itself, if that is not older. torch finds any card with a driver available.
    """
    for architecture in architectures:
        if match := re.match(r"(sm|compute)_(\d+)(\d)", architecture):
            lowest = int(match[2]), int(match[3])
            if lowest <= capability and (match[1] == "compute" or lowest[0] == capability[0]):
                return True
    return False


def check_precisions(device: str) -> dict[str, str | None]:
    """Return precision -> None if it is useful on `device`, else the reason."""
    reasons: dict[str, str | None] = dict.fromkeys(PRECISIONS)
    if device == "cpu":
        reasons["fp16"] = "only on a GPU"
    # By default, torch counts emulation too: a T4 or V100 has it, and is fast in fp16.
    if device == "cuda" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        reasons["bf16"] = "this GPU lacks it; use fp16"
    return reasons


def configure_torch() -> None:
    """Configure the process for fast training on the CPU, and without TF32.

    On the CPU: denormals, attention in fp32 with gradients, freed memory, turns of Python threads.

    These are settings of the whole process, so importing `cleaner` or calling its other functions does not change them.
    The worker, the command line and the benchmarks call this first, in the main thread; a program that imports
    `cleaner` may do the same. Without it, training on the CPU is slower and bf16 rounds differently, and convolutions
    in fp32 on an NVIDIA GPU round to 10 bits of mantissa.
    """
    flush_denormals()
    install_cpu_attention()
    keep_freed_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    torch.backends.cudnn.allow_tf32 = False  # by default, cuDNN uses it for convolutions in fp32; cuBLAS does not


def flush_denormals() -> None:
    """Flush denormals, ten times as slow, to zero in this thread and those that it starts later."""
    torch.set_flush_denormal(True)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next allocation; does nothing with another C library.

    By default it returns tensors above 32 MB to the kernel at once, and each training step pays for 40,000 page faults
    to get the same memory again. The peak stays the same, but the process keeps it.
    """
    if (libc := _load_glibc()) is not None:
        for parameter, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 64 << 20)):
            libc.mallopt(parameter, value)


def release_freed_memory() -> None:
    """Return freed memory to the kernel now (170 MB after reading a ViT-B-32); glibc only."""
    gc.collect()
    if (libc := _load_glibc()) is not None:
        libc.malloc_trim(0)


def empty_gpu_cache() -> None:
    """Return the freed memory that torch keeps on GPUs, so that other processes can use it."""
    torch.cuda.empty_cache()  # does nothing where this process has not used CUDA
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _load_glibc() -> ctypes.CDLL | None:
    """Return glibc; None with another C library."""
    try:
        is_glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):  # Windows; macOS and musl do not know the name
        return None
    return ctypes.CDLL(None) if is_glibc else None


def device_name(device: str) -> str:
    """Return a device's name for display."""
    if device == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return {"cpu": f"processor, {torch.get_num_threads()} threads", "mps": "Apple GPU"}.get(device, device)


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device; "auto" is the first available of cuda, mps and cpu. Raises `CleanerError` if unavailable."""
    reasons = check_devices()
    usable = [name for name, reason in reasons.items() if reason is None]
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if name in usable))
    kind = str(device).split(":")[0]
    if kind not in usable:
        why = f" ({reasons[kind]})" if kind in reasons else ""
        raise CleanerError(f"the device {str(device)!r} is not available here{why}. Use one of: {', '.join(usable)}.")
    return torch.device(device)


def image_format(device: torch.device) -> torch.memory_format:
    """Return channels_last, but not on Apple GPUs: gradients are wrong there (pytorch issues 175189, 175190)."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def pick_precision(device: str | torch.device, precision: str = "auto") -> str:
    """Return the precision; "auto" is the fastest one of the device: "bf16", "fp16" or "fp32".

    A CPU is fast in bf16 only with instructions for it: AMX, or AVX512_BF16, with which image towers trained 1.4 to 1.7
    times as fast as in fp32. On others, fp32 was 1.2 to 1.3 times as fast.
    """
    kind = torch.device(device).type
    if precision != "auto":
        if precision not in PRECISIONS:
            raise CleanerError(f"precision must be one of auto, {', '.join(PRECISIONS)}, not {precision!r}.")
        return precision
    if kind == "mps":
        return "bf16"
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    checks: list[Callable[[], bool]] = [getattr(torch.cpu, name, lambda: False) for name in BF16_CHECKS]
    return "bf16" if any(check() for check in checks) else "fp32"
