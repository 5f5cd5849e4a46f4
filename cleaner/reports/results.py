"""Result files: metrics with the commit, command and device that produced them; never edited by hand."""

import json
import os
import platform
from pathlib import Path
from typing import Any

from cleaner.evaluation.result import Metrics
from cleaner.files import read_git_commit as read_git_commit
from cleaner.files import write_text
from cleaner.runs.run import Run


def make_row(defense: str | None, run: Run) -> dict[str, Any]:
    """Return one row of a result file: attack, defense, their settings, and the test metrics."""
    from cleaner.attacks.base import strip_folders

    state = run.config
    settings = {k: state[k] for k in ("pairs", "finetune", "defense", "trigger", "poison_rate") if k in state}
    if run.trigger is not None:
        settings["trigger"] = strip_folders(state["trigger"])
    return {
        "model": state["model"],
        "trigger": (state.get("trigger") or {}).get("name"),
        "defense": None if run.stage == "backdoored" else defense,
        "seed": state["finetune"]["seed"],
        "suspect_sha256": run.clip.sha256() if run.stage == "backdoored" else state["model_sha256"],
        "seconds": state["seconds"],
        "cpu_seconds": state.get("cpu_seconds"),
        "precision": state.get("precision"),
        "text_version": state.get("text_version"),
        "metrics": run.metrics.to_dict() if run.metrics else None,
        "config": settings,
    }


def parse_row_metrics(row: dict[str, Any]) -> Metrics:
    """Return the metrics of a row."""
    return Metrics.from_dict(row["metrics"])


def add_provenance(command: str, **content: Any) -> dict[str, Any]:
    """Return content with command, commit, torch's version and, unless it names one, the default device."""
    import torch  # here, so that the commands that write results parse their options without it

    return {
        "command": command,
        "commit": read_git_commit(),
        "device": describe_device(),
        "torch": torch.__version__,
        **content,
    }


def describe_device(device: str = "auto") -> str:
    """Return the GPU's name, or the kind of processor and its number of cores."""
    import torch

    from cleaner.models.devices import pick_device

    kind = pick_device(device)
    if kind.type == "cuda":
        return torch.cuda.get_device_name(kind)
    return f"{kind.type}, {os.cpu_count()} cores, {platform.machine()}"


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write a result file, atomically."""
    write_text(path, json.dumps(result, indent=1) + "\n")
