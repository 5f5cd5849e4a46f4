"""A run in the process of a command: a stop or an error keeps its training, others can pause and cancel it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cleaner.jobs import execution, foreground, local, process
from cleaner.runs.request import Request
from cleaner.runs.run import Run, load_run
from cleaner.runs.status import ACTIVE, Status, read_status
from cleaner.runs.store import create_run
from cleaner.types import CleanerError, DivergedError, StepReport
from tests.jobs.test_local import CONFIG, make_request, run_here
from tests.waiting import wait_until_step

DEAF = """
import json, sys, time
from pathlib import Path
from cleaner.config import FinetuneConfig
from cleaner.jobs import execution, foreground
from cleaner.runs.request import Request
values = json.loads(sys.argv[2])
request = Request(**{**values, "finetune": FinetuneConfig(**values["finetune"])})
wait = lambda report: time.sleep(300 * (report.stage == "poison" and report.step == 2))
foreground.train_in_foreground(request, Path(sys.argv[1]), execution.make_loader(request), wait)
"""
"""A command whose second step takes too long to hear of a cancel."""
STEP = 5
"""A step of the first of two epochs."""


@pytest.fixture
def request_(tiny_model: str) -> Request:
    return replace(make_request(tiny_model), finetune=replace(CONFIG, eval_every=0))


@pytest.fixture(autouse=True)
def _default_signals() -> Iterator[None]:
    """Handle signals as in a terminal: a shell's background jobs ignore Ctrl-C."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in foreground.STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of --out, which holds a file of the user."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.txt").touch()
    return tmp_path / "out"


def train(request: Request, folder: Path, act: Callable[[StepReport], None] = lambda _: None) -> Run:
    """Train in this process; `act` sees each report."""
    return foreground.train_in_foreground(request, folder, execution.make_loader(request), act)


def at(stage: str, act: Callable[[], None], step: int = 0) -> Callable[[StepReport], None]:
    """Return an `on_step` callback that acts once, at the first report of a stage from a step on."""
    pending = [act]

    def on_step(report: StepReport) -> None:
        if report.stage == stage and report.step >= step and pending:
            pending.pop()()

    return on_step


def fail(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_it_is_listed_while_it_trains_and_ends_like_a_run_of_a_worker(request_: Request, folder: Path) -> None:
    seen: list[object] = []

    def look() -> None:
        status = local.poll_status(folder)
        seen.extend([status.state, status.device, process.find_process(folder, status) is not None])

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run = train(request_, folder, at("poison", look, STEP))
    assert seen == ["running", "cpu", True]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    other = create_run(request_)
    run_here(other)
    assert names(folder) - names(other) == {"plan.txt", ".worker.lock"}
    assert (read_status(folder).state, load_run(folder).metrics) == ("done", run.metrics)
    assert read_status(folder).verdict == read_status(other).verdict is not None
    assert load_run(folder).clip.sha256() == load_run(other).clip.sha256()


@pytest.mark.parametrize(("stage", "step"), [("poison", STEP), ("evaluate", 0)])
def test_ctrl_c_pauses_the_training_and_the_evaluation(
    stage: str, step: int, request_: Request, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my run"
    with pytest.raises(KeyboardInterrupt, match=f"^Paused. Resume: .* runs --resume '{folder}'   Discard"):
        train(request_, folder, at(stage, press_ctrl_c, step))
    assert "Stopping at the next step" in capfd.readouterr().err
    assert read_status(folder).state == "paused"
    assert run_here(folder).state == "done"
    run = load_run(folder)
    assert run.clip.sha256() == execution.execute_request(request_).clip.sha256()
    assert [report.step for report in run.history] == list(range(1, 33))


def test_a_signal_that_is_ignored_stops_nothing(request_: Request, folder: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    run = train(request_, folder, at("poison", lambda: os.kill(os.getpid(), signal.SIGHUP), STEP))
    assert len(run.history) == 32


def test_a_second_ctrl_c_stops_at_once_with_the_last_epoch(request_: Request, folder: Path) -> None:
    def press_twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt, match="Paused"):
        train(request_, folder, at("evaluate", press_twice))
    assert run_here(folder).state == "done"


def test_a_trigger_that_was_optimized_is_kept(request_: Request, folder: Path) -> None:
    steps = 3
    request = replace(request_, trigger={"name": "badclip", "patch_size": 56, "steps": steps, "seed": 0})
    with pytest.raises(KeyboardInterrupt, match="Paused"):
        train(request, folder, at("poison", fail(KeyboardInterrupt())))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    with pytest.raises(KeyboardInterrupt):
        train(request, folder.with_name("early"), at("optimize", fail(KeyboardInterrupt()), steps))
    assert not folder.with_name("early").exists()
    assert run_here(folder).state == "done"
    optimized = [report for report in load_run(folder).history if report.stage == "optimize"]
    assert len(optimized) == steps


@pytest.mark.parametrize(
    ("stage", "error"),
    [("data", KeyboardInterrupt()), ("data", CleanerError("no")), ("poison", DivergedError("no")), ("data", OSError())],
)
def test_where_nothing_can_be_resumed_nothing_is_left(
    stage: str, error: BaseException, request_: Request, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stage == "data":
        monkeypatch.setattr(execution, "load_validation", lambda *_: fail(error)())
    for out in (folder, folder.with_name("new")):
        with pytest.raises(type(error)):
            train(request_, out, at(stage, fail(error), STEP))
    assert names(folder) == {"plan.txt"}
    assert not folder.with_name("new").exists()


@pytest.mark.parametrize(
    ("error", "message", "has_log"),
    [
        (CleanerError("The disk is full."), "The disk is full.", False),
        (MemoryError(), "There was not enough memory: choose a smaller batch size, or another device.", True),
    ],
)
def test_an_error_keeps_the_training(
    error: Exception,
    message: str,
    has_log: bool,
    request_: Request,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(type(error)):
        train(request_, folder, at("evaluate", fail(error)))
    assert capfd.readouterr().err.startswith("The training is kept. Resume: ")
    status = read_status(folder)
    assert (status.state, status.message, (folder / "log.txt").exists()) == ("failed", message, has_log)
    assert run_here(folder).state == "done"


@pytest.mark.parametrize("error", [CleanerError("The disk is full."), KeyboardInterrupt()])
def test_a_training_whose_end_cannot_be_recorded_is_kept(
    error: BaseException, request_: Request, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        monkeypatch.setattr("cleaner.runs.status.write_status", fail_to_write)
        raise error

    def fail_to_write(_: Path, status: Status) -> None:
        if status.state not in ACTIVE:
            raise CleanerError("status.json cannot be written")

    with pytest.raises((CleanerError, KeyboardInterrupt)):
        train(request_, folder, at("evaluate", stop))
    monkeypatch.undo()
    assert run_here(folder).state == "done"


def test_others_pause_and_cancel_it(request_: Request, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="Paused"):
        train(request_, folder, at("poison", lambda: local.pause(folder), STEP))
    assert read_status(folder).state == "paused"
    other = folder.with_name("other")
    with pytest.raises(CleanerError, match="was canceled"):
        train(request_, other, at("poison", (other / local.CANCEL).touch, STEP))
    assert read_status(other).state == "cancelled"
    assert not (other / "checkpoint.pt").exists()


def test_a_command_whose_canceled_run_does_not_stop_ends_with_an_error(request_: Request, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", DEAF, str(out), json.dumps(asdict(request_))], stderr=-1) as command:
        wait_until_step(out, 1)
        (out / local.CANCEL).touch()
        _, error = command.communicate(timeout=60)
    assert (command.returncode, read_status(out).state) == (2, "cancelled")
    assert b"was canceled" in error
