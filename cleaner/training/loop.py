"""The one training loop: poisoning, every defence and pretraining run through it."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cleaner.config import FinetuneConfig
from cleaner.data.augment import augment
from cleaner.data.base import CaptionData
from cleaner.defenses.base import Defense, EpochTexts
from cleaner.losses import Features
from cleaner.losses.info_nce import pad_rows
from cleaner.models.checkpoints import write_checkpoint
from cleaner.models.clip import Clip
from cleaner.models.devices import flush_denormals
from cleaner.seed import derive_seed, numpy_generator
from cleaner.text import content_words, eda
from cleaner.training import distributed, memory
from cleaner.types import Cancelled, CleanerError, OnStep, Paused, StepReport

MAX_LOGIT_SCALE = math.log(100)
Monitor = Callable[[Clip], dict[str, float]]


@dataclass(frozen=True)
class FinetuneResult:
    """What `finetune` returns: a new model in eval mode, the report of every step, and what they took.

    seconds: by the clock; cpu_seconds: of the processor, all threads of this process. Both go on counting where a
    checkpoint was taken up.
    """

    clip: Clip
    history: list[StepReport]
    seconds: float
    cpu_seconds: float


def finetune(
    clip: Clip,
    data: CaptionData,
    defense: Defense,
    config: FinetuneConfig,
    on_step: OnStep | None = None,
    monitor: Monitor | None = None,
    checkpoint: Path | None = None,
    stage: str = "defend",
    attack: Mapping[str, Any] | None = None,
) -> FinetuneResult:
    """Finetune a copy of `clip` on `data` with the losses of `defense`; `clip` stays as it is.

    AdamW, warm-up and cosine to 0, logit_scale clamped to [1, 100] after each step. Every random choice is a function
    of (seed, epoch, index). `monitor` measures the validation split every `config.eval_every` steps. With a
    `checkpoint` path the state is written there at the end of each epoch and when `on_step` raises (`Cancelled`
    excepted), and a run that finds one goes on from it with the result of an uninterrupted run; it must be of the same
    model, captions, settings and, where pictures were poisoned, `attack` (JSON-ready). Several processes
    (`cleaner.training.distributed`) share every batch; the first one alone monitors, tells and writes. Raises `CleanerError` for
    fewer than two pairs, a model of SigLIP's loss, a checkpoint of another run or that is broken, or a loss that is
    not finite.
    """
    if len(data) < 2:
        raise CleanerError(f"training needs at least two pairs to contrast, the data have {len(data)}.")
    if clip.has_sigmoid_loss:
        raise CleanerError(
            f"{clip.name} was trained with SigLIP's sigmoid loss, which the methods here do not have: it can be looked "
            "at and measured, but choose a CLIP model for training."
        )
    flush_denormals()
    config = defense.adapt(config)
    student = clip.to(config.device, config.precision)
    reference = student.copy() if defense.needs_reference else None
    batch_size = min(config.batch_size, len(data))
    student.model = distributed.prepare_model(student.model, batch_size, config.freeze_bn)
    optimizer = _build_optimizer(student.model, config)
    history: list[StepReport] = []
    settings = {} if checkpoint is None else _checkpoint_settings(clip, data, defense, config, attack)
    cpu_before = _resume(checkpoint, student, optimizer, history, settings)
    save = partial(_save_checkpoint, checkpoint, student, optimizer, history, settings)
    epoch_steps = len(data) // batch_size
    total = config.steps or config.epochs * epoch_steps
    plan = defense.plan(data.captions, config.seed)
    order = lru_cache(maxsize=2)(lambda epoch: numpy_generator("order", config.seed, epoch).permutation(len(data)))

    def shards_of(step: int) -> list[list[int]]:
        epoch, place = divmod(step, epoch_steps)
        return distributed.split_batch(
            [int(row) for row in order(epoch)[place * batch_size : (place + 1) * batch_size]]
        )

    epoch, chunk = -1, config.chunk_size
    began = time.perf_counter() - (history[-1].seconds if history else 0.0)
    cpu_began = time.process_time() - cpu_before
    for step in range(len(history), total):
        if step // epoch_steps != epoch:
            epoch = step // epoch_steps
            texts = plan(epoch)
        shards = shards_of(step)
        own = shards[distributed.rank()]
        images = defense.perturb(data.images(own), config.seed, epoch, own)
        if step + 1 < total:
            data.prefetch(shards_of(step + 1)[distributed.rank()])  # decoded while this step computes
        share = defense.lr_factor(step, total)
        lr = learning_rate(step, total, config) if share is None else config.lr * share
        for group in optimizer.param_groups:
            group["lr"] = lr
        _set_train_mode(student.model, config.freeze_bn)
        features = partial(_encode_batch, student, texts, epoch, defense, config, reference)
        losses, loss, chunk = _backward(student, defense, features, images, shards, chunk)
        if not torch.isfinite(loss):
            raise CleanerError(f"the loss is not finite at step {step + 1}: lower the learning rate {config.lr:g}.")
        distributed.average_gradients(student.model)
        optimizer.step()
        with torch.no_grad():
            student.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)  # type: ignore[operator]
        student.model.eval()
        look = config.eval_every and ((step + 1) % config.eval_every == 0 or step + 1 == total)
        named = {name: value.item() for name, value in losses.items()} | {"total": loss.item()}
        figures = monitor(student) if monitor is not None and look and distributed.is_rank_zero() else {}
        report = StepReport(stage, step + 1, total, time.perf_counter() - began, epoch, named, figures, lr)
        history.append(report)
        try:
            distributed.report_step(on_step, report)
        except BaseException as stop:
            if isinstance(stop, Cancelled) and not isinstance(stop, Paused):
                raise  # for good: a checkpoint would take seconds and serve nobody
            save(time.process_time() - cpu_began)
            raise
        if (step + 1) % epoch_steps == 0:
            save(time.process_time() - cpu_began)
    return FinetuneResult(student, history, time.perf_counter() - began, time.process_time() - cpu_began)


def _backward(
    student: Clip,
    defense: Defense,
    features: Callable[[Tensor, list[list[int]], int], Features],
    images: Tensor,
    shards: list[list[int]],
    chunk: int,
) -> tuple[dict[str, Tensor], Tensor, int]:
    """Leave the gradient in the parameters; return the losses, their sum, and the chunk size that memory allowed.

    When memory ends the step is computed again in chunks of half the size, and so are those that follow; not where
    several processes train, for the others would wait. Raises `CleanerError` where BatchNorm is live: it would
    normalise each chunk by itself.
    """
    own, live = shards[distributed.rank()], memory.has_live_batch_norm(student.model)
    whole = len(own)
    if live and 0 < chunk < whole:
        raise CleanerError(f"live BatchNorm cannot be trained in chunks of {chunk}: freeze it, or take chunk_size 0.")

    def attempt(size: int) -> tuple[dict[str, Tensor], Tensor]:
        student.model.zero_grad(set_to_none=True)
        fewer = live and size < whole
        seen, rows = (images[:size], [own[:size]]) if fewer else (images, shards)
        losses = defense.losses(features(seen, rows, 0 if fewer or size >= whole else size))
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()
        return losses, loss

    if distributed.world_size() > 1:
        return *attempt(chunk or whole), chunk
    (losses, loss), size = memory.halve_on_out_of_memory(attempt, chunk or whole, min_size=2 if live else 1)
    if live and size < whole:
        raise CleanerError(
            f"the memory of {student.device} ends at batches of {whole} pairs, and live BatchNorm cannot be trained in "
            f"chunks: choose batch_size {size}, which fits, or freeze_bn."
        )
    return losses, loss, size


def _encode_batch(
    student: Clip,
    texts: EpochTexts,
    epoch: int,
    defense: Defense,
    config: FinetuneConfig,
    reference: Clip | None,
    images: Tensor,
    shards: list[list[int]],
    chunk: int,
) -> Features:
    """Encode this process's share of a batch and return the features of all of it.

    images: of this process's rows, as the defence disturbed them; shards: the rows of each process. One forward for
    all pictures, one for all texts.
    """
    own = shards[distributed.rank()]
    captions = [texts.captions[row] for row in own]
    before = None
    if reference is not None:
        plain = [[len(shard)] for shard in shards]
        with torch.no_grad():
            (seen,) = distributed.gather(reference.encode_image(images), plain)
            (read,) = distributed.gather(reference.encode_text(captions), plain)
        before = Features(seen, read)
    batch = list(captions)
    if defense.needs_augmentation:
        images = torch.cat([images, augment(images, config.augmentation, config.seed, epoch, own)])
        drawn_in = epoch if config.redraw else 0
        batch += [
            eda(c, seed=derive_seed("eda", config.seed, drawn_in, row)) for c, row in zip(captions, own, strict=True)
        ]
    drawn = [[texts.drawn[row] for row in shard if row in texts.drawn] for shard in shards]
    mine = drawn[distributed.rank()]
    batch += [pair.positive.text for pair in mine if pair.positive is not None]
    batch += [negative.text for pair in mine for negative in pair.negatives]
    views = [[len(shard)] * (2 if defense.needs_augmentation else 1) for shard in shards]
    subtexts = [[len(pairs), sum(len(pair.negatives) for pair in pairs)] for pairs in drawn]
    image, *image_aug = distributed.gather(memory.encode_in_chunks(student.encode_image, images, chunk), views)
    text, *text_aug, positive, negatives = distributed.gather(
        memory.encode_in_chunks(student.encode_text, batch, chunk),
        [[*v, *s] for v, s in zip(views, subtexts, strict=True)],
    )
    rows, pairs = [row for shard in shards for row in shard], [pair for shard in drawn for pair in shard]
    selected = [i for i, row in enumerate(rows) if row in texts.drawn]
    negative, negative_mask = pad_rows(negatives, [len(pair.negatives) for pair in pairs])
    return Features(
        image=image,
        text=text,
        image_aug=image_aug[0] if image_aug else None,
        text_aug=text_aug[0] if text_aug else None,
        positive=positive,
        negative=negative,
        selected=torch.tensor(selected, dtype=torch.long, device=text.device),
        negative_mask=negative_mask,
        false_negative=false_negatives(
            [pair.positive.text for pair in pairs if pair.positive is not None],
            [texts.captions[rows[i]] for i in selected],
        ).to(text.device),
        logit_scale=student.logit_scale,
        reference=before,
    )


def false_negatives(positives: Sequence[str], captions: Sequence[str]) -> Tensor:
    """Return (M, M) bool: [i, j] says that positive subtext j is also true of pair i, as far as captions tell.

    That is, its text equals that of positive i, or all its content words stand in caption i.
    """
    words = [content_words(positive) for positive in positives]
    named = [content_words(caption) for caption in captions]
    rows = [
        [a == b or own <= there for b, own in zip(positives, words, strict=True)]
        for a, there in zip(positives, named, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(positives), len(positives))


def _build_optimizer(model: nn.Module, config: FinetuneConfig) -> torch.optim.Optimizer:
    """AdamW; no decay on scalars, biases, norms and the token embedding (rows that no caption uses stay)."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        bare = parameter.ndim < 2 or "token_embedding" in name or "positional_embedding" in name
        (plain if bare else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)


def learning_rate(step: int, total: int, config: FinetuneConfig) -> float:
    """Linear from 0 to the peak in `warmup_steps`, then half a cosine to 0."""
    warmup = min(config.warmup_steps, total // 2)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _set_train_mode(model: nn.Module, freeze_bn: bool) -> None:
    """Let BatchNorm live, and nothing else: dropout would draw what neither seed nor checkpoint knows."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(not freeze_bn)


def _checkpoint_settings(
    clip: Clip, data: CaptionData, defense: Defense, config: FinetuneConfig, attack: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what a checkpoint must agree with. No pixels: another machine may decode them a little differently."""
    attacked = dict(attack) if attack is not None else None
    return {
        "config": asdict(config),
        "defense": defense.state_dict(),
        "model_sha256": clip.sha256(),
        "captions": captions_hash(data),
        "attack": attacked,
    }


def captions_hash(data: CaptionData) -> str:
    """Return the SHA-256 (hex) of the captions, by which a checkpoint knows its data."""
    return hashlib.sha256("\n".join(data.captions).encode()).hexdigest()


def _save_checkpoint(
    path: Path | None,
    student: Clip,
    optimizer: torch.optim.Optimizer,
    history: list[StepReport],
    settings: dict[str, Any],
    cpu_seconds: float,
) -> None:
    if path is None or not distributed.is_rank_zero():
        return
    state = {
        "settings": settings,
        "model": student.model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [asdict(report) for report in history],
        "cpu_seconds": cpu_seconds,
    }
    write_checkpoint(path, state)


def _resume(
    path: Path | None,
    student: Clip,
    optimizer: torch.optim.Optimizer,
    history: list[StepReport],
    settings: dict[str, Any],
) -> float:
    """Load a checkpoint, if there is one, into the arguments; return what the processor did for it, in seconds."""
    if path is None or not path.exists():
        return 0.0
    state = read_checkpoint(path, student.device, settings)
    student.model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    history.extend(StepReport(**report) for report in state["history"])
    return float(state.get("cpu_seconds", 0.0))


def read_checkpoint(path: Path, device: torch.device, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint holds. Raises `CleanerError` if it is broken, or of a run with other settings."""
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # half a file makes the reader raise all kinds
        raise CleanerError(f"the checkpoint {path} cannot be read: delete it to start from the beginning.") from error
    if state.get("settings") != settings:
        raise CleanerError(f"the checkpoint {path} belongs to a run with other settings: choose another folder.")
    return state
