"""Runs on a fake Slurm: submission, queue states, stops, requeues, refusals."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cleaner import FinetuneConfig, files, load_run
from cleaner.__main__ import main
from cleaner.config import parameters
from cleaner.files import read_json, write_json
from cleaner.jobs import execution, local, locks, slurm, slurm_queue, sweep
from cleaner.jobs.slurm import SlurmResources
from cleaner.models.clip import save_clip
from cleaner.runs.request import Request
from cleaner.runs.status import Status, read_status, write_status
from cleaner.runs.store import create_run
from cleaner.types import CleanerError
from tests import fake_slurm
from tests.conftest import make_clip
from tests.waiting import MAX_CANCEL_SECONDS, sleeping_process, wait_until, wait_until_state, wait_until_step

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Slurm runs on Linux")
CONFIG = FinetuneConfig(
    lr=3e-3, epochs=2, batch_size=16, warmup_steps=2, precision="fp32", device="cpu", augmentation="none"
)
RESOURCES = SlurmResources(gpus=0, cpus=1)
MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
REFUSED = """sbatch: error: invalid partition specified: nowhere
sbatch: error: Batch job submission failed: Invalid partition name specified
"""


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the queue; remaining jobs are killed at the end."""
    home = tmp_path / "slurm"
    fake_slurm.select(home, monkeypatch)
    monkeypatch.setattr(slurm_queue, "CACHE_SECONDS", 0.0)
    yield home
    for path in home.glob("*.json"):
        fake_slurm.scancel(home, [path.stem])


@pytest.fixture
def request_(tiny_model: str, queue: Path, warm_python: None) -> Request:
    """A small defense of a tiny suspicious model."""
    return Request(
        stage="defended",
        data="scenes",
        pairs=48,
        finetune=CONFIG,
        model=tiny_model,
        defense={"name": "finetune"},
        test_size=40,
    )


def start_on_slurm(request: Request, resources: SlurmResources = RESOURCES) -> Path:
    folder = create_run(request)
    local.start(folder, resources)
    return folder


def test_an_option_of_sbatch_replaces_that_of_submitit(queue: Path, tmp_path: Path) -> None:
    executor = slurm._make_executor(tmp_path / "jobs", replace(RESOURCES, sbatch="cpus-per-task=8"), {}, 1)
    lines = executor._make_submission_file_text("true", "0").splitlines()
    assert [line for line in lines if "#SBATCH --cpus-per-task" in line] == ["#SBATCH --cpus-per-task=8"]


@pytest.mark.parametrize(("at_once", "limit"), [(0, 300), (2, 2)])
def test_a_large_sweep_is_limited_only_on_request(at_once: int, limit: int, queue: Path, tmp_path: Path) -> None:
    executor = slurm._make_executor(tmp_path / "jobs", replace(RESOURCES, at_once=at_once), {}, 300)
    assert executor.parameters["array_parallelism"] == limit


def test_a_sweep_becomes_one_array_of_workers(request_: Request, queue: Path) -> None:
    requests = sweep.grid(request_, [{"name": "finetune"}, {"name": "cleanclip"}], rates=[1e-4], seeds=[0])
    name = sweep.start_sweep(
        requests, replace(RESOURCES, partition="short", minutes=7, memory_gb=3, at_once=1, sbatch="qos=low")
    )
    entries = sweep.list_sweep_runs(name)
    assert sorted(slurm_queue.read_job_id(entry.folder) for entry in entries) == ["1_0", "1_1"]
    script = (queue / "1").read_text()
    for line in (
        "--array=0-1%1",
        "--partition=short",
        "--time=7",
        "--mem=3GB",
        "--cpus-per-task=1",
        "--qos=low",
        "--requeue",
        "--signal=USR2@120",
    ):
        assert f"#SBATCH {line}\n" in script
    assert "--gpus" not in script
    with pytest.raises(CleanerError, match=entries[0].folder.name):
        local.start(entries[0].folder, RESOURCES)
    wait_until(lambda: not sweep.is_active(sweep.list_sweep_runs(name)))
    done = sweep.list_sweep_runs(name)
    assert [(entry.status.state, entry.status.place) for entry in done] == [("done", "slurm")] * 2
    assert all(row.metric("ca") is not None for row in sweep.make_rows(done))
    submission = Path(read_json(done[0].folder / slurm.JOB_FILE)["errors"]).parent
    for entry in done:
        assert submission.exists()
        local.delete(entry.folder)
    assert not submission.exists()


def test_a_job_inherits_nothing_of_the_session_that_submits_it(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook on a cluster is a job itself, and sbatch exports its whole environment."""
    (queue / "bin" / "sbatch").write_text('#!/bin/sh\nenv > "$FAKE_SLURM/exported"\necho Submitted batch job 1\n')
    session = {"SLURM_ARRAY_JOB_ID": "9", "SLURM_MEM_PER_CPU": "1024", "SRUN_CPUS_PER_TASK": "2", "RANK": "1"}
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SLURM_CLUSTERS": "large", "SBATCH_ACCOUNT": "lab"}
    for name, value in {**session, **kept}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "run").mkdir()
    slurm.submit([tmp_path / "run"], RESOURCES, {})
    exported = (queue / "exported").read_text().splitlines()
    assert {line.partition("=")[0] for line in exported}.isdisjoint(session)
    assert {f"{name}={value}" for name, value in kept.items()} <= set(exported)
    assert {name: os.environ[name] for name in session} == session


def test_the_worker_gets_the_exports_of_the_job(queue: Path, tmp_path: Path) -> None:
    """Even where a site sets SBATCH_EXPORT=NONE, which srun would inherit."""
    executor = slurm._make_executor(tmp_path / "jobs", RESOURCES, {"CLEANER_RUNS": "/my runs"}, 1)
    assert executor.parameters["setup"] == ["export CLEANER_RUNS='/my runs'", "export SLURM_EXPORT_ENV=ALL"]


def test_a_job_that_is_still_ending_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, home = tmp_path / "run", tmp_path / slurm.SUBMITIT_FOLDER / "now"
    folder.mkdir()
    home.mkdir(parents=True)
    (home / "1_submitted.pkl").touch()
    write_json(folder / slurm.JOB_FILE, {"job": "1", "errors": str(home / "1_0_log.err")})

    def interrupted(path: Path, **_: bool) -> None:
        for part in path.iterdir():
            part.unlink()
        with suppress(FileNotFoundError):
            (home / "1_0_result.pkl").touch()
        with suppress(OSError):
            path.rmdir()

    monkeypatch.setattr(files.shutil, "rmtree", interrupted)
    slurm_queue.remove_submission_files(folder)
    assert list(home.parent.iterdir()) == []


def test_a_requeued_run_equals_an_uninterrupted_one(request_: Request) -> None:
    request = replace(request_, finetune=replace(CONFIG, epochs=6, batch_size=4))  # 6 x 12 steps
    folder = start_on_slurm(request)
    job = slurm_queue.read_job_id(folder)
    wait_until_step(folder, 1, "defend")
    subprocess.run(["scancel", job, "--signal", "USR2"], check=True)
    wait_until(lambda: read_status(folder).state == "queued")
    assert 0 < read_status(folder).step < 72
    wait_until_state(folder, "done")
    assert slurm_queue.read_job_id(folder) == job
    uninterrupted, run = execution.execute_request(request), load_run(folder)
    assert [(r.step, r.losses) for r in run.history] == [(r.step, r.losses) for r in uninterrupted.history]
    assert (run.clip.sha256(), run.metrics) == (uninterrupted.clip.sha256(), uninterrupted.metrics)


def test_stopped_from_outside_and_by_file(request_: Request) -> None:
    request = replace(request_, finetune=replace(CONFIG, epochs=1000))
    folder = start_on_slurm(request)
    wait_until(lambda: local.poll_status(folder).state == "running")
    subprocess.run(["scancel", "1"], check=True)
    status = wait_until_state(folder, "paused")
    assert "Slurm job 1" in status.message

    local.start(folder)  # goes back to the cluster
    assert slurm_queue.read_job_id(folder) == "2"
    wait_until_step(folder, 1, "defend")
    start = time.monotonic()
    (folder / local.CANCEL).touch()
    wait_until_state(folder, "cancelled")
    assert time.monotonic() - start < MAX_CANCEL_SECONDS
    assert not (folder / "checkpoint.pt").exists()


def test_a_pending_job_is_described_and_leaves_the_queue(request_: Request, queue: Path) -> None:
    for reason, description in (
        ("Priority", slurm_queue.REASONS["Priority"]),
        ("Resources", slurm_queue.REASONS["Resources"]),
        ("QOSMaxJobsPerUserLimit", "waits (Slurm says: QOSMaxJobsPerUserLimit)"),
    ):
        (queue / "hold").write_text(reason)
        first, second = start_on_slurm(request_), start_on_slurm(request_)
        job = slurm_queue.read_job_id(first)
        assert local.poll_status(first) == replace(read_status(first), message=f"Slurm job {job} {description}.")
        assert local.poll_status(first).state == "queued"
        local.cancel(first)
        local.pause(second)
        assert (local.poll_status(first).state, local.poll_status(second).state) == ("cancelled", "paused")
        assert slurm_queue.query_job(job) == slurm_queue.query_job(slurm_queue.read_job_id(second)) == ("", "")
    assert locks._has_earlier_run(create_run(request_), "cpu") is False  # jobs on the cluster do not block this machine


def test_the_queue_is_queried_rarely_and_may_not_answer(
    request_: Request, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "CACHE_SECONDS", 60.0)
    (queue / "hold").write_text("Priority")
    name = sweep.start_sweep(sweep.grid(request_, [{"name": "finetune"}], rates=[1e-4], seeds=[0, 1, 2]), RESOURCES)
    for _ in range(5):
        assert {entry.status.state for entry in sweep.list_sweep_runs(name)} == {"queued"}
    assert (queue / "asked").read_text() == "x"
    assert sweep.is_active(sweep.list_sweep_runs(name))
    assert sweep.seconds_left(sweep.list_sweep_runs(name)) is None

    (queue / "down").touch()
    monkeypatch.setattr(slurm_queue, "_queue_cache", {})
    for _ in range(3):
        statuses = [entry.status for entry in sweep.list_sweep_runs(name)]
        assert {status.state for status in statuses} == {"queued"}
        assert all("the queue does not answer" in status.message for status in statuses)
    assert (queue / "asked").read_text() == "xx"


def test_a_queue_that_does_not_answer_is_asked_once_for_all_jobs(queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (queue / "down").touch()
    assert [slurm_queue.query_job(job) for job in ("1", "2", "3_0")] == [None] * 3
    assert (queue / "asked").read_text() == "x"
    (queue / "down").unlink()
    monkeypatch.setattr(slurm_queue, "_retry_time", 0.0)
    assert [slurm_queue.query_job(job) for job in ("1", "2")] == [("", "")] * 2


def set_running(folder: Path, silence: float) -> None:
    """Make a run look like one whose worker on another machine last wrote its status `silence` seconds ago."""
    status = replace(read_status(folder), state="running", pid=1, host="node-7", queued=1.0)
    write_json(folder / "status.json", {**vars(status), "updated": time.time() - silence})


def test_heartbeat_and_queue_tell_dead_runs_from_waiting_ones(request_: Request, queue: Path) -> None:
    (queue / "hold").write_text("BeginTime")
    folder = start_on_slurm(request_)
    set_running(folder, 5)
    assert local.poll_status(folder).state == "running"
    set_running(folder, 600)  # its node failed, and Slurm has requeued it
    queued = local.poll_status(folder)
    assert queued.state == "queued"
    assert slurm_queue.REASONS["BeginTime"] in queued.message
    (queue / "1.json").write_text(json.dumps(os.getpid()))
    died = local.poll_status(folder)
    assert died.state == "died"
    assert all(token in died.message for token in ("Slurm job 1 on node-7", "10 min"))
    (queue / "1.json").unlink()
    assert local.poll_status(folder).state == "died"
    (queue / "down").touch()
    assert local.poll_status(folder).state == "died"
    local.cancel(folder)
    assert read_status(folder).state == "cancelled"


def test_a_job_that_never_starts_shows_the_end_of_its_error_log(request_: Request, queue: Path) -> None:
    (queue / "hold").write_text("Priority")
    folder = start_on_slurm(request_)
    Path(read_json(folder / slurm.JOB_FILE)["errors"]).write_text("one\n\ntwo\nslurmstepd: error: no such python\n")
    (queue / "1.json").unlink()
    status = local.poll_status(folder)
    assert status.state == "died"
    assert status.message.endswith(": one / two / slurmstepd: error: no such python")


def test_a_submission_that_was_interrupted_is_named(request_: Request, queue: Path) -> None:
    folder = create_run(request_)
    write_json(folder / "status.json", asdict(Status("queued", place=slurm.SLURM, updated=time.time() - 600)))
    status = local.poll_status(folder)
    assert (status.state, status.message) == ("died", "It was not submitted to Slurm: start it again.")


def test_a_worker_that_cannot_start_is_reported_at_once(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_run(request_)
    write_status(folder, Status("queued", place=slurm.SLURM))
    write_json(folder / slurm.JOB_FILE, {"job": "5"})
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setattr(slurm.sys, "executable", "/bin/false")
    assert slurm.SlurmJob(folder, RESOURCES)() == 1
    assert read_status(folder).state == "died"
    assert "status 1" in read_status(folder).message


def test_a_preempted_job_waits_for_the_end_of_its_grace_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that returned would be completed, and not requeued."""
    write_status(tmp_path, Status("queued", place=slurm.SLURM))
    write_json(tmp_path / slurm.JOB_FILE, {"job": "5"})
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    job = slurm.SlurmJob(tmp_path, RESOURCES)
    monkeypatch.setattr(job, "_command", lambda: ["sleep", "60"])
    states: list[str] = []

    def preempt() -> None:
        wait_until(lambda: job.process is not None, 30)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: job.process is not None and job.process.returncode is not None, 30)
        time.sleep(0.5)
        states.append(read_status(tmp_path).state)
        write_status(tmp_path, Status("cancelled", place=slurm.SLURM))  # ends the wait, as SIGKILL does

    before, thread = signal.getsignal(signal.SIGTERM), threading.Thread(target=preempt)
    try:
        thread.start()
        assert job() == -signal.SIGTERM
        states.append("returned")
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    assert states == ["queued", "returned"]


def test_an_outdated_job_does_nothing(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_run(request_)
    monkeypatch.setenv("SLURM_JOB_ID", "4")
    monkeypatch.setattr(slurm.subprocess, "Popen", None)
    for job, place in (("5", slurm.SLURM), ("4", "")):
        write_status(folder, Status("queued", place=place))
        write_json(folder / slurm.JOB_FILE, {"job": job})
        assert slurm.SlurmJob(folder, RESOURCES)() == 0
    assert read_status(folder).state == "queued"


def test_torchrun_workers_are_not_stopped_by_a_foreign_pid(tmp_path: Path) -> None:
    """pid 0, before rank 0 has written its status, means the whole process group; an older pid may be reused."""
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda *_: signals.append(1))
    host = slurm.socket.gethostname()
    try:
        with sleeping_process() as stranger, sleeping_process() as rank_zero, sleeping_process() as torchrun:
            write_status(tmp_path, Status("queued", pid=stranger.pid, host=host))
            job = slurm.SlurmJob(tmp_path, SlurmResources(gpus=2))
            job.process, job.start_time = torchrun, time.time()
            job._request_pause()
            for status in (Status("queued"), Status("queued", pid=stranger.pid, host="another-node")):
                write_status(tmp_path, status)
                job._request_pause()
            assert (signals, stranger.poll()) == ([], None)
            write_status(tmp_path, Status("running", pid=rank_zero.pid, host=host))
            job._request_pause()
            assert rank_zero.wait(10) == -signal.SIGTERM
            assert torchrun.poll() is None
    finally:
        signal.signal(signal.SIGTERM, before)


def test_several_gpus_need_torchrun_and_a_cpu_run_requests_none(request_: Request, queue: Path) -> None:
    job = slurm.SlurmJob(Path("run"), SlurmResources(gpus=2))
    assert job._command()[2:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    (queue / "hold").write_text("Priority")
    start_on_slurm(request_, SlurmResources(gpus=2))
    assert "--gpus" not in (queue / "1").read_text()
    start_on_slurm(replace(request_, finetune=replace(CONFIG, device="auto")), SlurmResources(gpus=2))
    assert "#SBATCH --gpus-per-node=2\n" in (queue / "2").read_text()


def test_a_refusal_restores_the_runs(request_: Request, queue: Path, tmp_path: Path) -> None:
    (queue / "refuse").write_text(REFUSED)
    stopped = create_run(request_)
    write_status(stopped, Status("paused", step=3, total=9))
    before = {path.name: path.read_bytes() for path in stopped.iterdir() if path.name != "status.json"}
    with pytest.raises(CleanerError, match="Invalid partition name specified"):
        local.start(stopped, RESOURCES)
    assert replace(read_status(stopped), updated=0.0) == Status("paused", step=3, total=9)
    assert {path.name: path.read_bytes() for path in stopped.iterdir() if path.name != "status.json"} == before
    with pytest.raises(CleanerError, match="Invalid partition name specified"):
        sweep.start_sweep(sweep.grid(request_, [{"name": "finetune"}], rates=[1e-4], seeds=[0, 1]), RESOURCES)
    assert [entry.folder for entry in local.poll_entries()] == [stopped]
    assert not list((tmp_path / "runs" / slurm.SUBMITIT_FOLDER).iterdir())
    (queue / "refuse").write_text(
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    )
    with pytest.raises(CleanerError, match="scontrol ping"):
        local.start(stopped, RESOURCES)


def test_jobs_whose_ids_cannot_be_written_leave_the_queue(
    request_: Request, queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (queue / "hold").write_text("Priority")

    def write(path: Path, content: dict[str, object]) -> None:
        if "job" in content:
            raise OSError(28, "No space left on device")
        write_json(path, content)

    monkeypatch.setattr(slurm, "write_json", write)
    folder = create_run(request_)
    with pytest.raises(CleanerError, match="No space left"):
        local.start(folder, RESOURCES)
    assert read_status(folder).state == "new"
    assert slurm_queue.query_job("1") == ("", "")


def test_without_slurm_nothing_is_created_and_a_run_resumes_on_this_machine(
    request_: Request, queue: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (queue / "hold").write_text("Priority")
    folder = start_on_slurm(request_)
    local.pause(folder)
    assert slurm.read_last_resources(folder) == RESOURCES
    monkeypatch.setenv("PATH", "/nowhere")
    assert "sbatch" in slurm.unavailable_reason()
    assert slurm.read_last_resources(folder) is None
    command = ["defend", str(request_.model), "--pairs", "48", "--device", "cpu", "--cluster", "slurm"]
    assert main(command) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {slurm.unavailable_reason()}")
    assert [entry.folder for entry in local.poll_entries()] == [folder]
    local.start(folder)
    assert read_status(folder).place == ""
    wait_until_state(folder, "done")


def test_command_line(request_: Request, queue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "cleaned"
    command = shlex.split(
        f"defend {shlex.quote(str(request_.model))} --defense finetune --pairs 48 --test-pairs 40 --epochs 1"
        f" --batch-size 16 --precision fp32 --device cpu --out {shlex.quote(str(out))}"
    )
    assert main([*command, "--partition", "short"]) == 2
    assert "--partition" in capsys.readouterr().err
    assert main([*command, "--background"]) == 2
    assert "--background" in capsys.readouterr().err
    assert not out.exists()
    on_slurm = [*command, "--cluster", "slurm", "--cpus", "1"]
    (queue / "hold").write_text("Priority")
    assert main([*on_slurm, "--background", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(out)}
    assert main(on_slurm) == 2  # the folder exists
    assert main(["runs"]) == 0
    shown = capsys.readouterr().out
    assert all(token in shown for token in ("queued", "defended", "finetune", "Slurm job 1"))
    assert main(["runs", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["folder"], listed["state"], listed["stage"]) == (str(out), "queued", "defended")
    assert main(["runs", "--pause", "cleaned"]) == 0
    assert capsys.readouterr().out == f"{out}: paused\n"
    assert main(["runs", "--resume", "cleaned"]) == 0
    assert capsys.readouterr().out == f"{out}: queued\n"
    assert main(["runs", "--cancel", "cleaned"]) == 0
    assert capsys.readouterr().out == f"{out}: canceled\n"
    assert main(["runs", "--resume", "cleaned", "nothing"]) == 2  # and the first one stays canceled
    assert not capsys.readouterr().out
    assert main(["runs", "--cancel"]) == 2
    assert "--cancel needs the name of a run" in capsys.readouterr().err
    assert main(["runs", "--resume", "cleaned"]) == 0
    assert capsys.readouterr().out == f"{out}: queued\n"
    assert main(["runs", "--cancel", "cleaned", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"folder": str(out), "state": "cancelled"}]
    local.delete(out)
    (queue / "hold").unlink()
    assert main([*on_slurm, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["metrics"]["n"] > 0
    assert "Slurm job 4" in printed.err


def test_the_commands_of_the_manual_run(
    queue: Path,
    warm_python: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_ASSETS", str(tmp_path / "assets"))
    clip = make_clip()
    clip.name = "scenes-rn"
    save_clip(clip, tmp_path / "assets" / "scenes-rn" / "model.safetensors", metadata={"stage": "clean"})
    (block,) = re.findall(r"<!-- example:slurm -->\n```sh\n(.*?)```", MANUAL, re.DOTALL)
    commands = [shlex.split(line)[3:] for line in block.replace("\\\n", " ").splitlines()]
    assert len(commands) == 3
    for command in commands:
        assert main(command) == 0, capsys.readouterr().err
    (name,) = sweep.list_sweep_ids(local.poll_entries())
    wait_until(lambda: not sweep.is_active(sweep.list_sweep_runs(name)))
    assert [(e.status.state, e.status.place) for e in sweep.list_sweep_runs(name)] == [("done", "slurm")] * 2


def test_the_manual_names_every_option() -> None:
    for parameter in parameters(SlurmResources):
        assert f"`--{parameter.name.replace('_', '-')}`" in MANUAL
    assert f"| {SlurmResources().minutes} |" in MANUAL
    assert f"| {SlurmResources().cpus}, {SlurmResources().memory_gb} |" in MANUAL


def test_a_foreign_job_file_is_not_trusted(queue: Path, tmp_path: Path) -> None:
    folder, other = tmp_path / "runs" / "mine", tmp_path / "elsewhere" / slurm.SUBMITIT_FOLDER / "job"
    other.mkdir(parents=True)
    (other / "7_0_log.err").write_text("a secret")
    (queue / "7.json").write_text("0")
    write_json(folder / slurm.JOB_FILE, {"job": "7", "errors": str(other / "7_0_log.err"), "asked": {"minutes": "x"}})
    assert (slurm_queue.quote_error_log_end(folder), slurm.read_last_resources(folder)) == ("", None)
    slurm_queue.remove_submission_files(folder)
    assert (other / "7_0_log.err").exists()
    write_json(folder / slurm.JOB_FILE, {"asked": {"minutes": 7, "sbatch": "output=/home/me/.bashrc"}})
    assert slurm.read_last_resources(folder) == SlurmResources(minutes=7), "still a run of the cluster"
    write_json(folder / slurm.JOB_FILE, {"job": "--user=me"})
    slurm_queue.cancel_job(folder)
    assert slurm_queue.read_job_id(folder) == ""
    assert (queue / "7.json").exists()


def test_options_of_sbatch() -> None:
    for own in (
        "output=/home/me/.bashrc",
        "--open-mod=truncate",
        "open_mode=append",
        "wrap=ls",
        "e=x",
        "nodes=2",
        "ntasks=2",
    ):
        with pytest.raises(CleanerError, match="is set by this program"):
            SlurmResources(sbatch=own)
    assert SlurmResources(sbatch="account=lab --constraint='a100|h100' exclusive").options() == {
        "account": "lab",
        "constraint": "a100|h100",
        "exclusive": True,
    }
    with pytest.raises(CleanerError, match="SLURM_CLUSTERS"):
        SlurmResources(sbatch="clusters=large")
    with pytest.raises(CleanerError, match="comment="):
        SlurmResources(sbatch="comment='half")
    for sbatch in ("comment='a\nrm -r x'", "'a;b'=c", "x\x1b=1"):
        with pytest.raises(CleanerError, match="sbatch"):
            SlurmResources(sbatch=sbatch)
    with pytest.raises(CleanerError, match="partition"):
        SlurmResources(partition="short\nrm -r x")
    with pytest.raises(CleanerError, match="minutes"):
        SlurmResources(minutes=1)
