"""The worker: execute one run, on any machine: `python -m cleaner.worker RUN_DIR`, or those of a queue (`resident`).

It writes status.json and progress.jsonl. The file CANCEL in the run folder cancels it; the file PAUSE, SIGTERM
and Ctrl-C stop it with a checkpoint, from which the next worker resumes. Under torchrun, rank 0 does all of this and
the other ranks only train. torch is imported after the worker has begun to listen for stop requests.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleaner.config import count_steps
from cleaner.files import read_json
from cleaner.jobs import calibration, local, locks, prediction, process, resident
from cleaner.jobs.session import STOP_POLL_SECONDS, RunSession, describe_error
from cleaner.loading import loading_libraries
from cleaner.runs import store
from cleaner.runs.record import is_from_newer_version
from cleaner.runs.request import Request, load_request
from cleaner.runs.status import ACTIVE, STARTABLE, RunState, read_status, transition
from cleaner.types import Cancelled, CleanerError, Paused, StepReport

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.runs.run import Run

ENDING_SECONDS = 30.0
"""Seconds for which a worker of a run that is started again waits for the one that was stopped, and is still ending."""
RANK_EXIT_SECONDS = 2.0
"""Seconds that the other ranks may take to end after rank 0 has ended the run."""
MAX_IDLE_BYTES = 3e9
"""Bytes of memory above which a worker ends after its run."""
MAX_LOGGED = 1000
"""Lines in log.txt on what was left out of the data."""


def run_job(session: RunSession) -> None:
    """Execute the run of a session and write its result and final status."""
    needs_map = False
    try:
        needs_map = _execute(session)
    except Paused:
        session.update_status(state=session.state_after_pause(), eta=0.0)
    except Cancelled:
        session.write_canceled()
    except Exception as error:
        if not isinstance(error, CleanerError):
            traceback.print_exc()
        session.update_status(state=RunState.FAILED, message=describe_error(error))
    session.start_next_in_sweep()
    if needs_map:
        draw_map(session)


def _execute(session: RunSession) -> bool:
    """Wait for the device, execute the request, write the finished run; return whether its map is to be drawn."""
    folder = session.folder
    config = read_json(folder / "config.json")
    if is_from_newer_version(config):
        raise CleanerError("this run was made by a newer version of TA-Cleaner Lab: update it to train this run.")
    request = load_request(config)
    session.raise_if_stopped()
    device = _resolve_device(request.finetune.device)
    session.update_status(device=device, gpus=locks.visible_gpus(device))
    elapsed = max(time.time() - session.begun, 0.0)  # the wall clock may have been set back
    # On a cluster, Slurm has already assigned the device.
    with nullcontext() if session.status.place else locks.device_lock(folder, device, session.raise_if_stopped):
        process.reset_peak_memory()  # of an earlier run or measurement of this worker
        run_clock = prediction.RunClock(elapsed)
        session.update_status(state=RunState.RUNNING, begun=time.time())
        with loading_libraries():
            from cleaner.jobs import execution
        join_process_group(request)
        session.has_joined = True

        def report(step: StepReport) -> None:
            run_clock(step)
            session(step)

        run = execution.execute_request(
            request, report, checkpoint=folder / store.CHECKPOINT_FILE, folder=folder, on_data=_log_skipped
        )
        _record_timing(run, request, run_clock)
        session.write_result(run)
    return request.map and not session.terminated.is_set()


def _record_timing(run: Run, request: Request, run_clock: prediction.RunClock) -> None:
    """Add predicted and real seconds to the run's config, from which the next runs like it are predicted.

    A resumed run has no timing: its first part was elsewhere. An error is only logged: the run is complete.
    """
    try:
        trained = replace(request, pairs=int(run.config["trained_pairs"]))
        optimized = sum(report.stage == "optimize" for report in run.history)
        if (phases := run_clock.phases(count_steps(trained.pairs, request.finetune), optimized)) is not None:
            predicted = prediction.predict(trained)
            run.config["timing"] = {
                "kind": prediction.kind_of(trained),
                "predicted": None if predicted is None else [round(predicted.low, 2), round(predicted.high, 2)],
                "real": round(run_clock.seconds, 2),
                "phases": {name: round(seconds, 4) for name, seconds in asdict(phases).items()},
            }
    except Exception:
        traceback.print_exc()


def draw_map(session: RunSession) -> None:
    """Compute the embedding map of a finished run, at low priority; the run is complete without it.

    With other runs waiting on this machine it is left to the Embeddings page. A job on a cluster computes it before it
    ends: its processes end with it.
    """
    from cleaner.jobs import map_worker

    try:
        if session.status.place:
            map_worker.draw_map(session.folder)
        elif not local.has_active_runs(session.folder.parent):
            map_worker.start_map_process(session.folder, in_background=True)
    except Exception:  # only logged
        traceback.print_exc()


def join_process_group(request: Request) -> None:
    """Join the other ranks of this run, if torchrun started any."""
    from cleaner.training import distributed

    distributed.join_process_group(request.finetune.device)


def run_secondary_rank(folder: Path) -> int:
    """Train as a rank other than 0, which writes no files; return 0, or 1 after an error."""
    try:
        request = load_request(read_json(folder / "config.json"))
        join_process_group(request)
        _on_stop_signals(signal.SIG_IGN)  # rank 0 receives them and stops all ranks
        threading.Thread(target=_exit_after_run, args=(folder,), name="exit-after-run", daemon=True).start()
        from cleaner.jobs import execution

        execution.execute_request(
            request, _stop_before_evaluation, checkpoint=folder / store.CHECKPOINT_FILE, folder=folder
        )
    except Cancelled:
        return 0
    except CleanerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except RuntimeError:
        if read_status(folder).state == RunState.RUNNING:
            raise
        return 0  # rank 0 has stopped and closed the connection
    return 0


def _exit_after_run(folder: Path) -> None:
    """End this process once the run has ended, even while it waits for a rank 0 that was killed."""
    while local.poll_status(folder).state in ACTIVE:
        time.sleep(STOP_POLL_SECONDS)
    time.sleep(RANK_EXIT_SECONDS)
    os._exit(0)


def _stop_before_evaluation(report: StepReport) -> None:
    if report.stage == "evaluate":
        raise Cancelled  # training is over; rank 0 evaluates alone


def _log_skipped(data: CaptionData) -> None:
    """Write to log.txt what was left out or changed when the files were read."""
    if skipped := data.describe_skipped(limit=MAX_LOGGED):
        sys.stderr.write(f"{data.name}: {skipped}\n")


def _resolve_device(device: str) -> str:
    """Return the device that the run will use."""
    if device != "auto":
        return device
    from cleaner.models.devices import pick_device

    return str(pick_device(device))


def main(arguments: list[str]) -> int:
    """Execute one run, or those of a queue.

    Return 0 if it is done or was stopped on request, 1 if it failed, 2 for a wrong call.
    """
    if len(arguments) == 4 and arguments[0] == resident.OPTION:
        return serve(arguments[1], Path(arguments[2]), int(arguments[3]))
    if len(arguments) != 1 or not (Path(arguments[0]) / "config.json").exists():
        print("usage: python -m cleaner.worker RUN_DIR, a folder with the config.json of a run", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).resolve()
    if process.torchrun_rank() > 0:
        return run_secondary_rank(folder)
    return run_folder(folder, arguments[0])[0]


def serve(token: str, root: Path, starter: int) -> int:
    """Execute the runs of a queue, oldest first, until this process is idle, too large or has met a fault.

    starter: pid of the process without which this one does not wait for further runs.
    """
    bell, free_since, is_loaded = resident.Bell(token, root, starter), 0.0, False
    session: RunSession | None = None
    threading.Thread(target=_keep_waiting_alive, args=(token, root), name="queue", daemon=True).start()
    while True:
        if (folder := resident.find_oldest(token, root)) is not None:
            process.redirect_output(folder / store.LOG_FILE)
            _, session = run_folder(folder, token, free_since=free_since)
            if session is None:  # it was stopped before it was taken, or cannot be begun
                if not _drop_waiting(folder):
                    return 1
                continue
            if not _is_reusable(session, bell):
                break
            process.redirect_output(Path(os.devnull))
            _on_stop_signals(signal.SIG_DFL)
            free_since, is_loaded = time.time(), True
        elif resident.is_kept() and not is_loaded:
            load_libraries()
            calibration.ensure()
            is_loaded = True
        elif (request := bell.take_request()) is not None and not local.has_active_runs(root):
            from cleaner.jobs.execution import prepare_data

            prepare_data(request, bell.has_run)
        elif not bell.wait():
            break
    if session is None or not session.terminated.is_set():
        resident.pass_on(token, root)
    return 0


def _drop_waiting(folder: Path) -> bool:
    """Take a run out of the queue if it still waits there; return whether it is out."""
    with suppress(CleanerError):
        if resident.is_waiting(read_status(folder)):
            transition(folder, RunState.DIED, message="No worker could begin it: see its log.")
    return not resident.is_waiting(read_status(folder))


def _is_reusable(session: RunSession, bell: resident.Bell) -> bool:
    """Return whether this process can execute another run: after a fault its memory may be in any state."""
    from cleaner.models.devices import release_freed_memory

    release_freed_memory()
    is_small = session.status.device != "cpu" or process.current_memory() < MAX_IDLE_BYTES
    # Idle, it would keep the memory of a GPU.
    is_needed = session.status.device == "cpu" or resident.find_oldest(bell.token, bell.root) is not None
    return session.status.state == RunState.DONE and is_small and is_needed and not session.terminated.is_set()


def _on_stop_signals(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _keep_waiting_alive(token: str, root: Path) -> None:
    """Write heartbeats of the runs that wait, by which other machines that share the store know them."""
    while True:
        time.sleep(process.HEARTBEAT_SECONDS)
        for folder in resident.list_waiting(token, root):
            with suppress(CleanerError), locks.try_lock(folder) as is_free:
                if is_free and resident.is_waiting(read_status(folder)):
                    transition(folder, RunState.QUEUED)


def load_libraries() -> None:
    """Load what every run needs: torch, the models, the methods, the explainers of its film, the lexicon."""
    with loading_libraries():
        from cleaner.explain import EXPLAINERS
        from cleaner.jobs import execution  # noqa: F401
        from cleaner.text import parse

        list(EXPLAINERS)
        parse("a red car on the grass")


def run_folder(folder: Path, token: str, *, free_since: float | None = None) -> tuple[int, RunSession | None]:
    """Execute the run in a folder; return the exit status, and the session unless the run could not be begun.

    free_since: of `RunSession`, for a run of a queue, which must still wait there; None: any run that is not done.
    """
    try:
        seconds = ENDING_SECONDS if read_status(folder).state == RunState.QUEUED else 0.0
        with locks.try_lock(folder, seconds) as is_locked:
            if not is_locked or read_status(folder).state == RunState.DONE:
                reason = "already done" if is_locked else "running in another process"
                sys.stderr.write(f"{folder} is {reason}\n")
                return 2, None
            if free_since is not None and not resident.is_waiting(read_status(folder)):
                return 0, None
            if read_status(folder).state in STARTABLE:  # started by hand; one that waited may have been stopped since
                local.withdraw_stop_requests(folder)
            session = RunSession(folder, token, free_since=free_since or 0.0)
            _on_stop_signals(lambda *_: session.terminated.set())
            threading.Thread(target=session.monitor, name="monitor", daemon=True).start()
            run_job(session)
    except CleanerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1, None
    if session.status.state == RunState.FAILED:
        sys.stderr.write(f"error: {session.status.message}\n")
    # The other ranks wait for this one; torchrun ends them only if this process fails.
    has_waiting_ranks = process.is_distributed() and not session.has_joined
    return int(session.status.state == RunState.FAILED or has_waiting_ranks), session
