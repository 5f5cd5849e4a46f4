"""A real one-node Slurm for tests, without systemd and independent of any other: try it with python -m tests.slurm.

It needs Debian's slurm-wlm and munge, writes to one temporary folder, and is stopped and removed afterwards.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port

DAEMONS = ("munged", "slurmctld", "slurmd")
MUNGE_FILES = {"socket": "socket", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
NODE = socket.gethostname().partition(".")[0]
CREDENTIAL_SECONDS = 5
"""Seconds a job's credential is valid, during which a requeued job must wait (Slurm's default: 120)."""


def unavailable_reason() -> str:
    """Return why Slurm cannot run on this machine; empty if it can."""
    paths = {name: shutil.which(name, path=_path()) for name in (*DAEMONS, "sbatch", "srun", "squeue", "scancel")}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        return f"{', '.join(missing)} not installed: apt-get install --no-install-recommends slurm-wlm munge"
    return "" if os.geteuid() == 0 else "slurmd needs root"


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@contextmanager
def run_slurm(cpus: int = 2) -> Iterator[dict[str, str]]:
    """Start a one-node Slurm with a partition "debug"; yield the environment variables that select it."""
    home = Path(tempfile.mkdtemp(prefix="slurm-"))
    daemons: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (home / f"{command[0]}.out").open("wb") as out:
            daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, **environment, "PATH": _path()},
            )
        daemons.append(daemon)

    environment = {"SLURM_CONF": str(home / "slurm.conf")}
    try:
        key = home / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        home.chmod(0o755)
        (home / "slurm.conf").write_text(_settings(home, cpus))
        (home / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        start(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            *(f"--{kind}={home / 'munge'}.{name}" for kind, name in MUNGE_FILES.items()),
        )
        start("slurmctld", "-D")
        start("slurmd", "-D", "-N", NODE)
        _wait_until_idle(home, environment)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(home, ignore_errors=True)


def _settings(home: Path, cpus: int) -> str:
    values = {
        "ClusterName": "test",
        "SlurmctldHost": f"{NODE}(127.0.0.1)",
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        "CredType": "cred/munge",
        "AuthInfo": f"socket={home / 'munge.socket'},cred_expire={CREDENTIAL_SECONDS}",
        "SlurmctldPort": free_port(),
        "SlurmdPort": free_port(),
        "StateSaveLocation": home / "state",
        "SlurmdSpoolDir": home / "spool",
        "SlurmctldPidFile": home / "slurmctld.pid",
        "SlurmdPidFile": home / "slurmd.pid",
        "SlurmctldLogFile": home / "slurmctld.log",
        "SlurmdLogFile": home / "slurmd.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "ReturnToService": 2,
        "KillWait": 5,
        "AccountingStorageType": "accounting_storage/none",
        "SchedulerParameters": "sched_interval=5,batch_sched_delay=0",
    }
    lines = [f"{name}={value}" for name, value in values.items()]
    lines += [f"NodeName={NODE} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN"]
    lines += ["PartitionName=debug Nodes=ALL Default=YES State=UP"]
    return "\n".join(lines) + "\n"


def _wait_until_idle(home: Path, env: dict[str, str]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        result = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, env={**os.environ, **env}
        )
        if result.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = [f"{path.name}: {path.read_text(errors='replace')[-500:]}" for path in home.glob("*.log")]
    raise RuntimeError("Slurm did not start. " + "\n".join(logs))


if __name__ == "__main__":
    if reason := unavailable_reason():
        sys.exit(reason)
    with run_slurm() as variables:
        subprocess.run(["sinfo"], check=True, env={**os.environ, **variables})
        subprocess.run(["srun", "hostname"], check=True, env={**os.environ, **variables})
