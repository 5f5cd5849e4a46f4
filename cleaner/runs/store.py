"""Run: a poisoned or defended model with its history, figures and settings; and how it lies on disk.

A run folder holds config.json (what was asked for and all that is needed to repeat it), status.json, progress.jsonl,
metrics.json, manifest.json, model.safetensors, log.txt and, while it is not finished, checkpoint.pt; notes.json is the
user's. Every file is replaced whole, but for progress.jsonl and log.txt, which grow by lines.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from cleaner.files import (
    assets,
    atomic_write,
    create_free_folder,
    read_json,
    read_json_cached,
    remove_tree,
    write_json,
    write_text,
)
from cleaner.runs import schema
from cleaner.types import CleanerError, StepReport

if TYPE_CHECKING:
    # Listing runs must not load torch: the app does it before its first paint.
    from cleaner.attacks.base import Trigger
    from cleaner.evaluation.evaluate import Metrics
    from cleaner.models.clip import Clip
    from cleaner.runs.request import Request

SCHEMA_VERSION = 2
"""2: config.json is there before the run, status.json says whether the run is finished. 1 is read as well."""
ACTIVE = ("queued", "running")
STARTABLE = ("new", "paused", "failed", "cancelled", "died")
"""States from which a run can be started or go on."""
CHECKPOINT_FILE, LOG_FILE = "checkpoint.pt", "log.txt"
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


@dataclass(frozen=True)
class Status:
    """What status.json says: how far a run is, and which process is at it."""

    state: str = "done"
    """"new", "queued", "running", "paused", "done", "failed", "cancelled"; `jobs.state` adds "died", lists
    "unreadable"."""
    stage: str = ""
    step: int = 0
    total: int = 0
    eta: float = 0.0
    """Seconds left of the stage, from the steps measured."""
    message: str = ""
    verdict: list[str] | None = None
    """Of an attack, as soon as it is measured: "took", "weak" or "did not take", and one sentence."""
    device: str = ""
    queued: float = 0.0
    updated: float = 0.0
    pid: int = 0
    started: float = 0.0
    host: str = ""
    place: str = ""
    """"slurm" for a job of that cluster; empty for a process of this machine."""


@dataclass(frozen=True)
class RunEntry:
    """A folder of the run store as lists show it, finished or not."""

    folder: Path
    config: dict[str, Any]
    status: Status
    notes: dict[str, Any] = field(default_factory=dict)
    """The user's "name", "note" and "tags"."""


def runs_root() -> Path:
    """Return where runs lie: the environment variable CLEANER_RUNS, else the user's data folder."""
    return Path(os.environ.get("CLEANER_RUNS") or Path(platformdirs.user_data_dir("ta-cleaner-lab")) / "runs")


def shipped_root() -> Path:
    """Return where the runs lie that come with this project, to be looked at before anything is trained."""
    return assets() / "example"


def is_shipped(folder: Path) -> bool:
    """Return whether a run came with this project: it is read only."""
    return folder.resolve().parent == shipped_root().resolve()


def list_shipped_runs() -> list[RunEntry]:
    """Return the runs that came with this project, from the last name to the first; a checkout has no times."""
    return sorted(list_entries(shipped_root()), key=lambda entry: entry.folder.name, reverse=True)


def _refuse_shipped(folder: Path) -> None:
    if is_shipped(folder):
        raise CleanerError(f"{folder.name} is the example that came with this project: it can only be looked at.")


def run_id(folder: Path) -> str:
    """Return how another run names this one as its parent: by its folder's name, or by path if it lies elsewhere."""
    folder = folder.resolve()
    known = (runs_root().resolve(), shipped_root().resolve())
    return folder.name if folder.parent in known else str(folder)


def is_run_folder(folder: str | Path) -> bool:
    """Return whether a folder holds a run, finished or not; false for what is no folder, a name of any length."""
    return os.path.exists(os.path.join(folder, "config.json"))  # unlike pathlib's, it takes too long a name


def find_run(identity: str, sibling: Path | None = None) -> Path:
    """Return the folder of a run by its id; folders may have moved together, so one beside `sibling` comes first."""
    places = [*([sibling.parent] if sibling is not None else []), runs_root(), shipped_root()]
    return next((path for place in places if os.path.exists(path := place / identity)), runs_root() / identity)


def create_run(request: Request, root: Path | None = None, name: str = "") -> Path:
    """Make a run folder that can be started here or on another machine; return it. Nobody else has its name."""
    root = root or runs_root()
    what = (request.trigger if request.stage == "backdoored" else request.defense) or {}
    kind = "rebound" if request.rebound is not None else what.get("name", request.stage)
    stem = name or time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{kind}"
    folder = create_free_folder(root, stem)
    try:
        write_status(folder, Status("new"))
        write_json(folder / "config.json", {"schema": SCHEMA_VERSION, **request.initial_config()})
    except CleanerError:
        shutil.rmtree(folder, ignore_errors=True)  # half a run would stay in all lists
        raise
    return folder


def save_run(run: Run, folder: str | Path) -> Path:
    """Write a run that was made in this process; return its folder.

    config.json comes last: a folder without it is an unfinished write and is not listed. Raises `CleanerError` if
    the folder already holds a run.
    """
    folder = Path(folder)
    if is_run_folder(folder):
        raise CleanerError(f"{folder} already holds a run: choose another folder, nothing was overwritten.")
    write_run(run, folder)
    return folder


def write_run(run: Run, folder: Path) -> None:
    """Write what a finished run is: model (safetensors), progress (JSON lines), manifest, metrics, config (JSON)."""
    from cleaner.models.clip import save_clip

    metadata = {"stage": run.stage, "target": run.target_class or "unknown"}
    metadata["trigger"] = json.dumps(run.trigger.state_dict()) if run.trigger else "unknown"
    save_clip(run.clip, folder / "model.safetensors", metadata=metadata)
    for name, content in run.trigger.files().items() if run.trigger else ():
        with atomic_write(folder / TRIGGER_FILES / name) as temporary:
            temporary.write_bytes(content)
    write_text(folder / "progress.jsonl", "".join(json.dumps(asdict(report)) + "\n" for report in run.history))
    write_json(folder / "manifest.json", run.manifest)
    write_json(folder / "metrics.json", run.metrics.to_dict() if run.metrics else None)
    write_json(folder / "config.json", {"schema": SCHEMA_VERSION, **run.config})


def load_run(folder: str | Path) -> Run:
    """Return the finished run in `folder`; the model before poisoning is left out where it is not at hand.

    Raises `CleanerError` if there is none, or one of a newer version.
    """
    from cleaner.evaluation.evaluate import Metrics
    from cleaner.models.clip import load_clip

    folder = Path(folder)
    config = read_json(folder / "config.json")
    validate_config(config, folder)
    if "stage" not in config or not (folder / "model.safetensors").exists():
        raise CleanerError(f"{folder} does not hold a complete run; list them with: python -m cleaner runs")
    metrics = read_metrics(folder)
    known = {f.name for f in fields(StepReport)}
    lines = [{key: value for key, value in line.items() if key in known} for line in read_progress(folder)]
    try:
        clean_clip = load_clip(config["clean_model"]) if config.get("clean_model") else None
    except CleanerError:
        clean_clip = None  # moved or deleted since; metrics.json still holds the floor that was measured with it
    return Run(
        clip=load_clip(str(folder / "model.safetensors")),
        history=[StepReport(**line) for line in lines],
        metrics=Metrics.from_dict(metrics) if metrics else None,
        config=config,
        trigger=load_run_trigger(folder),
        target_class=config.get("target_class"),
        manifest=read_json(folder / "manifest.json"),
        clean_clip=clean_clip,
    )


def load_run_trigger(folder: Path) -> Trigger | None:
    """Return the trigger of the run in `folder` as it was used, its patch and files included; None if it has none."""
    from cleaner.attacks.base import load_trigger

    config = read_json(folder / "config.json")
    validate_config(config, folder)
    state = config.get("trigger")
    return load_trigger(state, folder / TRIGGER_FILES) if state else None


def is_from_newer_version(config: dict[str, Any]) -> bool:
    """Return whether a config was written by a later version, whose files this one may not understand."""
    schema = config.get("schema", 0)
    return not isinstance(schema, int) or schema > SCHEMA_VERSION


def validate_config(config: dict[str, Any], folder: Path) -> None:
    """Raise `CleanerError` for the config of a later version, or one that no version has written."""
    if is_from_newer_version(config):
        raise CleanerError(f"{folder} was written by a newer version of TA-Cleaner Lab: update it to open this run.")
    if odd := schema.find_invalid_config_field(config):
        raise CleanerError(f"the config.json of {folder} is not understood, see its {odd}: correct it or make it anew.")


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the test figures of a run; empty where there are none, or where what is there cannot be figures.

    The dictionary is shared: do not change it.
    """
    metrics = read_json_cached(folder / "metrics.json")
    return metrics if schema.is_valid_metrics(metrics) else {}


def read_notes(folder: Path) -> dict[str, Any]:
    """Return the user's "name", "note" and "tags" of a run; empty where they are not what `annotate` writes."""
    notes = read_json_cached(folder / "notes.json")
    odd = schema.find_invalid_field(notes, {"name": str, "note": str, "tags": list})
    return {} if odd or not all(isinstance(tag, str) for tag in notes.get("tags") or []) else notes


def read_progress(folder: Path) -> list[dict[str, Any]]:
    """Return the step reports written so far, as dictionaries; a broken line, such as the last one, is skipped."""
    try:
        lines = (folder / "progress.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    reports = []
    for line in lines:
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(report, dict) and {"stage", "step", "total", "seconds"} <= report.keys():
            reports.append(report)
    return reports


def read_status(folder: Path) -> Status:
    """Return what status.json says; a run without one was written whole by `save_run` and is done."""
    values = read_json_cached(folder / "status.json")
    if not values and not (folder / "status.json").exists():
        return Status("done")
    known = {f.name: values[f.name] for f in fields(Status) if values.get(f.name) is not None}
    kinds = {f.name: schema.NUMBER if isinstance(f.default, float) else type(f.default) for f in fields(Status)}
    verdict = known.get("verdict", ["", ""])
    if (odd := schema.find_invalid_field(known, {**kinds, "verdict": list})) or list(map(type, verdict)) != [str, str]:
        message = f"Its status.json is not understood, see its {odd or 'verdict'}: delete this file if the run is whole"
        return Status("unreadable", message=f"{message}, else delete the run.")
    return Status(**{"state": "failed", **known})


def write_status(folder: Path, status: Status) -> None:
    """Write status.json, with the present time."""
    write_json(folder / "status.json", {**asdict(status), "updated": time.time()})


def last_lines(path: Path, number: int = 1) -> str:
    """Return the last lines of a log in one line, each cut to 200 characters; empty if there are none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return " / ".join([line.strip()[:200] for line in text.splitlines() if line.strip()][-number:])


def list_entries(root: Path | None = None) -> list[RunEntry]:
    """Return every run folder under `root`, newest first, whatever its state; other folders are left out."""
    found = []
    try:
        folders = [Path(place.path) for place in os.scandir(root or runs_root()) if not place.name.startswith(".")]
    except OSError:
        return []
    for folder in folders:
        entry = _read_entry_with_mtime(folder)
        if entry is not None:
            found.append(entry)
    return [entry for _, entry in sorted(found, key=lambda pair: (-pair[0], pair[1].folder.name))]


def read_entry(folder: Path) -> RunEntry | None:
    """Return one run folder as lists show it; None if it is none."""
    found = _read_entry_with_mtime(folder)
    return found and found[1]


def _read_entry_with_mtime(folder: Path) -> tuple[float, RunEntry] | None:
    """Return (time, entry), or None for a folder that is no run, or is deleted while it is read."""
    try:
        changed = (folder / "config.json").stat().st_mtime
    except OSError:
        try:
            changed = (folder / "status.json").stat().st_mtime
        except OSError:
            return None
    config = read_json_cached(folder / "config.json")
    odd = schema.find_invalid_config_field(config)
    if "stage" not in config:
        status = Status("unreadable", message="Its config.json is gone or broken: nothing is left to do but delete it.")
    elif is_from_newer_version(config):
        status = Status("unreadable", message="It was made by a newer version of TA-Cleaner Lab: update to open it.")
    elif odd:
        message = f"Its config.json is not understood, see its {odd}: correct it there, or delete the run."
        status = Status("unreadable", message=message)
    else:
        status = read_status(folder)
    # Who shows an odd one must not stumble over it.
    return changed, RunEntry(folder, {} if odd else config, status, read_notes(folder))


def list_runs(root: Path | None = None) -> list[tuple[Path, dict[str, Any]]]:
    """Return (folder, config) of every finished run under `root`, newest first; unreadable folders are left out.

    Configs are shared with later calls: do not change them.
    """
    return [(entry.folder, entry.config) for entry in list_entries(root) if entry.status.state == "done"]


def annotate(folder: Path, name: str = "", note: str = "", tags: list[str] | None = None) -> None:
    """Write the user's name, note and tags of a run; its folder, and so its id, stays."""
    _refuse_shipped(folder)
    clean = sorted({tag.strip() for tag in tags or [] if tag.strip()})
    write_json(folder / "notes.json", {"name": name.strip(), "note": note.strip(), "tags": clean})


def remove_run_folder(folder: Path) -> None:
    """Delete a run folder. It leaves all lists at once, also if deleting is interrupted."""
    _refuse_shipped(folder)
    if not (folder / "config.json").exists() and not (folder / "status.json").exists():
        raise CleanerError(f"{folder} is no run folder: nothing was deleted.")
    try:
        remove_tree(folder)
    except OSError as error:
        raise CleanerError(f"{folder} cannot be deleted ({error.strerror}): check who may write there.") from error
