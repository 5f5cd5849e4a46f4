"""Pretraining of the built-in models, from nothing to a model card."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cleaner.config import DATA_VERSIONS, FinetuneConfig
from cleaner.data.augment import augment
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses.base import Defense
from cleaner.evaluation.evaluate import encode_images, evaluate, image_to_text_recall, transfer_accuracy
from cleaner.files import read_json, write_json
from cleaner.losses import Features, clip_loss
from cleaner.models.checkpoints import ASSETS, write_checkpoint
from cleaner.models.clip import Clip, load_clip, new_clip, save_clip
from cleaner.presets import PRETRAIN
from cleaner.seed import numpy_generator
from cleaner.training.loop import captions_hash, finetune, learning_rate, read_checkpoint
from cleaner.types import CleanerError, OnStep, StepReport


@dataclass(frozen=True)
class Pretraining(Defense):
    """clip_loss on pictures that `augmentation` draws anew in each epoch; not a registered defence."""

    augmentation: str

    def perturb(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        return augment(images, self.augmentation, seed, epoch, indices)

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": clip_loss(f)}

    def state_dict(self) -> dict[str, Any]:
        return {"name": "pretraining", "augmentation": self.augmentation}


def pretrain(
    name: str,
    pairs: int = 100_000,
    data_name: str = "scenes",
    data_options: Mapping[str, Any] | None = None,
    image_size: int = 0,
    config: FinetuneConfig = PRETRAIN,
    teacher: str | None = None,
    distill_epochs: int = 6,
    out: Path | None = None,
    on_step: OnStep | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Train the built-in architecture `name` on `pairs` captioned pictures and write weights and model card.

    `data_name` and `data_options` are what `load_data` takes; `image_size` in px, 0: the architecture's own. The model
    is trained on views that `config.augmentation` draws anew in each epoch.

    With a `teacher` (a model name) the student takes over its text tower and its picture tower first learns the
    teacher's picture features (`distill`), for `distill_epochs`; then all is trained as without. A checkpoint in `out`
    is written each epoch; the same call goes on from it. Returns the card, which names the `command` that made it.
    `out` defaults to assets/<name>. Raises `CleanerError` if a model lies there that was trained on other data.
    """
    out = out or ASSETS / name
    options = dict(data_options or {})
    clip = new_clip(name, config.seed, image_size)
    clip.name = out.name
    data = load_data(data_name, split="train", size=pairs, on_step=on_step, **options).with_transform(clip.framing)
    known = read_json(out / "card.json").get("data", data.name)
    if known != data.name:
        raise CleanerError(f"{out} holds a model trained on {known}: choose another folder with --out.")
    distil_seconds = 0.0
    if teacher is not None:
        copy_text_tower(clip, load_clip(teacher))
        distilled = replace(config, epochs=distill_epochs)
        clip, distil_seconds = distill(clip, load_clip(teacher), data, distilled, out / "distil.ckpt", on_step)
    checkpoint = out / "pretrain.ckpt"
    method = Pretraining(config.augmentation)
    trained = finetune(clip, data, method, config, on_step, checkpoint=checkpoint, stage="pretrain")
    metadata = {"stage": "clean", "trigger": "none", "target": "none", "data": data_name}
    if data_name in DATA_VERSIONS:
        metadata["data_version"] = str(DATA_VERSIONS[data_name])
    shipped = load_clip(str(save_clip(trained.clip, out / "model.safetensors", half=True, metadata=metadata)))
    card = {
        "model": clip.name,
        "architecture": name,
        "image_size": clip.image_size,
        "command": command,
        "data": data.name,
        "data_sha256": data.fingerprint(),
        "heldout_by": data.split_rule,
        "pairs": len(data),
        "teacher": teacher,
        "steps": len(trained.history),
        "distil_epochs": distill_epochs if teacher else 0,
        "seconds": round(distil_seconds + trained.history[-1].seconds),
        "finetune": asdict(config),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "created": time.strftime("%Y-%m-%d", time.gmtime()),
        "parameters": sum(p.numel() for p in shipped.model.parameters()),
        # Figures and hash are those of the weights as they are shipped, after rounding to fp16.
        "sha256": shipped.sha256(),
        **measure_for_card(shipped, data_name, options),
    }
    write_json(out / "card.json", card)
    for left in (checkpoint, out / "distil.ckpt"):
        left.unlink(missing_ok=True)
    return card


def distill(
    student: Clip,
    teacher: Clip,
    data: CaptionData,
    config: FinetuneConfig,
    checkpoint: Path,
    on_step: OnStep | None = None,
) -> tuple[Clip, float]:
    """Return a copy of `student` that follows the teacher's picture features, and the seconds it took: loss 1 - cos.

    A picture tower without convolutions learns slowly from captions alone; the teacher's features tell it more per
    picture. The teacher sees each picture once, before training. Raises `CleanerError` for a checkpoint that is broken,
    or of another distillation.
    """
    student = student.to(config.device, config.precision)
    teacher = teacher.to(config.device, config.precision)
    models = {"student": student.sha256(), "teacher": teacher.sha256()}
    settings = {"config": asdict(config), "captions": captions_hash(data), **models}
    tower: nn.Module = student.model.visual  # type: ignore[assignment]
    optimizer = torch.optim.AdamW(tower.parameters(), config.lr, (config.beta1, config.beta2), fused=True)
    optimizer.param_groups[0]["weight_decay"] = config.weight_decay
    batch_size = min(config.batch_size, len(data))
    epoch_steps = len(data) // batch_size
    total, first, spent = config.epochs * epoch_steps, 0, 0.0
    if checkpoint.exists():
        state = read_checkpoint(checkpoint, student.device, settings)
        student.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, spent = state["epochs"], state["seconds"]
    began = time.perf_counter()
    wanted = encode_images(teacher, data, torch.arange(len(data))) if first < config.epochs else torch.empty(0)
    student.model.train()
    for epoch in range(first, config.epochs):
        order = torch.from_numpy(numpy_generator("distil", config.seed, epoch).permutation(len(data)))
        batches = order[: epoch_steps * batch_size].split(batch_size)
        for step, rows in enumerate(batches, epoch * epoch_steps):
            optimizer.param_groups[0]["lr"] = learning_rate(step, total, config)
            features = student.encode_image(data.images(rows))
            loss = 1 - (features * wanted[rows].to(features.device)).sum(-1).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if on_step is not None:
                done = step + 1 - first * epoch_steps
                on_step(
                    StepReport(
                        "distil",
                        done,
                        total - first * epoch_steps,
                        time.perf_counter() - began,
                        epoch,
                        {"total": loss.item()},
                    )
                )
        seconds = spent + time.perf_counter() - began
        state = {"model": student.model.state_dict(), "optimizer": optimizer.state_dict()}
        write_checkpoint(checkpoint, {**state, "settings": settings, "epochs": epoch + 1, "seconds": seconds})
    student.model.eval()
    return student, spent + time.perf_counter() - began


def measure_for_card(clip: Clip, data_name: str, data_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model card says of a model: zero-shot accuracy, recall and transfer, on test pictures."""
    test = load_data(data_name, split="test", **data_options)
    metrics = evaluate(clip, test, ks=(1,))
    return {
        "zero_shot_ca": metrics.ca[1],
        "zero_shot_interval": metrics.interval("ca"),
        "n": metrics.n,
        "counterfactual_accuracy": metrics.counterfactual_accuracy,
        "n_counterfactual": metrics.n_counterfactual,
        "image_to_text_recall_of_1000": image_to_text_recall(clip, test),
        "transfer": transfer_accuracy(clip, test),
    }


def copy_text_tower(student: Clip, teacher: Clip) -> None:
    """Copy text tower and logit_scale of `teacher` into `student` (in place).

    Raises `CleanerError` if their text architectures differ.
    """
    source, own = teacher.model.state_dict(), student.model.state_dict()
    text = {key: weight for key, weight in source.items() if not key.startswith("visual.")}
    if {k: w.shape for k, w in text.items()} != {k: w.shape for k, w in own.items() if not k.startswith("visual.")}:
        raise CleanerError(
            f"{teacher.name} has another text tower than {student.name}, which cannot take it over: choose a teacher "
            "that was made from a built-in model, or none."
        )
    student.model.load_state_dict(own | text)
