"""One of two processes that benchmarks.scale starts: python -m benchmarks.scale_ranks OUT STEPS

Measures the parts of a training step while the other process does the same, then whole trainings with the loop.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scale_cost import BACKWARD, Model
from benchmarks.scale_cost import METHODS as COSTS
from cleaner.config import FinetuneConfig
from cleaner.data.augment import augment
from cleaner.data.base import load_data
from cleaner.defenses import DEFENSES, Defense
from cleaner.files import write_json
from cleaner.losses import Features, clip_loss, in_modal_loss, subtext_loss
from cleaner.models.clip import Clip, new_clip
from cleaner.models.devices import configure_torch
from cleaner.text import draw_subtexts, eda
from cleaner.training import distributed
from cleaner.training.batch import DrawnPair
from cleaner.training.loop import finetune
from cleaner.training.optimizer import build_optimizer
from cleaner.types import StepReport

MODEL, BATCH = "scenes-vit", 32
"""A model without BatchNorm, which no CPU synchronizes; pairs per process."""
REPEATS = 7
METHODS: dict[str, Defense] = {
    "finetune": DEFENSES["finetune"](),
    "cleanclip": DEFENSES["cleanclip"](),
    "ta_cleaner, K 10%": DEFENSES["ta_cleaner"](share=0.1),
    "ta_cleaner, K 100%": DEFENSES["ta_cleaner"](share=1.0),
}


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
"""Processor time is disturbed little by other work on the machine, but does not see one process wait for the other."""


def read_clocks() -> np.ndarray:
    """Return the seconds of each of `CLOCKS`."""
    return np.array([clock() for clock in CLOCKS.values()])


def median_seconds(call: Callable[[], Any], repeats: int = REPEATS) -> np.ndarray:
    """Return the seconds of a call by each of `CLOCKS`, while the other process does the same."""
    call()
    times = []
    for _ in range(repeats):
        dist.barrier()
        start = read_clocks()
        call()
        times.append(read_clocks() - start)
    median: np.ndarray = np.median(times, axis=0)
    return median


def count_flops(call: Callable[[], Any]) -> float:
    """Return the operations of a call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return float(counter.get_total_flops())


def write_subtexts(captions: Sequence[str]) -> list[str]:
    """Return the subtexts of captions, made as the loader makes them: with the words that the mask compares."""
    texts = []
    for index, caption in enumerate(captions):
        pair = draw_subtexts(caption, seed=0, epoch=0, index=index)
        if pair.positive is not None and pair.negatives:
            drawn = DrawnPair.create(index, caption, pair)
            texts += [drawn.positive, *drawn.negatives]
    return texts


def make_features(rows: int, width: int, has_views: bool, share: float) -> Features:
    """Return random unit features as a gather gives them."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return F.normalize(torch.randn(*shape, width, generator=generator), dim=-1).requires_grad_()

    drawn = max(1, round(share * rows)) if share else 0
    return Features(
        image=draw(rows),
        text=draw(rows),
        image_aug=draw(rows) if has_views else None,
        text_aug=draw(rows) if has_views else None,
        positive=draw(drawn) if drawn else None,
        negative=draw(drawn, 3) if drawn else None,
        selected=torch.arange(drawn),
        false_negative=torch.zeros(drawn, drawn, dtype=torch.bool),
        logit_scale=50.0,
    )


def make_loss(f: Features, has_subtexts: bool) -> Callable[[], None]:
    """Return a call that computes a loss, forward and backward."""

    def compute() -> None:
        loss = clip_loss(f)
        if f.image_aug is not None:
            loss = loss + in_modal_loss(f)
        if has_subtexts:
            loss = loss + subtext_loss(f)
        loss.backward()

    return compute


def measure_parts(clip: Clip) -> tuple[Model, dict[str, np.ndarray]]:
    """Return the model's operations, and the parts of a step by each of `CLOCKS`."""
    data = load_data("scenes", split="clean", size=(REPEATS + 2) * BATCH)
    captions, rows = data.captions[:BATCH], range(BATCH)
    # Parses and token ids are kept, but a training meets new texts: each repeat has its own.
    others = [data.captions[start : start + BATCH] for start in range(BATCH, len(data), BATCH)]
    new_captions = iter(others)
    new_texts = iter([[eda(caption, seed=-1 - i) for i, caption in enumerate(texts)] for texts in others])
    subtexts = write_subtexts(captions)
    images = data.images(rows)
    image_flops = count_flops(lambda: clip.encode_image(images)) / BATCH
    caption_flops = count_flops(lambda: clip.encode_text(captions)) / BATCH
    model = Model(
        image_flops=image_flops,
        caption_flops=caption_flops,
        subtext_flops=count_flops(lambda: clip.encode_text(subtexts)) / len(subtexts),
        width=128,
        parameters=sum(p.numel() for p in clip.model.parameters()),
    )
    optimizer = build_optimizer(clip.model, FinetuneConfig())
    packed = clip.pack_texts(captions)
    passes = 1 + BACKWARD
    image_seconds = median_seconds(lambda: clip.encode_image(images).sum().backward())
    text_seconds = median_seconds(lambda: clip.encode_packed(packed).sum().backward())
    update_seconds = median_seconds(lambda: (optimizer.step(), optimizer.zero_grad(set_to_none=False)))
    small, large = torch.zeros(1024), torch.zeros(4_000_000)
    small_seconds = median_seconds(lambda: dist.all_reduce(small), 21)
    large_seconds = median_seconds(lambda: dist.all_reduce(large))
    parts = {
        "image_rate": passes * BATCH * image_flops / image_seconds,
        "text_rate": passes * BATCH * caption_flops / text_seconds,
        "update_rate": model.parameters / update_seconds,
        # A ring of two sends each half once in either phase: as many bytes as the tensor has.
        "bandwidth": 4 * len(large) / large_seconds,
        "latency": small_seconds / 2,
        "decode": median_seconds(lambda: data.images(rows)) / BATCH,
        "augment": median_seconds(lambda: augment(images, "autoaugment", 0, 0, rows)) / BATCH,
        "eda": median_seconds(lambda: [eda(caption, seed=i) for i, caption in enumerate(captions)]) / BATCH,
        "subtexts": median_seconds(lambda: write_subtexts(next(new_captions))) / BATCH,
        "tokenize": median_seconds(lambda: clip.pack_texts(next(new_texts))) / BATCH,
    }
    for name in METHODS:
        cost = COSTS[name]
        features = make_features(2 * BATCH, model.width, cost.images > 1, cost.share)
        parts[f"loss {name}"] = median_seconds(make_loss(features, cost.share > 0))
    return model, parts


def measure_steps(clip: Clip, steps: int) -> dict[str, list[float]]:
    """Return seconds per step of each method's training by each of `CLOCKS`, without the first two steps.

    Only rank 0 sees the steps; other ranks return nothing.
    """
    data = load_data("scenes", split="clean", size=2 * BATCH * (steps + 2))
    seconds = {}
    for name, defense in METHODS.items():
        config = FinetuneConfig(lr=1e-6, steps=steps + 2, batch_size=2 * BATCH, precision="fp32", device="cpu")
        clocks: list[np.ndarray] = []

        def record(report: StepReport, clocks: list[np.ndarray] = clocks) -> None:
            clocks.append(read_clocks())

        dist.barrier()
        finetune(clip, data, defense, config, on_step=record)
        if clocks:
            seconds[name] = ((clocks[-1] - clocks[1]) / steps).tolist()
    return seconds


def main(out: Path, steps: int) -> None:
    """Measure; rank 0 writes the result."""
    torch.set_num_threads(1)
    configure_torch()
    distributed.join_process_group("cpu")
    clip = new_clip(MODEL).to("cpu", "fp32")
    model, parts = measure_parts(clip)
    measured = measure_steps(new_clip(MODEL), steps)
    if distributed.is_rank_zero():
        facts = {"model_name": MODEL, "batch": BATCH, "model": asdict(model)}
        values = {name: seconds.tolist() for name, seconds in parts.items()}
        write_json(out / "rank0.json", {"parts": values, "steps": measured, "facts": facts})
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
