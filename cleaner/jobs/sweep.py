"""Sweep: defences x learning rates x seeds on one backdoored run, as a set of runs that are trained one by one.

A sweep has no file of its own: its runs name it in their config.json. Those that wait are "new"; a worker that ends
hands over to the next, so that however many runs wait, one process is there, with or without a page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cleaner.files import read_json
from cleaner.jobs import local, slurm
from cleaner.jobs.slurm import SlurmResources
from cleaner.labels import defense_name
from cleaner.runs.request import Request
from cleaner.runs.store import (
    ACTIVE,
    STARTABLE,
    RunEntry,
    create_run,
    find_run,
    read_metrics,
    remove_run_folder,
    write_status,
)
from cleaner.types import CleanerError

WAITING_STATE = "new"
HANDOVER_SECONDS = 8.0
"""How long a sweep may seem to stand still while one run hands over to the next."""


def compute_sweep_id(request: Request) -> str:
    """Return the id of the sweep that a run belongs to: it follows from all settings but defence, rate and seed."""
    finetune = replace(request.finetune, lr=1e-4, seed=0)
    common = replace(request, defense=None, finetune=finetune, sweep="").initial_config()["request"]
    del common["rebound"]  # younger than the ids of sweeps, and never part of one
    return f"sweep-{blake2b(json.dumps(common, sort_keys=True).encode(), digest_size=4).hexdigest()}"


def grid(
    base: Request, defenses: Sequence[Mapping[str, Any]], rates: Sequence[float], seeds: Sequence[int]
) -> list[Request]:
    """Return one request for each defence (its `state_dict()`), learning rate and seed."""
    if not (defenses and rates and seeds):
        raise CleanerError("a sweep needs at least one defence, one learning rate and one seed.")
    return [
        replace(base, defense=dict(defense), finetune=replace(base.finetune, lr=rate, seed=seed))
        for defense in defenses
        for rate in rates
        for seed in seeds
    ]


def start_sweep(requests: Sequence[Request], resources: SlurmResources | None = None) -> str:
    """Make the runs that are not there yet, let those that were stopped wait again, start the first; return the id.

    So a second call with the same requests goes on with what is missing, and one with more of them adds those. On a
    cluster (`resources`) all are handed in at once; if it refuses, nothing was made.
    """
    requests = [replace(request, map=False) for request in requests]  # a map takes longer than many a training
    name = compute_sweep_id(requests[0])
    there = list_sweep_runs(name)
    _check_suspect_unchanged(requests[0], there)
    known = {_request_key(entry.config) for entry in there}
    made = []
    for request in requests:
        work = _request_key(request.initial_config())
        if work not in known:
            known.add(work)
            made.append(create_run(replace(request, sweep=name)))
    try:
        resume(name, resources=resources)
    except CleanerError:
        for folder in made if resources else ():
            remove_run_folder(folder)
        raise
    return name


def _check_suspect_unchanged(request: Request, existing: Sequence[RunEntry]) -> None:
    """Raise `CleanerError` if runs of a sweep started from another run that had the name of its suspect."""
    now = read_json(find_run(request.parent) / "config.json").get("created") if request.parent else None
    for entry in existing:
        before = entry.config.get("suspect")
        if now and isinstance(before, dict) and before.get("created") not in (None, now):
            raise CleanerError(
                f"{request.parent} is not the run that {entry.folder.name} of this sweep started from, but a newer one "
                "of the same name: delete the sweep's runs, or give the new one another name."
            )


def _request_key(config: Mapping[str, Any]) -> str:
    """Return what tells the runs of one sweep apart."""
    # Of the request, for a finished run's own config may spell out what the request left to defaults.
    request = config.get("request") or {}
    finetune = request.get("finetune") or {}
    return json.dumps([request.get("defense"), finetune.get("lr"), finetune.get("seed")], sort_keys=True)


def list_sweep_runs(sweep_id: str, root: Path | None = None) -> list[RunEntry]:
    """Return the runs of a sweep by defence, learning rate and seed, each with its state as it is."""
    found = [entry for entry in local.poll_entries(root) if sweep_id and entry.config.get("sweep") == sweep_id]
    return sorted(found, key=lambda entry: (_defense(entry), _defense_key(entry), _rate(entry), _seed(entry)))


def list_sweep_ids(entries: Sequence[RunEntry]) -> list[str]:
    """Return the ids of the sweeps among some runs, in the order of these runs."""
    return list(dict.fromkeys(str(entry.config["sweep"]) for entry in entries if entry.config.get("sweep")))


def resume(sweep_id: str, root: Path | None = None, resources: SlurmResources | None = None) -> None:
    """Go on with all runs of a sweep that are not done: one after the other here, or at once on a cluster.

    Without `resources` those that were on a cluster last go back there.
    """
    stopped = sorted((entry for entry in list_sweep_runs(sweep_id, root) if entry.status.state in STARTABLE), key=_seed)
    places = [resources or slurm.read_last_resources(entry.folder) for entry in stopped]
    for where in dict.fromkeys(found for found in places if found is not None):
        folders = [entry.folder for entry, found in zip(stopped, places, strict=True) if found == where]
        local.start_all(folders, where)
    for entry, found in zip(stopped, places, strict=True):
        if found is None and entry.status.state != WAITING_STATE:
            write_status(entry.folder, replace(entry.status, state=WAITING_STATE, message=""))
    start_next(sweep_id, root)


def start_next(sweep_id: str, root: Path | None = None) -> None:
    """Start the next run of a sweep on this machine, the lower seeds first, unless one is at work here."""
    entries = list_sweep_runs(sweep_id, root)
    if any(entry.status.state in ACTIVE and not entry.status.place for entry in entries):
        return
    waiting = sorted((e for e in entries if e.status.state == WAITING_STATE), key=_seed)  # stable: then as in the table
    if waiting:
        local.start_all([waiting[0].folder])


def cancel(sweep_id: str, root: Path | None = None) -> None:
    """Stop all runs of a sweep that are not finished, for good; what is done stays."""
    # Those that wait come first: the worker that is stopped last finds nobody to hand over to.
    for states in ((WAITING_STATE, "paused", "died"), ACTIVE):
        for entry in list_sweep_runs(sweep_id, root):
            if local.poll_status(entry.folder).state in states:  # with many, some end meanwhile
                local.cancel(entry.folder)


def pause(sweep_id: str, root: Path | None = None) -> None:
    """Stop the run that is at work, with a checkpoint; the others wait until `resume`."""
    for entry in list_sweep_runs(sweep_id, root):
        if local.poll_status(entry.folder).state in ACTIVE:  # with many, some end meanwhile
            local.pause(entry.folder)


def is_active(entries: Sequence[RunEntry]) -> bool:
    """Return whether a sweep goes on by itself: a run is at work, or the last one is just handing over."""
    if any(entry.status.state in ACTIVE for entry in entries):
        return True
    waits = any(entry.status.state == WAITING_STATE for entry in entries)
    last = max((entry.status.updated for entry in entries), default=0.0)
    paused = any(entry.status.state == "paused" for entry in entries)
    return waits and not paused and time.time() - last < HANDOVER_SECONDS


@dataclass(frozen=True)
class Row:
    """One run of a sweep as its table shows it; `metrics` are the test figures, empty until it is done.

    `defense` names the parameters too in which the runs of one defence differ.
    """

    folder: Path
    defense: str
    lr: float
    seed: int
    state: str
    progress: float
    """Share done of the present stage; 1 when done."""
    metrics: Mapping[str, Any]

    def figure(self, name: str) -> float | None:
        """Return "ca" or "asr" at k = 1, 0..1, or None."""
        value = (self.metrics.get(name) or {}).get("1")
        return None if value is None else float(value)


def make_rows(entries: Sequence[RunEntry]) -> list[Row]:
    """Return the table of a sweep."""
    differ = _find_varying_parameters(entries)
    return [_make_row(entry, differ) for entry in entries]


def _find_varying_parameters(entries: Sequence[RunEntry]) -> dict[str, list[str]]:
    """Return defence -> the parameters in which its runs differ."""
    states: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        states.setdefault(_defense(entry), []).append(entry.config.get("defense") or {})
    return {
        name: [
            key
            for key in dict.fromkeys(key for state in own for key in state)
            if any(state.get(key) != own[0].get(key) for state in own)
        ]
        for name, own in states.items()
    }


def _make_row(entry: RunEntry, differ: Mapping[str, Sequence[str]]) -> Row:
    status = entry.status
    done = status.state == "done"
    share = 1.0 if done else min(status.step / max(status.total, 1), 1.0)
    metrics = read_metrics(entry.folder) if done else {}
    state = entry.config.get("defense") or {}
    own = {key: state[key] for key in differ[_defense(entry)] if key in state}
    named = defense_name({"defense": state, "variant": own}) if state else ""
    return Row(entry.folder, named, _rate(entry), _seed(entry), status.state, share, metrics)


def seconds_left(entries: Sequence[RunEntry]) -> float | None:
    """Return the seconds until all runs are done, from those that are; None while nothing was measured."""
    done = [e.status for e in entries if e.status.state == "done" and e.status.started]
    mean = sum(status.updated - status.started for status in done) / max(len(done), 1)
    active = [entry.status for entry in entries if entry.status.state in ACTIVE]
    waiting = sum(entry.status.state == WAITING_STATE for entry in entries)
    away = [status for status in active if status.place]
    if (waiting and not done) or any(status.state == "queued" for status in away):
        return None
    if away:
        return max(status.eta for status in away)
    return waiting * mean + sum(max(status.eta, mean + status.started - time.time()) for status in active)


def _defense(entry: RunEntry) -> str:
    return str((entry.config.get("defense") or {}).get("name", ""))


def _defense_key(entry: RunEntry) -> str:
    return json.dumps(entry.config.get("defense"), sort_keys=True)


def _rate(entry: RunEntry) -> float:
    return float((entry.config.get("finetune") or {}).get("lr", 0.0))


def _seed(entry: RunEntry) -> int:
    return int((entry.config.get("finetune") or {}).get("seed", 0))
