"""Results as JSON lines, one file per model, which two processes may extend at the same time."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from cleaner.reports import results

Row = dict[str, Any]
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
    return results.RESULTS_DIR / f"protocol2_{model}.jsonl"


def append_row(path: Path, row: Row) -> None:
    """Add one line: a single write under a lock, on a line of its own even after a cut-off one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock_path(path, "append")):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(file).st_size
            starts_line = size == 0 or os.pread(file, 1, size - 1) == b"\n"
            os.write(file, (b"" if starts_line else b"\n") + json.dumps(row).encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)


@contextmanager
def claimed(path: Path, name: str) -> Iterator[bool]:
    """Yield whether this process has the piece of work `name` of a file to itself.

    The operating system releases the claim of a process that is killed.
    """
    lock = FileLock(_lock_path(path, name))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _lock_path(path: Path, name: str) -> Path:
    digest = sha256(f"{path.resolve()} {name}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / "ta-cleaner-benchmarks"
    folder.mkdir(exist_ok=True)
    return folder / f"{digest}.lock"


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
