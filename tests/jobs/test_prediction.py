"""Predicted durations: what was measured predicts the next run, wrong predictions are replaced, files may be broken."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cleaner import evaluate
from cleaner.attacks import TRIGGERS
from cleaner.attacks.badclip import BadCLIP
from cleaner.config import FinetuneConfig
from cleaner.data import scenes
from cleaner.data.base import TensorData, load_data
from cleaner.defenses import Defense
from cleaner.evaluation import attack, monitor, workload
from cleaner.evaluation import evaluate as evaluation
from cleaner.files import read_json
from cleaner.jobs import locks, prediction, process, session, spare, timing, worker
from cleaner.jobs.prediction import Phases, Prediction
from cleaner.models import clip as clip_module
from cleaner.models.clip import Clip
from cleaner.models.devices import configure_torch
from cleaner.runs.request import Request
from cleaner.runs.run import Run
from cleaner.runs.store import create_run, read_record
from cleaner.types import OnStep, StepReport
from tests.conftest import make_clip
from tests.defenses.features import make_features
from tests.evaluation.test_feature_store import Counter
from tests.jobs.test_local import make_request

PHASES = Phases(start=2.0, step=0.5, validation=1.0, evaluate=4.0)


@pytest.fixture
def request_(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Request]:
    """A small poisoning, and no observations yet."""
    monkeypatch.setattr(prediction, "store_path", lambda: tmp_path / "clock.json")
    yield make_request(tiny_model)
    spare.dismiss()


def test_phases_predict_every_run_of_their_kind(request_: Request) -> None:
    assert prediction.predict(request_) is None
    prediction.record(request_, PHASES)
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
    prediction.record(poisoning, replace(PHASES, optimize=60.0))
    assert prediction.predict(retraining) is None
    prediction.record(retraining, PHASES)
    shorter, longer = prediction.predict(retraining), prediction.predict(poisoning)
    assert shorter is not None
    assert longer is not None
    assert longer.seconds - shorter.seconds == pytest.approx(60)


def test_a_wrong_prediction_is_replaced_and_a_right_one_refined(request_: Request) -> None:
    for _ in range(3):
        prediction.record(request_, PHASES)
    predicted = prediction.predict(request_)
    assert predicted is not None
    prediction.record(request_, replace(PHASES, step=0.55), predicted, real=predicted.high)
    refined = prediction.predict(request_)
    assert refined is not None
    assert refined.seconds == pytest.approx(predicted.seconds)  # the median of four
    prediction.record(request_, replace(PHASES, step=2.0), predicted, real=3 * predicted.seconds)
    replaced = prediction.predict(request_)
    assert replaced is not None
    assert replaced.seconds == pytest.approx(2 + 32 * 2.0 + 4 + 4)


def test_the_range_follows_past_errors(request_: Request) -> None:
    prediction.record(request_, PHASES)

    def relative_width() -> float:
        predicted = prediction.predict(request_)
        assert predicted is not None
        return (predicted.high - predicted.low) / 2 / predicted.seconds

    assert relative_width() == pytest.approx(prediction.FIRST_SPREAD)
    for _ in range(5):
        prediction.record(request_, PHASES, Prediction(10, 0, 100), real=10.2)
    assert relative_width() == pytest.approx(prediction.MIN_SPREAD)
    for _ in range(prediction.MAX_ERRORS):
        prediction.record(request_, PHASES, Prediction(10, 0, 100), real=14)
    assert relative_width() == pytest.approx(0.4)


OLDER = {"start": 2.0, "step": 0.5, "look": 1.0, "evaluate": 4.0}
"""Phases of a version that had another name for one of them."""


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"kinds": []}',
        '{"kinds": {"x": {}}, "errors": []}',
        '{"kinds": {}, "errors": [[1]]}',
        json.dumps({"kinds": {"x": {"updated": 1.0, "phases": [OLDER]}}, "errors": []}),
    ],
)
def test_a_broken_file_starts_anew_and_the_file_stays_small(content: str, request_: Request) -> None:
    prediction.store_path().write_text(content)
    assert prediction.predict(request_) is None
    for size in range(prediction.MAX_KINDS + 5):
        prediction.record(replace(request_, test_size=size), PHASES)
    assert len(read_json(prediction.store_path())["kinds"]) == prediction.MAX_KINDS
    assert prediction.predict(replace(request_, test_size=0)) is None
    assert prediction.predict(replace(request_, test_size=prediction.MAX_KINDS + 4)) is not None


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


def test_runs_that_end_at_once_lose_no_observation(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    read_store = prediction._read_store

    def read_and_wait() -> Any:
        store = read_store()
        time.sleep(0.05)  # the others read now
        return store

    monkeypatch.setattr(prediction, "_read_store", read_and_wait)
    runs = [replace(request_, test_size=size) for size in range(1, 5)]
    with ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(lambda run: prediction.record(run, PHASES), runs))
    assert all(prediction.predict(run) for run in runs)


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
    phases = run_clock.phases()
    assert phases is not None
    expected = {"start": 5.0, "optimize": 2.0, "step": 0.5, "validation": 2.0, "evaluate": 4.0}
    assert asdict(replace(phases, memory=0.0)) == pytest.approx({**expected, "memory": 0.0})
    assert phases.memory > 10_000_000  # this process
    assert phases.total(run_clock.step_count, 1) == pytest.approx(run_clock.seconds)


def test_a_measurement_predicts_and_the_run_records_predicted_and_real_seconds(request_: Request) -> None:
    assert timing.measure(asdict(request_))
    predicted = prediction.predict(request_)
    assert predicted is not None
    folder = create_run(request_)
    worker.run_job(session.RunSession(folder))
    recorded = read_json(folder / "config.json")["timing"]
    assert recorded["predicted"] == pytest.approx([predicted.low, predicted.high], abs=0.01)
    assert recorded["real"] > 0
    assert recorded["phases"].keys() == asdict(PHASES).keys()
    assert len(read_json(prediction.store_path())["errors"]) == 1
    assert read_record(folder).status.state == "done"

    defense = replace(request_, stage="defended", model=None, parent=folder.name, defense={"name": "cleanclip"})
    defense = replace(defense, trigger=None, target_class=None)
    assert prediction.predict(defense) is None
    assert timing.measure(asdict(defense))
    assert prediction.predict(defense) is not None


@pytest.mark.parametrize(("value", "count"), [("3", 3), ("3,1", 3), ("many", os.cpu_count()), ("", os.cpu_count())])
def test_any_number_of_threads_has_observations(
    value: str, count: int, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert json.loads(prediction.kind_of(request_))["threads"] == count


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

    monkeypatch.setattr(prediction, "record", fail)
    folder = create_run(request_)
    worker.run_job(session.RunSession(folder))
    assert read_record(folder).status.state == "done"


def test_rendering_does_not_count_as_the_time_of_a_step(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    load_images, late = scenes.load_images, [0.0]

    def render_slowly(*arguments: Any) -> Any:
        if arguments[0].split == "train":
            late[0] += 10_000
        return load_images(*arguments)

    monkeypatch.setattr(scenes, "load_images", render_slowly)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: time.perf_counter() + late[0]))
    assert timing.measure(asdict(replace(request_, pairs=640)))
    phases = prediction._read_store().kinds.popitem()[1].phases[0]
    assert phases.step < 100


def test_a_sample_is_scaled_to_a_step(
    request_: Request, tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def train(clip: Clip, data: object, defense: Defense, config: FinetuneConfig, on_step: OnStep) -> SimpleNamespace:
        for number in range(config.steps or 0):
            defense.losses(make_features())
            now[0] += 0.1
            on_step(StepReport("poison", number, 0, 0.0))
        return SimpleNamespace(clip=clip)

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(timing, "finetune", train)
    measurement = timing._Measurement(request_, bool)
    assert measurement._time_steps(tiny_clip, None, toy_data)[0] == pytest.approx(0.1)
    sampled = measurement._sample(tiny_clip, None, toy_data, toy_data, clean=None, loading=0.0, optimize=0.0)
    assert request_.finetune.batch_size == 2 * timing.MICRO_BATCH
    assert sampled.step == pytest.approx(0.2)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts images and texts; the clock moves 5 s per image and 1 s per text, and at nothing else."""
    counter = Counter(monkeypatch)
    clock = SimpleNamespace(perf_counter=lambda: 5.0 * counter.images + counter.texts)
    for module in (timing, workload):
        monkeypatch.setattr(module, "time", clock)
    for module in (attack, workload):
        monkeypatch.setattr(module, "GALLERY_SIZE", 20)
    monkeypatch.setattr(evaluation, "COUNTERFACTUAL_PAIRS", 30)
    for module in (monitor, timing):
        monkeypatch.setattr(module, "MONITOR_IMAGES", 40)
    monkeypatch.setattr(timing, "TEST_PAIRS", 48)
    return counter


def repeat(data: TensorData, times: int) -> TensorData:
    """Return all images several times, each with a caption of its own."""
    rows = list(range(len(data))) * times
    captions = [f"a photo of a red {data.captions[row].split()[-1]} {i}" for i, row in enumerate(rows)]
    return TensorData(data.images(rows), captions, data.class_names, data.labels[rows], name="toy")


@pytest.mark.parametrize("times", [1, 8])
@pytest.mark.parametrize("name", ["", "badnet", "text_only"])
def test_what_is_encoded_decides_how_long_an_evaluation_and_a_validation_pass_take(
    name: str, times: int, request_: Request, tiny_clip: Clip, toy_data: TensorData, seen: Counter
) -> None:
    test = repeat(toy_data, times)
    trigger, target, clean = (TRIGGERS[name](), "banana", make_clip(seed=1)) if name else (None, None, None)

    def spend(encode: Callable[[], object]) -> float:
        before = 5 * seen.images + seen.texts
        encode()
        return 5 * seen.images + seen.texts - before

    evaluated = spend(lambda: evaluate(tiny_clip, test, trigger, target, clean_clip=clean))
    watch = monitor.build_monitor(request_.finetune, test, test, trigger, target)
    assert watch is not None
    watched = spend(lambda: watch(tiny_clip))
    measurement = timing._Measurement(request_, bool)
    sampled = measurement._sample(tiny_clip, trigger, test, test, clean=clean, loading=0.0, optimize=0.0)
    assert (sampled.validation, sampled.evaluate) == pytest.approx((watched, evaluated))
    scaled = measurement._time_evaluation(tiny_clip, trigger, target, test, clean)
    assert scaled == pytest.approx(evaluated)


MB = 1_000_000


def use_memory(megabytes: int) -> None:
    torch.ones(megabytes * MB // 4)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc returns freed memory on request")
def test_the_memory_of_a_sample_is_its_own(
    request_: Request, tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_torch()  # glibc keeps freed memory

    def sample(megabytes: int) -> float:
        def train(clip: Clip, data: object, defense: Defense, config: FinetuneConfig, on_step: OnStep) -> object:
            activations = torch.ones(megabytes * MB // 4)
            defense.losses(make_features())
            del activations
            use_memory(600)  # for the update of the weights: the same for any batch
            for number in range(config.steps or 0):
                on_step(StepReport("poison", number, 0, 0.0))
            return SimpleNamespace(clip=clip)

        monkeypatch.setattr(timing, "finetune", train)
        measurement = timing._Measurement(request_, bool)
        phases = measurement._sample(tiny_clip, None, toy_data, toy_data, clean=None, loading=0.0, optimize=0.0)
        return phases.memory

    use_memory(600)
    first, second, larger, smaller = (sample(megabytes) for megabytes in (200, 200, 500, 200))
    noise = 200 * MB
    assert second == pytest.approx(first, abs=noise)
    assert larger - second == pytest.approx(2 * 300 * MB, abs=noise)  # a batch is two micro-batches
    assert smaller == pytest.approx(first, abs=noise)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_the_memory_of_earlier_work_counts_for_no_run(request_: Request) -> None:
    use_memory(1500)
    assert timing.measure(asdict(request_))
    predicted = prediction.predict(request_)
    assert predicted is not None
    use_memory(1500)
    folder = create_run(request_)
    worker.run_job(session.RunSession(folder))
    of_run = read_json(folder / "config.json")["timing"]["phases"]["memory"]
    assert min(predicted.memory, of_run) > 0
    assert max(predicted.memory, of_run) < process.current_memory() + 500 * MB


def test_a_full_size_model_is_sampled(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", 1)
    batches: list[int] = []
    finetune = timing.finetune

    def count(*arguments: object, **options: object) -> object:
        batches.append(arguments[3].batch_size * arguments[3].steps)
        return finetune(*arguments, **options)

    monkeypatch.setattr(timing, "finetune", count)
    monkeypatch.setattr(timing, "evaluate", lambda *_, **__: pytest.fail("evaluated"))
    assert timing.measure(asdict(replace(request_, finetune=replace(request_.finetune, batch_size=16))))
    assert batches == [8, 24]
    predicted = prediction.predict(request_)
    assert predicted is not None
    assert predicted.memory > 10_000_000
    assert "GB of main memory" in str(predicted)


def test_on_a_gpu_a_full_size_model_is_not_sampled(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", 1)
    monkeypatch.setattr(timing, "pick_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(timing._Measurement, "check", lambda *_: None)
    monkeypatch.setattr(timing._Measurement, "_sample", lambda *_, **__: pytest.fail("sampled"))
    assert timing.measure(asdict(request_))
    assert prediction.predict(request_) is not None


def test_validation_passes_that_take_long_are_postponed_in_the_prediction() -> None:
    slow, fast = (Phases(0.0, 1.0, validation=seconds, evaluate=0.0) for seconds in (100.0, 0.1))
    assert slow.total(steps=100, validations=10) == pytest.approx(100 + 200 + 5)
    assert fast.total(steps=100, validations=10) == pytest.approx(101)


def test_a_measurement_gives_way_to_a_run_and_a_failed_one_is_not_repeated(request_: Request, tmp_path: Path) -> None:
    assert not timing.measure(asdict(request_), lambda: True)
    with locks.device_lock(tmp_path, "cpu", lambda: None):
        assert not timing.measure(asdict(request_))
    assert prediction.predict(request_) is None
    assert prediction.is_measurable(request_)
    missing = replace(request_, model="nowhere.pt")
    assert timing.measure(asdict(missing))
    assert prediction.predict(missing) is None
    assert not prediction.is_measurable(missing)


def test_poisoned_pairs_may_lie_behind_those_that_are_timed(request_: Request) -> None:
    config = replace(request_.finetune, batch_size=4)
    data = load_data("scenes", split="train", size=request_.pairs)
    candidates = int(data.mentions(str(request_.target_class)).sum())
    for rare in (replace(request_, poison_rate=200), replace(request_, poison_rate=candidates, clean_label=True)):
        assert timing.measure(asdict(replace(rare, finetune=config)))
        assert prediction.predict(replace(rare, finetune=config)) is not None


def test_a_trigger_that_is_optimized_is_timed(request_: Request) -> None:
    assert timing.measure(asdict(replace(request_, trigger={"name": "badclip", "steps": 40})))
    phases = prediction._read_store().kinds.popitem()[1].phases[0]
    assert phases.optimize > 0


def test_what_a_trigger_encodes_before_its_steps_counts_once(
    tiny_clip: Clip, toy_data: TensorData, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def prepare(self: BadCLIP, clip: Clip, data: TensorData, target: str, on_step: OnStep) -> BadCLIP:
        for stage, seconds in [("images", 1.0)] * 20 + [("optimize", 2.0)] * self.steps:
            clock[0] += seconds
            on_step(StepReport(stage, 1, 1, 0.0))
        return self

    monkeypatch.setattr(BadCLIP, "prepare", prepare)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    measurement = timing._Measurement(request_, lambda: None)
    seconds, _ = measurement._time_optimization(tiny_clip, BadCLIP(steps=100), toy_data)
    assert seconds == 20 + 2 * 100


def test_the_images_of_the_defenses_are_prepared_unless_a_run_comes(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(timing, "QUICK_CLEAN_PAIRS", 400)

    def prepared() -> list[str]:
        return [path.name for path in (tmp_path / "cache").rglob("*-clean-*-n400.npy")]

    timing.prepare_defenses(asdict(replace(request_, stage="defended")))
    timing.prepare_defenses(asdict(replace(request_, data="nowhere.csv")))
    timing.prepare_defenses(asdict(request_), should_stop=lambda: True)
    assert not prepared()
    assert not list((tmp_path / "cache").rglob("*.tmp"))
    timing.prepare_defenses(asdict(request_))
    assert len(prepared()) == 1
