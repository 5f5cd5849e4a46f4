"""Time of each tower's forward and backward pass: python -m benchmarks.towers

The models are interleaved over several rounds and compared with the first one; ratios are medians over the rounds.
Measure on an idle machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import tyro
from torch import Tensor

from benchmarks import RESULTS_DIR, protocol
from benchmarks.bare_step import read_clock
from benchmarks.step import load_or_create, median_ratio, rounded_median
from cleaner import presets
from cleaner.data.base import load_data
from cleaner.models.clip import Clip

RESULT_PATH = RESULTS_DIR / "towers.json"
WARM_PASSES = 3


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    models: tuple[str, ...] = ("scenes-rn", "scenes-lite", "scenes-vit")
    """Built-in models; the first one is what the others are compared with."""
    passes: int = 20
    """Passes of one measurement."""
    rounds: int = 5
    """Interleaved rounds."""


def main(options: Options) -> None:
    """Measure, write and print."""
    protocol.start()
    batch = presets.DEFEND.batch_size
    seconds: dict[str, dict[str, list[float]]] = {name: {"image": [], "text": []} for name in options.models}
    towers = {name: prepare_towers(load_or_create(name), batch) for name in options.models}
    for encoders in towers.values():
        for encode in encoders.values():
            time_passes(encode, WARM_PASSES)
    for _ in range(options.rounds):
        for name, encoders in towers.items():
            for tower, encode in encoders.items():
                seconds[name][tower].append(time_passes(encode, options.passes))
    first = seconds[options.models[0]]
    rows: list[dict[str, Any]] = [
        {
            "model": name,
            "tower": tower,
            "seconds": rounded_median(times),
            "ratio": median_ratio(times, first[tower]),
        }
        for name, measured in seconds.items()
        for tower, times in measured.items()
    ]
    protocol.write_result(
        RESULT_PATH,
        seeds=[0],
        batch_size=batch,
        passes=options.passes,
        rounds=options.rounds,
        threads=torch.get_num_threads(),
        rows=rows,
    )
    print(*rows, sep="\n")


def prepare_towers(clip: Clip, batch_size: int) -> dict[str, Callable[[], Tensor]]:
    """Return a function for each tower that encodes a batch which is ready to encode."""
    clip = clip.to("cpu")
    clip.model.train()
    data = load_data("scenes", split="clean", size=batch_size).with_transform(clip.framing)
    images, texts = data.images(range(batch_size)), clip.pack_texts(data.captions)
    return {"image": lambda: clip.encode_image(images), "text": lambda: clip.encode_packed(texts)}


def time_passes(encode: Callable[[], Tensor], passes: int) -> float:
    """Return the seconds of one forward and backward pass; gradients add up, which costs no time."""
    start = read_clock()
    for _ in range(passes):
        encode().sum().backward()
    return (read_clock() - start) / passes


if __name__ == "__main__":
    main(tyro.cli(Options))
