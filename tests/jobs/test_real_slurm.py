"""Runs on a real one-node Slurm: same result as in this process, arrays, cancel, requeue, death, refusals."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cleaner import FinetuneConfig, load_run
from cleaner.__main__ import main
from cleaner.jobs import execution, local, process, slurm, slurm_queue, sweep
from cleaner.jobs.slurm import SlurmResources
from cleaner.runs.request import Request
from cleaner.runs.run import read_progress
from cleaner.runs.status import read_status, write_status
from cleaner.runs.store import create_run
from cleaner.types import CleanerError
from tests import slurm as real_slurm
from tests.jobs.test_local import make_request
from tests.waiting import MAX_CANCEL_SECONDS, wait_until, wait_until_state, wait_until_step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(real_slurm.unavailable_reason()), reason=real_slurm.unavailable_reason() or "Slurm is available"
    ),
]

CONFIG = FinetuneConfig(
    lr=3e-3, epochs=2, batch_size=16, warmup_steps=2, precision="fp32", device="cpu", augmentation="none"
)
LONG = replace(CONFIG, epochs=900)
SMALL = SlurmResources(minutes=10, gpus=0, cpus=1, memory_gb=1)
OPTIONS = ["--cluster", "slurm", "--gpus", "0", "--cpus", "1", "--memory-gb", "1", "--minutes", "10"]


@pytest.fixture(scope="module")
def controller() -> Iterator[dict[str, str]]:
    with real_slurm.run_slurm() as variables:
        yield variables


@pytest.fixture
def request_(tiny_model: str, controller: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Request]:
    """A small poisoning of a tiny model; remaining jobs are canceled at the end."""
    for name, value in controller.items():
        monkeypatch.setenv(name, value)
    yield replace(make_request(tiny_model), finetune=CONFIG, film=True)
    subprocess.run(["scancel", "--user=root"], check=True)
    wait_until(lambda: not queue())


def queue() -> dict[str, str]:
    """Return the jobs in Slurm's queue and their states."""
    output = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True, check=True).stdout
    return dict(line.split() for line in output.splitlines())


def start_on_slurm(request: Request, resources: SlurmResources = SMALL) -> Path:
    folder = create_run(request)
    local.start(folder, resources)
    return folder


def equals_uninterrupted(folder: Path, request: Request) -> bool:
    """Return whether a run has the weights, metrics and losses of the same request executed in this process."""
    run, uninterrupted = load_run(folder), execution.execute_request(request)
    histories = [[(r.step, r.losses) for r in each.history] for each in (run, uninterrupted)]
    same_weights = run.clip.sha256() == uninterrupted.clip.sha256()
    return same_weights and run.metrics == uninterrupted.metrics and histories[0] == histories[1]


def test_poisoning_on_the_command_line(request_: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = shlex.split(
        f"poison --model {shlex.quote(str(request_.model))} --pairs 256 --trigger badnet patch_size=56"
        " --poison-rate 0.05 --test-pairs 60 --lr 3e-3 --epochs 2 --batch-size 16 --warmup-steps 2"
        f" --precision fp32 --device cpu --augmentation none --out {shlex.quote(str(out))}"
    )
    assert main([*command, *OPTIONS, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["folder"] == str(out)
    assert "Slurm job" in printed.err
    status = read_status(out)
    assert (status.state, status.place, status.host) == ("done", "slurm", slurm.socket.gethostname())
    assert equals_uninterrupted(out, request_)


def test_a_sweep_is_one_array_and_one_run_of_it_is_canceled(request_: Request) -> None:
    base = replace(request_, stage="defended", trigger=None, target_class=None, pairs=48)
    requests = sweep.grid(base, [{"name": "finetune"}, {"name": "cleanclip"}], rates=[1e-4], seeds=[0, 1])
    name = sweep.start_sweep(requests, SMALL)
    numbers = sorted(slurm_queue.read_job_id(entry.folder) for entry in sweep.list_sweep_runs(name))
    assert len({number.partition("_")[0] for number in numbers}) == 1
    assert [number.partition("_")[2] for number in numbers] == ["0", "1", "2", "3"]
    wait_until(lambda: "RUNNING" in queue().values())
    last = next(e for e in sweep.list_sweep_runs(name) if slurm_queue.read_job_id(e.folder) == numbers[3])
    wait_until(lambda: "waits" in local.poll_status(last.folder).message)
    local.cancel(last.folder)
    wait_until(lambda: numbers[3] not in queue(), 5)
    wait_until(lambda: not sweep.is_active(sweep.list_sweep_runs(name)))
    assert sorted(entry.status.state for entry in sweep.list_sweep_runs(name)) == ["cancelled", "done", "done", "done"]
    assert all(
        row.metric("ca") is not None
        for row in sweep.make_rows(sweep.list_sweep_runs(name))
        if row.status.state == "done"
    )

    assert sweep.start_sweep(requests) == name  # the canceled run returns to the cluster
    assert slurm_queue.read_job_id(last.folder) not in ("", numbers[3])
    wait_until(lambda: not sweep.is_active(sweep.list_sweep_runs(name)))
    assert [entry.status.state for entry in sweep.list_sweep_runs(name)] == ["done"] * 4


@pytest.mark.parametrize(("file", "state"), [(local.CANCEL, "cancelled"), (local.PAUSE, "paused")])
def test_a_file_stops_a_job(file: str, state: str, request_: Request) -> None:
    folder = start_on_slurm(replace(request_, finetune=LONG))
    wait_until_step(folder, 20)
    start = time.monotonic()
    (folder / file).touch()
    wait_until_state(folder, state)
    assert time.monotonic() - start < MAX_CANCEL_SECONDS
    wait_until(lambda: slurm_queue.read_job_id(folder) not in queue(), 10)
    with pytest.raises(CleanerError, match=folder.name):
        local.pause(folder)
    write_status(folder, replace(read_status(folder), state="done"))
    with pytest.raises(CleanerError, match=folder.name):
        local.cancel(folder)


@pytest.mark.parametrize("how", ["time limit", "preempted", "ended"])
def test_stopped_and_requeued_equals_uninterrupted(request_: Request, how: str) -> None:
    request = replace(request_, pairs=512, finetune=replace(CONFIG, epochs=12))  # 12 x 32 steps
    folder = start_on_slurm(request)
    job = slurm_queue.read_job_id(folder)
    wait_until_step(folder, 40)
    if how == "time limit":  # what Slurm sends before it
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
    else:
        subprocess.run(["scontrol", "requeue", job] if how == "preempted" else ["scancel", job], check=True)
    if how == "ended":
        status = wait_until_state(folder, "paused")
        assert job in status.message
        local.start(folder)
        assert slurm_queue.read_job_id(folder) != job
    else:
        wait_until(lambda: (now := local.poll_status(folder)).state == "queued" and "waits" in now.message)
        assert (folder / "checkpoint.pt").exists()
        wait_until(lambda: queue().get(job) == "RUNNING", 60)
        assert slurm_queue.read_job_id(folder) == job
    assert 32 <= local.poll_status(folder).step < 384
    wait_until_state(folder, "done")
    assert equals_uninterrupted(folder, request)
    steps = [r["step"] for r in read_progress(folder) if r["stage"] == "poison"]
    assert steps == sorted(set(steps))


def test_dead_workers_are_recognized(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = start_on_slurm(replace(request_, finetune=LONG))
    killed = start_on_slurm(replace(request_, finetune=LONG))
    for folder in (silent, killed):
        wait_until_step(folder, 20)
    os.kill(read_status(killed).pid, 9)
    status = wait_until_state(killed, "died")
    assert "signal 9" in status.message

    psutil.Process(read_status(silent).pid).suspend()  # like on a node that hangs: for Slurm it is running
    time.sleep(3)
    assert local.poll_status(silent).state == "running"
    monkeypatch.setattr(process, "HEARTBEAT_TIMEOUT_SECONDS", 2.0)
    status = local.poll_status(silent)
    assert status.state == "died"
    assert f"Slurm job {slurm_queue.read_job_id(silent)} on {slurm.socket.gethostname()}" in status.message
    assert queue()[slurm_queue.read_job_id(silent)] == "RUNNING"
    local.cancel(silent)
    wait_until(lambda: slurm_queue.read_job_id(silent) not in queue(), 30)
    assert local.poll_status(silent).state == "cancelled"


def test_a_job_that_never_starts_shows_its_error_log(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "exported_environment", lambda: {"PYTHONHOME": "/nowhere"})
    status = wait_until_state(start_on_slurm(request_), "died")
    assert "error log" in status.message
    assert "python" in status.message.lower()


def test_refusals_are_one_sentence_and_leave_no_files(
    request_: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["poison", "--model", str(request_.model), "--pairs", "64", "--device", "auto", *OPTIONS]
    for options, reason in (
        (["--partition", "nowhere"], "Invalid partition name specified"),
        (["--memory-gb", "4000"], "Slurm refuses: "),
        (["--gpus", "1"], "Invalid generic resource"),
    ):
        assert main([*command, *options]) == 2
        *_, error = capsys.readouterr().err.splitlines()
        assert error.startswith("error: ")
        assert reason in error
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
