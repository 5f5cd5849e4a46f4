"""kill -9 of worker, server or both at random moments: every run stays readable and ends with the same weights."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from cleaner import FinetuneConfig, load_run
from cleaner.files import cache_root
from cleaner.jobs import local
from cleaner.runs.status import ACTIVE, STARTABLE, read_status
from cleaner.runs.store import create_run, list_entries, read_entry
from tests.conftest import save_tiny_model
from tests.jobs.test_local import make_request
from tests.waiting import wait_until, wait_until_ended

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")
ROOT = Path(__file__).resolve().parents[2]
CONFIG = FinetuneConfig(
    lr=3e-3, epochs=12, batch_size=16, warmup_steps=2, precision="fp32", device="cpu", augmentation="none"
)
KILLS_PER_RUN = 10
"""Kills of one run before it may end in peace."""
MAX_DELAY_SECONDS = 3.0


@dataclass
class Machine:
    """Servers and workers that can be killed, and what was counted."""

    python: str
    command: subprocess.Popen[str] | None = None
    server: int = 0
    kills: int = 0
    kills_in_a_write: int = 0
    killed: set[str] = field(default_factory=set)

    def start(self, folder: Path, max_bytes: int = 0) -> None:
        """Start a new server, which starts the run unless it is active."""
        arguments = ["-m", "tests.faults.server", str(folder), str(max_bytes)]
        self.command = subprocess.Popen([self.python, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.command.stdout is not None
        with self.command.stdout as said:
            self.server = int(said.readline())

    def kill_server(self) -> None:
        """Kill the server, if any; its worker lives on."""
        if self.command is not None:
            with suppress(ProcessLookupError):
                os.kill(self.server, signal.SIGKILL)
            self.command.wait()
        self.command = None

    def kill_worker(self, folder: Path) -> bool:
        """Kill the worker of a run; return whether there was one."""
        status = read_status(folder)
        worker = local.process.find_process(folder, status) if status.state in ACTIVE and status.pid else None
        if worker is None:
            return False
        with suppress(psutil.NoSuchProcess):
            worker.kill()
        wait_until_ended(worker.pid)
        return True


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the runs, with its own cache."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEANER_RUNS", str(folder / "runs"))
        patch.setenv("CLEANER_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield folder


@pytest.fixture(scope="module")
def machine(place: Path, warm_command: str) -> Iterator[Machine]:
    machine = Machine(warm_command)
    yield machine
    machine.kill_server()
    for entry in list_entries():
        machine.kill_worker(entry.folder)


@pytest.fixture(scope="module")
def new_run(place: Path) -> Callable[[], Path]:
    """Return a function that creates the run that all of these tests train."""
    request = replace(make_request(save_tiny_model(place)), pairs=64, finetune=CONFIG, test_size=40, film=True)
    return lambda: create_run(request)


def finish(machine: Machine, folder: Path) -> str:
    """Let a run end undisturbed; return the SHA-256 of its weights file."""
    end = time.monotonic() + 300
    while (state := local.poll_status(folder).state) != "done":
        assert time.monotonic() < end, read_status(folder)
        if state in STARTABLE:
            machine.kill_server()
            machine.start(folder)
            wait_until(lambda: local.poll_status(folder).state not in STARTABLE, 60)
        time.sleep(0.05)
    machine.kill_server()
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def expected(machine: Machine, new_run: Callable[[], Path]) -> str:
    """The weights of an uninterrupted run, which also fills the cache."""
    return finish(machine, new_run())


def slow(value: int) -> Any:
    return pytest.param(value, marks=pytest.mark.slow)


def is_writing(folder: Path) -> bool:
    return any(name.startswith(".checkpoint.pt.") for name in os.listdir(folder))


def kill_somewhere(machine: Machine, folder: Path, victim: str, moments: random.Random) -> None:
    """Start a run, unless it is active, and kill `victim` at a random moment; "write": the worker in a write."""
    machine.kill_server()
    machine.start(folder)
    end = time.monotonic() + (60 if victim == "write" else moments.uniform(0, MAX_DELAY_SECONDS))
    while time.monotonic() < end and not (victim == "write" and is_writing(folder)):
        if victim == "write" and local.poll_status(folder).state not in ACTIVE and read_status(folder).pid:
            return
        time.sleep(0.0005)
    if victim in ("server", "both"):
        machine.kill_server()
        machine.kills += 1
    if victim != "server" and machine.kill_worker(folder):
        machine.kills += 1
        machine.kills_in_a_write += is_writing(folder)
        assert local.poll_status(folder).state in ("died", "done")


def check_readable(folder: Path) -> None:
    """Check what a list shows right after a kill: a readable run that is active, done or can be started."""
    entry = read_entry(folder)
    assert entry is not None
    assert entry.status.state in (*ACTIVE, *STARTABLE, "done"), entry.status
    assert local.poll_status(folder).state in (*ACTIVE, *STARTABLE, "done")
    assert entry.label


def kill_runs(
    machine: Machine, new_run: Callable[[], Path], expected: str, *, victims: list[str], moments: random.Random
) -> None:
    """Kill all `victims`, `KILLS_PER_RUN` to a run; check each run."""
    while victims:
        folder = new_run()
        for victim in victims[:KILLS_PER_RUN]:
            if local.poll_status(folder).state == "done":
                break
            victims.pop(0)
            kill_somewhere(machine, folder, victim, moments)
            check_readable(folder)
        assert finish(machine, folder) == expected
        run = load_run(folder)
        assert len(run.history) == 4 * CONFIG.epochs
        assert run.metrics is not None
        assert find_temporary_files() == []
        assert not (folder / "checkpoint.pt").exists()


def find_temporary_files() -> list[str]:
    roots = (Path(os.environ["CLEANER_RUNS"]), cache_root())
    return [str(path) for root in roots for path in root.rglob("*") if path.name.endswith(".tmp")]


def test_runs_survive_a_few_kills(machine: Machine, new_run: Callable[[], Path], expected: str) -> None:
    victims = ["write", "both", "server", "worker"]
    kill_runs(machine, new_run, expected, victims=victims, moments=random.Random(0))
    assert machine.kills >= 3
    assert machine.kills_in_a_write >= 1


@pytest.mark.slow
def test_runs_survive_kills(
    machine: Machine, new_run: Callable[[], Path], expected: str, record_property: Callable[[str, object], None]
) -> None:
    machine.kills = machine.kills_in_a_write = 0
    moments = random.Random(1)  # one for all rounds: they differ
    while machine.kills < 200 or machine.kills_in_a_write < 20:
        victims = moments.choices(["worker", "write", "server", "both"], weights=[5, 3, 2, 3], k=20)
        kill_runs(machine, new_run, expected, victims=victims, moments=moments)
    record_property("kills", machine.kills)
    record_property("kills_in_a_write", machine.kills_in_a_write)


# With 300 bytes not even a status can be written: the run counts as dead after a minute of silence.
@pytest.mark.parametrize("max_bytes", [slow(300), 3_000, slow(4_000_000)])
def test_a_full_disk_is_one_sentence_and_the_run_resumes(
    machine: Machine, new_run: Callable[[], Path], expected: str, max_bytes: int
) -> None:
    others = {entry.folder: entry.status.state for entry in list_entries()}
    folder = new_run()
    machine.start(folder, max_bytes)
    wait_until(lambda: local.poll_status(folder).state not in (*ACTIVE, "new"), 120)
    machine.kill_server()
    status = local.poll_status(folder)
    assert status.state in ("failed", "died")
    assert status.message.isprintable()
    assert {folder: read_status(folder).state for folder in others} == others
    assert finish(machine, folder) == expected
    assert find_temporary_files() == []
