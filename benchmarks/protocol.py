"""What benchmarks share: attacks, methods, the request of a short training, and the origin of a result."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.jobs import local
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.runs.request import Request

TARGET_CLASS = "banana"
ATTACKS = ("badnet", "badclip", "blended", "sig", "trojvqa", "ssba")
OTHER_TRIGGERS = ("badnet_stripes", "blended_stripes", "triangles", "text", "wanet", "patch_image", "pattern_image")
"""Triggers beyond the paper's six that the first protocol measured, one seed and one defense each."""
ACCURACY_BUDGET = 0.02
"""Clean accuracy that a defense may cost, compared with the backdoored model."""


def make_quick_request(model: str, attack: str = "badnet", **training: Any) -> Request:
    """Return the poisoning of the quick setting for a worker; `training` replaces fields of its FinetuneConfig."""
    config = presets.settings_for(model, attack, "quick").finetune
    return Request(
        "backdoored",
        "scenes",
        presets.QUICK_POISON_PAIRS,
        replace(config, **training),
        model,
        trigger=TRIGGERS[attack]().state_dict(),
        target_class=TARGET_CLASS,
        poison_rate=presets.QUICK_POISON_RATE,
    )


def wait_for_run(folder: Path, interval: float = 0.1) -> None:
    """Wait until a worker has finished a run; raises `SystemExit` if it fails."""
    while (status := local.poll_status(folder)).state in ("new", "queued", "running"):
        time.sleep(interval)
    if status.state != "done":
        raise SystemExit(f"The run ended as {status.state}: {status.message}")


def write_result(path: Path, /, **content: Any) -> None:
    """Write a result file with commit, command and device."""
    results.write_result(path, add_provenance(**content))


def stamp_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a result file with commit, command, device and seed."""
    return add_provenance(seeds=[row["seed"]], **row)


def add_provenance(**content: Any) -> dict[str, Any]:
    """Return content with command, device, and the commit that this process started with."""
    return results.add_provenance(format_command_line(), commit=read_started_commit(), **content)


def start(threads: int = 0) -> None:
    """Remember the commit, and configure torch as a worker does, with so many threads (0: its own number)."""
    read_started_commit()
    configure_torch()
    if threads:
        torch.set_num_threads(threads)


@cache
def read_started_commit() -> str:
    """Return the commit when this was first called: the checkout may move on while a process measures for hours.

    Each `main` calls it, or `start`, first.
    """
    return results.read_git_commit()


def format_command_line() -> str:
    """Return the command line of this process."""
    return shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
