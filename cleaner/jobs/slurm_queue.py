"""The Slurm job of a run: its record in the run folder, its state in the queue, cancellation and cleanup."""

import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from cleaner.files import read_json, remove_tree
from cleaner.jobs.process import quote_log_end

JOB_FILE = "cluster.json"
"""File in a run folder that names its last job."""
SUBMITIT_FOLDER = ".slurm"
"""Folder next to the run folders for the files of submitit."""
QUERY_TIMEOUT_SECONDS = 4.0
CACHE_SECONDS = 3.0
"""Seconds for which an answer of the queue is reused."""
RETRY_SECONDS = 60.0
"""Seconds without a new query after the queue did not answer."""
REASONS = {
    "None": "was just submitted",
    "Resources": "waits for free resources",
    "Priority": "waits behind others",
    "BeginTime": "waits to restart",
    "JobArrayTaskLimit": "waits for other runs of its sweep",
}
"""Slurm's reason for a pending job -> the end of the sentence "Slurm job 7 ..."."""
JOB_STATE_LABELS = {
    "RUNNING": "is starting on its node",
    "CONFIGURING": "waits for its node to boot",
    "COMPLETING": "is ending",
}
_queue_cache: dict[str, tuple[float, dict[str, tuple[str, str]]]] = {}
"""Array -> (time when the answer expires, job -> (state, description))."""
_retry_time = 0.0
"""Time before which no job is queried, after the queue did not answer: a page would wait for each of them."""


def read_job_id(folder: Path) -> str:
    """Return the id of a run's last job; empty if there is none or it is malformed: run folders may be foreign."""
    job = str(read_json(folder / JOB_FILE).get("job", ""))
    return job if re.fullmatch(r"\d+(_\d+)?", job) else ""


def _error_log_path(folder: Path) -> Path | None:
    """Return the error log of a run's last job; None if it is not where this library puts such logs."""
    path = Path(str(read_json(folder / JOB_FILE).get("errors", "")))
    return path if path.parent.parent == folder.resolve().parent / SUBMITIT_FOLDER else None


def quote_error_log_end(folder: Path) -> str:
    """Return the last lines of the job's error log (not the worker's), to end a message; empty if there are none."""
    path = _error_log_path(folder)
    return quote_log_end(path, 3).replace("Its log", "Its error log", 1) if path is not None else ""


def query_job(job: str) -> tuple[str, str] | None:
    """Return a job's state in Slurm and its description; ("", "") for an unknown job, None if Slurm does not answer.

    One query covers all jobs of an array, and its answer is reused for some seconds.
    """
    global _retry_time
    array, now = job.partition("_")[0], time.monotonic()
    expires, jobs = _queue_cache.get(array, (0.0, {}))
    if expires < now:
        if now < _retry_time:
            return None
        answer = _query_queue(array)
        if answer is None:
            _retry_time = time.monotonic() + RETRY_SECONDS
            return None
        _queue_cache[array], jobs = (now + CACHE_SECONDS, answer), answer
    return jobs.get(job, ("", ""))


def _query_queue(array: str) -> dict[str, tuple[str, str]] | None:
    command = ["squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--jobs={array}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if result.returncode:
        return {} if "Invalid job id" in result.stderr else None
    rows = [line.strip().split("|", 2) for line in result.stdout.splitlines()]
    return {row[0]: (row[1], _describe_state(row[1], row[2])) for row in rows if len(row) == 3}


def _describe_state(state: str, reason: str) -> str:
    if state == "PENDING":
        return REASONS.get(reason, f"waits (Slurm says: {reason})")
    return JOB_STATE_LABELS.get(state, f"is {state.lower().replace('_', ' ')}")


def cancel_job(folder: Path) -> None:
    """Cancel a run's job, queued or running; does nothing if Slurm cannot be reached."""
    if job := read_job_id(folder):
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["scancel", job], capture_output=True, timeout=QUERY_TIMEOUT_SECONDS, check=False)
        _queue_cache.pop(job.partition("_")[0], None)


def remove_submission_files(folder: Path) -> None:
    """Delete the files that submitit wrote for a run; the run itself stays."""
    job, log = read_job_id(folder), _error_log_path(folder)
    if not job or log is None:
        return
    submission = log.parent
    with suppress(OSError):
        for path in submission.glob(f"{job}_*"):
            path.unlink(missing_ok=True)
    if not any(submission.glob("*_submitted.pkl")):
        with suppress(OSError):
            remove_tree(submission)  # renames it first: a job that is ending still writes to the old path
