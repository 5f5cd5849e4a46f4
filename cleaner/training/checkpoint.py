"""The checkpoint of a training: what it stores, and what must match before a training resumes from it."""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from cleaner.attacks.base import complete_trigger
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData
from cleaner.defenses.base import DEFENSES, Defense, load_defense
from cleaner.files import validate_regular
from cleaner.labels import name_difference
from cleaner.models.clip import Clip
from cleaner.models.saving import write_checkpoint
from cleaner.models.weights import has_finite_values, validate_values
from cleaner.training import distributed
from cleaner.training.frames import Recorder
from cleaner.types import Cancelled, CleanerError, Paused, StepReport

_HISTORY = TypeAdapter(StepReport)
DAMAGE_ERRORS = (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, ArithmeticError)
"""What an edited checkpoint raises where its parts are used."""


class Clock:
    """Wall-clock and CPU seconds of a training, summed over its interruptions."""

    def __init__(self, wall_seconds: float, cpu_seconds: float) -> None:
        self._wall_start = time.perf_counter() - wall_seconds
        self._cpu_start = time.process_time() - cpu_seconds

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._wall_start

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all threads of this process."""
        return time.process_time() - self._cpu_start


@dataclass(frozen=True)
class TrainingCheckpoint:
    """The state of one training in one file. Without a path nothing is saved or resumed."""

    path: Path | None
    student: Clip
    optimizer: torch.optim.Optimizer
    settings: Mapping[str, Any]
    """What must match to resume (`training_settings`)."""
    recorder: Recorder | None = None
    """Keeps the frames of the film, which resume with the rest."""

    def resume(self) -> tuple[list[StepReport], float]:
        """Load the file, if it exists, into model and optimizer; return its reports and CPU seconds.

        Raises `CleanerError` if it is broken or belongs to another training.
        """
        if self.path is None or not self.path.exists():
            return [], 0.0
        state = read_checkpoint(self.path, self.student.device, self.settings)
        try:
            validate_values(state["model"], self.path)
            self.student.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            history = [_HISTORY.validate_python(report) for report in state["history"]]
            if [report.step for report in history] != list(range(1, len(history) + 1)):
                raise ValueError("the steps are not in order")
            cpu_seconds = float(state["cpu_seconds"])
            if not 0 <= cpu_seconds < math.inf:
                raise ValueError("cpu_seconds must be finite and not negative")
            if self.recorder is not None and "frames" in state:
                self.recorder.restore(state["frames"])
            return history, cpu_seconds
        except DAMAGE_ERRORS as error:
            raise unreadable(self.path) from error

    @contextmanager
    def saved_on_stop(self, history: list[StepReport], clock: Clock) -> Iterator[None]:
        """Write the state if the block raises anything but `Cancelled`.

        Weights that are not finite, which end the training at its next step, do not replace the last good state.
        """
        try:
            yield
        except BaseException as stop:
            is_kept = not isinstance(stop, Cancelled) or isinstance(stop, Paused)
            if is_kept and has_finite_values(self.student.model.state_dict()):
                self.save(history, clock.cpu_seconds)
            raise

    def save(self, history: list[StepReport], cpu_seconds: float) -> None:
        """Write the state atomically, from rank 0."""
        if self.path is None or not distributed.is_rank_zero():
            return
        state = {
            "settings": self.settings,
            "model": self.student.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(report) for report in history],
            "cpu_seconds": cpu_seconds,
        }
        if self.recorder is not None:
            state["frames"] = self.recorder.state()
        write_checkpoint(self.path, state)


def training_settings(
    clip: Clip, data: CaptionData, defense: Defense, config: FinetuneConfig, attack: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what a checkpoint must match. Pixels are left out: decoders differ slightly between machines."""
    uses_classes = defense.needs_labels or defense.class_prompt
    return {
        **({"classes": _hash_classes(data)} if uses_classes else {}),
        "config": asdict(config),
        "defense": defense.state_dict(),
        "model_sha256": clip.sha256(),
        "captions": captions_hash(data),
        "attack": dict(attack) if attack is not None else None,
    }


def captions_hash(data: CaptionData) -> str:
    """Return the SHA-256 (hex) of the captions, which identifies the data of a checkpoint."""
    return hashlib.sha256("\n".join(data.captions).encode()).hexdigest()


def _hash_classes(data: CaptionData) -> str:
    return hashlib.sha256(data.hash_class_names().encode() + data.labels.numpy().tobytes()).hexdigest()


def _complete_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings with the defaults of parameters that schedule, defense and trigger did not have yet."""
    completed, defense = complete_trigger(settings), settings.get("defense") or {}
    if "config" in settings:
        completed["config"] = {**asdict(FinetuneConfig()), **settings["config"]}
    if defense.get("name") in DEFENSES:
        completed["defense"] = load_defense(defense).state_dict()
    return completed


def read_checkpoint(path: Path, device: torch.device, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state in a checkpoint. Raises `CleanerError` if it is broken or its settings differ."""
    try:
        validate_regular(path)
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # the error type depends on where the file is cut off
        raise unreadable(path) from error
    try:
        difference = name_difference(_complete_settings(state["settings"]), settings)
    except DAMAGE_ERRORS as error:
        raise unreadable(path) from error
    if difference:
        raise CleanerError(
            f"the checkpoint {path} belongs to a run with other {difference}: restore them to resume, or delete it to "
            "start from the beginning."
        )
    return state


def unreadable(path: Path) -> CleanerError:
    """Return the error for a checkpoint that is damaged."""
    return CleanerError(f"the checkpoint {path} cannot be read: delete it to start from the beginning.")
