"""Runs in processes of their own: same result as in this process, stopped in time, resumed exactly, never mixed up."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from cleaner import FinetuneConfig, Run, load_run
from cleaner.data.base import CaptionData, TensorData, load_data
from cleaner.data.splits import select_rows
from cleaner.files import read_json
from cleaner.jobs import execution, local, locks, map_worker, process, session, slurm, worker
from cleaner.runs import store
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from cleaner.runs.run import read_progress
from cleaner.runs.status import Status, read_status, write_status
from cleaner.runs.store import create_run
from cleaner.text import TEXT_VERSION
from cleaner.training import frames
from cleaner.types import Cancelled, CleanerError, OnStep, Paused, StepReport
from tests.attacks.test_contract import image_file
from tests.conftest import save_tiny_model
from tests.data.files import write_table
from tests.waiting import (
    MAX_CANCEL_SECONDS,
    sleeping_process,
    wait_until,
    wait_until_ended,
    wait_until_state,
    wait_until_step,
)

pytestmark = pytest.mark.usefixtures("every_frame")
CONFIG = FinetuneConfig(
    lr=3e-3, epochs=2, batch_size=16, warmup_steps=2, precision="fp32", device="cpu", augmentation="none", eval_every=8
)
LONG = replace(CONFIG, epochs=8, eval_every=32)
LONG_STEPS = 128
"""Too many to end before the run is stopped."""


def make_request(model: str) -> Request:
    """Return a small poisoning."""
    return Request(
        stage="backdoored",
        data="scenes",
        pairs=256,
        finetune=CONFIG,
        model=model,
        trigger={"name": "badnet", "patch_size": 56, "seed": 0},
        target_class="banana",
        poison_rate=0.05,
        validation_size=40,
        test_size=60,
        film=False,
    )


@pytest.fixture
def request_(tiny_model: str, monkeypatch: pytest.MonkeyPatch, warm_python: None) -> Iterator[Request]:
    """A small poisoning of a tiny model; its workers are killed at the end."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield make_request(tiny_model)
    for entry in store.list_entries():
        running = process.find_process(entry.folder, entry.status)
        if running is not None:
            process.kill(running)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The result of `LONG`, trained without a stop."""
    model = save_tiny_model(tmp_path_factory.mktemp("model"))
    run = execution.execute_request(replace(make_request(model), finetune=LONG, film=True))
    assert film_steps(run) == frames.frame_steps(LONG_STEPS)
    return run


def film_steps(run: Run) -> list[int]:
    """Return the steps of a run's frames."""
    assert run.film is not None
    return run.film.steps


def run_here(folder: Path) -> Status:
    """Execute a run in this process."""
    worker.run_job(session.RunSession(folder))
    return read_status(folder)


def is_same(run: Run, other: Run) -> bool:
    """Return whether two runs have the same weights, metrics, film and losses of every step.

    Which steps look at the validation split, and have a frame, depends on the time; the last one always does.
    """
    histories = [[(r.step, r.losses) for r in each.history] + [each.history[-1].metrics] for each in (run, other)]
    same_weights = run.clip.sha256() == other.clip.sha256()
    return same_weights and run.metrics == other.metrics and histories[0] == histories[1] and has_same_film(run, other)


def has_same_film(run: Run, other: Run) -> bool:
    """Return whether the frames of `run` equal those of `other`, which has all.

    The map is compared if both have all: its axes are fitted on the frames.
    """
    film, whole = run.film, other.film
    assert film is not None
    assert whole is not None
    rows = [whole.steps.index(step) for step in film.steps]
    names = ["clean_classes", "triggered_classes", "gallery_scores", "attention"]
    names += ["points"] * (film.steps == whole.steps)
    has_ends = {0, LONG_STEPS} <= set(film.steps)
    return has_ends and all(np.array_equal(getattr(film, name), getattr(whole, name)[rows]) for name in names)


def test_killed_and_resumed_equals_uninterrupted(request_: Request, uninterrupted: Run) -> None:
    folder = create_run(replace(request_, finetune=LONG, film=True))
    local.start(folder)
    with pytest.raises(CleanerError, match=folder.name):
        local.start(folder)
    wait_until(lambda: (folder / "checkpoint.pt").exists())
    with pytest.raises(CleanerError, match=folder.name):
        local.delete(folder)
    os.kill(read_status(folder).pid, signal.SIGKILL)
    assert "process is gone" in wait_until_state(folder, "died").message
    assert read_status(folder).state == "running"  # the killed worker could not write its end

    local.start(folder)
    done = wait_until_state(folder, "done")
    assert done.verdict is not None

    run = load_run(folder)
    assert is_same(run, uninterrupted)
    assert run.config["request"] == read_json(folder / "config.json")["request"]
    assert run.config["text_version"] == TEXT_VERSION
    assert run.config["versions"].keys() >= {"ta-cleaner-lab", "python", "numpy"}
    assert not (folder / "checkpoint.pt").exists()
    assert not list(folder.glob(".*.tmp"))
    with pytest.raises(CleanerError, match="is done"):
        local.cancel(folder)


@pytest.mark.parametrize("stop", ["pause", "sigterm"])
def test_paused_and_resumed_equals_uninterrupted(request_: Request, uninterrupted: Run, stop: str) -> None:
    folder = create_run(replace(request_, finetune=LONG, film=True))
    run_session = session.RunSession(folder)
    thread = threading.Thread(target=worker.run_job, args=(run_session,))
    thread.start()
    wait_until_step(folder, 1)
    if stop == "pause":
        (folder / local.PAUSE).touch()
    else:
        run_session.terminated.set()
    thread.join()
    paused = local.poll_status(folder)
    assert paused.state == "paused"
    assert 0 < paused.step < LONG_STEPS
    (folder / local.PAUSE).unlink(missing_ok=True)
    assert run_here(folder).state == "done"
    run = load_run(folder)
    assert is_same(run, uninterrupted)
    assert film_steps(run) == film_steps(uninterrupted)


def test_one_device_serves_one_run_and_cancel_ends_training_and_evaluation(request_: Request) -> None:
    long = create_run(replace(request_, finetune=replace(CONFIG, epochs=900)))
    queued = create_run(replace(request_, test_size=1200))
    local.start(long)
    local.start(queued)
    wait_until_step(long, 20)
    wait_until(lambda: read_status(queued).device == "cpu")
    time.sleep(2 * locks.POLL_SECONDS)
    assert (local.poll_status(long).state, local.poll_status(queued).state) == ("running", "queued")
    status = local.poll_status(long)
    assert status.total == 900 * 16
    assert status.eta > 0
    reports = read_progress(long)
    assert {"clip_loss", "total"} <= reports[0]["losses"].keys()
    assert next(r["step"] for r in reports if r["metrics"]) == 8
    assert all(r["metrics"].keys() == {"ca", "asr"} for r in reports if r["metrics"])

    assert seconds_to_cancel(long) < MAX_CANCEL_SECONDS
    assert not (long / "checkpoint.pt").exists()

    wait_until(lambda: local.poll_status(queued).stage == "evaluate")
    psutil.Process(read_status(queued).pid).suspend()  # a worker that does not respond is killed
    assert seconds_to_cancel(queued) < MAX_CANCEL_SECONDS
    assert not (queued / "metrics.json").exists()


def seconds_to_cancel(folder: Path) -> float:
    """Cancel a run; return the seconds until its process is gone."""
    pid = read_status(folder).pid
    start = time.monotonic()
    local.cancel(folder)
    wait_until_ended(pid)
    assert local.poll_status(folder).state == "cancelled"
    return time.monotonic() - start


def test_the_timeouts_fit_together() -> None:
    assert local.CANCEL_GRACE_SECONDS < local.KILL_TIMEOUT_SECONDS < local.SLURM_KILL_TIMEOUT_SECONDS
    assert process.HEARTBEAT_SECONDS < process.HEARTBEAT_TIMEOUT_SECONDS


def test_a_reused_pid_is_neither_trusted_nor_signaled(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "sub").mkdir(parents=True)
    with sleeping_process() as stranger, sleeping_process(str(folder)) as worker_process:
        for running in (stranger, worker_process):
            start_time = psutil.Process(running.pid).create_time()
            for shift in (0.0, 500.0):
                status = Status(
                    "running", pid=running.pid, started=start_time - shift, host=process.socket.gethostname()
                )
                is_trusted = running is worker_process and not shift
                write_status(folder, status)
                assert (process.find_process(folder, status) is not None) == is_trusted
                assert local.poll_status(folder).state == ("running" if is_trusted else "died")
        local.cancel(folder)  # the last status has a wrong start time: no process is signaled
        assert worker_process.poll() is None
        assert read_status(folder).state == "cancelled"


@pytest.mark.skipif(not process.read_start_ticks(os.getpid()), reason="the start of a process is a time here")
def test_a_step_of_the_clock_hides_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = process.own_identity(psutil.Process().cmdline()[-1])
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + 5)
    assert process.find_process(tmp_path, Status("running", **own)) is not None
    own["start_ticks"] -= 1  # an earlier process with this pid and command line
    assert process.find_process(tmp_path, Status("running", **own)) is None


def test_a_run_without_a_known_process_keeps_its_files_while_a_worker_has_it(request_: Request) -> None:
    folder = create_run(request_)
    write_status(folder, Status("running", pid=os.getpid(), host=process.socket.gethostname()))
    (folder / "checkpoint.pt").touch()
    with locks.try_lock(folder):
        assert local.poll_status(folder).state == "died"
        local.cancel(folder)
        assert (folder / local.CANCEL).exists()
        assert (folder / "checkpoint.pt").exists()
        with pytest.raises(CleanerError, match=folder.name):
            local.delete(folder)
    local.cancel(folder)
    assert not (folder / "checkpoint.pt").exists()
    local.delete(folder)


@pytest.mark.parametrize("action", [local.start, local.cancel, local.pause])
def test_a_run_deleted_meanwhile_is_gone(action: Callable[[Path], None], request_: Request) -> None:
    folder = create_run(request_)
    local.delete(folder)
    with pytest.raises(CleanerError, match=f"{folder.name} is gone"):
        action(folder)
    assert not folder.exists()


@pytest.mark.parametrize("is_paused", [True, False])
def test_a_canceled_run_has_no_progress(is_paused: bool, request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_run(request_)
    stop = folder / (local.PAUSE if is_paused else local.CANCEL)

    def execute(_: Request, on_step: OnStep, **__: object) -> None:
        stop.touch()
        on_step(StepReport("poison", 30, 30, 1.0, losses={"total": 1.0}))

    monkeypatch.setattr(execution, "execute_request", execute)
    run_here(folder)
    if is_paused:
        assert (read_status(folder).step, len(read_progress(folder))) == (30, 1)
        local.cancel(folder)
    status = read_status(folder)
    assert (status.state, status.step, status.total) == ("cancelled", 0, 0)
    assert read_progress(folder) == []


@pytest.mark.parametrize("name", ["run", "link/run", "run/../run"])
def test_a_worker_started_by_hand_is_found_by_any_path_of_its_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    with sleeping_process(name, cwd=tmp_path) as running:
        status = Status("running", pid=running.pid, started=psutil.Process(running.pid).create_time())
        assert process.find_process(folder, status) is not None


def test_a_worker_on_another_machine_is_known_by_its_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(tmp_path, Status("running", pid=os.getpid(), host="another-machine"))
    assert local.poll_status(tmp_path).state == "running"
    monkeypatch.setattr(process, "HEARTBEAT_TIMEOUT_SECONDS", -1.0)
    assert local.poll_status(tmp_path).state == "died"


def test_a_process_that_never_reported_counts_as_dead_or_stopped(tmp_path: Path) -> None:
    write_status(tmp_path, Status("queued", queued=time.time()))
    assert local.poll_status(tmp_path).state == "queued"
    write_status(tmp_path, Status("queued", queued=time.time() - 2 * process.START_TIMEOUT_SECONDS))
    assert local.poll_status(tmp_path).state == "died"
    for name, state in ((local.PAUSE, "paused"), (local.CANCEL, "cancelled")):
        (tmp_path / name).touch()
        assert local.poll_status(tmp_path).state == state


@pytest.mark.parametrize(
    ("changes", "token"),
    [
        ({"model": "scenes-none"}, "'scenes-none'"),
        ({"stage": "defended", "parent": "missing", "defense": {"name": "finetune"}}, "missing"),
        ({"finetune": replace(CONFIG, device="mps")}, "mps"),
    ],
)
def test_bad_input_ends_in_one_sentence(request_: Request, changes: dict[str, object], token: str) -> None:
    if isinstance(changes.get("finetune"), FinetuneConfig) and has_mps():
        pytest.skip("this machine has an Apple GPU")
    status = run_here(create_run(replace(request_, **changes)))
    assert status.state == "failed"
    assert token in status.message
    assert "\n" not in status.message


def test_a_run_with_an_unknown_trigger_is_not_created(request_: Request) -> None:
    with pytest.raises(CleanerError, match="'badnet'"):
        create_run(replace(request_, trigger={"name": "badnut"}))
    assert store.list_entries() == []


def test_a_paused_run_moves_without_the_image_of_its_trigger(
    tiny_model: str, toy_data: TensorData, tmp_path: Path
) -> None:
    image = image_file(tmp_path)
    request = replace(make_request(tiny_model), trigger={"name": "patch_image", "path": str(image)})
    execute = partial(execution.execute_request, request, load_split=lambda *_: toy_data)
    whole = execute()
    folder = create_run(request)

    def pause(report: StepReport) -> None:
        if report.stage == "poison" and report.step == 2:
            raise Paused

    with pytest.raises(Paused):
        execute(pause, checkpoint=folder / "checkpoint.pt", folder=folder)
    image.unlink()
    moved = folder.rename(tmp_path / "moved")
    resumed = execute(checkpoint=moved / "checkpoint.pt", folder=moved)
    assert [report.losses for report in resumed.history] == [report.losses for report in whole.history]
    assert resumed.clip.sha256() == whole.clip.sha256()
    assert Path(resumed.trigger.path).parent.parent == moved


def has_mps() -> bool:
    import torch

    return torch.backends.mps.is_available()


@pytest.mark.parametrize(
    ("error", "token"),
    [
        (RuntimeError("CUDA error: unspecified"), "CUDA error: unspecified"),
        (MemoryError(), "batch size"),
        # As torch reports it on a CPU, and on an Apple GPU.
        (RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"), "batch size"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"), "batch size"),
    ],
)
def test_failed_devices_and_full_memory(
    error: Exception, token: str, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(execution, "execute_request", fail)
    status = run_here(create_run(request_))
    assert status.state == "failed"
    assert token in status.message


def test_a_broken_checkpoint_is_named(request_: Request) -> None:
    folder = create_run(request_)
    (folder / "checkpoint.pt").write_bytes(b"half")
    status = run_here(folder)
    assert status.state == "failed"
    assert "checkpoint.pt" in status.message


def test_a_defense_knows_its_backdoored_run_and_keeps_the_floor_without_the_clean_model(request_: Request) -> None:
    parent = create_run(request_)
    assert run_here(parent).state == "done"
    attacked = load_run(parent).metrics
    assert attacked.data == "scenes/test"
    floor = attacked.asr_clean_model
    Path(str(request_.model)).unlink()
    assert load_run(parent).clean_clip is None
    child = create_run(
        replace(request_, stage="defended", model=None, parent=parent.name, defense={"name": "finetune"})
    )
    assert run_here(child).state == "done"
    run = load_run(child)
    assert run.config["parent"] == parent.name
    assert (run.config["data"], run.metrics.data, run.config["overlap"]["shared"]) == ("scenes/clean", "scenes/test", 0)
    assert run.metrics.asr_clean_model == floor is not None


def test_a_second_worker_refuses_a_locked_run(tmp_path: Path, request_: Request) -> None:
    folder = create_run(request_)
    with locks.try_lock(folder) as is_locked:
        assert is_locked
        assert worker.main([str(folder)]) == 2
    assert read_status(folder).state == "new"
    assert worker.main([str(tmp_path / "nowhere")]) == 2


def test_a_run_that_is_started_again_waits_for_its_worker_that_is_still_ending(request_: Request) -> None:
    folder = create_run(request_)
    write_status(folder, Status("queued", queued=time.time()))
    ending = locks.FileLock(folder / ".worker.lock", thread_local=False)
    ending.acquire()
    threading.Timer(0.5, ending.release).start()
    handlers = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert worker.main([str(folder)]) == 0
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)
    assert read_status(folder).state == "done"


@pytest.mark.parametrize(("state", "end"), [("paused", "done"), ("cancelled", "done"), ("queued", "paused")])
def test_a_worker_started_by_hand_ignores_the_request_that_stopped_the_run(
    state: str, end: str, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(run_session: session.RunSession) -> None:
        is_stopped = local.read_stop_request(run_session.folder) is not None
        run_session.update_status(state="paused" if is_stopped else "done")

    monkeypatch.setattr(worker, "run_job", execute)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    folder = create_run(request_)
    write_status(folder, Status(state, queued=time.time()))
    (folder / (local.CANCEL if state == "cancelled" else local.PAUSE)).touch()
    assert worker.main([str(folder)]) == 0
    assert read_status(folder).state == end


@pytest.mark.parametrize(("state", "keeps"), [("failed", False), ("running", False), ("queued", True)])
def test_a_run_that_had_stopped_is_queued_again_by_a_worker_started_by_hand(
    state: str, keeps: bool, request_: Request
) -> None:
    folder, now = create_run(request_), time.time()
    write_status(folder, Status(state, queued=now - 3600))
    run_session = session.RunSession(folder)
    assert read_status(folder).queued == pytest.approx(now - 3600 if keeps else now, abs=60)
    assert run_session.begun == run_session.status.queued


def test_the_queue_of_a_cluster_is_no_part_of_the_duration(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(slurm.JOB_VARIABLE, "7")
    folder = create_run(request_)
    write_status(folder, Status("queued", queued=1.0, place=slurm.SLURM))
    assert session.RunSession(folder).begun == pytest.approx(psutil.Process().create_time(), abs=1)


def test_data_too_small_to_hold_pairs_out_have_no_validation(request_: Request, tmp_path: Path) -> None:
    table, names = str(write_table(tmp_path, 20)), [f"pics/{i}.png" for i in range(20)]
    for has_pairs in (False, True):
        seed = next(seed for seed in range(99) if bool(select_rows(names, None, "validation", seed)) == has_pairs)

        def load_split(split: str, size: int | None, seed: int = seed) -> CaptionData:
            return load_data(table, split=split, size=size, seed=seed)

        validation = execution.load_validation(request_, load_split("train", 8), load_split)
        assert (validation is not None) == has_pairs

    def fail(*_: object) -> CaptionData:
        raise CleanerError("no image can be read")

    with pytest.raises(CleanerError, match="no image can be read"):
        execution.load_validation(request_, load_split("train", 8), fail)


def test_a_film_alone_takes_as_many_held_out_pairs_as_metrics(request_: Request, tmp_path: Path) -> None:
    request = replace(request_, finetune=replace(CONFIG, eval_every=0), validation_size=3)
    load_split = partial(load_data, str(write_table(tmp_path, 200)))
    pairs = load_split(split="train")
    assert execution.load_validation(request, pairs, load_split) is None
    film = execution.load_validation(
        replace(request, film=True), pairs, lambda split, size: load_split(split=split, size=size)
    )
    assert film is not None
    assert len(film) == 3


def test_an_old_cancel_leaves_the_run_alone_that_was_started_again(request_: Request) -> None:
    folder = create_run(request_)
    checkpoint = folder / store.CHECKPOINT_FILE
    with sleeping_process("token") as running:
        started = psutil.Process(running.pid).create_time()
        write_status(folder, Status("running", queued=2.0, pid=running.pid, started=started, token="token"))
        checkpoint.touch()
        local._kill_after(folder, queued=1.0, seconds=0)
        assert running.poll() is None
        assert checkpoint.exists()
        local._kill_after(folder, queued=2.0, seconds=0)
        assert running.wait(10) == -signal.SIGKILL
        assert not checkpoint.exists()


def test_two_starts_at_once_start_one_worker(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_run(request_)
    write_status(folder, Status("paused"))
    launched: list[Path] = []
    poll, refused = local.poll_status, list[str]()

    def poll_slowly(folder: Path) -> Status:
        status = poll(folder)
        time.sleep(0.2)
        return status

    def start() -> None:
        try:
            local.start(folder)
        except CleanerError as error:
            refused.append(str(error))

    monkeypatch.setattr(local, "launch", launched.append)
    monkeypatch.setattr(local, "poll_status", poll_slowly)
    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert launched == [folder]
    assert [f"{folder.name} is queued" in text for text in refused] == [True]


def test_runs_that_cannot_start_keep_their_state(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    started, stopped = create_run(request_), create_run(request_)
    write_status(stopped, Status("paused", step=3, total=9))

    def launch(folder: Path) -> None:
        if folder == stopped:
            raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(local, "launch", launch)
    with pytest.raises(CleanerError, match="cannot start"):
        local.start_all([started, stopped])
    assert read_status(started).state == "queued"
    assert replace(read_status(stopped), updated=0.0) == Status("paused", step=3, total=9)


def test_a_run_that_cannot_be_written_ends_in_one_sentence(
    request_: Request, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = create_run(request_)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    assert worker.main([str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder} ")
    assert "(Read-only file system)" in error


@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.skipif(sys.platform == "win32", reason="it has no flock")
def test_a_disk_without_flock_keeps_the_lock_of_a_lost_node_until_its_file_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/cluster.md says. Older versions of filelock refuse such a disk, or lock nothing there."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locks.try_lock(tmp_path) as is_locked, locks.try_lock(tmp_path) as is_locked_again:
        assert (is_locked, is_locked_again) == (True, False)
        (tmp_path / ".worker.lock").unlink()
        with locks.try_lock(tmp_path) as is_locked_again:
            assert is_locked_again


def test_a_cache_that_cannot_be_written_ends_a_run_in_one_sentence(
    request_: Request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "file"))
    status = run_here(create_run(request_))
    assert status.state == "failed"
    assert "Set CLEANER_CACHE to a writable folder." in status.message
    with locks.try_device_lock("cpu") as is_locked:
        assert not is_locked


def test_steps_are_thinned_but_metrics_are_kept_and_a_resumed_stage_replaces_its_steps(request_: Request) -> None:
    folder = create_run(request_)

    def report(first: int, last: int) -> None:
        run_session = session.RunSession(folder)
        for step in range(first, last + 1):
            metrics = {"ca": 0.5} if step % 10 == 0 else {}
            run_session(StepReport("poison", step, 100, 1.0, losses={"total": 1.0}, metrics=metrics))

    report(1, 60)
    steps = [r["step"] for r in read_progress(folder)]
    assert {1, 10, 20, 30, 40, 50, 60} <= set(steps)
    assert len(steps) < 60
    report(21, 30)
    assert [r["step"] for r in read_progress(folder) if r["metrics"]] == [10, 20, 30]
    (folder / local.CANCEL).touch()
    with pytest.raises(Cancelled):
        report(31, 31)


def test_a_map_is_started_once_the_device_is_free_unless_another_run_waits(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, bool, bool]] = []

    def fail(folder: Path, *, in_background: bool) -> None:
        with locks.device_lock(folder, "cpu", lambda: pytest.fail("the device is locked")):
            calls.append((folder.name, local.poll_status(folder).state == "done", in_background))
        raise MemoryError  # does no harm: the run is done

    monkeypatch.setattr(map_worker, "start_map_process", fail)
    assert run_here(create_run(request_)).state == "done"
    assert calls == []
    first, second = (create_run(replace(request_, map=True)) for _ in range(2))
    # Queued in the future, it does not count as dead on a slow machine.
    write_status(second, Status("queued", queued=time.time() + process.START_TIMEOUT_SECONDS - 1))
    assert run_here(first).state == "done"
    assert calls == []  # left to the Embeddings page
    assert run_here(second).state == "done"
    assert calls == [(second.name, True, True)]


def test_a_queued_run_knows_how_many_come_before_it(tmp_path: Path) -> None:
    def make(name: str, state: str, queued: float, device: str = "cpu", **where: str) -> RunRecord:
        status = Status(state, queued=queued, device=device, **where)
        return RunRecord(folder=tmp_path / name, status=status)

    entries = [
        make("running", "running", 5.0),
        make("first", "queued", 1.0),
        make("unknown", "queued", 1.5, device=""),  # its worker is starting
        make("own", "queued", 2.0),
        make("later", "queued", 3.0),
        make("gpu", "queued", 0.5, device="cuda", gpus="0"),
        make("other gpu", "queued", 1.0, device="cuda", gpus="1"),
        make("slurm", "queued", 0.5, place="slurm"),
        make("elsewhere", "running", 0.5, host="another-machine"),
        make("done", "done", 0.1),
    ]
    by_name = {entry.id: local.count_runs_ahead(entry, entries) for entry in entries}
    assert (by_name["first"], by_name["own"], by_name["later"], by_name["other gpu"]) == (1, 3, 4, 0)


def test_a_run_on_another_machine_that_shares_the_store_keeps_no_device_here(request_: Request) -> None:
    own, other = create_run(request_), create_run(request_)
    now = time.time()
    write_status(own, Status("queued", queued=now, device="cpu"))
    for host, is_waiting in (("another-machine", False), ("", True)):
        write_status(other, Status("queued", queued=now - 1, device="cpu", host=host, pid=os.getpid() if host else 0))
        assert locks._has_earlier_run(own, "cpu") is is_waiting
    write_status(own, Status("done"))
    assert local.has_active_runs()
    write_status(other, Status("running", host="another-machine", pid=os.getpid()))
    assert not local.has_active_runs()


def test_a_run_waits_only_for_runs_on_its_own_gpus(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = create_run(request_), create_run(request_)
    now = time.time()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    write_status(own, Status("queued", queued=now))
    for gpus, is_waiting in (("0", False), ("1", True)):
        write_status(other, Status("queued", queued=now - 1, device="cuda", gpus=gpus))
        assert locks._has_earlier_run(own, "cuda") is is_waiting


def test_a_run_states_when_it_got_its_device_and_forgets_it_once_it_is_queued_again(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CleanerError("there is no such GPU.")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(execution, "execute_request", fail)
    folder = create_run(replace(request_, finetune=replace(CONFIG, device="cuda")))
    before = time.time()
    status = run_here(folder)
    assert status.begun >= before
    assert (status.device, status.gpus) == ("cuda", "1")
    assert session.RunSession(folder).status.begun == 0
