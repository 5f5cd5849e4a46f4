"""What the paper's run costs on 1, 8 and 64 GPUs, and what breaks first: python -m benchmarks.scale

Counts the operations of RN50, ViT-B-32 and ViT-L-14, measures on one core what a processor must do for each pair
(decode, augment, EDA, subtexts, tokens) and what the loss costs after a gather of many processes, which is simulated
here with random features. Then it checks the arithmetic (`benchmarks/scale_cost.py`): two processes on this machine
measure the parts of a step, from which the steps of whole trainings are predicted and compared with measured ones.
Writes benchmarks/results/scale.json; docs/scale.md is made from it. Runs on a CPU.
"""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image

from benchmarks import RESULTS_DIR, protocol, scale_ranks
from benchmarks.scale_cost import CONTEXT_LENGTH, GPU_BATCH, METHODS, Host, Machine, Model, predict_step
from benchmarks.scale_ranks import make_features, make_loss, write_subtexts
from cleaner.data.augment import augment
from cleaner.data.base import load_data
from cleaner.files import child_environment
from cleaner.models.architectures import get_open_clip_architecture
from cleaner.models.clip import Clip, new_clip
from cleaner.models.framing import ImageTransform, decode_image
from cleaner.models.token_blocks import GPU_BLOCK_ROWS, sort_into_blocks
from cleaner.text import eda

RESULT_PATH = RESULTS_DIR / "scale.json"
MODELS = ("RN50", "ViT-B-32", "ViT-L-14")
GATHERED_ROWS = (64, 512, 4096)
"""Pairs of all processes together: batches of 64 on 1, 8 and 64 GPUs."""
PHOTO_SIZE, SIDE = (500, 375), 224
TIMED_CAPTIONS = 256


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    rounds: int = 3
    """Rounds of the two processes, of which the medians count."""
    steps: int = 12
    """Steps of each measured training."""
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> None:
    """Measure and write."""
    protocol.start(1)
    captions, source = read_captions()
    host = measure_host(captions)  # first: it times texts that are new to the caches
    lengths = count_tokens(captions)
    validation = validate(options)
    result = {
        "captions": source,
        **lengths,
        "models": {name: asdict(count_flops(name, **lengths)) for name in MODELS},
        "host": asdict(host),
        "loss_seconds": {str(rows): measure_loss(rows) for rows in GATHERED_ROWS},
        "validation": validation,
    }
    protocol.write_result(options.out, seeds=[0], **result)


def read_captions() -> tuple[list[str], str]:
    """Return 1,000 captions and what they are: of CC3M if cc3m_captions_5k.csv is below CLEANER_TEST_DATA."""
    path = Path(os.environ.get("CLEANER_TEST_DATA", "")) / "cc3m_captions_5k.csv"
    if not path.is_file():
        return load_data("scenes", split="clean", size=1000).captions, "Scenes"
    with path.open(encoding="utf-8", newline="") as file:
        return [row["caption"] for row in csv.DictReader(file)][:1000], "CC3M"


def count_tokens(captions: Sequence[str]) -> dict[str, float]:
    """Return the tokens per text that a GPU encodes in steps of `GPU_BATCH` pairs, padding included: of captions and
    their EDA copies, and those that subtexts add per subtext.
    """
    clip, encoded, counts = new_clip("scenes-lite"), np.zeros(2), np.zeros(2)
    for start in range(0, len(captions) - GPU_BATCH + 1, GPU_BATCH):
        own = captions[start : start + GPU_BATCH]
        texts, subtexts = [*own, *(eda(caption, seed=i) for i, caption in enumerate(own))], write_subtexts(own)
        alone = count_encoded(clip, texts)
        encoded += alone, count_encoded(clip, [*texts, *subtexts]) - alone
        counts += len(texts), len(subtexts)
    caption_tokens, subtext_tokens = (encoded / counts).tolist()
    return {"caption_tokens": caption_tokens, "subtext_tokens": subtext_tokens}


def count_encoded(clip: Clip, texts: Sequence[str]) -> int:
    """Return the tokens that a GPU encodes for the texts of a step: each different one, padded as its block is."""
    _, sizes, _ = sort_into_blocks(clip.tokenize(list(dict.fromkeys(texts))), CONTEXT_LENGTH, GPU_BLOCK_ROWS)
    return sum(rows * columns for rows, columns in sizes)


def count_flops(name: str, *, caption_tokens: float, subtext_tokens: float) -> Model:
    """Return the operations of a model's towers; nothing is computed, as its weights are on the meta device."""
    architecture = get_open_clip_architecture(name)
    with torch.device("meta"):
        model: Any = architecture.build()
        images = torch.empty(1, 3, SIDE, SIDE)
        texts = torch.zeros(1, model.context_length, dtype=torch.long)

    # The work of a text grows with its encoded tokens.
    per_token = scale_ranks.count_flops(lambda: model.encode_text(texts)) / model.context_length
    return Model(
        image_flops=scale_ranks.count_flops(lambda: model.encode_image(images)),
        caption_flops=per_token * caption_tokens,
        subtext_flops=per_token * subtext_tokens,
        width=architecture.embed_dim,
        parameters=sum(p.numel() for p in model.parameters()),
    )


def seconds_per_item(call: Callable[[], Any], items: int, repeats: int = 3) -> float:
    """Return processor seconds per item, of the fastest repeat."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times) / items


def measure_host(captions: Sequence[str]) -> Host:
    """Return what one core takes per item at 224 px, from JPEG files of 500 x 375 px."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    coarse = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    coarse.resize(PHOTO_SIZE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    content, framing = file.getvalue(), ImageTransform(SIDE)
    images = torch.stack([framing(decode_image(content, "photo", SIDE)).float() / 255] * 32)
    clip, reworded = new_clip("scenes-lite"), list[str]()
    known, new = captions[:-TIMED_CAPTIONS], captions[-TIMED_CAPTIONS:]
    write_subtexts(known)  # the lexicon, the tagger and common words are loaded before the clock starts
    clip.pack_texts(known)
    return Host(
        decode=seconds_per_item(
            lambda: [framing(decode_image(content, "photo", SIDE)).float().div_(255) for _ in range(64)], 64
        ),
        augment=seconds_per_item(lambda: augment(images, "autoaugment", 0, 0, range(32)), 32),
        # Texts once: parses and token ids are kept, but of fewer captions than 100,000, and the texts of EDA are new.
        eda=seconds_per_item(
            lambda: reworded.extend(eda(caption, seed=i) for i, caption in enumerate(new)), len(new), repeats=1
        ),
        subtexts=seconds_per_item(lambda: write_subtexts(new), len(new), repeats=1),
        tokenize=seconds_per_item(lambda: clip.pack_texts(reworded), len(new), repeats=1),
    )


def measure_loss(rows: int, width: int = 512) -> dict[str, float]:
    """Return seconds, forward and backward, of each method's loss on the gathered features of `rows` pairs."""
    return {
        name: seconds_per_item(
            make_loss(make_features(rows, width, method.images > 1, method.share), method.share > 0), 1
        )
        for name, method in METHODS.items()
    }


def validate(options: Options) -> dict[str, Any]:
    """Return the measured parts of a step in two processes, and predicted and measured steps of whole trainings."""
    rounds = [run_ranks(options.steps) for _ in range(options.rounds)]
    facts = rounds[0]["facts"]
    rows = [
        predict_training(facts, rounds, name, clock, position)
        for position, clock in enumerate(scale_ranks.CLOCKS)
        for name in scale_ranks.METHODS
    ]
    return {**facts, "rounds": options.rounds, "steps": options.steps, "measured": rounds, "rows": rows}


def predict_training(
    facts: dict[str, Any], rounds: Sequence[dict[str, Any]], name: str, clock: str, position: int
) -> dict[str, Any]:
    """Return measured and predicted seconds per step of one method by one clock, at `position` of each measurement."""
    parts = {key: statistics.median(r["parts"][key][position] for r in rounds) for key in rounds[0]["parts"]}
    rates = {key: parts[key] for key in ("image_rate", "text_rate", "bandwidth", "latency", "update_rate")}
    step = predict_step(
        Model(**facts["model"]),
        METHODS[name],
        Machine(**rates, is_overlapped=False),  # each process has one core
        Host(**{key: parts[key] for key in ("decode", "augment", "eda", "subtexts", "tokenize")}),
        batch=facts["batch"],
        processes=2,
        loss=parts[f"loss {name}"],
    )
    measured = statistics.median(r["steps"][name][position] for r in rounds)
    return {
        "clock": clock,
        "method": name,
        "measured": measured,
        "predicted": step.seconds,
        "parts": asdict(step),
    }


def run_ranks(steps: int) -> dict[str, Any]:
    """Return what two processes of `benchmarks.scale_ranks` measure, each with one thread."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "benchmarks.scale_ranks", place, str(steps)]
        processes = [
            subprocess.Popen(command, env={**child_environment(), **common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(2)
        ]
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit(f"a process of the two failed ({codes}).")
        return dict(json.loads((Path(place) / "rank0.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(tyro.cli(Options))
