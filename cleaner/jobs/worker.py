"""The process that does one run: python -m cleaner.worker RUN_DIR. On a laptop, a GPU box or a cluster alike.

It writes status.json and progress.jsonl as it goes. It stops for good when the file CANCEL appears in the run folder,
and for now, with a checkpoint, at the file PAUSE, at SIGTERM and at Ctrl-C. Started again, it goes on from there.
Several processes share a run when torchrun starts them: the first one does all of this, the others train with it.
Nothing heavy is imported before it listens.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleaner.files import REMEDY, read_json, write_text
from cleaner.jobs import local, slurm, sweep
from cleaner.runs import store
from cleaner.runs.request import Request, load_request
from cleaner.types import Cancelled, CleanerError, OnStep, Paused, StepReport

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.runs.store import Run

WRITE_SECONDS = 0.3
"""Between two writes of status.json, and between two training steps in progress.jsonl; looks are always written."""
HEARTBEAT_SECONDS = 10.0
STOP_POLL_SECONDS = 0.2
RANK, IS_DISTRIBUTED = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")) > 1
"""Which of the processes this is that torchrun has started, and whether it has started several."""
RANK_EXIT_SECONDS = 2.0
"""How long the other processes look on after the first one has ended its work, before they end theirs."""
GRACE_SECONDS = 1.0
"""How long a cancelled run may go on to its next step before its process ends where it stands."""


def execute_request(
    request: Request,
    on_step: OnStep | None = None,
    checkpoint: Path | None = None,
    sibling: Path | None = None,
    on_data: Callable[[CaptionData], None] | None = None,
) -> Run:
    """Do what a request asks and return the run, whose config holds the request.

    sibling: a folder beside the parent; seen: is shown each split of the data as soon as it is loaded.
    """
    from cleaner.attacks.base import load_trigger
    from cleaner.data.base import load_data
    from cleaner.defenses.base import load_defense
    from cleaner.models.clip import load_clip
    from cleaner.models.devices import configure_torch
    from cleaner.workflow import defend, poison, rebound

    configure_torch()

    def data(split: str, size: int | None) -> CaptionData:
        sized = {} if size is None else {"size": size}
        found = load_data(request.data, split=split, on_step=on_step, **sized, **request.data_options)
        if on_data is not None:
            on_data(found)
        return found

    def common() -> dict[str, Any]:
        validation = data("validation", request.validation_size) if request.finetune.eval_every else None
        test = data("test", request.test_size)
        return {"validation": validation, "test": test, "on_step": on_step, "checkpoint": checkpoint}

    if request.stage == "backdoored":
        if request.model is None or request.trigger is None or request.target_class is None:
            raise CleanerError("a poisoning needs a model, a trigger and a target class: make the run anew.")
        trigger, clip, pairs = load_trigger(request.trigger), load_clip(request.model), data("train", request.pairs)
        run = poison(
            clip,
            pairs,
            trigger,
            request.target_class,
            poison_rate=request.poison_rate,
            config=request.finetune,
            clean_label=request.clean_label,
            **common(),
        )
    else:
        defense, suspect = load_defense(request.defense or {"name": "none"}), _load_suspect(request, sibling)
        pairs, config = data("clean", request.pairs), request.finetune
        if request.rebound is None:
            run = defend(suspect, defense, pairs, config, **common())
        else:
            measured = {name: value for name, value in common().items() if name != "validation"}
            run = rebound(suspect, pairs, config.steps, config, **measured)
    run.config = {**request.initial_config(), **run.config}
    return run


def _load_suspect(request: Request, sibling: Path | None) -> Any:
    """Return the run that a defence or a rebound test starts from, or the bare suspicious model."""
    from cleaner.models.clip import load_clip

    if request.parent is None:
        if request.model is None:
            raise CleanerError("a defence needs a backdoored run or a suspicious model: make the run anew.")
        return load_clip(request.model)
    folder = store.find_run(request.parent, sibling)
    if not folder.exists():
        raise CleanerError(f"the run {request.parent} that this one starts from is gone: make that one anew first.")
    return store.load_run(folder)


class RunSession:
    """Keeps a run's files up to date while it is worked on, and hears when it is to stop."""

    def __init__(self, folder: Path, pid_started: float) -> None:
        self.folder = folder
        self.terminated = threading.Event()
        self.has_joined = False
        """Whether the other processes of the run, if there are any, train with this one."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._logged: dict[str, float] = {}
        self._written = 0.0
        before = store.read_status(folder)
        self.status = replace(
            before,
            state="queued",
            message="",
            verdict=None,
            stage="",
            eta=0.0,
            pid=os.getpid(),
            started=pid_started,
            host=socket.gethostname(),
            queued=before.queued or time.time(),
            place=slurm.SLURM if os.environ.get(slurm.JOB_VARIABLE) else "",
        )
        self.update_status()

    def update_status(self, **changes: Any) -> None:
        """Write status.json with changed fields."""
        with self._lock:
            if self._ended.is_set():
                return
            if not (self.folder / "config.json").exists():
                os._exit(1)  # the folder was deleted: writing would bring it back
            self.status = replace(self.status, **changes)
            store.write_status(self.folder, self.status)
            self._written = time.monotonic()
            if self.status.state not in store.ACTIVE:
                self._ended.set()

    def __call__(self, report: StepReport) -> None:
        """Take a step report (an `on_step`); raises `Cancelled` or `Paused` if the run is to stop."""
        self._log(report)
        stop = self._stop_exception()
        if stop or report.step == report.total or time.monotonic() - self._written > WRITE_SECONDS:
            self.update_status(stage=report.stage, step=report.step, total=report.total, eta=report.eta)
        if stop:
            raise stop

    def raise_if_stopped(self) -> None:
        """Raise `Cancelled` or `Paused` if the run is to stop."""
        stop = self._stop_exception()
        if stop:
            raise stop

    def _stop_exception(self) -> type[Cancelled] | None:
        asked = local.read_stop_request(self.folder)
        if asked == local.CANCEL:
            return Cancelled
        return Paused if asked == local.PAUSE or self.terminated.is_set() else None

    def state_after_pause(self) -> str:
        """Return the state of a run that goes on later; who was told to go by a cluster may come back by its queue."""
        asked = local.read_stop_request(self.folder) == local.PAUSE
        return "queued" if self.status.place and not asked else "paused"

    def _log(self, report: StepReport) -> None:
        """Append a report that has something to draw; a resumed stage replaces what it does again."""
        first = report.stage not in self._logged
        due = report.metrics or report.picture or report.step == report.total
        if not (report.losses or report.metrics):
            return
        if not (first or due or time.monotonic() - self._logged[report.stage] > WRITE_SECONDS):
            return
        path = self.folder / "progress.jsonl"
        if first:
            kept = [
                r for r in store.read_progress(self.folder) if r["stage"] != report.stage or r["step"] < report.step
            ]
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        try:
            with path.open("a", encoding="utf-8", buffering=1) as file:
                file.write(json.dumps(asdict(report)) + "\n")
        except OSError as error:
            raise CleanerError(f"{path} cannot be written ({error.strerror}). {REMEDY}") from error
        self._logged[report.stage] = time.monotonic()

    def monitor(self) -> None:
        """In a thread of its own: speak now and then, and end a cancelled run that does not come to its next step."""
        heard = None
        while not self._ended.wait(STOP_POLL_SECONDS):
            if local.read_stop_request(self.folder) == local.CANCEL:
                heard = heard or time.monotonic()
                if time.monotonic() - heard > GRACE_SECONDS:
                    self._force_cancel()
            elif time.monotonic() - self._written > HEARTBEAT_SECONDS:
                self._write_heartbeat()

    def _write_heartbeat(self) -> None:
        with suppress(CleanerError):  # the work itself will say so if it lasts
            self.update_status()

    def _force_cancel(self) -> None:
        with self._lock:  # no write of the main thread is cut: each is atomic or a line
            if self._ended.is_set():
                return
            try:
                store.write_status(self.folder, replace(self.status, state="cancelled", message="Cancelled."))
                local.discard_checkpoint(self.folder)
            finally:
                local.kill_children()
                start_next_in_sweep(self)
                os._exit(0)


def run_job(session: RunSession) -> None:
    """Wait for the device, do the run, write it, and say how it ended in status.json."""
    folder = session.folder
    try:
        config = read_json(folder / "config.json")
        if store.is_from_newer_version(config):
            raise CleanerError("this run was made by a newer version of TA-Cleaner Lab: update it to train this run.")
        request = load_request(config)
        session.raise_if_stopped()
        device = _resolve_device(request.finetune.device)
        session.update_status(device=device)
        # A cluster has already waited for its device.
        with nullcontext() if session.status.place else local.device_lock(folder, device, session.raise_if_stopped):
            session.update_status(state="running")
            join_process_group(request)
            session.has_joined = True
            run = execute_request(request, session, folder / store.CHECKPOINT_FILE, folder, _log_broken)
            session.update_status(verdict=_verdict(run))
            store.write_run(run, folder)
            session.update_status(state="done", eta=0.0)
            local.discard_checkpoint(folder)
            if request.map and not session.terminated.is_set():
                draw_map(folder)  # still at its turn: it would slow down whoever comes next
    except Paused:
        session.update_status(state=session.state_after_pause(), eta=0.0)
    except Cancelled:
        local.discard_checkpoint(folder)
        session.update_status(state="cancelled", message="Cancelled.")
    except CleanerError as error:
        session.update_status(state="failed", message=str(error))
    except Exception as error:
        traceback.print_exc()
        session.update_status(state="failed", message=_describe_error(error))
    start_next_in_sweep(session)


def draw_map(folder: Path) -> None:
    """Make the map of a finished run; the run is whole without it, so that a failure only stands in log.txt."""
    from cleaner.inspection import embedding_map

    try:
        embedding_map.ensure_map(folder)
    except Exception:
        traceback.print_exc()


def join_process_group(request: Request) -> None:
    """Join the other processes of this run, if torchrun has started several."""
    from cleaner.training import distributed

    distributed.join_process_group(request.finetune.device)


def run_secondary_rank(folder: Path) -> int:
    """Train as one of several processes whose first one keeps the run's files; return 0, or 1 if it cannot."""

    def leave() -> None:  # also out of a wait for the first process, which may have been killed
        while local.poll_status(folder).state in store.ACTIVE:
            time.sleep(STOP_POLL_SECONDS)
        time.sleep(RANK_EXIT_SECONDS)
        os._exit(0)

    def look(report: StepReport) -> None:
        if report.stage == "evaluate":
            raise Cancelled  # training is over, and the first process measures alone

    try:
        request = load_request(read_json(folder / "config.json"))
        join_process_group(request)
        for name in ("SIGTERM", "SIGINT"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)  # the first process hears it and stops all
        threading.Thread(target=leave, name="leave", daemon=True).start()
        execute_request(request, look, folder / store.CHECKPOINT_FILE, folder)
    except Cancelled:
        return 0
    except CleanerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except RuntimeError:
        if store.read_status(folder).state == "running":
            raise
        return 0  # the first process has stopped, and closed the line between them
    return 0


def start_next_in_sweep(session: RunSession) -> None:
    """Start the next run of this one's sweep, unless this one was stopped to go on later.

    Not for torchrun: who gave a run several processes did not ask for the others to be done by one. Nor on a cluster,
    where each has a job of its own.
    """
    if (
        IS_DISTRIBUTED
        or session.status.place
        or session.terminated.is_set()
        or local.read_stop_request(session.folder) == local.PAUSE
    ):
        return
    try:
        if name := read_json(session.folder / "config.json").get("sweep"):
            sweep.start_next(name, session.folder.parent)
    except CleanerError as error:
        sys.stderr.write(f"The next run of the sweep was not started: {error}\n")


def _log_broken(data: CaptionData) -> None:
    """Write into log.txt which pictures were left out."""
    if data.skipped_items:
        sys.stderr.write(f"{data.name}: {len(data.skipped_items)} left out: {'; '.join(data.skipped_items)}\n")


def _resolve_device(device: str) -> str:
    """Return the device that the run will use."""
    if device != "auto":
        return device
    from cleaner.models.devices import pick_device

    return str(pick_device(device))


def _verdict(run: Run) -> list[str] | None:
    from cleaner.workflow import attack_verdict

    known = run.stage == "backdoored" and run.metrics is not None and run.metrics.asr
    return list(attack_verdict(run.metrics)) if known and run.metrics is not None else None


def _describe_error(error: Exception) -> str:
    """Return what went wrong, and what to do, for errors that nobody foresaw."""
    from cleaner.training.memory import is_out_of_memory

    said = str(error).split("\n")[0][:300]
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
        return "There was not enough memory: choose a smaller batch size, or another device."
    if IS_DISTRIBUTED and isinstance(error, RuntimeError) and any(word in said for word in ("gloo", "NCCL", "peer")):
        return "Another process of this run has ended. Resume goes on from the last epoch; the log says more."
    if isinstance(error, RuntimeError) and any(word in said for word in ("CUDA", "cuda", "MPS", "accelerator")):
        return f"The device failed ({said}). Resume goes on from the last epoch once the device is back."
    return f"Training stopped by an unexpected error ({type(error).__name__}: {said}). Its log says more."


def main(arguments: list[str]) -> int:
    """Do one run; return 0 if it is done, or was stopped as asked, 1 if it failed, 2 for a wrong call."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "config.json").exists():
        print("usage: python -m cleaner.worker RUN_DIR, a folder with the config.json of a run", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).resolve()
    if RANK > 0:
        return run_secondary_rank(folder)
    try:
        with local.try_lock(folder) as free:
            if not free or store.read_status(folder).state == "done":
                print(f"{folder} is {'done already' if free else 'at work in another process'}", file=sys.stderr)
                return 2
            desk = RunSession(folder, local.own_start_time())
            for name in ("SIGTERM", "SIGINT"):
                signal.signal(getattr(signal, name), lambda *_: desk.terminated.set())
            threading.Thread(target=desk.monitor, name="listen", daemon=True).start()
            run_job(desk)
    except CleanerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if desk.status.state == "failed":
        print(f"error: {desk.status.message}", file=sys.stderr)
    # torchrun ends the others, which wait for this process, only if it fails.
    left_alone = IS_DISTRIBUTED and not desk.has_joined
    return int(desk.status.state == "failed" or left_alone)
