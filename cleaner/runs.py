"""Run: a poisoned or defended model with its history, figures and settings; and how it lies on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from cleaner.types import CleanerError, StepReport

if TYPE_CHECKING:
    # Listing runs must not load torch: the app does it before its first paint.
    from cleaner.attacks.base import Trigger
    from cleaner.clip import Clip
    from cleaner.evaluation import Metrics

SCHEMA = 1
TRIGGER_FILES = "trigger"
"""Folder in a run's folder with copies of the files that its trigger reads."""


@dataclass
class Run:
    """What `poison` and `defend` return.

    Attributes:
        clip: the backdoored or defended model.
        history: one report per training step; before them those of a trigger that was optimised (stage "optimise").
        metrics: test figures, measured once, when training ended; None if no test data were given.
        config: all that is needed to repeat the run, JSON-ready; `config["stage"]` is "backdoored" or "defended".
        trigger, target_class: of the attack; None where they are not known.
        manifest: of the poisoned data; empty for a defence.
        clean_clip: the model before poisoning, where known: it gives the floor of the ASR.
    """

    clip: Clip
    history: list[StepReport]
    metrics: Metrics | None
    config: dict[str, Any]
    trigger: Trigger | None = None
    target_class: str | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    clean_clip: Clip | None = None

    @property
    def stage(self) -> str:
        return str(self.config["stage"])


def runs_root() -> Path:
    """Return where runs lie: the environment variable CLEANER_RUNS, else the user's data folder."""
    return Path(os.environ.get("CLEANER_RUNS") or Path(platformdirs.user_data_dir("ta-cleaner-lab")) / "runs")


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def save_run(run: Run, folder: str | Path) -> Path:
    """Write a run: config, metrics, manifest (JSON), progress (JSON lines), model (safetensors); return the folder.

    config.json comes last: a folder without it is an unfinished write and is not listed. Raises `CleanerError` if
    the folder already holds a run.
    """
    from cleaner.clip import save_clip

    folder = Path(folder)
    if (folder / "config.json").exists():
        raise CleanerError(f"{folder} already holds a run: choose another folder, nothing was overwritten.")
    metadata = {"stage": run.stage, "target": run.target_class or "unknown"}
    metadata["trigger"] = json.dumps(run.trigger.state_dict()) if run.trigger else "unknown"
    save_clip(run.clip, folder / "model.safetensors", metadata=metadata)
    for name, content in run.trigger.files().items() if run.trigger else ():
        (folder / TRIGGER_FILES).mkdir(exist_ok=True)
        (folder / TRIGGER_FILES / name).write_bytes(content)
    write_atomic(folder / "progress.jsonl", "".join(json.dumps(asdict(report)) + "\n" for report in run.history))
    write_atomic(folder / "manifest.json", json.dumps(run.manifest, indent=1))
    write_atomic(folder / "metrics.json", json.dumps(run.metrics.to_dict() if run.metrics else None, indent=1))
    write_atomic(folder / "config.json", json.dumps({"schema": SCHEMA, **run.config}, indent=1))
    return folder


def load_run(folder: str | Path) -> Run:
    """Return the run in `folder`. Raises `CleanerError` if there is none, or one of a newer version."""
    from cleaner.attacks.base import load_trigger
    from cleaner.clip import load_clip
    from cleaner.evaluation import Metrics

    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        lines = (folder / "progress.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CleanerError(f"{folder} does not hold a complete run; list them with: python -m cleaner runs") from error
    if config.get("schema", 0) > SCHEMA:
        raise CleanerError(f"{folder} was written by a newer version of TA-Cleaner Lab: update it to open this run.")
    trigger = config.get("trigger")
    return Run(
        clip=load_clip(str(folder / "model.safetensors")),
        history=[StepReport(**json.loads(line)) for line in lines],
        metrics=Metrics.from_dict(metrics) if metrics else None,
        config=config,
        trigger=load_trigger(trigger, folder / TRIGGER_FILES) if trigger else None,
        target_class=config.get("target_class"),
        manifest=manifest,
        clean_clip=load_clip(config["clean_model"]) if config.get("clean_model") else None,
    )


def list_runs(root: Path | None = None) -> list[tuple[Path, dict[str, Any]]]:
    """Return (folder, config) of every complete run under `root`, newest first; unreadable folders are left out."""
    return sorted(_configs(root or runs_root()), key=lambda entry: -(entry[0] / "config.json").stat().st_mtime)


def _configs(root: Path) -> Iterable[tuple[Path, dict[str, Any]]]:
    for path in root.glob("*/config.json"):
        try:
            yield path.parent, json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
