"""What the formula of docs/scale.md needs: python -m benchmarks.scale

Counts the operations of each model, and measures on one core what the loader does for each pair. Writes
benchmarks/results/scale.json. With CLEANER_TEST_DATA, the captions are those of CC3M in its cc3m_captions_5k.csv.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import RESULTS_DIR, protocol
from cleaner.data.augment import augment
from cleaner.data.base import load_data
from cleaner.models.architectures import get_open_clip_architecture
from cleaner.models.clip import new_clip
from cleaner.models.framing import ImageTransform, decode_image
from cleaner.models.token_blocks import GPU_BLOCK_ROWS, sort_into_blocks
from cleaner.text import draw_subtexts, eda
from cleaner.training.batch import DrawnPair

MODELS, SIDE, PHOTO_SIZE = ("RN50", "ViT-B-32", "ViT-L-14"), 224, (500, 375)
BATCH, CONTEXT_LENGTH = 64, 77
"""Pairs per GPU in a step; tokens of a text that is padded to the whole context."""


@dataclass(frozen=True)
class Options:
    """Count, measure and write the result file."""

    out: Path = RESULTS_DIR / "scale.json"
    """Result file."""


def main(options: Options) -> None:
    """Count, measure and write."""
    protocol.start(1)
    captions, source = read_captions()
    loader = measure_loader(captions)  # first: it times texts that are new to the caches
    tokens = count_tokens(captions)
    models = {name: count_operations(name, tokens) for name in MODELS}
    protocol.write_result(options.out, seeds=[0], captions=source, tokens=tokens, loader=loader, models=models)


def read_captions() -> tuple[list[str], str]:
    """Return 1,000 captions and what they are of."""
    path = Path(os.environ.get("CLEANER_TEST_DATA", "")) / "cc3m_captions_5k.csv"
    if not path.is_file():
        return load_data("scenes", split="clean", size=1000).captions, "Scenes"
    with path.open(encoding="utf-8", newline="") as file:
        return [row["caption"] for row in csv.DictReader(file)][:1000], "CC3M"


def write_subtexts(captions: Sequence[str]) -> list[str]:
    """Return the subtexts of captions, made as the loader makes them: with the words that the mask compares."""
    drawn = []
    for index, caption in enumerate(captions):
        pair = draw_subtexts(caption, seed=0, epoch=0, index=index)
        if pair.positive is not None and pair.negatives:
            drawn.append(DrawnPair.create(index, caption, pair))
    return [text for each in drawn for text in (each.positive, *each.negatives)]


def count_tokens(captions: Sequence[str]) -> float:
    """Return the tokens per text, padding included, that a GPU encodes in TA-Cleaner's steps with K 100%."""
    clip, tokens, texts = new_clip("scenes-lite"), 0, 0
    for start in range(0, len(captions) - BATCH + 1, BATCH):
        own = captions[start : start + BATCH]
        step = [*own, *(eda(caption, seed=i) for i, caption in enumerate(own)), *write_subtexts(own)]
        _, sizes, _ = sort_into_blocks(clip.tokenize(list(dict.fromkeys(step))), CONTEXT_LENGTH, GPU_BLOCK_ROWS)
        tokens, texts = tokens + sum(rows * columns for rows, columns in sizes), texts + len(step)
    return tokens / texts


def count_operations(name: str, tokens: float) -> dict[str, float]:
    """Return a model's parameters, width, and operations of a forward pass; its weights are on the meta device."""
    architecture = get_open_clip_architecture(name)
    with torch.device("meta"), torch.no_grad():
        model: Any = architecture.build()
        with FlopCounterMode(display=False) as image:
            model.encode_image(torch.empty(1, 3, SIDE, SIDE))
        with FlopCounterMode(display=False) as text:
            model.encode_text(torch.zeros(1, model.context_length, dtype=torch.long))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "width": architecture.embed_dim,
        "image": image.get_total_flops(),
        "text": text.get_total_flops() / model.context_length * tokens,  # the work grows with the encoded tokens
    }


def measure_loader(captions: Sequence[str]) -> dict[str, float]:
    """Return processor seconds of one core, from JPEG files of 500 x 375 px to views of 224 px and subtexts."""
    coarse = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file, framing = io.BytesIO(), ImageTransform(SIDE)
    Image.fromarray(coarse).resize(PHOTO_SIZE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)

    def decode() -> torch.Tensor:
        return framing(decode_image(file.getvalue(), "photo", SIDE)).float() / 255

    images, known, new = torch.stack([decode()] * 32), captions[:-256], captions[-256:]
    write_subtexts(known)  # the lexicon, the tagger and common words are loaded before the clock starts
    return {
        "decode": min(seconds(decode) for _ in range(64)),
        "augment": min(seconds(lambda: augment(images, "autoaugment", 0, 0, range(32))) for _ in range(3)) / 32,
        "subtexts": seconds(lambda: write_subtexts(new)) / len(new),  # once: parses are kept
    }


def seconds(call: Callable[[], Any]) -> float:
    """Return the processor seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    main(tyro.cli(Options))
