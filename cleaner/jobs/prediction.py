"""Predict how long a run takes on this machine: from the last runs of its kind, else from shipped phases.

A finished run states the seconds of its phases in its config.json, with the key of its kind: a machine, a model, a
method with the parameters that matter for its cost, batch size, precision, device and threads. The shipped phases are
those of the built-in models, scaled by the speed of the processor (`calibration`). Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from cleaner.config import VALIDATION_TIME_SHARE, FinetuneConfig, count_steps
from cleaner.files import file_version, read_json
from cleaner.jobs import calibration, process
from cleaner.runs.folders import find_run
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request, as_poisoning
from cleaner.runs.store import list_runs
from cleaner.types import TRAINING_STAGES, StepReport

OBSERVATIONS = 3
"""Last runs of a kind, of which the middle counts."""
SPREAD = 0.2
"""Half-width of a range as a share of its middle."""

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


_PHASES = TypeAdapter(Phases)


@cache
def _read_shipped() -> dict[str, Any]:
    """Return phases.json, which benchmarks/phases.py writes: rows of model, method and phases, with their settings."""
    return read_json(Path(__file__).parents[1] / "phases.json")


def kind_of(request: Request) -> str:
    """Return the key of the requests whose phases take the same time on this machine: a hash, as it contains paths."""
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
        "threads": calibration.count_threads(),
        "stage": request.stage,
        "data": request.data,
        "model": model if version is None else f"{model} {version[1]}",  # with the size of its file
        # Weights of loss terms, learning rates, seeds and the file of an inverted trigger cost no time.
        "method": {n: value for n, value in method.items() if not n.endswith("_weight") and n not in FILE_FIELDS},
        "trigger": {name: trigger[name] for name in costs if name in trigger},
        "sizes": [request.test_size, request.validation_size],
        "config": {name: getattr(config, name) for name in COST_SETTINGS},
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def find_model_name(request: Request) -> str:
    """Return the name of the model that a request trains; of a run, that of the model before poisoning."""
    if request.model is not None:
        return request.model
    config = read_json(find_run(request.parent or "") / "config.json")
    return str(config.get("clean_model") or config.get("model") or "")


@dataclass(frozen=True)
class Prediction:
    """The expected seconds of a run, the middle of a range; and its peak memory in bytes, 0: unknown."""

    seconds: float
    memory: float = 0.0

    @property
    def low(self) -> float:
        return self.seconds * (1 - SPREAD)

    @property
    def high(self) -> float:
        return self.seconds * (1 + SPREAD)

    def __add__(self, other: Prediction) -> Prediction:
        """Return the duration of both, one after the other."""
        return Prediction(self.seconds + other.seconds, max(self.memory, other.memory))

    def __str__(self) -> str:
        """Return the range in words: "40 to 55 s", "9 to 12 min, about 3.9 GB of main memory"."""
        memory = f", about {self.memory / 1e9:.1f} GB of main memory" if self.memory else ""
        return format_range(self.low, self.high) + memory


def predict(request: Request, runs: Sequence[RunRecord] | None = None) -> Prediction | None:
    """Return how long a run will take here, None before anything like it was run.

    runs: finished runs, newest first; None: those of the store.
    """
    observed = _list_phases(kind_of(request), list_runs() if runs is None else runs)
    if not observed and (shipped := _scale_shipped(request)) is not None:
        observed = [shipped]
    if not observed:
        return None
    typical = Phases(*(median(getattr(each, f.name) for each in observed) for f in fields(Phases)))
    config = request.finetune
    steps = count_steps(request.pairs, config)
    validations = -(-steps // config.eval_every) if config.eval_every else 0
    return Prediction(typical.total(steps, validations), typical.memory)


def _list_phases(kind: str, runs: Sequence[RunRecord]) -> list[Phases]:
    """Return the phases of the last runs of a kind; a run folder may come from elsewhere, or was edited."""

    def read(run: RunRecord) -> Phases | None:
        timing = run.config.get("timing")
        with suppress(ValidationError):
            if isinstance(timing, Mapping) and timing.get("kind") == kind:
                return _PHASES.validate_python(timing.get("phases"))
        return None

    return list(islice(filter(None, map(read, runs)), OBSERVATIONS))


def _scale_shipped(request: Request) -> Phases | None:
    """Return the shipped phases of a built-in model and method, scaled to this machine; None where there are none.

    They are those of training on a processor with the default settings, on the data of the built-in models.
    """
    shipped, config, usual = _read_shipped(), request.finetune, FinetuneConfig(device="cpu")
    is_usual = all(getattr(config, name) == getattr(usual, name) for name in COST_SETTINGS if name != "batch_size")
    is_optimized = request.stage == "backdoored" and "steps" in (request.trigger or {})
    method = request.defense or {"name": "finetune"}
    model, scale = find_model_name(request), calibration.compare(shipped["calibration"])
    rows = [row for row in shipped["rows"] if (row["model"], row["method"]["name"]) == (model, method["name"])]
    if not is_usual or is_optimized or request.data != shipped["data"] or scale is None or not rows:
        return None

    def difference(row: Mapping[str, Any]) -> float:
        """Return how far the parameters of a row that change its cost are from those of the request."""
        return sum(abs(_number(method, key) - _number(row["method"], key)) for key in row["method"])

    phases = {name: seconds * scale for name, seconds in min(rows, key=difference)["phases"].items()}
    phases["step"] *= config.batch_size / shipped["batch_size"]
    phases["validation"] *= request.validation_size / shipped["validation_size"]
    phases["evaluate"] *= (request.test_size or shipped["test_size"]) / shipped["test_size"]
    return Phases(**phases)


def _number(method: Mapping[str, Any], key: str) -> float:
    value = method.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


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

    def __call__(self, report: StepReport) -> None:
        if report.stage == "optimize":
            self._optimize.append(self.seconds)
        elif report.losses and report.stage in TRAINING_STAGES:
            self._train.append((self.seconds, bool(report.metrics)))

    def phases(self, steps: int, optimized: int) -> Phases | None:
        """Return the phases of a run of so many steps, which ends now; None if too few of them were seen to tell."""
        times = [seconds for seconds, _ in self._train]
        lasted = [(end - start, validates) for start, (end, validates) in zip(times, self._train[1:], strict=False)]
        plain = [seconds for seconds, validates in lasted if not validates]
        if len(plain) < 3 or len(times) < steps or len(self._optimize) < optimized:
            return None
        step = mean(plain)
        validations = [max(seconds - step, 0.0) for seconds, validates in lasted if validates]
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
