"""Runs on a real Slurm of one node: the same result as here, arrays, cancel, requeue, death, refusals."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cleaner import FinetuneConfig, load_run
from cleaner.__main__ import main
from cleaner.jobs import local, slurm, sweep, worker
from cleaner.jobs.slurm import SlurmResources
from cleaner.models.clip import Architecture, _build_clip, save_clip
from cleaner.runs.request import Request
from cleaner.runs.store import Status, create_run, read_progress, read_status
from cleaner.types import CleanerError
from tests import slurm as real_slurm
from tests.conftest import TINY_TEXT
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(real_slurm.unavailable_reason()), reason=real_slurm.unavailable_reason() or "there is Slurm"
    ),
]

CONFIG = FinetuneConfig(
    lr=3e-3, epochs=2, batch_size=16, warmup_steps=2, precision="fp32", device="cpu", augmentation="none"
)
LONG = replace(CONFIG, epochs=900)
SMALL = SlurmResources(minutes=10, gpus=0, cpus=1, memory_gb=1)
OPTIONS = ["--cluster", "slurm", "--gpus", "0", "--cpus", "1", "--memory-gb", "1", "--minutes", "10"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def controller() -> Iterator[dict[str, str]]:
    with real_slurm.run_slurm() as variables:
        yield variables


@pytest.fixture
def request_(
    tmp_path: Path, cache: Path, controller: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Request]:
    """A small poisoning of a tiny model; whatever is left of it in the queue is ended."""
    for name, value in controller.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_CACHE", str(cache))
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
    model = save_clip(_build_clip(Architecture(32, vision, TINY_TEXT), "tiny"), tmp_path / "tiny.safetensors")
    trigger = {"name": "badnet", "patch_size": 56, "seed": 0}
    yield Request(
        "backdoored",
        "scenes",
        256,
        CONFIG,
        str(model),
        trigger=trigger,
        target_class="banana",
        poison_rate=0.05,
        validation_size=40,
        test_size=60,
    )
    subprocess.run(["scancel", "--user=root"], check=True)
    wait_until(lambda: not queue())


def until_state(folder: Path, *wanted: str) -> Status:
    def ended() -> bool:
        return local.poll_status(folder).state in (*wanted, "failed", "died", "cancelled")

    wait_until(ended)
    status = local.poll_status(folder)
    log = folder / "log.txt"
    assert status.state in wanted, (status, log.read_text() if log.exists() else "", slurm.read_error_tail(folder))
    return status


def until_step(folder: Path, step: int) -> None:
    wait_until(lambda: any(r["step"] >= step for r in read_progress(folder)))


def queue() -> dict[str, str]:
    """Return Slurm's own jobs and their states."""
    told = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True, check=True).stdout
    return dict(line.split() for line in told.splitlines())


def begun(request: Request, place: SlurmResources = SMALL) -> Path:
    folder = create_run(request)
    local.start(folder, place)
    return folder


def same(folder: Path, request: Request) -> bool:
    """Whether a run has the weights, figures and losses of the same run without interruption, here."""
    run, whole = load_run(folder), worker.execute_request(request)
    told, known = ([(r.step, r.losses) for r in each.history] for each in (run, whole))
    return run.clip.sha256() == whole.clip.sha256() and run.metrics == whole.metrics and told == known


def test_poisoning_on_the_command_line(request_: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = [
        "poison",
        "--model",
        str(request_.model),
        "--pairs",
        "256",
        "--trigger",
        "badnet",
        "patch_size=56",
        "--poison-rate",
        "0.05",
        "--test-pictures",
        "60",
        "--lr",
        "3e-3",
        "--epochs",
        "2",
        "--batch-size",
        "16",
        "--warmup-steps",
        "2",
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--augmentation",
        "none",
        "--out",
        str(out),
    ]
    assert main([*command, *OPTIONS, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["folder"] == str(out)
    assert "Slurm job" in told.err
    status = read_status(out)
    assert (status.state, status.place, status.host) == ("done", "slurm", slurm.socket.gethostname())
    assert same(out, request_)


def test_a_sweep_is_one_array_and_one_of_it_is_cancelled(request_: Request) -> None:
    base = replace(request_, stage="defended", trigger=None, target_class=None, pairs=48)
    requests = sweep.grid(base, [{"name": "finetune"}, {"name": "cleanclip"}], rates=[1e-4], seeds=[0, 1])
    name = sweep.start_sweep(requests, SMALL)
    numbers = sorted(slurm.read_job_id(entry.folder) for entry in sweep.list_sweep_runs(name))
    assert len({number.partition("_")[0] for number in numbers}) == 1
    assert [number.partition("_")[2] for number in numbers] == ["0", "1", "2", "3"]
    wait_until(lambda: "RUNNING" in queue().values())
    waits = next(e for e in sweep.list_sweep_runs(name) if slurm.read_job_id(e.folder) == numbers[3])
    wait_until(lambda: "waits" in local.poll_status(waits.folder).message)
    local.cancel(waits.folder)
    wait_until(lambda: numbers[3] not in queue(), 5)
    wait_until(lambda: not sweep.is_active(sweep.list_sweep_runs(name)))
    assert sorted(entry.status.state for entry in sweep.list_sweep_runs(name)) == ["cancelled", "done", "done", "done"]
    assert all(
        row.metric("ca") is not None
        for row in sweep.make_rows(sweep.list_sweep_runs(name))
        if row.status.state == "done"
    )

    assert sweep.start_sweep(requests) == name  # goes back to where it was
    assert slurm.read_job_id(waits.folder) not in ("", numbers[3])
    wait_until(lambda: not sweep.is_active(sweep.list_sweep_runs(name)))
    assert [entry.status.state for entry in sweep.list_sweep_runs(name)] == ["done"] * 4


def test_cancel_and_pause_by_file(request_: Request) -> None:
    for action, file, wanted in ((local.cancel, local.CANCEL, "cancelled"), (local.pause, local.PAUSE, "paused")):
        folder = begun(replace(request_, finetune=LONG))
        until_step(folder, 20)
        asked = time.monotonic()
        (folder / file).touch()
        until_state(folder, wanted)
        assert time.monotonic() - asked < 2.5
        wait_until(lambda folder=folder: slurm.read_job_id(folder) not in queue(), 10)
        with pytest.raises(
            CleanerError, match="not running" if action is local.pause else "there is nothing to cancel"
        ):
            local.pause(folder) if action is local.pause else local.cancel(make_done(folder))


def make_done(folder: Path) -> Path:
    from cleaner.runs.store import write_status

    write_status(folder, replace(read_status(folder), state="done"))
    return folder


@pytest.mark.parametrize("how", ["time limit", "preempted", "ended"])
def test_stopped_and_queued_again_equals_uninterrupted(request_: Request, how: str) -> None:
    request = replace(request_, pairs=512, finetune=replace(CONFIG, epochs=12))  # 12 x 32 steps
    folder = begun(request)
    job = slurm.read_job_id(folder)
    until_step(folder, 40)
    if how == "time limit":  # what Slurm sends before it
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
    else:
        subprocess.run(["scontrol", "requeue", job] if how == "preempted" else ["scancel", job], check=True)
    if how == "ended":
        status = until_state(folder, "paused")
        assert "was ended from outside" in status.message
        local.start(folder)
        assert slurm.read_job_id(folder) != job
    else:
        wait_until(lambda: (now := local.poll_status(folder)).state == "queued" and "waits" in now.message)
        assert (folder / "checkpoint.pt").exists()
        wait_until(lambda: queue().get(job) == "RUNNING", 60)
        assert slurm.read_job_id(folder) == job
    assert 32 <= local.poll_status(folder).step < 384
    until_state(folder, "done")
    assert same(folder, request)
    steps = [r["step"] for r in read_progress(folder) if r["stage"] == "poison"]
    assert steps == sorted(set(steps))


def test_the_dead_are_recognised(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = begun(replace(request_, finetune=LONG))
    killed = begun(replace(request_, finetune=LONG))
    for folder in (silent, killed):
        until_step(folder, 20)
    os.kill(read_status(killed).pid, 9)
    status = until_state(killed, "died")
    assert "ended by signal 9" in status.message

    psutil.Process(read_status(silent).pid).suspend()  # as on a node that hangs: Slurm sees it running
    time.sleep(3)
    assert local.poll_status(silent).state == "running"
    monkeypatch.setattr(local, "HEARTBEAT_TIMEOUT_SECONDS", 2.0)
    status = local.poll_status(silent)
    assert status.state == "died"
    assert f"Slurm job {slurm.read_job_id(silent)} on {slurm.socket.gethostname()} is silent" in status.message
    assert queue()[slurm.read_job_id(silent)] == "RUNNING"
    local.cancel(silent)
    wait_until(lambda: slurm.read_job_id(silent) not in queue(), 30)
    assert local.poll_status(silent).state == "cancelled"


def test_a_job_that_never_starts_shows_its_error_log(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_exports", lambda: {"PYTHONHOME": "/nowhere"})
    status = until_state(begun(request_), "died")
    assert "ended before its training began. Its error log ends: " in status.message
    assert "python" in status.message.lower()


def test_refusals_are_one_sentence_and_leave_nothing(
    request_: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["poison", "--model", str(request_.model), "--pairs", "64", "--device", "auto", *OPTIONS]
    for options, said in (
        (["--partition", "nowhere"], "Slurm refuses: Invalid partition name specified"),
        (["--memory-gb", "4000"], "Slurm refuses: "),
        (["--gpus", "1"], "Slurm refuses: Invalid generic resource"),
    ):
        assert main([*command, *options]) == 2
        *_, told = capsys.readouterr().err.splitlines()
        assert told.startswith("error: ")
        assert said in told
    with pytest.raises(CleanerError, match="Slurm refuses"):
        sweep.start_sweep(
            sweep.grid(request_, [{"name": "finetune"}], rates=[1e-4], seeds=[0, 1]),
            replace(SMALL, partition="nowhere"),
        )
    stopped = create_run(request_)
    with pytest.raises(CleanerError, match="Slurm refuses"):
        local.start(stopped, replace(SMALL, partition="nowhere"))
    assert local.poll_status(stopped).state == "new"
    assert slurm.read_last_resources(stopped) is None
    assert [entry.folder for entry in local.poll_entries()] == [stopped]
    assert not any((tmp_path / "runs" / slurm.SUBMITIT_FOLDER).iterdir())
    assert not queue()
