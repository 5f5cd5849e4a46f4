"""The training loop of poisoning, defenses and pretraining; distillation has its own (`cleaner.pretrain`)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData
from cleaner.defenses.base import Defense
from cleaner.models.clip import Clip
from cleaner.models.weights import has_finite_values
from cleaner.training import distributed
from cleaner.training.batch import BatchEncoder, BatchLoader
from cleaner.training.checkpoint import Clock, TrainingCheckpoint, training_settings
from cleaner.training.frames import FrameSchedule, Recorder
from cleaner.training.optimizer import build_optimizer, clamp_logit_scale, set_learning_rate, training_mode
from cleaner.training.step import TrainStep, open_lanes
from cleaner.training.validation import Monitor, ValidationSchedule
from cleaner.types import CleanerError, DivergedError, OnStep, StepReport


@dataclass(frozen=True)
class FinetuneResult:
    """A finetuned model in eval mode, the report of every step, and the time they took.

    pairs: number of pairs trained on, fewer than given if the defense skips some (`Defense.select`).
    seconds: wall clock; cpu_seconds: CPU time of all threads of this process. Both include the time before a resume.
    """

    clip: Clip
    history: list[StepReport]
    pairs: int
    seconds: float
    cpu_seconds: float


@torch.inference_mode(False)  # a notebook may have turned gradients off
@torch.enable_grad()
def finetune(
    clip: Clip,
    data: CaptionData,
    defense: Defense,
    config: FinetuneConfig,
    *,
    on_step: OnStep | None = None,
    monitor: Monitor | None = None,
    recorder: Recorder | None = None,
    checkpoint: str | Path | None = None,
    stage: str = "defend",
    attack: Mapping[str, Any] | None = None,
) -> FinetuneResult:
    """Finetune a copy of `clip` on `data` with the losses of `defense`; `clip` is not changed.

    Every random choice is a function of (seed, epoch, index). `monitor` runs every `config.eval_every` steps, or less
    often to stay within its share of the time (`ValidationSchedule`); `recorder` keeps the frames of a film
    (`FrameSchedule`). The state is written to `checkpoint` after each epoch, after the last step and when `on_step`
    raises (except `Cancelled`); the same call with equal model, captions, settings and `attack` (JSON-ready) resumes
    from it and ends with the same weights, on a GPU up to rounding. Processes started by torchrun share every batch;
    rank 0 alone monitors, reports and writes.

    Raises `CleanerError` for an unsupported model or pairs, or a broken or foreign checkpoint; `DivergedError` for a
    loss or weights that are not finite.
    """
    data = _validate_inputs(clip, data, defense)
    config = defense.adapt(config)
    batch_size = min(config.batch_size, len(data))
    student, reference = _prepare_models(clip, defense, config, batch_size)
    optimizer = defense.build_optimizer(student.model, config) or build_optimizer(student.model, config)
    settings = {} if checkpoint is None else training_settings(clip, data, defense, config, attack)
    state = TrainingCheckpoint(None if checkpoint is None else Path(checkpoint), student, optimizer, settings, recorder)
    history, cpu_seconds = state.resume()
    data.prepare(range(len(data)))  # before the clock: a step that renders the split would count as the time of each
    clock = Clock(history[-1].seconds if history else 0.0, cpu_seconds)
    captions = student.cut_to_context(data.captions)
    batches = BatchLoader(data, defense, config, batch_size, captions, partial(distributed.report_step, on_step))
    encoder = BatchEncoder(student, reference, defense, batches.class_prompts)
    train_step, total = TrainStep(encoder, config.chunk_size), batches.total_steps
    frames = FrameSchedule(recorder, total)
    validation = ValidationSchedule(monitor, config.eval_every, total, frames)
    if not history and distributed.is_rank_zero():
        frames.take(student, 0, clock.seconds)
    with open_lanes(encoder, config):
        for step in range(len(history), total):
            batch = batches.load(step)
            lr = set_learning_rate(optimizer, defense, config, step=step, total=total)
            compute = partial(train_step.backward, batch, partial(batches.start, step + 1))
            losses = _optimizer_step(student, optimizer, compute, config, step)
            is_saved = batches.ends_epoch(step) or step + 1 == total  # a failed evaluation repeats no step
            if is_saved:
                _validate_weights(student, step, config.lr)  # a checkpoint of such weights would end every resume
            metrics: dict[str, float] = {}
            if distributed.is_rank_zero():
                frames.take(student, step + 1, clock.seconds)
                metrics = validation.measure(student, step, clock.seconds)
            report = StepReport(stage, step + 1, total, clock.seconds, batch.epoch, losses, metrics, lr)
            history.append(report)
            with state.saved_on_stop(history, clock):
                distributed.report_step(on_step, report)
            if is_saved:
                state.save(history, clock.cpu_seconds)
    student = defense.finish(student, clip)
    student.model.requires_grad_(True).zero_grad()  # gradients are as large as the weights
    return FinetuneResult(student, history, len(data), clock.seconds, clock.cpu_seconds)


def _optimizer_step(
    student: Clip, optimizer: Optimizer, compute: Callable[[], dict[str, float]], config: FinetuneConfig, step: int
) -> dict[str, float]:
    """Take an optimizer step along the gradient that `compute` leaves in the parameters; return its losses."""
    with training_mode(student.model, config.freeze_bn):
        losses = compute()
    if not math.isfinite(losses["total"]):
        raise _divergence("the loss is", step, config.lr)
    distributed.average_gradients(student.model)
    optimizer.step()
    clamp_logit_scale(student)
    return losses


def _validate_weights(student: Clip, step: int, lr: float) -> None:
    """Raise `DivergedError` if a weight or buffer is not finite; a finite loss can still have an infinite gradient."""
    if not has_finite_values(student.model.state_dict()):
        raise _divergence("weights are", step, lr)


def _divergence(what: str, step: int, lr: float) -> DivergedError:
    return DivergedError(f"{what} not finite at step {step + 1}: lower the learning rate (now {lr:g}).")


def _prepare_models(clip: Clip, defense: Defense, config: FinetuneConfig, batch_size: int) -> tuple[Clip, Clip | None]:
    """Return the model to train and, if the defense needs it, the frozen reference."""
    suspect = clip.to(config.device, config.precision)
    reference = suspect.copy() if defense.needs_reference else None
    student = defense.prepare(suspect, config.seed)
    student.model = distributed.prepare_model(student.model, batch_size, config.freeze_bn)
    return student, reference


def _validate_inputs(clip: Clip, data: CaptionData, defense: Defense) -> CaptionData:
    """Return the pairs to train on."""
    reason = defense.unsupported_reason(clip, data)
    if reason is not None:
        raise CleanerError(reason)
    data = defense.select(data)
    if len(data) < 2:
        raise CleanerError(f"training needs at least two pairs, not {len(data)}: choose more data.")
    return data
