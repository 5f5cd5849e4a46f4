"""Slurm: submit runs as jobs through submitit.

A job starts the same worker that `local.launch` starts, and the worker keeps the run folder up to date. A run on a
cluster is therefore watched, stopped and resumed through its files like any other; cluster.json names its job and the
requested resources. Slurm itself is queried only for a run that is queued or silent (`slurm_queue`).
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cleaner.config import param, validate
from cleaner.files import read_json, write_error, write_json
from cleaner.jobs.process import quote_log_end
from cleaner.jobs.slurm_queue import JOB_FILE, SUBMITIT_FOLDER
from cleaner.runs.status import ACTIVE, RunState, read_status, transition
from cleaner.runs.store import LOG_FILE
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from submitit import SlurmExecutor
    from submitit.core.utils import DelayedSubmission

SLURM = "slurm"
"""`Status.place` of a run on the cluster."""
JOB_VARIABLE = "CLEANER_JOB"
"""Environment variable that tells a worker its job id."""
COMMANDS = ("sbatch", "srun", "squeue", "scancel")
WARNING_SECONDS = 120
"""Seconds between Slurm's warning and the time limit: enough to reach the next step and write a checkpoint."""
MAX_GRACE_SECONDS = 3600.0
"""Longest wait of a paused job for its preemption: above grace times, yet a stray SIGTERM blocks no node for days."""
JOB_FILE_TIMEOUT_SECONDS = 60.0
"""Seconds a started job waits for its id to appear in the run folder."""
OWN_OPTIONS = (
    "array",
    "chdir",
    "error",
    "export",
    "export-file",
    "job-name",
    "nodes",
    "ntasks",
    "ntasks-per-node",
    "open-mode",
    "output",
    "signal",
    "wrap",
)
"""Options of sbatch that submitit sets, or that would write to other files. A run is one task on one node."""
SESSION_PREFIXES = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_CPU_BIND", "SBATCH_MEM_BIND")
SESSION_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that Slurm and torchrun set in a job, by prefix and by name: sbatch would pass them on to the next job."""
CLIENT_VARIABLES = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")
"""Variables of Slurm that say which cluster its commands talk to, and as whom."""
MAX_REQUEUES = 1000
"""Times a run may be requeued at its time limit."""


@dataclass(frozen=True)
class SlurmResources:
    """Resources that a job requests from Slurm."""

    partition: str = param("", help="Partition, Slurm's word for a queue; empty: the cluster's default.")
    minutes: int = param(
        120,
        low=5,
        high=43_200,
        label="Time limit in minutes",
        help="Time limit; a run that reaches it is requeued and resumed.",
    )
    gpus: int = param(
        1, low=0, high=16, label="GPUs", help="GPUs of one node, which share each batch; ignored for a CPU run."
    )
    cpus: int = param(4, low=1, high=256, label="CPU cores", help="CPU cores.")
    memory_gb: int = param(
        16, low=0, high=4096, label="Memory in GB", help="Main memory in GB; 0: the cluster's default."
    )
    at_once: int = param(
        0, low=0, high=1000, label="Concurrent runs", help="Runs of a sweep at the same time; 0: no limit."
    )
    sbatch: str = param(
        "", label="More sbatch options", help="More sbatch options, for example: account=lab qos=short."
    )

    def __post_init__(self) -> None:
        validate(self)
        if not f"{self.partition}{self.sbatch}".isprintable():  # a line break would start a command in the job script
            raise CleanerError("`partition` and `sbatch` must each be one line of plain text.")
        self.options()

    def options(self) -> dict[str, Any]:
        """Return the parsed `sbatch` options; an option without a value is True."""
        try:
            words = [word.lstrip("-").partition("=") for word in shlex.split(self.sbatch)]
        except ValueError as error:
            raise CleanerError(f"sbatch options {self.sbatch!r}: close the quotation mark.") from error
        if invalid := [key for key, _, _ in words if not re.fullmatch("[a-z][a-z_-]*", key)]:
            raise CleanerError(f"{invalid[0]!r} is not an sbatch option: write account=lab qos=short.")
        # sbatch completes abbreviated names.
        if own := [key for key, _, _ in words if any(o.startswith(key.replace("_", "-")) for o in OWN_OPTIONS)]:
            raise CleanerError(f"the sbatch option {own[0]!r} is set by this program: leave it out.")
        if any(key in ("cluster", "clusters") for key, _, _ in words):  # squeue and scancel would ask another one
            raise CleanerError("choose the cluster with the environment variable SLURM_CLUSTERS, not with `clusters`.")
        # submitit's own options have underscores: one with a hyphen would be a second, ignored line.
        return {key.replace("-", "_"): value if equals else True for key, equals, value in words}


def unavailable_reason() -> str | None:
    """Return why runs cannot be submitted to Slurm from this machine; None if they can."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    return f"Slurm's {missing[0]} is not on this machine" if missing else None


def read_last_resources(folder: Path) -> SlurmResources | None:
    """Return the resources of a run's last job; None if it had none or Slurm is not available here."""
    resources = read_json(folder / JOB_FILE).get("asked")
    if not isinstance(resources, dict) or unavailable_reason():
        return None
    names = {f.name for f in fields(SlurmResources)}
    asked = {name: value for name, value in resources.items() if name in names}
    for sbatch in (asked.get("sbatch", ""), ""):  # an option that is refused now sends no run to this machine
        with suppress(TypeError, CleanerError):
            return SlurmResources(**{**asked, "sbatch": sbatch})
    return None


def submit(folders: Sequence[Path], resources: SlurmResources, exports: Mapping[str, str]) -> None:
    """Submit runs to Slurm, several as one array, and write each job's id to its run folder.

    exports: environment variables of the jobs. Raises `CleanerError`, with nothing submitted, if Slurm refuses.
    """
    if reason := unavailable_reason():
        raise CleanerError(f"{reason}: use a login node of the cluster, or train on this machine.")
    training = read_json(folders[0] / "config.json").get("finetune") or {}
    if training.get("device") == "cpu":
        resources = replace(resources, gpus=0)
    submission = folders[0].resolve().parent / SUBMITIT_FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:8]}"
    before = [read_json(folder / JOB_FILE) for folder in folders]
    try:
        _submit_array(folders, resources, exports, submission)
    except (OSError, RuntimeError, CleanerError) as error:
        shutil.rmtree(submission, ignore_errors=True)
        for folder, record in zip(folders, before, strict=True):
            with suppress(CleanerError, OSError):
                write_json(folder / JOB_FILE, record) if record else (folder / JOB_FILE).unlink(missing_ok=True)
        if isinstance(error, RuntimeError):
            raise CleanerError(f"Slurm refuses: {_explain_refusal(str(error))}") from error
        if isinstance(error, OSError):
            raise write_error(submission, error) from error
        raise


def _submit_array(
    folders: Sequence[Path], resources: SlurmResources, exports: Mapping[str, str], submission: Path
) -> None:
    record = {"asked": asdict(resources)}
    for folder in folders:
        write_json(folder / JOB_FILE, record)  # a job that starts at once waits for its id in this file
    submission.mkdir(parents=True)
    with redirect_stderr(io.StringIO()):  # submitit prints there what it also raises
        executor = _make_executor(submission, resources, exports, len(folders))
        with _outside_of_session():
            jobs = executor.submit_array([SlurmJob(folder, resources) for folder in folders])
    try:
        for folder, job in zip(folders, jobs, strict=True):
            write_json(folder / JOB_FILE, {"job": job.job_id, **record, "errors": str(job.paths.stderr)})
    except (OSError, CleanerError):  # nobody could find, pause or cancel them
        for job in jobs:
            job.cancel(check=False)
        raise


@contextmanager
def _outside_of_session() -> Iterator[None]:
    """Hide the variables of the Slurm job that this process may run in, such as a notebook's; restore them afterwards.

    submitit's `clean_env` would hide the user's defaults for sbatch and the address of the controller too.
    """
    session = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name not in CLIENT_VARIABLES and (name.startswith(SESSION_PREFIXES) or name in SESSION_VARIABLES)
    }
    try:
        yield
    finally:
        os.environ.update(session)


def _make_executor(
    submission: Path, resources: SlurmResources, exports: Mapping[str, str], count: int
) -> SlurmExecutor:
    from submitit import SlurmExecutor

    executor = SlurmExecutor(submission, max_num_timeout=MAX_REQUEUES)
    optional = {
        "partition": resources.partition,
        "gpus_per_node": resources.gpus,
        "array_parallelism": resources.at_once or count,  # submitit's default is a limit of 256
        "mem": f"{resources.memory_gb}GB" if resources.memory_gb else "",
    }
    executor.update_parameters(
        job_name="ta-cleaner",
        time=resources.minutes,
        cpus_per_task=resources.cpus,
        signal_delay_s=WARNING_SECONDS,
        # srun does not inherit this number from sbatch.
        srun_args=["--cpus-per-task", str(resources.cpus)],
        # Where a site sets SBATCH_EXPORT=NONE, srun would start the worker without these exports.
        setup=[f"export {name}={shlex.quote(value)}" for name, value in {**exports, "SLURM_EXPORT_ENV": "ALL"}.items()],
        additional_parameters={"requeue": True, **resources.options()},
        **{name: value for name, value in optional.items() if value},
    )
    return executor


def _explain_refusal(message: str) -> str:
    """Return the reason in sbatch's error output, and what to do about it."""
    lines = [line.partition("error: ")[2] or line for line in message.splitlines() if line.strip()]
    reason = lines[-1].rpartition("failed: ")[2].strip().rstrip(".") if lines else "it gives no reason"
    detail = f" ({lines[-2].strip().rstrip('.')})" if len(lines) > 1 else ""
    if "contact slurm controller" in reason:
        return "its controller does not answer. Try again when `scontrol ping` says UP."
    return f"{reason}{detail}. Request another partition, less time or memory, or fewer GPUs or cores; see `sinfo`."


class SlurmJob:
    """The function of a job: start the worker of a run and wait for it to end. submitit pickles it."""

    def __init__(self, folder: Path, resources: SlurmResources) -> None:
        self.folder, self.resources = folder.resolve(), resources
        self.process: subprocess.Popen[bytes] | None = None
        self.start_time = 0.0
        self.is_terminated = False

    def __call__(self) -> int:
        """Return the worker's exit status."""
        if not self._is_current():
            sys.stdout.write(f"{self.folder} no longer waits for this job\n")
            return 0
        signal.signal(signal.SIGTERM, lambda *_: self._terminate())
        threads = max(1, self.resources.cpus // max(1, self.resources.gpus))
        self.start_time = time.time()
        with (self.folder / LOG_FILE).open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"OMP_NUM_THREADS": str(threads), **os.environ, JOB_VARIABLE: _current_job_id()},
                preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),  # it would kill torchrun
            )
        while (exit_status := self.process.poll()) is None:
            time.sleep(0.2)  # not wait(): the signal handlers poll the process too
        if self.is_terminated:
            self._wait_for_preemption()
        self._report_crash(exit_status)
        return exit_status

    def _terminate(self) -> None:
        self.is_terminated = True
        self._request_pause()

    def _wait_for_preemption(self) -> None:
        """Wait until Slurm kills this job, or its warning requeues it: a job that returned would count as completed."""
        end = time.monotonic() + MAX_GRACE_SECONDS
        while read_status(self.folder).state in ACTIVE and time.monotonic() < end:
            time.sleep(0.2)

    def _command(self) -> list[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.resources.gpus}"]
        launcher = torchrun if self.resources.gpus > 1 else []
        return [sys.executable, "-u", *launcher, "-m", "cleaner.worker", str(self.folder)]

    def _is_current(self) -> bool:
        """Return whether the run waits for this job; it may have been restarted elsewhere since."""
        end = time.monotonic() + JOB_FILE_TIMEOUT_SECONDS
        while time.monotonic() < end and read_json(self.folder / JOB_FILE).get("job") is None:
            time.sleep(0.2)
        status = read_status(self.folder)
        return status.place == SLURM and read_json(self.folder / JOB_FILE).get("job") == _current_job_id()

    def _report_crash(self, exit_status: int) -> None:
        """Write the state DIED for a worker that ended without writing its own."""
        status = read_status(self.folder)
        never_reported = status.state == RunState.QUEUED and status.updated < self.start_time
        if status.state == RunState.RUNNING or never_reported:
            how = f"by signal {-exit_status}" if exit_status < 0 else f"with status {exit_status}"
            message = f"Its process on {socket.gethostname()} ended {how}." + quote_log_end(self.folder / LOG_FILE)
            transition(self.folder, RunState.DIED, message=message)

    def checkpoint(self) -> DelayedSubmission | None:
        """Pause the worker before the time limit or a preemption; return a job for submitit to requeue, if any."""
        from submitit.core.utils import DelayedSubmission

        self._request_pause()
        end = time.monotonic() + 0.8 * WARNING_SECONDS
        while self.process is not None and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        is_waiting = read_status(self.folder).state in ACTIVE  # false if the user stopped it, or it is done
        return DelayedSubmission(SlurmJob(self.folder, self.resources)) if is_waiting else None

    def _request_pause(self) -> None:
        """Send SIGTERM to the worker; under torchrun, to rank 0."""
        if self.process is None:
            return
        if self.resources.gpus <= 1:
            self.process.terminate()
            return
        status = read_status(self.folder)  # before the worker's first status, the pid is 0 or an earlier job's
        if status.updated >= self.start_time and status.host == socket.gethostname():
            with suppress(OSError):
                os.kill(status.pid, signal.SIGTERM)


def _current_job_id() -> str:
    """Return the id of the job that this process belongs to, as `squeue` and submitit write it."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array else os.environ.get("SLURM_JOB_ID", "")
