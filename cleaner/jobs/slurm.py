"""Cluster: hand runs to Slurm, through submitit, and hear how its queue is.

Slurm starts on a node what elsewhere `jobs.launch` starts: the worker of a run, which keeps the run folder. So a run
on a cluster is watched, stopped and resumed by its files like any other; cluster.json says which job it is and what
that asked for. Slurm's own commands are asked only while a run has no word of its own: it waits, or has fallen silent.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cleaner.config import param, validate
from cleaner.files import REMEDY, read_json, write_json
from cleaner.runs.store import ACTIVE, LOG_FILE, last_lines, read_status, write_status
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from submitit import SlurmExecutor
    from submitit.core.utils import DelayedSubmission

SLURM, JOB_FILE, SUBMITIT_FOLDER = "slurm", "cluster.json", ".slurm"
"""The kind of cluster; the file in a run folder; the folder beside the run folders that holds what submitit writes."""
JOB_VARIABLE = "CLEANER_JOB"
"""Environment variable that tells a worker which job it is."""
COMMANDS = ("sbatch", "srun", "squeue", "scancel")
QUERY_TIMEOUT_SECONDS, CACHE_SECONDS, RETRY_SECONDS = 4.0, 3.0, 60.0
"""How long Slurm may take to answer, an answer counts, and nobody asks again after there was none."""
WARNING_SECONDS = 120
"""Before the time limit a job is told so long ahead: it must come to its next step and write its checkpoint."""
JOB_FILE_TIMEOUT_SECONDS = 60.0
"""How long a job that has started waits to be noted in its run folder."""
MAX_REQUEUES = 1000
"""How often a run may be queued again at its time limit."""
REASONS = {
    "None": "was just handed in",
    "Resources": "waits until enough of the cluster is free",
    "Priority": "waits behind others",
    "BeginTime": "waits to start again",
    "JobArrayTaskLimit": "waits for others of its sweep",
}
JOB_STATE_LABELS = {"RUNNING": "has its node", "CONFIGURING": "gets its node", "COMPLETING": "is ending"}


@dataclass(frozen=True)
class SlurmResources:
    """What a job asks Slurm for."""

    partition: str = param("", help="Partition, Slurm's word for a queue; empty: the cluster's own choice.")
    minutes: int = param(
        120,
        low=5,
        high=43_200,
        label="Time limit in minutes",
        help="Time limit; at its end a run is queued again and goes on.",
    )
    gpus: int = param(
        1, low=0, high=16, label="GPUs", help="GPUs of one node; several share every batch. None for a CPU run."
    )
    cpus: int = param(4, low=1, high=256, label="Processors", help="Processors.")
    memory_gb: int = param(
        16, low=0, high=4096, label="Memory in GB", help="Main memory in GB; 0: the cluster's own choice."
    )
    at_once: int = param(
        0,
        low=0,
        high=1000,
        label="Runs at the same time",
        help="Runs of a sweep at the same time; 0: as many as there is room for.",
    )
    sbatch: str = param(
        "", label="More options of sbatch", help="More options of sbatch, as in: account=lab qos=short."
    )

    def __post_init__(self) -> None:
        validate(self)
        if not f"{self.partition}{self.sbatch}".isprintable():  # a new line would be a command in the job's script
            raise CleanerError("the partition and the options of sbatch are one line of plain text each.")
        self.options()

    def options(self) -> dict[str, Any]:
        """Return the further options of sbatch; a word without a value is a switch."""
        try:
            words = [word.lstrip("-").partition("=") for word in shlex.split(self.sbatch)]
        except ValueError as error:
            raise CleanerError(f"sbatch options {self.sbatch!r}: a quotation mark is missing.") from error
        if odd := [key for key, _, _ in words if not re.fullmatch("[a-z][a-z_-]*", key)]:
            raise CleanerError(f"{odd[0]!r} is no option of sbatch: write them as in account=lab qos=short.")
        return {key: value if equals else True for key, equals, value in words}


def explain_unavailable() -> str:
    """Return why nothing can be handed to Slurm from here; empty if it can."""
    gone = [name for name in COMMANDS if shutil.which(name) is None]
    if not gone and find_spec("submitit") is None:
        return "the package submitit is not installed"
    return f"Slurm's {gone[0]} is not on this machine" if gone else ""


def read_last_resources(folder: Path) -> SlurmResources | None:
    """Return what a run's last job asked for; None if it has had none, or there is no Slurm here."""
    asked = read_json(folder / JOB_FILE).get("asked")
    if not isinstance(asked, dict) or explain_unavailable():
        return None
    known = {f.name for f in fields(SlurmResources)}
    try:
        return SlurmResources(**{key: value for key, value in asked.items() if key in known})
    except (TypeError, CleanerError):
        return None


def submit(folders: Sequence[Path], resources: SlurmResources, exports: Mapping[str, str]) -> None:
    """Hand runs to Slurm, several as one array, and note in each folder the number of its job.

    exports: environment variables of the jobs. Raises `CleanerError`, with nothing handed in, if Slurm refuses.
    """
    if reason := explain_unavailable():
        raise CleanerError(f"{reason}: start it on a login node of the cluster, or leave the cluster out.")
    training = read_json(folders[0] / "config.json").get("finetune") or {}
    if training.get("device") == "cpu":
        resources = replace(resources, gpus=0)
    home = folders[0].resolve().parent / SUBMITIT_FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:8]}"
    before = [read_json(folder / JOB_FILE) for folder in folders]
    try:
        for folder in folders:
            write_json(
                folder / JOB_FILE, {"asked": asdict(resources)}
            )  # a job that starts at once waits for its number here
        home.mkdir(parents=True)
        with redirect_stderr(io.StringIO()):  # submitit says there what it also raises
            jobs = _executor(home, resources, exports).submit_array([SlurmJob(folder, resources) for folder in folders])
        for folder, job in zip(folders, jobs, strict=True):
            note = {"job": job.job_id, "asked": asdict(resources), "errors": str(job.paths.stderr)}
            write_json(folder / JOB_FILE, note)
    except (OSError, RuntimeError, CleanerError) as error:
        shutil.rmtree(home, ignore_errors=True)
        for folder, note in zip(folders, before, strict=True):
            with suppress(CleanerError, OSError):
                write_json(folder / JOB_FILE, note) if note else (folder / JOB_FILE).unlink(missing_ok=True)
        if isinstance(error, RuntimeError):
            raise CleanerError(f"Slurm refuses: {_explain_refusal(str(error))}") from error
        if isinstance(error, OSError):
            raise CleanerError(f"{home} cannot be written ({error.strerror}). {REMEDY}") from error
        raise


def _executor(home: Path, resources: SlurmResources, exports: Mapping[str, str]) -> SlurmExecutor:
    from submitit import SlurmExecutor

    executor = SlurmExecutor(home, max_num_timeout=MAX_REQUEUES)
    asked = {"partition": resources.partition, "gpus_per_node": resources.gpus, "array_parallelism": resources.at_once}
    if resources.memory_gb:
        asked["mem"] = f"{resources.memory_gb}GB"
    executor.update_parameters(
        job_name="ta-cleaner",
        time=resources.minutes,
        cpus_per_task=resources.cpus,
        signal_delay_s=WARNING_SECONDS,
        # srun does not take the number over from sbatch.
        srun_args=["--cpus-per-task", str(resources.cpus)],
        setup=[f"export {name}={shlex.quote(value)}" for name, value in exports.items()],
        additional_parameters={"requeue": True, **resources.options()},
        **{name: value for name, value in asked.items() if value},
    )
    return executor


def _explain_refusal(message: str) -> str:
    """Return Slurm's last word in one sentence with a remedy."""
    lines = [line.partition("error: ")[2] or line for line in message.splitlines() if line.strip()]
    reason = lines[-1].rpartition("failed: ")[2].strip().rstrip(".") if lines else "it does not say why"
    detail = f" ({lines[-2].strip().rstrip('.')})" if len(lines) > 1 else ""
    if "contact slurm controller" in reason:
        return "its controller does not answer. Try again when `scontrol ping` says UP."
    return f"{reason}{detail}. Ask for another partition, fewer GPUs, processors or memory, or less time; see `sinfo`."


class SlurmJob:
    """What a job does: it starts the worker of a run, and waits for its end. submitit pickles it."""

    def __init__(self, folder: Path, resources: SlurmResources) -> None:
        self.folder, self.resources = folder.resolve(), resources
        self.process: subprocess.Popen[bytes] | None = None
        self.start_time = 0.0

    def __call__(self) -> int:
        """Return the worker's exit status."""
        if not self._is_current():
            sys.stdout.write(f"{self.folder} does not wait for this job any more\n")
            return 0
        signal.signal(signal.SIGTERM, lambda *_: self._request_pause())
        threads = max(1, self.resources.cpus // max(1, self.resources.gpus))
        self.start_time = time.time()
        with (self.folder / LOG_FILE).open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"OMP_NUM_THREADS": str(threads), **os.environ, JOB_VARIABLE: _current_job_id()},
                preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),  # torchrun would die of it
            )
        while (ended := self.process.poll()) is None:
            time.sleep(0.2)  # not wait(): a signal that comes meanwhile must be able to look at the process too
        self._report_crash(ended)
        return ended

    def _command(self) -> list[str]:
        several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.resources.gpus}"]
        return [
            sys.executable,
            "-u",
            *(several if self.resources.gpus > 1 else ()),
            "-m",
            "cleaner.worker",
            str(self.folder),
        ]

    def _is_current(self) -> bool:
        """Return whether the run waits for this very job: it may have been started elsewhere since."""
        end = time.monotonic() + JOB_FILE_TIMEOUT_SECONDS
        while time.monotonic() < end and read_json(self.folder / JOB_FILE).get("job") is None:
            time.sleep(0.2)
        status = read_status(self.folder)
        return status.place == SLURM and read_json(self.folder / JOB_FILE).get("job") == _current_job_id()

    def _report_crash(self, ended: int) -> None:
        """Say of a worker that could not say so itself that it is gone."""
        status = read_status(self.folder)
        silent = status.state == "queued" and status.updated < self.start_time
        if status.state == "running" or silent:
            how = f"by signal {-ended}" if ended < 0 else f"with status {ended}"
            said = last_lines(self.folder / LOG_FILE)
            message = f"Its process on {socket.gethostname()} ended {how}." + (f" Its log ends: {said}" if said else "")
            write_status(self.folder, replace(status, state="died", message=message))

    def checkpoint(self) -> DelayedSubmission | None:
        """Let the worker pause before the time limit, or before others need the node; submitit then queues the job."""
        from submitit.core.utils import DelayedSubmission

        self._request_pause()
        end = time.monotonic() + 0.8 * WARNING_SECONDS
        while self.process is not None and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        waits = read_status(self.folder).state in ACTIVE  # not if it was to be paused or cancelled, or is just done
        return DelayedSubmission(SlurmJob(self.folder, self.resources)) if waits else None

    def _request_pause(self) -> None:
        """Ask the worker, the first one where torchrun has started several, to pause."""
        if self.process is None:
            return
        if self.resources.gpus <= 1:
            self.process.terminate()
            return
        status = read_status(self.folder)  # until the worker has spoken its pid is none, or that of an earlier job
        if status.updated >= self.start_time and status.host == socket.gethostname():
            with suppress(OSError):
                os.kill(status.pid, signal.SIGTERM)


def _current_job_id() -> str:
    """Return which job this process belongs to, as `squeue` and submitit name it."""
    job, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{job}_{index}" if job else os.environ.get("SLURM_JOB_ID", "")


def read_job_id(folder: Path) -> str:
    """Return the number of a run's last job; empty if it has had none. A run's folder may come from anybody."""
    job = str(read_json(folder / JOB_FILE).get("job", ""))
    return job if re.fullmatch(r"\d+(_\d+)?", job) else ""


def _error_log_path(folder: Path) -> Path | None:
    """Return the error log of a run's last job, if it lies where this library lets Slurm write it."""
    path = Path(str(read_json(folder / JOB_FILE).get("errors", "")))
    return path if path.parent.parent == folder.resolve().parent / SUBMITIT_FOLDER else None


_queue_cache: dict[str, tuple[float, dict[str, tuple[str, str]] | None]] = {}


def query_job(job: str) -> tuple[str, str] | None:
    """Return Slurm's state of a job and that in words; ("", "") if it has no such job any more, None if it is silent.

    Slurm is asked once for all jobs of an array, and not again within seconds.
    """
    array = job.partition("_")[0]
    now = time.monotonic()
    if array not in _queue_cache or _queue_cache[array][0] < now:
        answer = _query_queue(array)
        _queue_cache[array] = (now + (RETRY_SECONDS if answer is None else CACHE_SECONDS), answer)
    known = _queue_cache[array][1]
    return None if known is None else known.get(job, ("", ""))


def _query_queue(array: str) -> dict[str, tuple[str, str]] | None:
    command = ["squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--jobs={array}"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if told.returncode:
        return {} if "Invalid job id" in told.stderr else None
    lines = [line.strip().split("|", 2) for line in told.stdout.splitlines()]
    return {line[0]: (line[1], _describe_state(line[1], line[2])) for line in lines if len(line) == 3}


def _describe_state(state: str, reason: str) -> str:
    if state == "PENDING":
        return REASONS.get(reason, f"waits (Slurm says: {reason})")
    return JOB_STATE_LABELS.get(state, f"is {state.lower().replace('_', ' ')}")


def cancel_job(folder: Path) -> None:
    """Take a run's job out of the queue, or end it, as far as Slurm can be asked from here."""
    if job := read_job_id(folder):
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["scancel", job], capture_output=True, timeout=QUERY_TIMEOUT_SECONDS, check=False)
        _queue_cache.pop(job.partition("_")[0], None)


def read_error_tail(folder: Path) -> str:
    """Return the end of what the job itself, not the worker, said on its error stream."""
    path = _error_log_path(folder)
    return last_lines(path, 3) if path is not None else ""


def remove_submission_files(folder: Path) -> None:
    """Remove what submitit has written for a run; the run itself stays."""
    job, log = read_job_id(folder), _error_log_path(folder)
    if not job or log is None:
        return
    home = log.parent
    with suppress(OSError):
        for path in home.glob(f"{job}_*"):
            path.unlink(missing_ok=True)
    if not any(home.glob("*_submitted.pkl")):
        grave = home.with_name(f".deleted-{home.name}")
        with suppress(OSError):
            home.rename(grave)  # a job that is only just ending writes here until its last moment
        shutil.rmtree(grave, ignore_errors=True)
