"""Sweep: defenses x learning rates x seeds on one suspect, trained one after the other, or all at once on a cluster.

A sweep has no file of its own: its runs name it in their config.json. Waiting runs are "new"; a worker that ends
starts the next one, so one process runs at a time on this machine, with or without a page.
"""

import hashlib
import itertools
import json
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cleaner.files import read_json
from cleaner.jobs import local, slurm
from cleaner.jobs.slurm import SlurmResources
from cleaner.runs.folders import find_run
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from cleaner.runs.status import ACTIVE, STARTABLE, RunState, transition
from cleaner.runs.store import create_run, remove_run_folder
from cleaner.types import CleanerError

WAITING_STATE = RunState.NEW
MAX_VALUE_LENGTH = 200
"""Longest text of a parameter that a name shows; longer ones are the content of a file."""
HANDOVER_SECONDS = 8.0
"""Seconds without an active run before a sweep counts as stopped: starting the next run takes a while."""


def compute_sweep_id(request: Request) -> str:
    """Return the id of a run's sweep: a hash of all settings except defense, learning rate and seed."""
    finetune = replace(request.finetune, lr=1e-4, seed=0)
    common = replace(request, defense=None, finetune=finetune, sweep="").initial_config()["request"]
    return f"sweep-{hashlib.blake2b(json.dumps(common, sort_keys=True).encode(), digest_size=4).hexdigest()}"


def grid(
    base: Request, defenses: Sequence[Mapping[str, Any]], *, rates: Sequence[float], seeds: Sequence[int]
) -> list[Request]:
    """Return one request for each defense (its `state_dict()`), learning rate and seed."""
    if not (defenses and rates and seeds):
        raise CleanerError("a sweep needs at least one defense, one learning rate and one seed.")
    return [
        replace(base, defense=dict(defense), finetune=replace(base.finetune, lr=rate, seed=seed))
        for defense, rate, seed in itertools.product(defenses, rates, seeds)
    ]


def start_sweep(requests: Sequence[Request], resources: SlurmResources | None = None) -> str:
    """Create the missing runs of a sweep, queue the stopped ones again and start the first; return the sweep's id.

    A second call with the same requests resumes the sweep; one with more requests adds those. Stopped runs that no
    request names stay as they are. On a cluster (`resources`) all are submitted at once; if it refuses, no run is left
    behind.
    """
    requests = [replace(request, map=False) for request in requests]  # a map can take longer than the training
    name = compute_sweep_id(requests[0])
    existing = list_sweep_runs(name)
    _check_suspect_unchanged(requests[0], existing)
    known = {_request_key(record.config) for record in existing}
    requested = {_request_key(request.initial_config()): request for request in requests}
    created = [create_run(replace(request, sweep=name)) for key, request in requested.items() if key not in known]
    try:
        resume(name, resources=resources, keys=requested)
    except CleanerError:
        for folder in created if resources else ():
            remove_run_folder(folder)
        raise
    return name


def find_done(requests: Sequence[Request]) -> list[bool]:
    """Return whether each run of a sweep is done, which `start_sweep` then leaves as it is."""
    done = {
        _request_key(record.config)
        for record in list_sweep_runs(compute_sweep_id(replace(requests[0], map=False)))
        if record.status.state == RunState.DONE
    }
    return [_request_key(request.initial_config()) in done for request in requests]


def _check_suspect_unchanged(request: Request, existing: Sequence[RunRecord]) -> None:
    """Raise `CleanerError` if runs of a sweep started from another run of the suspect's name, or other weights."""
    now = read_json(find_run(request.parent) / "config.json").get("created") if request.parent else None
    for record in existing:
        before = record.suspect
        if now and isinstance(before, dict) and before.get("created") not in (None, now):
            raise CleanerError(
                f"{record.id} of this sweep started from an older run named {request.parent}: delete the sweep's runs, "
                "or rename the folder of the new run."
            )
    finished = [
        record for record in existing if record.status.state == RunState.DONE and record.config.get("model_sha256")
    ]
    if request.model and finished:
        from cleaner.models.clip import load_clip

        weights = load_clip(request.model).sha256()
        for record in finished:
            if record.config["model_sha256"] != weights:
                raise CleanerError(
                    f"{record.id} of this sweep started from other weights of {request.model}: delete the sweep's "
                    "runs, or give the new file another name."
                )


def _request_key(config: Mapping[str, Any]) -> str:
    """Return defense, learning rate and seed as one text, which differs for each run of a sweep."""
    # From the request: the config of a finished run may state defaults that the request left out.
    request = config.get("request") or {}
    finetune = request.get("finetune") or {}
    return json.dumps([request.get("defense"), finetune.get("lr"), finetune.get("seed")], sort_keys=True)


def list_sweep_runs(sweep_id: str, root: Path | None = None) -> list[RunRecord]:
    """Return the runs of a sweep, with their current states, sorted by defense, learning rate and seed."""
    return sorted((r for r in local.poll_entries(root) if sweep_id and r.sweep == sweep_id), key=_table_order)


def list_sweep_ids(records: Sequence[RunRecord]) -> list[str]:
    """Return the ids of the sweeps of some runs, in the order of these runs."""
    return list(dict.fromkeys(record.sweep for record in records if record.sweep))


def resume(sweep_id: str, resources: SlurmResources | None = None, keys: Container[str] | None = None) -> None:
    """Start all runs of a sweep that are not done: one after the other on this machine, all at once on a cluster.

    Without `resources`, runs that were on a cluster last go back to it. keys: only runs with such a `_request_key`;
    None: all.
    """
    runs = [run for run in list_sweep_runs(sweep_id) if keys is None or _request_key(run.config) in keys]
    stopped = sorted((run for run in runs if run.status.state in STARTABLE), key=_seed)
    places = [resources or slurm.read_last_resources(record.folder) for record in stopped]
    for cluster in dict.fromkeys(place for place in places if place is not None):
        folders = [record.folder for record, place in zip(stopped, places, strict=True) if place == cluster]
        local.start_all(folders, cluster)
    for record, place in zip(stopped, places, strict=True):
        if place is None and record.status.state != WAITING_STATE:
            transition(record.folder, WAITING_STATE, message="")
    start_next(sweep_id)


def start_next(sweep_id: str, root: Path | None = None) -> None:
    """Start the next run of a sweep on this machine, lower seeds first, unless one is active here."""
    records = list_sweep_runs(sweep_id, root)
    if any(record.status.state in ACTIVE and not record.status.place for record in records):
        return
    waiting = sorted((r for r in records if r.status.state == WAITING_STATE), key=_seed)  # stable: else as in the table
    if waiting:
        local.start_all([waiting[0].folder])


def cancel(sweep_id: str) -> None:
    """Cancel all runs of a sweep that are not finished."""
    # Waiting runs first: the worker that is stopped last must find no next run to start.
    for states in ((WAITING_STATE, RunState.PAUSED, RunState.DIED), ACTIVE):
        for record in list_sweep_runs(sweep_id):
            if local.poll_status(record.folder).state in states:  # of many runs some end meanwhile
                local.cancel(record.folder)


def pause(sweep_id: str) -> None:
    """Pause the active run, with a checkpoint; the others wait until `resume`."""
    for record in list_sweep_runs(sweep_id):
        if local.poll_status(record.folder).state in ACTIVE:  # of many runs some end meanwhile
            local.pause(record.folder)


def is_active(records: Sequence[RunRecord]) -> bool:
    """Return whether a sweep continues by itself: a run is active, or the next one is about to start."""
    if any(record.status.state in ACTIVE for record in records):
        return True
    is_waiting = any(record.status.state == WAITING_STATE for record in records)
    is_paused = any(record.status.state == RunState.PAUSED for record in records)
    last = max((record.status.updated for record in records), default=0.0)
    # A distance: after a clock was set back, a stopped sweep must not count as active until it has caught up.
    return is_waiting and not is_paused and abs(time.time() - last) < HANDOVER_SECONDS


def make_rows(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the table of a sweep: its runs, named with the parameters in which the runs of one defense differ."""
    varying = _find_varying_parameters(records)
    rows = []
    for record in records:
        state = record.config.get("defense") or {}
        variant = {key: _shorten(state[key]) for key in varying[_defense_name(record)] if key in state}
        rows.append(record.model_copy(update={"variant": variant}))
    return rows


def _find_varying_parameters(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Return defense -> the parameters in which its runs differ."""
    states: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        states.setdefault(_defense_name(record), []).append(record.config.get("defense") or {})
    return {
        name: [
            key
            for key in dict.fromkeys(key for state in of_defense for key in state)
            if key != "png_path"  # `path`, once it was read
            and any(state.get(key) != of_defense[0].get(key) for state in of_defense)
        ]
        for name, of_defense in states.items()
    }


def _shorten(value: Any) -> Any:
    """Return a parameter as a name shows it: of the content of a file, the start of its SHA-256."""
    is_content = isinstance(value, str) and len(value) > MAX_VALUE_LENGTH
    return hashlib.sha256(value.encode()).hexdigest()[:8] if is_content else value


def seconds_left(records: Sequence[RunRecord]) -> float | None:
    """Return the seconds until all runs are done, from those that are; None while unknown."""
    done = [record.status for record in records if record.status.state == RunState.DONE and record.status.started]
    mean = sum(status.updated - status.begun for status in done) / max(len(done), 1)
    active = [record.status for record in records if record.status.state in ACTIVE]
    waiting = sum(record.status.state in (WAITING_STATE, RunState.QUEUED) for record in records)
    on_cluster = [status for status in active if status.place]
    if (waiting and not done) or any(status.state == RunState.QUEUED for status in on_cluster):
        return None
    if on_cluster:
        return max(status.eta for status in on_cluster)
    running = [status for status in active if status.state == RunState.RUNNING]
    return waiting * mean + sum(max(status.eta, mean + status.begun - time.time()) for status in running)


def _seed(record: RunRecord) -> int:
    return record.seed


def _defense_name(record: RunRecord) -> str:
    return record.defense_settings.name if record.defense_settings is not None else ""


def _table_order(record: RunRecord) -> tuple[str, str, float, int]:
    return _defense_name(record), json.dumps(record.config.get("defense"), sort_keys=True), record.lr, record.seed
