"""Predict how long a run takes on this machine, from the phases of earlier runs, at first from shipped ones.

The shipped phases are those of the built-in models, scaled by the speed of the processor (`calibration`). One JSON file
in the cache holds the observations of each kind of run: a machine, a model, a method with the parameters that matter
for its cost, batch size, precision, device and threads. A run that leaves its predicted range replaces the older
observations of its kind. Nothing here imports torch.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from cleaner.config import VALIDATION_TIME_SHARE, FinetuneConfig, count_steps
from cleaner.files import cache_root, file_version, read_json, read_json_cached, write_json
from cleaner.jobs import calibration, locks, process
from cleaner.runs.folders import find_run
from cleaner.runs.request import Request, as_poisoning
from cleaner.types import TRAINING_STAGES, CleanerError, StepReport

MAX_KINDS, MAX_OBSERVATIONS, MAX_ERRORS = 200, 5, 20
"""Kinds of runs kept, observations of each, and errors of past predictions."""
FIRST_SPREAD, MIN_SPREAD, MAX_SPREAD = 0.2, 0.1, 0.5
"""Half-width of a range as a share of its middle: before any error is known, and its bounds."""

COST_SETTINGS = ("batch_size", "precision", "device", "augmentation", "freeze_bn", "redraw", "chunk_size")
"""Fields of `FinetuneConfig` that change the time of a step."""
FILE_FIELDS = ("path", "png", "png_path")
"""Fields of a defense that hold a file, or name it."""

Duration = Annotated[float, Field(gt=0, lt=1e9)]


@dataclass(frozen=True)
class Phases:
    """Seconds of each phase of a run.

    start: until the first training step begins, without waiting for the device; optimize: optimization of the trigger;
    step: one training step; validation: one validation pass; evaluate: from the last step to the result.
    memory: most bytes that the process had in memory; 0: not known.
    """

    start: float
    step: Duration
    validation: float
    evaluate: float
    optimize: float = 0.0
    memory: float = 0.0

    def total(self, steps: int, validations: int) -> float:
        """Return the seconds of a run with so many training steps and validation passes.

        Training postpones passes that take too long (`training.validation`), but the first and the last.
        """
        training = steps * self.step
        least = min(validations, 2) * self.validation
        validation = min(validations * self.validation, least + VALIDATION_TIME_SHARE * training)
        return self.start + self.optimize + training + validation + self.evaluate


class _Kind(BaseModel):
    """Observations of one kind of run."""

    updated: float = 0.0
    phases: list[Phases] = []


class _Store(BaseModel):
    """The file of the observations; errors: (predicted, real) seconds of past runs."""

    kinds: dict[str, _Kind] = {}
    errors: list[tuple[Duration, Duration]] = []


class _ShippedRow(BaseModel):
    """Phases of a method on a built-in model; method: its name, and parameters that change its cost."""

    model: str
    method: dict[str, Any]
    phases: Phases


class _Shipped(BaseModel):
    """The content of phases.json, which benchmarks/phases.py writes; sizes: of the runs that were measured."""

    machine: str
    calibration: dict[str, Duration]
    data: str
    batch_size: int
    test_size: int
    validation_size: int
    rows: list[_ShippedRow]


@cache
def _read_shipped() -> _Shipped | None:
    path = Path(__file__).parents[1] / "phases.json"
    return _Shipped.model_validate(read_json(path)) if path.exists() else None


def store_path() -> Path:
    """Return the file of the observations."""
    return cache_root() / "clock.json"


def count_validations(pairs: int, config: FinetuneConfig) -> int:
    """Return the validation passes of a training."""
    return -(-count_steps(pairs, config) // config.eval_every) if config.eval_every else 0


def kind_of(request: Request) -> str:
    """Return the key of the requests whose phases take the same time on this machine: a JSON object."""
    request = as_poisoning(request)
    config, trigger = request.finetune, request.trigger or {}
    method = request.defense or {"name": "finetune"}
    # A training without flagged pairs brings the patch or generator of its attack: it optimizes nothing.
    is_optimized = bool(trigger.get("png") or trigger.get("weights"))
    costs = ("name",) if is_optimized else ("name", "steps", "batch_size")
    model = find_model_name(request)
    version = file_version(model)
    values = {
        "host": socket.gethostname(),
        "threads": _count_threads(),
        "stage": request.stage,
        "data": request.data,
        "model": model if version is None else f"{model} {version[1]}",  # with the size of its file
        # Weights of loss terms, learning rates, seeds and the file of an inverted trigger cost no time.
        "method": {n: value for n, value in method.items() if not n.endswith("_weight") and n not in FILE_FIELDS},
        "trigger": {name: trigger[name] for name in costs if name in trigger},
        "sizes": [request.test_size, request.validation_size],
        "config": {name: getattr(config, name) for name in COST_SETTINGS},
    }
    return json.dumps(values, sort_keys=True)


def _count_threads() -> int:
    """Return the threads of this process; OMP_NUM_THREADS may be a list, one number for each level of nesting."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    with suppress(ValueError):
        return int(first)
    return os.cpu_count() or 1


def find_model_name(request: Request) -> str:
    """Return the name of the model that a request trains; of a run, that of the model before poisoning."""
    if request.model is not None:
        return request.model
    config = read_json(find_run(request.parent or "") / "config.json")
    return str(config.get("clean_model") or config.get("model") or "")


@dataclass(frozen=True)
class Prediction:
    """The expected duration of a run, in seconds: a range and its middle; and its peak memory in bytes, 0: unknown."""

    seconds: float
    low: float
    high: float
    memory: float = 0.0

    def __add__(self, other: Prediction) -> Prediction:
        """Return the duration of both, one after the other."""
        memory = max(self.memory, other.memory)
        return Prediction(self.seconds + other.seconds, self.low + other.low, self.high + other.high, memory)

    def __str__(self) -> str:
        """Return the range in words: "40 to 55 s", "9 to 12 min, about 3.9 GB of main memory"."""
        memory = f", about {self.memory / 1e9:.1f} GB of main memory" if self.memory else ""
        return format_range(self.low, self.high) + memory


def predict(request: Request) -> Prediction | None:
    """Return how long a run will take here, None before anything like it was run."""
    store = _read_store()
    observations = store.kinds.get(kind_of(request), _Kind()).phases
    if not observations and (shipped := _scale_shipped(request)) is not None:
        observations = [shipped]
    if not observations:
        return None
    typical = Phases(*(median(getattr(each, f.name) for each in observations) for f in fields(Phases)))
    pairs, config = request.pairs, request.finetune
    seconds = typical.total(count_steps(pairs, config), count_validations(pairs, config))
    spread = _spread(store.errors)
    return Prediction(seconds, seconds * (1 - spread), seconds * (1 + spread), typical.memory)


def _spread(errors: Sequence[Sequence[float]]) -> float:
    """Return the half-width of a range: what four of five past predictions would have needed."""
    if len(errors) < 3:
        return FIRST_SPREAD
    misses = sorted(abs(real / predicted - 1) for predicted, real in errors)
    return min(max(misses[int(0.8 * (len(misses) - 1) + 0.5)], MIN_SPREAD), MAX_SPREAD)


def _scale_shipped(request: Request) -> Phases | None:
    """Return the shipped phases of a built-in model and method, scaled to this machine; None where there are none.

    They are those of training on a processor with the default settings, on the data of the built-in models.
    """
    shipped, trigger = _read_shipped(), request.trigger or {}
    config, default = request.finetune, FinetuneConfig()
    is_usual = all(getattr(config, name) == getattr(default, name) for name in COST_SETTINGS[1:] if name != "device")
    is_optimized = "steps" in trigger and request.stage == "backdoored" and request.excluded is None
    if shipped is None or not is_usual or is_optimized or request.data != shipped.data or config.device != "cpu":
        return None
    method = request.defense or {"name": "finetune"}
    model, scale = find_model_name(request), calibration.compare(shipped.calibration)
    rows = [row for row in shipped.rows if (row.model, row.method["name"]) == (model, method["name"])]
    if scale is None or not rows:
        return None
    nearest = min(rows, key=lambda row: sum(abs(_number(method, key) - _number(row.method, key)) for key in row.method))
    phases, batch = nearest.phases, config.batch_size / shipped.batch_size
    tests, watched = (request.test_size or shipped.test_size) / shipped.test_size, request.validation_size
    return Phases(
        start=phases.start * scale,
        step=phases.step * scale * batch,
        validation=phases.validation * scale * watched / shipped.validation_size,
        evaluate=phases.evaluate * scale * tests,
    )


def _number(method: Mapping[str, Any], key: str) -> float:
    value = method.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def record(request: Request, phases: Phases, predicted: Prediction | None = None, real: float = 0.0) -> None:
    """Keep the phases of a run for the next prediction; one that left its predicted range replaces the older ones."""
    kind, is_wrong = kind_of(request), predicted is not None and not predicted.low <= real <= predicted.high
    with locks.try_clock_lock():  # runs may end at once
        store = _read_store()
        kept = [] if is_wrong else store.kinds.get(kind, _Kind()).phases[-MAX_OBSERVATIONS + 1 :]
        store.kinds[kind] = _Kind(updated=time.time(), phases=[*kept, phases])
        store.kinds = dict(sorted(store.kinds.items(), key=lambda item: item[1].updated)[-MAX_KINDS:])
        if predicted is not None:
            store.errors = [*store.errors, (predicted.seconds, real)][-MAX_ERRORS:]
        with suppress(CleanerError):  # a full disk costs the prediction, not the run
            write_json(store_path(), store.model_dump())


def _read_store() -> _Store:
    """Return the observations and errors; none from a file that is missing or broken."""
    try:
        return _Store.model_validate(read_json_cached(store_path()))
    except ValidationError:
        return _Store()


class RunClock:
    """An `on_step` callback that measures the phases of a run; `started`: seconds spent before it was made."""

    def __init__(self, started: float = 0.0) -> None:
        self._origin = time.monotonic() - started
        self._optimize: list[float] = []
        self._train: list[tuple[float, bool]] = []

    @property
    def seconds(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._origin

    @property
    def step_count(self) -> int:
        """Number of training steps seen."""
        return len(self._train)

    @property
    def optimization_count(self) -> int:
        """Number of steps seen of a trigger's optimization."""
        return len(self._optimize)

    def __call__(self, report: StepReport) -> None:
        if report.stage == "optimize":
            self._optimize.append(self.seconds)
        elif report.losses and report.stage in TRAINING_STAGES:
            self._train.append((self.seconds, bool(report.metrics)))

    def phases(self) -> Phases | None:
        """Return the phases of a run that ends now; None if it trained too few steps to tell."""
        times = [seconds for seconds, _ in self._train]
        steps = [(end - start, validates) for start, (end, validates) in zip(times, self._train[1:], strict=False)]
        plain = [seconds for seconds, validates in steps if not validates]
        if len(plain) < 3:
            return None
        step = mean(plain)
        validations = [max(seconds - step, 0.0) for seconds, validates in steps if validates]
        optimize = self._optimize[-1] - self._optimize[0] if self._optimize else 0.0
        return Phases(
            start=max(times[0] - step - optimize, 0.0),
            step=step,
            validation=median(validations) if validations else 0.0,
            evaluate=self.seconds - times[-1],
            optimize=optimize,
            memory=process.peak_memory(),
        )


def format_range(low: float, high: float) -> str:
    """Return a range of seconds in words: "40 to 55 s", "3 to 4.5 min"."""
    unit, name, digit = (60.0, "min", 0.5) if high >= 120 else (1.0, "s", 5.0 if high >= 20 else 1.0)
    if high >= 7200:
        unit, name, digit = 3600.0, "h", 0.5
    bounds = [max(digit, digit * round(seconds / unit / digit)) for seconds in (low, high)]
    first, last = (f"{bound:g}" for bound in bounds)
    return f"about {first} {name}" if first == last else f"{first} to {last} {name}"
