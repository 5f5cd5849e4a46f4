"""Run: a backdoored or defended model with its history, metrics and settings; written to and read from a run folder.

A run folder holds config.json (the request, and all settings needed to repeat the run), status.json, progress.jsonl,
metrics.json, manifest.json, model.safetensors, film.npz (if it was recorded), log.txt and trigger/ (files of the
trigger, from the start); checkpoint.pt and checkpoint-trigger.json (`runs.prepared`) while it is not finished;
notes.json is the user's. `runs.derived` and `jobs` add files of their own. Files are replaced as a whole; only
progress.jsonl and log.txt grow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleaner.evaluation.verdict import attack_verdict
from cleaner.files import has_config, read_json, write_bytes, write_json, write_text
from cleaner.runs.film import FILM_FILE, Film, read_film, write_film
from cleaner.runs.folders import resolve_run
from cleaner.runs.integrity import HASHES_KEY, hash_files
from cleaner.runs.progress import PROGRESS_FILE
from cleaner.runs.progress import read_progress as read_progress  # part of this module's interface
from cleaner.runs.record import SCHEMA_VERSION, RunRecord, find_clean_sha256
from cleaner.runs.status import incomplete_run_error
from cleaner.types import CleanerError, StepReport

if TYPE_CHECKING:  # listing runs must not load torch
    from cleaner.attacks.base import Trigger
    from cleaner.evaluation.result import Metrics
    from cleaner.models.clip import Clip

TRIGGER_FILES = "trigger"
"""Folder in a run's folder with copies of the files that its trigger reads."""


@dataclass
class Run:
    """What `poison` and `defend` return.

    Attributes:
        clip: the backdoored or defended model.
        history: one report per training step; before them those of a trigger that was optimized (stage "optimize").
        metrics: test metrics, measured once after training; None without test data.
        config: all settings needed to repeat the run, JSON-ready; `config["stage"]` is "backdoored" or "defended".
        trigger, target_class: of the attack; None if unknown.
        manifest: of the poisoned data; empty for a defense.
        clean_clip: the model before poisoning, if known: its ASR is the floor.
        film: frames of the training, if they were kept.
    """

    clip: Clip = field(repr=False)
    history: list[StepReport] = field(repr=False)
    metrics: Metrics | None
    config: dict[str, Any]
    trigger: Trigger | None = None
    target_class: str | None = None
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    clean_clip: Clip | None = field(default=None, repr=False)
    film: Film | None = field(default=None, repr=False)

    @property
    def stage(self) -> str:
        return str(self.config["stage"])

    @property
    def verdict(self) -> tuple[str, str] | None:
        """Whether the attack of a backdoored run succeeded, and why; None for other runs."""
        if self.stage != "backdoored" or self.metrics is None or not self.metrics.asr:
            return None
        return attack_verdict(self.metrics, self.config.get("poison_rate"))

    def describe_metrics(self) -> dict[str, Any]:
        """Return the metrics and the verdict, as metrics.json holds them."""
        assert self.metrics is not None
        return self.metrics.to_dict() | ({"verdict": list(self.verdict)} if self.verdict else {})

    def require_clean_clip(self) -> Clip:
        """Return the model before poisoning. Raises `CleanerError` if it is no longer available."""
        if self.clean_clip is None:
            raise CleanerError("the model before poisoning is gone: restore its file, or poison again.")
        return self.clean_clip


def save_run(run: Run, folder: str | Path) -> Path:
    """Write a run that was trained in this process, config.json last; return its folder."""
    folder = Path(folder)
    if has_config(folder):
        raise CleanerError(f"{folder} already holds a run or model: choose another folder, nothing was overwritten.")
    write_run(run, folder)
    return folder


def write_run(run: Run, folder: Path) -> None:
    """Write the files of a finished run: model (safetensors), progress (JSON lines), manifest, metrics, config."""
    from cleaner.attacks.base import strip_folders
    from cleaner.models.clip import save_clip

    metadata, state = {"stage": run.stage, "target": run.target_class or "unknown"}, run.config.get("trigger")
    metadata["trigger"] = json.dumps(strip_folders(state)) if state else "unknown"
    save_clip(run.clip, folder / "model.safetensors", metadata=metadata)
    if run.trigger is not None:
        write_trigger_files(run.trigger, folder)
    if run.film is not None:
        write_film(run.film, folder)
    else:
        (folder / FILM_FILE).unlink(missing_ok=True)  # of an earlier attempt
    write_text(folder / PROGRESS_FILE, "".join(json.dumps(asdict(report)) + "\n" for report in run.history))
    write_json(folder / "manifest.json", run.manifest)
    write_json(folder / "metrics.json", run.describe_metrics() if run.metrics else None)
    hashes = {HASHES_KEY: hash_files(folder)}
    write_json(folder / "config.json", {"schema": SCHEMA_VERSION, **run.config, **hashes})


def write_trigger_files(trigger: Trigger, folder: Path) -> None:
    """Write copies of the files that a trigger reads into a run folder."""
    for name, content in trigger.files().items():
        write_bytes(folder / TRIGGER_FILES / name, content)


def load_run(folder: str | Path, *, with_clean: bool = True) -> Run:
    """Return the finished run in `folder`, or the stored or shipped run of this name.

    Its `clean_clip` is None if that model is no longer available, or without `with_clean`.

    Raises `CleanerError` if there is none, or one of a newer version.
    """
    from cleaner.evaluation.result import Metrics
    from cleaner.models.clip import load_clip
    from cleaner.models.lookup import is_on_this_machine

    folder = Path(resolve_run(os.fspath(folder)))
    config = read_complete_config(folder)
    metrics = RunRecord.from_config(folder, config).metrics
    # Moved, deleted or replaced since, it is None; metrics.json still holds the floor that was measured with it.
    clean_clip, clean_model = None, config.get("clean_model") if with_clean else None
    with suppress(CleanerError):
        clean_clip = load_clip(clean_model) if clean_model and is_on_this_machine(clean_model) else None
    if clean_clip is not None and find_clean_sha256(config) not in ("", clean_clip.sha256()):
        clean_clip = None
    return Run(
        clip=load_clip(str(folder / "model.safetensors")),
        history=[
            StepReport(**{f.name: line[f.name] for f in fields(StepReport) if f.name in line})  # none of other versions
            for line in read_progress(folder)
        ],
        metrics=Metrics.from_dict(metrics) if metrics else None,
        config=config,
        trigger=_load_trigger(config, folder),
        target_class=config.get("target_class"),
        manifest=read_json(folder / "manifest.json"),
        clean_clip=clean_clip,
        film=read_film(folder),
    )


def load_run_clip(folder: str | Path) -> Clip:
    """Return the model of a finished run, as `load_run`; it needs neither trigger nor clean model."""
    from cleaner.models.clip import load_clip

    folder = Path(resolve_run(os.fspath(folder)))
    read_complete_config(folder)
    return load_clip(str(folder / "model.safetensors"))


def load_run_trigger(folder: Path) -> Trigger | None:
    """Return the trigger of the run in `folder` with its optimized patch and its files; None if it has none."""
    return _load_trigger(_read_config(folder), folder)


def read_complete_config(folder: Path) -> dict[str, Any]:
    """Return the config of a finished run. Raises `CleanerError` if there is none, or one of a newer version."""
    config = _read_config(folder)
    if "stage" not in config or not (folder / "model.safetensors").exists():
        raise incomplete_run_error(folder)
    return config


def _read_config(folder: Path) -> dict[str, Any]:
    """Return a config. Raises `CleanerError` for an invalid one, or one of a newer version."""
    config = read_json(folder / "config.json")
    RunRecord.from_config(folder, config)  # raises for an invalid one
    return config


def _load_trigger(config: Mapping[str, Any], folder: Path) -> Trigger | None:
    from cleaner.attacks.base import TRIGGERS, load_trigger

    state = config.get("trigger")
    if state and (name := state.get("name")) not in TRIGGERS:
        raise CleanerError(
            f"the trigger {name!r} of the run {folder.name} is not registered: import the Python module that registers "
            "it, then load the run again."
        )
    return load_trigger(state, folder / TRIGGER_FILES) if state else None
