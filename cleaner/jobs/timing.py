"""Measure the phases of a run before it is started: ten steps, one validation pass, and a part of its evaluation.

Of a full-size model on a CPU, for which that would take minutes, a sample is measured: micro-batches of 8 pairs, 16
images, 128 prompts and 64 captions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from cleaner.attacks.base import Trigger, load_trigger
from cleaner.data.base import CaptionData
from cleaner.data.poison import PoisonedData
from cleaner.defenses.base import DEFENSES, Defense, load_defense
from cleaner.evaluation.encode import EVAL_BATCH_SIZE, TEXT_BATCH_SIZE
from cleaner.evaluation.evaluate import draw_counterfactuals, evaluate
from cleaner.evaluation.monitor import MONITOR_IMAGES, build_monitor
from cleaner.evaluation.workload import SAMPLED_CAPTIONS, SAMPLED_PROMPTS, EvaluationCount, time_encoding
from cleaner.jobs import locks, prediction, process
from cleaner.jobs.execution import LoadSplit, load_validation, make_loader
from cleaner.losses import Features
from cleaner.models.clip import Clip, load_clip
from cleaner.models.devices import configure_torch, pick_device, release_freed_memory
from cleaner.models.weights import count_bytes
from cleaner.presets import QUICK_CLEAN_PAIRS
from cleaner.runs.folders import find_run
from cleaner.runs.request import Request, as_poisoning, load_request
from cleaner.runs.run import load_run
from cleaner.text import parse
from cleaner.training.loop import FinetuneResult, finetune
from cleaner.types import TRAINING_STAGES, Cancelled, CleanerError, StepReport

TIMED_STEPS, WARM_STEPS, TIMED_OPTIMIZATION_STEPS = 10, 2, 5
BRIEF_STEPS = 5
"""Steps of a measurement for which somebody waits, the first to warm up: a small model takes about 5 s in all."""
SAMPLED_STEPS, MICRO_BATCH, TIMED_IMAGES = 3, 8, 16
"""The sample of a full-size model; the time of a step and of an evaluation grows with their number."""
TEST_PAIRS = 400
"""Pairs of the timed part of the evaluation."""


def measure(
    values: Mapping[str, Any], should_stop: Callable[[], bool] = lambda: False, *, load_split: LoadSplit | None = None
) -> bool:
    """Measure a request (its fields as JSON) and keep the result for `prediction.predict`; return False if interrupted.

    That is when `should_stop` returns True or a run takes the device. A request that cannot be run counts as measured.
    load_split: of the run itself, which waits in this process and needs the data again; fewer steps are timed.
    """
    request = as_poisoning(load_request({"request": values}))
    if prediction.predict(request) is None:
        try:
            prediction.record(request, _Measurement(request, should_stop, load_split).run())
        except Cancelled:
            return False
        except (CleanerError, OSError, RuntimeError):  # also: out of memory
            if load_split is None:  # else the run itself says why, and a corrected one is of the same kind
                prediction.record(request, None)
    return True


def prepare_defenses(values: Mapping[str, Any], should_stop: Callable[[], bool] = lambda: False) -> None:
    """Render the images and parse the captions of the clean pairs that the quick setting of Defend trains on."""
    request = load_request({"request": values})
    if request.stage != "backdoored":
        return
    with suppress(Cancelled, CleanerError, OSError):
        data = _Measurement(request, should_stop).load("clean", QUICK_CLEAN_PAIRS)
        data.prepare(range(len(data)))
        for caption in data.captions:
            if should_stop():
                return
            parse(caption)


@dataclass(frozen=True)
class _Measurement:
    """Measures the phases of one request."""

    request: Request
    should_stop: Callable[[], bool]
    load_split: LoadSplit | None = None

    def run(self) -> prediction.Phases:
        """Return the phases. Raises `Cancelled` if the device is to be left to a run."""
        configure_torch()
        self.check()
        release_freed_memory()
        process.reset_peak_memory()
        request, start = self.request, time.perf_counter()
        clip, trigger, target_class, clean = self._load_model()
        split = "train" if request.stage == "backdoored" else "clean"
        data = self.load(split, request.pairs)
        test = self.load("test", request.test_size)
        loading = time.perf_counter() - start
        data.prepare(range(len(data)))  # the run will read them all
        data, optimize = data.with_transform(clip.framing), 0.0
        if request.stage == "backdoored" and trigger is not None:
            optimize, trigger = self._time_optimization(clip, trigger, data)
        # A GPU takes about the same time for 8 pairs as for 64: there the batch itself is timed.
        if clip.is_full_size and pick_device(request.finetune.device).type == "cpu":
            return self._sample(clip, trigger, data, test, clean=clean, loading=loading, optimize=optimize)
        step, trained = self._time_steps(clip, trigger, data)
        validation = self._time_validation(trained, trigger, target_class, data)
        evaluation = self._time_evaluation(trained, trigger, target_class, test, clean)
        return prediction.Phases(loading, step, validation, evaluation, optimize, process.peak_memory())

    def _sample(
        self,
        clip: Clip,
        trigger: Trigger | None,
        data: CaptionData,
        test: CaptionData,
        *,
        clean: Clip | None,
        loading: float,
        optimize: float,
    ) -> prediction.Phases:
        """Return the phases of a full-size model on a CPU, extrapolated from a sample."""
        request, batch = self.request, self.request.finetune.batch_size
        micro = min(MICRO_BATCH, batch)
        release_freed_memory()
        before, weights = process.current_memory(), count_bytes(clip.model)
        at_losses: list[float] = []
        step, _ = self._time_steps(
            clip,
            trigger,
            data,
            steps=(1, SAMPLED_STEPS),
            batch_size=micro,
            on_losses=lambda: at_losses.append(process.current_memory()),
        )
        # Weights, gradients and moments do not grow with the batch; activations do, and chunks bound them. They are
        # measured at the first loss, where memory holds only them and the weights. The peak of so few pairs comes
        # later, when the weights are updated.
        held = min(batch, request.finetune.chunk_size or batch)
        activations = max(at_losses[0] - before - weights, 0.0) * held / micro
        count = EvaluationCount.of(clip, test, trigger, models=1 if clean is None else 2)
        watched = test.subset(test.labeled_rows(MONITOR_IMAGES))
        validation = EvaluationCount.of(clip, watched, trigger, counterfactual=False)
        self.check()
        moved = clip.to(request.finetune.device, request.finetune.precision)
        costs = time_encoding(moved, test, TIMED_IMAGES, SAMPLED_PROMPTS, SAMPLED_CAPTIONS)
        return prediction.Phases(
            loading,
            step * batch / micro,
            validation.seconds(*costs) if request.finetune.eval_every else 0.0,
            count.seconds(*costs),
            optimize,
            before + 4 * weights + activations,
        )

    def check(self, _: StepReport | None = None) -> None:
        """Raise `Cancelled` if a run wants this process or uses the device."""
        with locks.try_device_lock(str(pick_device(self.request.finetune.device))) as is_free:
            if self.should_stop() or not is_free:
                raise Cancelled

    def load(self, split: str, size: int | None) -> CaptionData:
        """Return a split of the data. Rendering it raises `Cancelled` if the device is to be left to a run."""
        return (self.load_split or make_loader(self.request, self.check))(split, size)

    def _load_model(self) -> tuple[Clip, Trigger | None, str | None, Clip | None]:
        """Return the model to train, attack and target class, and the clean model that the run evaluates, if any."""
        request = self.request
        if request.parent is not None:
            run = load_run(find_run(request.parent))
            return run.clip, run.trigger, run.target_class, None
        clip = load_clip(str(request.model))
        trigger = load_trigger(request.trigger) if request.trigger else None
        return clip, trigger, request.target_class if trigger else None, clip if trigger else None

    def _time_optimization(self, clip: Clip, trigger: Trigger, data: CaptionData) -> tuple[float, Trigger]:
        """Return the seconds of a trigger's optimization, from its first steps, and the trigger after these."""
        steps = int(getattr(trigger, "steps", 0))
        changes: dict[str, Any] = {"steps": TIMED_OPTIMIZATION_STEPS} if steps > TIMED_OPTIMIZATION_STEPS else {}
        short = replace(trigger, **changes)
        times: list[float] = []

        def on_step(report: StepReport) -> None:
            self.check()
            if report.stage == "optimize":  # before it, what is encoded once
                times.append(time.perf_counter())

        start, device = time.perf_counter(), self.request.finetune.device
        prepared = short.prepare(clip.to(device), data, str(self.request.target_class), on_step)
        if len(times) < 2:
            return 0.0, prepared
        step = (times[-1] - times[0]) / (len(times) - 1)
        return times[0] - start + step * (steps - 1), prepared

    def _time_steps(
        self,
        clip: Clip,
        trigger: Trigger | None,
        data: CaptionData,
        *,
        steps: tuple[int, ...] = (),
        batch_size: int = 0,
        on_losses: Callable[[], None] | None = None,
    ) -> tuple[float, Clip]:
        """Return the seconds per training step, and the trained model.

        steps: of each training, the last is timed. on_losses: called before the losses of each step.
        """
        request = self.request
        is_brief = bool(batch_size or self.load_split)
        steps = steps or ((BRIEF_STEPS,) if is_brief else (WARM_STEPS, TIMED_STEPS))
        defense: Defense = DEFENSES["finetune"]()
        if request.stage == "backdoored" and trigger is not None:
            target_class = str(request.target_class)
            data = PoisonedData(
                data, trigger, target_class, request.poison_rate, request.finetune.seed, request.clean_label
            )
        else:
            defense = load_defense(request.defense or {"name": "finetune"})
        # Only now: the first pairs alone may lack what poisoning needs, such as captions that name the target.
        data = data.subset(range(min(len(data), TIMED_STEPS * request.finetune.batch_size)))
        if on_losses is not None:
            _call_before_losses(defense, on_losses)
        times: list[float] = []

        def on_step(report: StepReport) -> None:
            self.check()
            if report.stage in TRAINING_STAGES:
                times.append(time.perf_counter())

        trained: FinetuneResult | None = None
        for count in steps:
            trained, times = None, []  # two trained models at a time would count as memory of a run
            start = time.perf_counter()
            batch = batch_size or request.finetune.batch_size
            config = replace(request.finetune, steps=count, eval_every=0, batch_size=batch)
            trained = finetune(clip, data, defense, config, on_step=on_step)
        # The first step of a full-size model includes copies of 600 MB and is not counted.
        first, counted = (times[0], steps[-1] - 1) if is_brief else (start, steps[-1])
        assert trained is not None
        return (times[-1] - first) / counted, trained.clip

    def _time_validation(
        self, clip: Clip, trigger: Trigger | None, target_class: str | None, data: CaptionData
    ) -> float:
        """Return the seconds of one validation pass of the training."""
        request = self.request
        if not request.finetune.eval_every:
            return 0.0
        validation = load_validation(request, data, self.load)
        monitor = build_monitor(request.finetune, validation, data, trigger, target_class)
        if validation is None or monitor is None:
            return 0.0
        validation.images(range(len(validation)))  # rendered or decoded once
        self.check()
        start = time.perf_counter()
        monitor(clip)
        return time.perf_counter() - start

    def _time_evaluation(
        self, clip: Clip, trigger: Trigger | None, target_class: str | None, test: CaptionData, clean: Clip | None
    ) -> float:
        """Return the seconds of the evaluation, from a part of its pairs and what both encode."""
        part = test.subset(range(min(len(test), TEST_PAIRS)))
        part.images(range(len(part)))
        for prepared in (test, part):
            draw_counterfactuals(prepared)  # once, whatever the model: not in the time of an evaluation
        self.check()
        start = time.perf_counter()
        evaluate(clip, part, trigger, target_class, clean_clip=clean, on_step=self.check)
        elapsed = time.perf_counter() - start
        # In whole batches: a GPU takes about the same time for smaller ones.
        costs = time_encoding(clip, part, EVAL_BATCH_SIZE, TEXT_BATCH_SIZE, TEXT_BATCH_SIZE)
        whole, timed = (
            EvaluationCount.of(clip, each, trigger, models=1 if clean is None else 2).seconds(*costs)
            for each in (test, part)
        )
        return elapsed * whole / timed


def _call_before_losses(defense: Defense, call: Callable[[], None]) -> None:
    """Let a defense call `call` before it computes the losses of a step."""
    compute = defense.losses

    def losses(features: Features) -> dict[str, Tensor]:
        call()
        return compute(features)

    object.__setattr__(defense, "losses", losses)  # the dataclass is frozen
