"""Predicted durations: the last runs predict the next one, before them the shipped phases; files may be broken."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cleaner.config import FinetuneConfig
from cleaner.files import read_json, write_json
from cleaner.jobs import calibration, locks, prediction, process, session, worker
from cleaner.jobs.prediction import Phases
from cleaner.runs.request import Request
from cleaner.runs.run import Run
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import create_run, list_runs, read_record
from cleaner.types import StepReport
from tests.jobs.test_local import make_request

PHASES = Phases(start=2.0, step=0.5, validation=1.0, evaluate=4.0)


@pytest.fixture
def request_(tiny_model: str) -> Request:
    return make_request(tiny_model)


def record(request: Request, phases: object) -> None:
    """Add a finished run with these phases to the store."""
    stated = asdict(phases) if isinstance(phases, Phases) else phases
    folder = create_run(request)
    write_status(folder, Status("done"))
    timing = {"kind": prediction.kind_of(request), "phases": stated}
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "timing": timing})
    later = time.time() + len(list_runs())  # runs of the same moment are in no order
    os.utime(folder / "config.json", (later, later))


def test_phases_predict_every_run_of_their_kind(request_: Request) -> None:
    assert prediction.predict(request_) is None
    record(request_, PHASES)
    # 256 pairs, batch 16, 2 epochs, a validation pass every 8 steps; those between the first and the last may take 5%.
    expected = 2 + 32 * 0.5 + (2 * 1.0 + 0.05 * 32 * 0.5) + 4
    predicted = prediction.predict(request_)
    assert predicted is not None
    assert predicted.seconds == pytest.approx(expected)
    assert (predicted.low + predicted.high) / 2 == pytest.approx(expected)
    fewer = prediction.predict(replace(request_, pairs=128))
    assert fewer is not None
    assert fewer.seconds == pytest.approx(2 + 16 * 0.5 + 2 + 4)
    same_kind = replace(request_, pairs=64, poison_rate=0.5, finetune=replace(request_.finetune, lr=1e-5, seed=3))
    assert prediction.predict(same_kind) is not None
    for changes in (
        {"finetune": replace(request_.finetune, batch_size=8)},
        {"finetune": replace(request_.finetune, precision="bf16")},
        {"model": "scenes-vit"},
        {"defense": {"name": "ta_cleaner", "share": 1.0}},
        {"test_size": 100},
    ):
        assert prediction.predict(replace(request_, **changes)) is None
    weighted = [
        replace(request_, defense={"name": "ta_cleaner", "share": 1.0, "subtext_weight": weight}) for weight in (1, 2)
    ]
    assert prediction.kind_of(weighted[0]) == prediction.kind_of(weighted[1])
    inverted = [
        replace(request_, defense={"name": "unlearn_trigger", "path": f"{name}.png", "png": name, "png_path": ""})
        for name in "ab"
    ]
    assert prediction.kind_of(inverted[0]) == prediction.kind_of(inverted[1])


@pytest.mark.parametrize("optimized", [{"name": "badclip", "png": "x"}, {"name": "input_aware", "weights": "x"}])
def test_a_trigger_that_is_already_optimized_has_observations_of_its_own(
    optimized: dict[str, str], request_: Request
) -> None:
    poisoning = replace(request_, trigger={"name": optimized["name"], "steps": 300})
    retraining = replace(request_, stage="defended", trigger={**optimized, "steps": 300}, excluded=[0])
    record(poisoning, replace(PHASES, optimize=60.0))
    assert prediction.predict(retraining) is None
    record(retraining, PHASES)
    shorter, longer = prediction.predict(retraining), prediction.predict(poisoning)
    assert shorter is not None
    assert longer is not None
    assert longer.seconds - shorter.seconds == pytest.approx(60)


def test_the_middle_of_the_last_runs_counts(request_: Request) -> None:
    for step, middle in ((0.5, 0.5), (4.0, 2.25), (0.6, 0.6), (3.0, 3.0)):
        record(request_, replace(PHASES, step=step))
        predicted = prediction.predict(request_)
        assert predicted is not None
        assert predicted.seconds == pytest.approx(replace(PHASES, step=middle).total(32, 4))


@pytest.mark.parametrize(
    "phases", [None, [], {"start": 2.0}, {**asdict(PHASES), "step": -1}, {**asdict(PHASES), "step": "x"}]
)
def test_a_run_with_broken_phases_predicts_nothing(phases: object, request_: Request) -> None:
    record(request_, phases)
    assert prediction.predict(request_) is None
    record(request_, PHASES)
    assert prediction.predict(request_) is not None


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (3.2, 4.9, "3 to 5 s"),
        (0.1, 0.2, "about 1 s"),
        (39, 56, "40 to 55 s"),
        (81, 99, "80 to 100 s"),
        (170, 250, "3 to 4 min"),
        (7300, 9000, "2 to 2.5 h"),
    ],
)
def test_ranges_in_words(low: float, high: float, text: str) -> None:
    assert prediction.format_range(low, high) == text


def test_a_run_clock_separates_the_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    run_clock = prediction.RunClock(started=1.0)
    steps = [("optimize", 3.0, False)] + [("optimize", 0.5, False)] * 4 + [("poison", 1.5, False)]
    steps += [("poison", 0.5, False)] * 4 + [("poison", 2.5, True), ("evaluate", 1.0, False)]
    for number, (stage, seconds, validates) in enumerate(steps):
        now += seconds
        losses = {} if stage == "evaluate" else {"total": 1.0}
        run_clock(StepReport(stage, number, 20, 0.0, losses=losses, metrics={"ca": 1.0} if validates else {}))
    now += 3.0
    phases = run_clock.phases(steps=6, optimized=5)
    assert phases is not None
    expected = {"start": 5.0, "optimize": 2.0, "step": 0.5, "validation": 2.0, "evaluate": 4.0}
    assert asdict(replace(phases, memory=0.0)) == pytest.approx({**expected, "memory": 0.0})
    assert phases.memory > 10_000_000  # this process
    assert phases.total(6, 1) == pytest.approx(run_clock.seconds)


def test_a_run_predicts_the_next_one_which_records_predicted_and_real_seconds(request_: Request) -> None:
    worker.run_job(session.RunSession(create_run(request_)))
    predicted = prediction.predict(request_)
    assert predicted is not None
    folder = create_run(request_)
    worker.run_job(session.RunSession(folder))
    recorded = read_json(folder / "config.json")["timing"]
    assert recorded["predicted"] == pytest.approx([predicted.low, predicted.high], abs=0.01)
    assert recorded["real"] > 0
    assert recorded["phases"].keys() == asdict(PHASES).keys()
    assert read_record(folder).status.state == "done"


def test_a_run_that_was_interrupted_after_its_optimization_has_no_timing(request_: Request) -> None:
    run_clock, report = prediction.RunClock(), StepReport("poison", 1, 32, 0.0, losses={"total": 1.0})
    for _ in range(32):
        run_clock(report)
    for history in ([], [replace(report, stage="optimize")]):
        run = Run(None, history, None, {"trained_pairs": 256})
        worker._record_timing(run, request_, run_clock)
        assert ("timing" in run.config) == (not history)


def test_a_run_without_its_timing_is_done(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(prediction, "kind_of", fail)
    folder = create_run(request_)
    worker.run_job(session.RunSession(folder))
    assert read_record(folder).status.state == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_the_memory_of_earlier_work_counts_for_no_run(request_: Request) -> None:
    torch.ones(1500 * 1_000_000 // 4)
    folder = create_run(request_)
    worker.run_job(session.RunSession(folder))
    of_run = read_json(folder / "config.json")["timing"]["phases"]["memory"]
    assert 0 < of_run < process.current_memory() + 500_000_000


def test_validation_passes_that_take_long_are_postponed_in_the_prediction() -> None:
    slow, fast = (Phases(0.0, 1.0, validation=seconds, evaluate=0.0) for seconds in (100.0, 0.1))
    assert slow.total(steps=100, validations=10) == pytest.approx(100 + 200 + 5)
    assert fast.total(steps=100, validations=10) == pytest.approx(101)


REFERENCE = prediction._read_shipped()


@pytest.fixture
def shipped(request_: Request, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A run with the default settings on a machine that takes twice as long as that of the shipped phases."""
    slower = {name: 2 * seconds for name, seconds in REFERENCE["calibration"].items()}
    monkeypatch.setattr(calibration, "read", lambda: slower)
    return replace(request_, model="scenes-rn", finetune=FinetuneConfig(steps=100, device="cpu"), test_size=None)


def test_shipped_phases_are_scaled_to_the_machine_and_the_run(shipped: Request) -> None:
    rows = ((row["model"], row["method"], Phases(**row["phases"])) for row in REFERENCE["rows"])
    phases = next(phases for model, method, phases in rows if (model, method) == ("scenes-rn", {"name": "finetune"}))
    assert prediction._scale_shipped(shipped) == Phases(
        start=2 * phases.start,
        step=2 * phases.step,
        validation=pytest.approx(2 * phases.validation * 40 / REFERENCE["validation_size"]),
        evaluate=2 * phases.evaluate,
    )
    larger = prediction._scale_shipped(
        replace(shipped, test_size=REFERENCE["test_size"] // 2, finetune=FinetuneConfig(batch_size=128, device="cpu"))
    )
    assert larger is not None
    assert (larger.step, larger.evaluate) == pytest.approx((4 * phases.step, phases.evaluate))
    predicted = prediction.predict(shipped)
    assert predicted is not None
    record(shipped, PHASES)
    own = prediction.predict(shipped)
    assert own is not None
    assert own.seconds == pytest.approx(PHASES.total(100, 0)), "the runs of this machine replace what is shipped"


def test_the_nearest_shipped_method_counts(shipped: Request) -> None:
    steps = {
        row["method"].get("share"): row["phases"]["step"]
        for row in REFERENCE["rows"]
        if row["model"] == "scenes-rn" and row["method"]["name"] == "ta_cleaner" and "formula" not in row["method"]
    }
    for share, expected in ((0.02, steps[0.01]), (0.9, steps[1.0])):
        phases = prediction._scale_shipped(replace(shipped, defense={"name": "ta_cleaner", "share": share}))
        assert phases is not None
        assert phases.step == pytest.approx(2 * expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "epoch_10.pt"},
        {"data": "pairs.csv"},
        {"defense": {"name": "rvpt"}},
        {"trigger": {"name": "badclip", "steps": 300}},
        {"finetune": FinetuneConfig(device="auto")},
        {"finetune": FinetuneConfig(device="cpu", augmentation="none")},
        {"finetune": FinetuneConfig(device="cpu", precision="fp32")},
    ],
)
def test_no_number_is_shown_for_what_nobody_has_measured(changes: dict[str, Any], shipped: Request) -> None:
    assert prediction.predict(replace(shipped, **changes)) is None


def test_without_a_calibration_nothing_is_predicted(shipped: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "read", lambda: None)
    assert prediction.predict(shipped) is None


def test_a_machine_is_calibrated_once_unless_a_run_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    assert calibration.read() is None
    with locks.device_lock(tmp_path, "cpu", lambda: None):
        calibration.ensure()
    assert calibration.read() is None
    start = time.monotonic()
    calibration.ensure()
    assert time.monotonic() - start < 5
    measured = calibration.read()
    assert measured is not None
    assert measured.keys() == set(calibration.OPERATIONS)
    calibration.ensure()
    assert calibration.read() == measured
    next(tmp_path.rglob("calibration-*.json")).write_text('{"matmul": "x", "convolution": -1.0}')
    assert calibration.read() is None
