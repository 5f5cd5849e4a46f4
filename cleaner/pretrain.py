"""Pretraining of the built-in models, from random weights to a model card."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cleaner.config import DATA_VERSIONS, FinetuneConfig
from cleaner.data.augment import augment
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses.base import Defense
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.evaluate import evaluate, image_to_text_recall, transfer_accuracy, validate_eval_data
from cleaner.files import assets, read_json, write_json
from cleaner.losses import Features, unified_loss
from cleaner.models.clip import Clip, load_clip, new_clip, save_clip
from cleaner.models.saving import write_checkpoint
from cleaner.presets import PRETRAIN
from cleaner.seed import numpy_generator
from cleaner.training.checkpoint import DAMAGE_ERRORS, Clock, captions_hash, read_checkpoint, unreadable
from cleaner.training.loop import finetune
from cleaner.training.optimizer import learning_rate
from cleaner.training.step import backward
from cleaner.types import CleanerError, DivergedError, OnStep, StepReport


@dataclass(frozen=True)
class Pretraining(Defense):
    """CLIP's loss on images augmented in each epoch (`losses.unified_loss`); not a registered defense."""

    needs_labels: ClassVar[bool] = True
    augmentation: str
    class_share: float = 0.0

    def perturb(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        return augment(images, self.augmentation, seed, epoch, indices)

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": unified_loss(f, self.class_share)}

    def state_dict(self) -> dict[str, Any]:
        state = {"name": "pretraining", "augmentation": self.augmentation}
        return {**state, "class_share": self.class_share} if self.class_share else state


def pretrain(
    name: str,
    *,
    pairs: int = 100_000,
    data_name: str = "scenes",
    data_options: Mapping[str, Any] | None = None,
    image_size: int = 0,
    class_share: float = 0.0,
    config: FinetuneConfig = PRETRAIN,
    teacher: str | None = None,
    distill_epochs: int = 6,
    out: Path | None = None,
    on_step: OnStep | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Train the built-in architecture `name` on `pairs` captioned images; write weights and card, return the card.

    `data_name` and `data_options` go to `load_data`; `image_size` in px, 0: the architecture's own; `class_share`,
    0..1, as in `losses.unified_loss`, for data with few classes; `out` defaults to assets/<name>. With a `teacher` (a
    model name) the student copies its text tower, and its image tower first learns the teacher's image features for
    `distill_epochs` (`distill`). The same call resumes from the checkpoint in `out`. `command` is recorded in the card.
    Raises `CleanerError` if `out` has a finished model or a run, for data without test images whose class is known, and
    for a class share of a model with a sigmoid loss.
    """
    out = out or assets() / name
    options = dict(data_options or {})
    clip = new_clip(name, config.seed, image_size)
    clip.name = out.name
    if class_share and clip.has_sigmoid_loss:
        raise CleanerError(f"{name} has a sigmoid loss, which takes no class share: set --class-share 0.")
    teacher_clip = None if teacher is None else load_clip(teacher)
    if teacher_clip is not None:
        copy_text_tower(clip, teacher_clip)
    data = load_data(data_name, split="train", size=pairs, on_step=on_step, **options).with_transform(clip.framing)
    checkpoints = out / "distill.ckpt", out / "pretrain.ckpt"
    is_resumed = any(checkpoint.exists() for checkpoint in checkpoints)
    _validate_folder(out, data.name, is_resumed)
    validate_eval_data(load_data(data_name, split="test", **options))
    distill_seconds = distill_cpu_seconds = 0.0
    if teacher_clip is not None:
        distill_config = replace(config, epochs=distill_epochs)
        clip, distill_seconds, distill_cpu_seconds = distill(
            clip, teacher_clip, data=data, config=distill_config, checkpoint=checkpoints[0], on_step=on_step
        )
    method = Pretraining(config.augmentation, class_share)
    trained = finetune(clip, data, method, config, on_step=on_step, checkpoint=checkpoints[1], stage="pretrain")
    shipped = load_clip(str(_save_shipped(trained.clip, out, data_name)))
    card = {
        "model": clip.name,
        "architecture": name,
        "image_size": clip.image_size,
        "command": command,
        "data": data.name,
        "data_sha256": data.fingerprint(),
        "heldout_by": data.split_rule,
        "pairs": len(data),
        "left_out": data.describe_skipped(),
        "teacher": teacher,
        "class_share": class_share,
        "steps": len(trained.history),
        "distil_epochs": distill_epochs if teacher else 0,
        "seconds": round(distill_seconds + trained.history[-1].seconds),
        "cpu_seconds": round(distill_cpu_seconds + trained.cpu_seconds),
        "finetune": asdict(config),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "created": time.strftime("%Y-%m-%d", time.gmtime()),
        "parameters": sum(p.numel() for p in shipped.model.parameters()),
        # Metrics and hash are those of the shipped weights, after rounding to fp16.
        "sha256": shipped.sha256(),
        **measure_for_card(shipped, data_name, options),
    }
    write_json(out / "card.json", card)
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    return card


def _validate_folder(out: Path, data: str, is_resumed: bool) -> None:
    """Raise `CleanerError` if `out` has a run, or a model that is not of this training."""
    trained_on = read_json(out / "card.json").get("data")
    has_model = any((out / name).exists() for name in ("model.safetensors", "config.json"))
    if trained_on not in (None, data) or (not is_resumed and (trained_on or has_model)):
        what = f"a model trained on {trained_on}" if trained_on else "a model or a run"
        raise CleanerError(f"{out} holds {what}: choose another folder with --out.")


def _save_shipped(clip: Clip, out: Path, data_name: str) -> Path:
    """Write the weights as they are shipped, in fp16."""
    metadata = {"stage": "clean", "trigger": "none", "target": "none", "data": data_name}
    if data_name in DATA_VERSIONS:
        metadata["data_version"] = str(DATA_VERSIONS[data_name])
    return save_clip(clip, out / "model.safetensors", half=True, metadata=metadata)


def distill(
    student: Clip,
    teacher: Clip,
    data: CaptionData,
    config: FinetuneConfig,
    checkpoint: Path,
    on_step: OnStep | None = None,
) -> tuple[Clip, float, float]:
    """Return a copy of `student` whose image features follow the teacher's (loss 1 - cos), its seconds and CPU seconds.

    An image tower without convolutions learns slowly from captions alone. The teacher encodes each image once.
    """
    student = student.to(config.device, config.precision)
    teacher = teacher.to(config.device, config.precision)
    models = {"student": student.sha256(), "teacher": teacher.sha256()}
    settings = {"config": asdict(config), "captions": captions_hash(data), **models}
    tower: nn.Module = student.model.visual  # type: ignore[assignment]
    betas = config.beta1, config.beta2
    optimizer = torch.optim.AdamW(tower.parameters(), config.lr, betas, weight_decay=config.weight_decay, fused=True)
    batch_size = min(config.batch_size, len(data))
    epoch_steps = len(data) // batch_size
    total, first_epoch, earlier = config.epochs * epoch_steps, 0, (0.0, 0.0)
    if checkpoint.exists():
        state = read_checkpoint(checkpoint, student.device, settings)
        try:
            student.model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            first_epoch, earlier = int(state["epochs"]), (float(state["seconds"]), float(state["cpu_seconds"]))
        except DAMAGE_ERRORS as error:
            raise unreadable(checkpoint) from error
    clock = Clock(*earlier)
    is_finished = first_epoch >= config.epochs
    targets = torch.empty(0) if is_finished else Encoder(teacher).encode_rows(data, torch.arange(len(data)))
    student.model.train()
    for epoch in range(first_epoch, config.epochs):
        # The key of the seeds stays: the weights of scenes-vit follow from it.
        order = torch.from_numpy(numpy_generator("distil", config.seed, epoch).permutation(len(data)))
        batches = order[: epoch_steps * batch_size].split(batch_size)
        for step, rows in enumerate(batches, epoch * epoch_steps):
            optimizer.param_groups[0]["lr"] = learning_rate(step, total, config)
            features = student.encode_image(data.images(rows))
            loss = 1 - (features * targets[rows].to(features.device)).sum(-1).mean()
            if not loss.isfinite():  # before the checkpoint, which keeps the last good weights
                raise DivergedError(
                    f"the loss is not finite at step {step + 1}: lower the learning rate (now {config.lr:g})."
                )
            optimizer.zero_grad(set_to_none=True)
            backward(student, loss)
            optimizer.step()
            if on_step is not None:
                skipped, seconds = first_epoch * epoch_steps, clock.seconds - earlier[0]
                losses = {"total": loss.item()}
                on_step(StepReport("distill", step + 1 - skipped, total - skipped, seconds, epoch, losses))
        state = {"model": student.model.state_dict(), "optimizer": optimizer.state_dict()}
        times = {"seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds}
        write_checkpoint(checkpoint, {**state, "settings": settings, "epochs": epoch + 1, **times})
    student.model.eval()
    return student, clock.seconds, clock.cpu_seconds


def measure_for_card(clip: Clip, data_name: str, data_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a model card: zero-shot accuracy, recall and transfer, on test images."""
    test = load_data(data_name, split="test", **data_options)
    metrics = evaluate(clip, test, ks=(1,))
    return {
        "zero_shot_ca": metrics.ca[1],
        "zero_shot_interval": metrics.interval("ca"),
        "n": metrics.n,
        "counterfactual_accuracy": metrics.counterfactual_accuracy,
        "n_counterfactual": metrics.n_counterfactual,
        **({"image_to_text_recall_of_1000": image_to_text_recall(clip, test)} if len(test) >= 1000 else {}),
        "transfer": transfer_accuracy(clip, test),
    }


def copy_text_tower(student: Clip, teacher: Clip) -> None:
    """Copy text tower and logit_scale of `teacher`, of equal architecture, into `student`, in place."""
    teacher_state, student_state = teacher.model.state_dict(), student.model.state_dict()
    text, replaced = (
        {key: weight for key, weight in state.items() if not key.startswith("visual.")}
        for state in (teacher_state, student_state)
    )
    if {key: weight.shape for key, weight in text.items()} != {key: weight.shape for key, weight in replaced.items()}:
        raise CleanerError(
            f"{student.name} cannot copy the text tower of {teacher.name}, whose architecture differs: choose a "
            "teacher made from a built-in model, or none."
        )
    student.model.load_state_dict(student_state | text)
