"""The run store: create, list, annotate and delete run folders."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cleaner.evaluation.result import WEAK_ASR, success_share
from cleaner.files import (
    FileVersion,
    create_free_folder,
    file_version,
    keep_newest,
    read_existing_json,
    read_json,
    remove_tree,
    validate_regular,
    write_json,
)
from cleaner.registry import suggest
from cleaner.runs.folders import find_run, is_shipped, runs_root, shipped_root
from cleaner.runs.parts import first_invalid_field, read_notes
from cleaner.runs.record import SCHEMA_VERSION, RunRecord, is_from_newer_version, merge_fields
from cleaner.runs.status import (
    STATUS_FILE,
    RunState,
    Status,
    incomplete_run_error,
    lock_status,
    parse_status,
    write_status,
)
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from cleaner.runs.request import Request

FILES = ("config.json", STATUS_FILE, "notes.json", "metrics.json")
"""Files behind a record."""
CHECKPOINT_FILE, LOG_FILE = "checkpoint.pt", "log.txt"
LOG_TAIL_BYTES = 64 * 1024
"""Bytes at the end of a log in which its last lines are looked for."""


def create_run(request: Request, root: Path | None = None, name: str = "") -> Path:
    """Create a run folder, which can be started here or on another machine; return it. Its name is unique in `root`."""
    root = root or runs_root()
    state = (request.trigger if request.stage == "backdoored" else request.defense) or {}
    kind = "rebound" if request.rebound is not None else state.get("name", request.stage)
    folder = create_free_folder(root, name or time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{kind}")
    try:
        write_request(request, folder)
    except CleanerError:
        shutil.rmtree(folder, ignore_errors=True)  # an incomplete run would stay in all lists
        raise
    return folder


def write_request(request: Request, folder: Path) -> None:
    """Write a run that is not started yet into a folder: its settings and copies of the files of its trigger."""
    folder.mkdir(parents=True, exist_ok=True)
    with lock_status(folder):
        write_status(folder, Status(RunState.NEW))
    if request.stage == "backdoored" and request.trigger:
        from cleaner.attacks.base import load_trigger  # here: listing runs must not load torch
        from cleaner.runs.run import write_trigger_files

        write_trigger_files(load_trigger(request.trigger), folder)
    write_json(folder / "config.json", {"schema": SCHEMA_VERSION, **request.initial_config()})


def list_entries(root: Path | None = None) -> list[RunRecord]:
    """Return every run folder under `root`, newest first, in whatever state; other folders are skipped."""
    try:
        paths = [entry.path for entry in os.scandir(root or runs_root()) if not entry.name.startswith(".")]
    except OSError:
        return []
    records = [record for path in paths if (record := read_entry(path)) is not None]
    return sorted(records, key=lambda record: (-record.modified, record.id))


def list_runs(root: Path | None = None) -> list[RunRecord]:
    """Return every finished run under `root`, newest first."""
    return [record for record in list_entries(root) if record.status.state == RunState.DONE]


def list_shipped_runs() -> list[RunRecord]:
    """Return the runs that ship with this project, by name in reverse: files of a checkout have no useful times."""
    return sorted(list_entries(shipped_root()), key=lambda record: record.id, reverse=True)


def suggest_run(name: str, others: Iterable[str] = ()) -> str:
    """Return a hint at the run or the other name that is similar; "" if none is."""
    return suggest(name, [*others, *(run.id for run in (*list_entries(), *list_shipped_runs()))])


def missing_run_error(name: str) -> CleanerError:
    """Return the error for a name or folder without a run."""
    return CleanerError(f"there is no run {name}{suggest_run(name)}; list them with: python -m cleaner runs")


def read_record(folder: str | Path, *, needs_metrics: bool = True) -> RunRecord:
    """Return the finished run in `folder`, or any run without `needs_metrics`."""
    given, folder = str(folder), Path(os.path.abspath(folder))  # "." has no name
    RunRecord.from_config(folder, read_json(folder / "config.json"))  # raises for an invalid one
    record = read_entry(folder)
    if record is None:
        raise missing_run_error(given)
    if not record.stage or (needs_metrics and not (folder / "metrics.json").exists()):
        raise incomplete_run_error(folder)
    return record


def read_entry(folder: str | Path) -> RunRecord | None:
    """Return the run in `folder` in any state, UNREADABLE if it cannot be read; None if there is no run."""
    path = str(folder)
    config, status, notes, metrics = [file_version(f"{path}/{name}") for name in FILES]
    written = config or status
    if written is None:
        return None
    try:
        return _load_version(path, (config, status, notes, metrics))
    except OSError as error:
        message = f"Its files cannot be read ({error.strerror}): check their permissions."
        fields = {"status": Status(RunState.UNREADABLE, message=message), "modified": written[0]}
        return RunRecord.model_validate(merge_fields(Path(path), {}, fields))


@keep_newest
def _load_version(path: str, versions: tuple[FileVersion | None, ...]) -> RunRecord:
    folder = Path(path)
    config = {} if versions[0] is None else read_existing_json(folder / "config.json")
    status = Status() if versions[1] is None else parse_status(read_existing_json(folder / STATUS_FILE))
    written = versions[0] or versions[1]
    notes = {} if versions[2] is None else read_notes(folder).model_dump()
    fields = {"status": status, "modified": written[0] if written else 0, **notes}
    problem = ""
    if "stage" not in config:
        problem = "Its config.json is missing or broken: delete the run."
    elif is_from_newer_version(config):
        problem = "It was made by a newer version of TA-Cleaner Lab: update to open it."
    try:
        record = RunRecord.model_validate(merge_fields(folder, config, fields))
    except ValidationError as error:
        invalid = f"Its config.json has an invalid {first_invalid_field(error)}: correct it, or delete the run."
        problem = problem or invalid
        record = RunRecord.model_validate(merge_fields(folder, {}, fields))
    return record.with_status(Status(RunState.UNREADABLE, message=problem)) if problem else record


def find_suspect(defended: RunRecord) -> RunRecord | None:
    """Return the run that a defense started from; None if it started from a bare model, or that run is gone."""
    if defended.parent is not None:
        found = read_entry(find_run(defended.parent, defended.folder))
        return found if found is not None and defended.started_from(found) else None
    if not isinstance(defended.suspect, Mapping):
        return None
    neighbors = list_entries(defended.folder.parent)  # both were trained in one process
    return next((other for other in neighbors if defended.started_from(other)), None)


def find_attack_run(record: RunRecord) -> RunRecord | None:
    """Return the backdoored run that a defense or rebound test goes back to, or the run itself; None if it is gone."""
    seen: set[Path] = set()
    found: RunRecord | None = record
    while found is not None and found.stage == "defended" and found.folder not in seen:
        seen.add(found.folder)
        found = find_suspect(found)
    return found if found is not None and found.stage == "backdoored" else None


def has_failed_attack(record: RunRecord) -> bool:
    """Return whether the attack of a run, or of the run that it cleaned, is known to have failed."""
    attack = find_attack_run(record)
    if attack is None or attack.has_few_images:
        return False
    asr = success_share(attack)
    return asr is not None and asr < WEAK_ASR


def last_lines(path: Path, number: int = 1) -> str:
    """Return the last lines of a log, each cut to 200 characters, joined by " / "; empty if there are none."""
    try:
        validate_regular(path)
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - LOG_TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except (OSError, CleanerError):
        return ""
    return " / ".join([line.strip()[:200] for line in text.splitlines() if line.strip()][-number:])


def annotate(folder: Path, *, name: str = "", note: str = "", tags: list[str] | None = None) -> None:
    """Write the user's name, note and tags of a run; its folder, and so its id, does not change."""
    _refuse_shipped(folder)
    refuse_deleted(folder)
    unique = sorted({tag.strip() for tag in tags or [] if tag.strip()})
    write_json(folder / "notes.json", {"name": name.strip(), "note": note.strip(), "tags": unique})


def refuse_deleted(folder: Path) -> None:
    """Raise `CleanerError` if a run was deleted meanwhile, as in another tab: writing would create its folder again."""
    if not folder.exists():
        raise CleanerError(f"the run {folder.name} is gone: it was deleted meanwhile.")


def remove_run_folder(folder: Path) -> None:
    """Delete a run folder; it leaves all lists at once, even if deleting is interrupted."""
    _refuse_shipped(folder)
    if folder.is_symlink():  # what it names may serve another store, too
        raise CleanerError(f"{folder} is a link to {folder.resolve()}: delete that folder, then the link.")
    if not (folder / "config.json").exists() and not (folder / STATUS_FILE).exists():
        raise CleanerError(f"{folder} is not a run folder: nothing was deleted.")
    try:
        remove_tree(folder)
    except OSError as error:
        raise CleanerError(
            f"{folder} cannot be deleted ({error.strerror}): check its write permission. On Windows, wait until its "
            "embedding map is drawn, and close the programs that use its files."
        ) from error


def _refuse_shipped(folder: Path) -> None:
    if is_shipped(folder):
        raise CleanerError(f"{folder.name} ships with this project and is read only: start a run of your own.")
