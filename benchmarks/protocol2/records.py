"""Result files as JSON lines, one per model, and the processor that a line was measured on."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS_DIR

CPU_FLAGS = (
    "fma",
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "asimd",
    "sve",
)
"""Features of a processor that decide which kernels run."""


def results_path(model: str) -> Path:
    """Return the file of a model."""
    return RESULTS_DIR / f"protocol2_{model}.jsonl"


def describe_processor() -> dict[str, Any]:
    """Return what decides the last bits of a training: processor, flags, kernels, threads, torch."""
    is_gpu = torch.cuda.is_available()
    name, flags = (torch.cuda.get_device_name(0), []) if is_gpu else _read_cpu()
    return {
        "name": name,
        "flags": flags,
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _read_cpu() -> tuple[str, list[str]]:
    """Return name and `CPU_FLAGS` of this processor; other systems than Linux state the name alone."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    values = {key.strip().lower(): value.strip() for key, value in fields.items()}
    own = set((values.get("flags") or values.get("features") or "").split())
    name = values.get("model name") or platform.machine()
    return name, [flag for flag in CPU_FLAGS if flag in own]
