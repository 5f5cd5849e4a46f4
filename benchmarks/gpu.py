"""A GPU in at most eight minutes: python -m benchmarks.gpu

ViT-B-32 and RN50 with random weights through finetuning, CleanCLIP and TA-Cleaner with K 10% and 100%: images per
second, share of the bare step's rate (`benchmarks/bare_step.py`), the bare step's utilization of the card's peak (MFU),
peak memory, and the wait for images that are decoded from JPEG files. Then the tests marked `gpu`. What fails, or is
missing once the time is used up, is left out and named in the result, benchmarks/results/gpu-CARD.json, which is
written after each measurement. `--device cpu --tiny` runs the same code on a CPU. Written without a GPU at hand: no
result of one is in this repository yet.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
import tyro
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import RESULTS_DIR, protocol
from benchmarks.bare_step import prepare_step, time_bare_step
from cleaner.cli.output import format_table
from cleaner.config import FinetuneConfig
from cleaner.data.augment import augment
from cleaner.data.base import CaptionData, Indices, TensorData, load_data
from cleaner.defenses import DEFENSES, Defense
from cleaner.files import source_root
from cleaner.models.architectures import get_open_clip_architecture
from cleaner.models.clip import Clip, build_clip, new_clip
from cleaner.models.devices import device_name, empty_gpu_cache, pick_device, pick_precision
from cleaner.training.loop import finetune
from cleaner.training.optimizer import training_mode
from cleaner.types import CleanerError

PEAK_TFLOPS = {
    "H100 80GB HBM3": 989.0,
    "H100 PCIe": 756.0,
    "H200": 989.0,
    "A100-SXM4-40GB": 312.0,
    "A100-SXM4-80GB": 312.0,
    "A100-PCIE-40GB": 312.0,
    "A100 80GB PCIe": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "GeForce RTX 4090": 165.0,
}
"""A card's name without "NVIDIA" -> peak of dense bf16 matrix products, in 10^12 operations per second, from its data
sheet. Whole names: an L40, an A10G, an RTX A1000 and an H100 NVL have other peaks than the cards in their names."""
METHODS: dict[str, Defense] = {
    "finetune": DEFENSES["finetune"](),
    "cleanclip": DEFENSES["cleanclip"](),
    "ta_cleaner, K 10%": DEFENSES["ta_cleaner"](share=0.1),
    "ta_cleaner, K 100%": DEFENSES["ta_cleaner"](share=1.0),
}
PHOTO_SIZE = (500, 375)
WARM_STEPS, MEMORY_IMAGES = 2, 64


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    models: tuple[str, ...] = ("ViT-B-32", "RN50")
    """Architectures of open_clip; their weights are random."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where to train."""
    batch_size: int = 256
    """Pairs per step."""
    steps: int = 12
    """Timed steps of a measurement."""
    minutes: float = 8.0
    """Time for everything."""
    peak_tflops: float = 0.0
    """Peak of the card in 10^12 operations per second; 0: looked up by its name."""
    tiny: bool = False
    """A small built-in model, batch 8 and two steps: checks the code, not the card."""
    tests: bool = True
    """Also run the tests marked gpu."""
    out: Path | None = None
    """Result file."""


@dataclass
class Budget:
    """The time that is left, and what was left out: for lack of it, or because it failed."""

    minutes: float
    start: float = field(default_factory=time.monotonic)
    skipped: list[str] = field(default_factory=list)

    def allows(self, name: str) -> bool:
        """Return whether there is time for one more measurement; note it down otherwise."""
        is_left = time.monotonic() - self.start < 60 * self.minutes
        if not is_left:
            self.skipped.append(name)
        return is_left

    @property
    def seconds_left(self) -> float:
        """Seconds until the end."""
        return max(60 * self.minutes - (time.monotonic() - self.start), 0.0)


def shrink(options: Options) -> Options:
    """Return the options of the twin on a CPU."""
    return replace(options, models=("scenes-lite",), batch_size=8, steps=2) if options.tiny else options


def load_model(name: str) -> Clip:
    """Return a model with random weights."""
    torch.manual_seed(0)
    return new_clip(name) if name.startswith("scenes-") else build_clip(get_open_clip_architecture(name), name)


class RepeatedData(TensorData):
    """Pairs that share a few images in memory, so that no image is decoded."""

    def __init__(self, images: torch.Tensor, captions: list[str]) -> None:
        super().__init__(images[:1].expand(len(captions), -1, -1, -1), captions, ["a", "b"], [0] * len(captions))
        self._few = images

    def images(self, indices: Indices) -> torch.Tensor:
        return self._few[torch.as_tensor(indices, dtype=torch.long) % len(self._few)]


def make_data(side: int, pairs: int) -> CaptionData:
    """Return pairs with the captions of Scenes and random images."""
    captions = load_data("scenes", split="clean", size=pairs).captions
    few = torch.rand(MEMORY_IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
    return RepeatedData(few, captions)


def measure_method(
    clip: Clip, data: CaptionData, defense: Defense, config: FinetuneConfig, peak_tflops: float | None
) -> dict[str, Any]:
    """Return the rates of one method: of the training loop, and of its bare step."""
    few = data.subset(range(min(WARM_STEPS * config.batch_size, len(data))))
    finetune(clip, few, defense, replace(config, steps=WARM_STEPS))
    reset_memory(config.device)
    trained = finetune(clip, data, defense, config)
    seconds = trained.seconds / len(trained.history)
    peak_gb = read_memory(config.device) / 1e9
    time_bare_step(clip, few, defense, config)
    bare = time_bare_step(clip, data, defense, config)
    flops = count_flops(clip, few, defense, config)
    return {
        "images_per_second": config.batch_size / seconds,
        "of_bare_rate": bare / seconds,
        # Of the bare step: the loop may wait for its loader, which says nothing about the card.
        "tflops": flops / bare / 1e12,
        "mfu": flops / bare / 1e12 / peak_tflops if peak_tflops else None,
        "peak_gb": peak_gb,
    }


def reset_memory(device: str) -> None:
    """Start a new measurement of the peak memory of a GPU."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def read_memory(device: str) -> int:
    """Return the peak bytes on a GPU; on a CPU those of the process now."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else psutil.Process().memory_info().rss


def count_flops(clip: Clip, data: CaptionData, defense: Defense, config: FinetuneConfig) -> float:
    """Return the floating point operations of a step, forward and backward."""
    encoder, batches = prepare_step(clip, data, defense, config)
    with training_mode(encoder.student.model, config.freeze_bn), FlopCounterMode(display=False) as counter:
        torch.stack(list(defense.losses(encoder.encode(batches[0], 0)).values())).sum().backward()
    return float(counter.get_total_flops())


def measure_loading(clip: Clip, config: FinetuneConfig, folder: Path) -> dict[str, Any]:
    """Return how long training waits for JPEG files, its share of the bare step's rate while it decodes and augments
    them, and how many images per second are decoded and augmented.
    """
    defense, pairs = METHODS["cleanclip"], config.steps * config.batch_size
    files = write_photos(folder, pairs).with_transform(clip.framing)
    memory = make_data(clip.image_size, pairs)
    for data in (files, memory):
        finetune(clip, data.subset(range(config.batch_size)), defense, replace(config, steps=1))
    times = [finetune(clip, data, defense, config).seconds for data in (files, memory)]
    bare = time_bare_step(clip, memory, defense, config)
    start = time.perf_counter()
    images = files.images(range(min(pairs, 256)))
    decoded = len(images) / (time.perf_counter() - start)
    start = time.perf_counter()
    augment(images, config.augmentation, 0, 0, range(len(images)))
    augmented = len(images) / (time.perf_counter() - start)
    wait = max(times[0] - times[1], 0.0) / times[0]
    return {
        "waiting": wait,
        "of_bare_rate": bare / (times[0] / config.steps),
        "decoded_per_second": decoded,
        "augmented_per_second": augmented,
    }


def write_photos(folder: Path, pairs: int) -> CaptionData:
    """Write a table of 64 JPEG files, each named by several pairs; return its training pairs."""
    rng, captions = np.random.default_rng(0), load_data("scenes", split="clean", size=pairs).captions
    for number in range(64):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize(PHOTO_SIZE, Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["filepath", "title", "split"])
        for number, caption in enumerate(captions):
            writer.writerow([f"{'./' * (number // 64)}{number % 64}.jpg", caption, "train"])
        writer.writerow(["0.jpg", captions[0], "test"])
        writer.writerow(["1.jpg", captions[0], "validation"])
    return load_data(str(folder / "pairs.csv"), split="train", check="quick")


def measure_compile(clip: Clip, config: FinetuneConfig) -> dict[str, float]:
    """Return images per second of the image tower, forward and backward, without and with `torch.compile`."""
    images = torch.rand(config.batch_size, 3, clip.image_size, clip.image_size, device=config.device)
    rates = {}
    for name in ("eager", "compiled"):
        model = clip.to(config.device, config.precision)
        if name == "compiled":
            model.model.visual = torch.compile(model.model.visual)  # type: ignore[assignment, arg-type]
        for step in range(WARM_STEPS + config.steps):
            if step == WARM_STEPS:
                synchronize(config.device)
                start = time.perf_counter()
            model.encode_image(images).sum().backward()
        synchronize(config.device)
        rates[name] = config.steps * config.batch_size / (time.perf_counter() - start)
    return rates


def synchronize(device: str) -> None:
    """Wait until a GPU has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def run_tests(seconds: float) -> dict[str, Any]:
    """Run the tests marked gpu; return the summary of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    try:
        done = subprocess.run(command, cwd=source_root(), capture_output=True, text=True, timeout=max(seconds, 1.0))
    except subprocess.TimeoutExpired:
        return {"passed": False, "summary": "out of time"}
    return {"passed": done.returncode == 0, "summary": (done.stdout.strip().splitlines() or [""])[-1]}


def measure(options: Options, device: str, write: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Return everything that there is time for; `write` gets what is measured so far."""
    budget, peak = Budget(options.minutes), options.peak_tflops or find_peak(device_name(device))
    precision = pick_precision(device)
    rows: list[dict[str, Any]] = []
    result: dict[str, Any] = {"precision": precision, "peak_tflops": peak, "rows": rows, "tests": None}
    result["left_out"] = budget.skipped

    def add_row(model: str, method: str, measure_values: Callable[[], dict[str, Any]]) -> None:
        if not budget.allows(f"{model}, {method}"):
            return
        try:
            rows.append({"model": model, "method": method, **measure_values()})
        except (RuntimeError, CleanerError) as error:  # out of memory, or no C compiler
            budget.skipped.append(f"{model}, {method}: {error}")
        empty_gpu_cache()
        write(result)

    for name in options.models:
        clip = load_model(name)
        config = FinetuneConfig(
            lr=1e-6, steps=options.steps, batch_size=options.batch_size, precision=precision, device=device
        )
        data = make_data(clip.image_size, options.steps * options.batch_size)
        for method, defense in METHODS.items():
            add_row(name, method, partial(measure_method, clip, data, defense, config, peak))
        with tempfile.TemporaryDirectory() as place:
            add_row(name, "loading", partial(measure_loading, clip, config, Path(place)))
        if device == "cuda":  # on a CPU it needs a C++ compiler
            add_row(name, "compile", partial(measure_compile, clip, config))
    result["tests"] = run_tests(budget.seconds_left) if options.tests and budget.allows("tests") else None
    write(result)
    return result


def find_peak(name: str) -> float | None:
    """Return a card's peak in 10^12 operations per second; None if it is not listed."""
    return PEAK_TFLOPS.get(name.removeprefix("NVIDIA "))


def main(options: Options) -> None:
    """Measure, print and write."""
    protocol.start()
    options, device = shrink(options), pick_device(options.device).type
    name = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    path = options.out or RESULTS_DIR / f"gpu-{name}.json"
    result = measure(options, device, lambda result: protocol.write_result(path, card=device_name(device), **result))
    lines = [
        (row["model"], row["method"], ", ".join(f"{k} {v:.3g}" for k, v in row.items() if isinstance(v, float)))
        for row in result["rows"]
    ]
    print(format_table(lines, ["model", "method", "measured"]))
    print(f"tests: {result['tests']}; left out: {', '.join(result['left_out']) or 'nothing'}")


if __name__ == "__main__":
    main(tyro.cli(Options))
