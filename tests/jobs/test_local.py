"""Runs in processes of their own: the same result as here, stopped in time, resumed exactly, and never mixed up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cleaner import FinetuneConfig, Run, load_run
from cleaner.files import read_json
from cleaner.inspection import embedding_map
from cleaner.jobs import local, worker
from cleaner.models.clip import Architecture, _build_clip, save_clip
from cleaner.runs import store
from cleaner.runs.request import Request
from cleaner.runs.store import Status, create_run, read_progress, read_status, write_status
from cleaner.types import Cancelled, CleanerError, StepReport
from tests.conftest import TINY_TEXT
from tests.waiting import wait_until

CONFIG = FinetuneConfig(
    lr=3e-3, epochs=2, batch_size=16, warmup_steps=2, precision="fp32", device="cpu", augmentation="none", eval_every=8
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture
def request_(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Request]:
    """A small poisoning of a tiny model; whatever was started for it is ended."""
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_CACHE", str(cache))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
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
    for entry in store.list_entries(tmp_path / "runs"):
        found = local.find_process(entry.folder, entry.status)
        if found is not None:
            local.kill(found)


def until_state(folder: Path, *wanted: str) -> Status:
    wait_until(lambda: local.poll_status(folder).state in (*wanted, "failed"))
    status = local.poll_status(folder)
    assert status.state in wanted, (status, (folder / "log.txt").read_text())
    return status


def until_step(folder: Path, step: int, stage: str = "poison") -> None:
    """Wait until training has got so far, in an epoch that has begun after a checkpoint."""
    wait_until(lambda: any(r["stage"] == stage and r["step"] >= step for r in read_progress(folder)))


def test_killed_and_resumed_equals_uninterrupted(request_: Request) -> None:
    request = replace(request_, pairs=512, finetune=replace(CONFIG, epochs=12, eval_every=128))  # 12 x 32 steps
    whole = worker.execute_request(request)
    folder = create_run(request)
    local.start(folder)
    with pytest.raises(CleanerError, match="only a run that was stopped"):
        local.start(folder)
    wait_until(lambda: (folder / "checkpoint.pt").exists())
    with pytest.raises(CleanerError, match="cancel it first"):
        local.delete(folder)
    os.kill(read_status(folder).pid, signal.SIGKILL)
    assert "process is gone" in until_state(folder, "died").message
    assert read_status(folder).state == "running"  # nobody could write that it is not

    local.start(folder)
    done = until_state(folder, "done")
    assert done.verdict is not None

    run = load_run(folder)
    assert same(run, whole)
    assert run.config["request"] == read_json(folder / "config.json")["request"]
    assert run.config["versions"].keys() >= {"python", "numpy"}
    assert not (folder / "checkpoint.pt").exists()
    assert not list(folder.glob(".*.tmp"))
    with pytest.raises(CleanerError, match="is done"):
        local.cancel(folder)


def same(run: Run, other: Run) -> bool:
    """Whether two runs have the same weights, figures, and losses of every step."""
    told, known = ([(r.step, r.losses, r.metrics) for r in each.history] for each in (run, other))
    return run.clip.sha256() == other.clip.sha256() and run.metrics == other.metrics and told == known


@pytest.mark.parametrize("stop", ["pause", "sigterm"])
def test_paused_and_resumed_equals_uninterrupted(request_: Request, stop: str) -> None:
    request = replace(request_, finetune=replace(CONFIG, epochs=8, eval_every=32))  # 8 x 16 steps
    folder = create_run(request)
    desk = worker.RunSession(folder, local.own_start_time())
    working = threading.Thread(target=worker.run_job, args=(desk,))
    working.start()
    until_step(folder, 1)
    if stop == "pause":
        (folder / local.PAUSE).touch()
    else:
        desk.terminated.set()
    working.join()
    paused = local.poll_status(folder)
    assert paused.state == "paused"
    assert 0 < paused.step < 128
    (folder / local.PAUSE).unlink(missing_ok=True)
    assert run_here(folder).state == "done"
    assert same(load_run(folder), worker.execute_request(request))


def test_one_device_serves_one_run_and_cancel_ends_training_and_evaluation(request_: Request) -> None:
    long = create_run(replace(request_, finetune=replace(CONFIG, epochs=900)))
    queued = create_run(replace(request_, test_size=1200))
    local.start(long)
    local.start(queued)
    until_step(long, 20)
    wait_until(lambda: read_status(queued).device == "cpu")
    time.sleep(2 * local.POLL_SECONDS)
    assert (local.poll_status(long).state, local.poll_status(queued).state) == ("running", "queued")
    status = local.poll_status(long)
    assert status.total == 900 * 16
    assert status.eta > 0
    reports = read_progress(long)
    assert {"clip_loss", "total"} <= reports[0]["losses"].keys()
    assert {r["step"] for r in reports if r["metrics"]} >= {8, 16}
    assert all(r["metrics"].keys() == {"ca", "asr"} for r in reports if r["metrics"])

    assert seconds_to_cancel(long) < 2.5
    assert not (long / "checkpoint.pt").exists()

    wait_until(lambda: local.poll_status(queued).stage == "evaluate")
    psutil.Process(read_status(queued).pid).suspend()  # a worker that cannot hear is ended from outside
    assert seconds_to_cancel(queued) < 2.5
    assert not (queued / "metrics.json").exists()


def seconds_to_cancel(folder: Path) -> float:
    """Cancel and wait until the process is gone and the state says so."""
    pid = read_status(folder).pid
    begun = time.monotonic()
    local.cancel(folder)
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert local.poll_status(folder).state == "cancelled"
    return time.monotonic() - begun


def test_a_pid_that_belongs_to_another_process_is_neither_trusted_nor_signalled(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "sub").mkdir(parents=True)
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    stranger, own = subprocess.Popen(sleep), subprocess.Popen([*sleep, str(folder)])
    try:
        wait_until(
            lambda: all(psutil.Process(p.pid).cmdline() for p in (stranger, own))
        )  # Linux fills it in after exec
        for process in (stranger, own):
            started = psutil.Process(process.pid).create_time()
            for shift in (0.0, 500.0):
                status = Status("running", pid=process.pid, started=started - shift, host=local.socket.gethostname())
                trusted = process is own and not shift
                write_status(folder, status)
                assert (local.find_process(folder, status) is not None) == trusted
                assert local.poll_status(folder).state == ("running" if trusted else "died")
        local.cancel(folder)  # the last status names a wrong time: nobody is signalled
        assert own.poll() is None
        assert read_status(folder).state == "cancelled"
        relative = subprocess.Popen([*sleep, "run"], cwd=tmp_path)
        wait_until(lambda: bool(psutil.Process(relative.pid).cmdline()))
        own.kill()
        own.wait()
        found = Status("running", pid=relative.pid, started=psutil.Process(relative.pid).create_time())
        assert local.find_process(folder, found) is not None
        (tmp_path / "disk").symlink_to(tmp_path, target_is_directory=True)
        for name in ("disk", "run/.."):  # as somebody names it who starts a worker by hand
            named = subprocess.Popen([*sleep, f"{name}/run"], cwd=tmp_path)
            wait_until(lambda pid=named.pid: bool(psutil.Process(pid).cmdline()))
            found = Status("running", pid=named.pid, started=psutil.Process(named.pid).create_time())
            assert local.find_process(folder, found) is not None
            named.kill()
            named.wait()
        relative.kill()
        relative.wait()
    finally:
        for process in (stranger, own):
            process.kill()
            process.wait()


def test_a_worker_elsewhere_is_known_by_its_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(tmp_path, Status("running", pid=os.getpid(), host="another-machine"))
    assert local.poll_status(tmp_path).state == "running"
    monkeypatch.setattr(local, "HEARTBEAT_TIMEOUT_SECONDS", -1.0)
    assert local.poll_status(tmp_path).state == "died"


def test_a_process_that_never_spoke_is_given_up(tmp_path: Path) -> None:
    write_status(tmp_path, Status("queued", queued=time.time()))
    assert local.poll_status(tmp_path).state == "queued"
    write_status(tmp_path, Status("queued", queued=time.time() - 2 * local.START_TIMEOUT_SECONDS))
    assert local.poll_status(tmp_path).state == "died"
    for name, wanted in ((local.PAUSE, "paused"), (local.CANCEL, "cancelled")):
        (tmp_path / name).touch()
        assert local.poll_status(tmp_path).state == wanted


def run_here(folder: Path) -> Status:
    """Do a run in this process."""
    desk = worker.RunSession(folder, local.own_start_time())
    worker.run_job(desk)
    return read_status(folder)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "scenes-none"}, "there is no model 'scenes-none'"),
        ({"trigger": {"name": "badnut"}}, "did you mean 'badnet'"),
        ({"stage": "defended", "parent": "gone", "defense": {"name": "finetune"}}, "gone: make that one anew"),
        ({"finetune": replace(CONFIG, device="mps")}, "is not available here. Use one of"),
    ],
)
def test_bad_input_ends_in_one_sentence(request_: Request, changes: dict[str, object], sentence: str) -> None:
    if isinstance(changes.get("finetune"), FinetuneConfig) and jobs_has_mps():
        pytest.skip("there is an Apple GPU here")
    status = run_here(create_run(replace(request_, **changes)))  # type: ignore[arg-type]
    assert status.state == "failed"
    assert sentence in status.message
    assert "\n" not in status.message


def jobs_has_mps() -> bool:
    import torch

    return torch.backends.mps.is_available()


def test_a_device_that_fails_and_memory_that_ends(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    # As torch says it on a processor, and on an Apple GPU.
    here = RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried")
    apple = RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)")
    for error, said in (
        (RuntimeError("CUDA error: unspecified"), "Resume goes on"),
        (MemoryError(), "smaller batch"),
        (here, "smaller batch"),
        (apple, "smaller batch"),
    ):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(worker, "execute_request", fail)
        status = run_here(create_run(request_))
        assert status.state == "failed"
        assert said in status.message


def test_a_broken_checkpoint_is_named(request_: Request) -> None:
    folder = create_run(request_)
    (folder / "checkpoint.pt").write_bytes(b"half")
    assert "delete it to start from the beginning" in run_here(folder).message


def test_a_defence_knows_its_backdoored_run_and_keeps_the_floor_without_the_clean_model(request_: Request) -> None:
    parent = create_run(request_)
    assert run_here(parent).state == "done"
    floor = load_run(parent).metrics.asr_clean_model
    Path(str(request_.model)).unlink()
    assert load_run(parent).clean_clip is None
    child = create_run(
        replace(request_, stage="defended", model=None, parent=parent.name, defense={"name": "finetune"})
    )
    assert run_here(child).state == "done"
    run = load_run(child)
    assert run.config["parent"] == parent.name
    assert run.metrics.asr_clean_model == floor is not None


def test_a_second_worker_leaves_a_run_alone(tmp_path: Path, request_: Request) -> None:
    folder = create_run(request_)
    with local.try_lock(folder) as free:
        assert free
        assert worker.main([str(folder)]) == 2
    assert read_status(folder).state == "new"
    assert worker.main([str(tmp_path / "nowhere")]) == 2


def test_a_run_that_cannot_be_written_is_one_sentence(
    request_: Request, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = create_run(request_)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(local.FileLock, "acquire", refuse)
    assert worker.main([str(folder)]) == 1
    assert f"error: {folder} cannot be written (Read-only file system)" in capsys.readouterr().err


def test_reports_are_thinned_but_every_look_is_kept_and_a_resumed_stage_replaces(request_: Request) -> None:
    folder = create_run(request_)

    def told(first: int, last: int) -> None:
        desk = worker.RunSession(folder, local.own_start_time())
        for step in range(first, last + 1):
            metrics = {"ca": 0.5} if step % 10 == 0 else {}
            desk(StepReport("poison", step, 100, 1.0, losses={"total": 1.0}, metrics=metrics))

    told(1, 60)
    steps = [r["step"] for r in read_progress(folder)]
    assert {1, 10, 20, 30, 40, 50, 60} <= set(steps)
    assert len(steps) < 60
    told(21, 30)
    assert [r["step"] for r in read_progress(folder) if r["metrics"]] == [10, 20, 30]
    (folder / local.CANCEL).touch()
    with pytest.raises(Cancelled):
        told(31, 31)


def test_a_map_is_made_at_the_end_and_its_failure_costs_nothing(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []

    def make(folder: Path) -> None:
        seen.append((local.poll_status(folder).state, (folder / "model.safetensors").exists()))
        raise MemoryError

    monkeypatch.setattr(embedding_map, "ensure_map", make)
    assert run_here(create_run(request_)).state == "done"
    assert seen == []
    assert run_here(create_run(replace(request_, map=True))).state == "done"
    assert seen == [("done", True)]
