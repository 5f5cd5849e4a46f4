"""Fake Slurm commands: jobs are local processes, the queue is a folder ($FAKE_SLURM).

`install` writes them. Files in the folder control them: "refuse" holds the error with which sbatch refuses jobs, "hold"
the reason why jobs stay pending, and "down" makes squeue fail. They support the calls of submitit and this library.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

KILL_WAIT = 5
"""Seconds from SIGTERM to SIGKILL."""
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")


def install(home: Path) -> Path:
    """Write the commands to `home`/bin and return that folder; `home` is the queue."""
    folder = home / "bin"
    folder.mkdir(parents=True)
    for name in COMMANDS:
        script = folder / name
        script.write_text(f"#!{sys.executable} -SE\n{Path(__file__).read_text()}")
        script.chmod(0o755)
    return folder


def select(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process use a queue in `home`, and forget what an earlier one answered."""
    from cleaner.jobs import slurm_queue  # the commands run without any library

    monkeypatch.setenv("PATH", f"{install(home)}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(home))
    monkeypatch.setattr(slurm_queue, "_queue_cache", {})
    monkeypatch.setattr(slurm_queue, "_retry_time", 0.0)


def sbatch(home: Path, script: str) -> int:
    if (home / "refuse").exists():
        print((home / "refuse").read_text(), file=sys.stderr)
        return 1
    number = 1 + sum(path.name.isdigit() for path in home.iterdir())
    (home / str(number)).write_text(Path(script).read_text())
    array = re.search(r"--array=0-(\d+)", Path(script).read_text())
    for job in [str(number)] if array is None else [f"{number}_{i}" for i in range(int(array[1]) + 1)]:
        start_job(home, job)
    print(f"Submitted batch job {number}")
    return 0


def start_job(home: Path, job: str, delay: float = 0.0) -> None:
    """Start a job, or record it with pid 0 if jobs are on hold."""
    pid = 0
    if not (home / "hold").exists():
        number, _, index = job.partition("_")
        variables = {"SLURM_JOB_ID": number} | (
            {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index} if index else {}
        )
        command = f"sleep {delay}; exec bash {home / number}"
        pid = subprocess.Popen(
            ["bash", "-c", command],
            env={**os.environ, **variables},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).pid
    (home / f"{job}.json").write_text(json.dumps(pid))


def srun(arguments: list[str]) -> int:
    number, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{number}_{index}" if number else os.environ["SLURM_JOB_ID"]
    while arguments[0].startswith("--"):
        option, *arguments = arguments
        if option in ("--output", "--error"):
            path = arguments[0].replace("%A_%a", job).replace("%j", job).replace("%t", "0")
            os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 1 if option == "--output" else 2)
        arguments = arguments if option == "--unbuffered" else arguments[1:]
    os.execvp(arguments[0], arguments)


def squeue(home: Path, arguments: list[str]) -> int:
    (home / "asked").open("a").write("x")
    if (home / "down").exists():
        print("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", file=sys.stderr)
        return 1
    array = next(word.partition("=")[2] for word in arguments if word.startswith("--jobs="))
    for path in home.glob("*.json"):
        pid = json.loads(path.read_text())
        if path.stem.partition("_")[0] == array and (pid == 0 or is_alive(pid)):
            print(f"{path.stem}|{'RUNNING|None' if pid else 'PENDING|' + (home / 'hold').read_text()}")
    return 0


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def scancel(home: Path, arguments: list[str]) -> int:
    job, *options = arguments
    pid = json.loads((home / f"{job}.json").read_text())
    if "--signal" in options:
        os.killpg(pid, getattr(signal, f"SIG{options[-1]}"))
        return 0
    (home / f"{job}.json").unlink()
    with suppress(ProcessLookupError):
        if pid:
            os.killpg(pid, signal.SIGTERM)
            kill = f"sleep {KILL_WAIT}; kill -KILL -- -{pid}"
            subprocess.Popen(
                ["bash", "-c", kill], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
    return 0


def main() -> int:
    home, name, words = Path(os.environ["FAKE_SLURM"]), Path(sys.argv[0]).name, sys.argv[1:]
    if name == "sbatch":
        return sbatch(home, words[0])
    if name == "srun":
        return srun(words)
    if name == "scontrol":  # requeue
        start_job(home, words[1], delay=1.0)
        time.sleep(0.1)
        return 0
    return squeue(home, words) if name == "squeue" else scancel(home, words)


if __name__ == "__main__":
    sys.exit(main())
