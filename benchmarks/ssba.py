"""Train the networks of the trigger ssba: python -m benchmarks.ssba --photos cifar10.tar

Encoder and decoder learn together on Scenes in all its styles and on generated textures: random bits are hidden and
must be decoded from the image after rounding to 8 bits. Photos are for measurement only. Writes weights and card to
assets/ssba, and a checkpoint each epoch, from which the same call continues.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from torch import Generator, Tensor

from benchmarks import protocol, textures
from cleaner.attacks import TRIGGERS
from cleaner.attacks.steganography import (
    BITS,
    INPUT_SIZE,
    WEIGHTS_FILE,
    StegoNetworks,
    load_networks,
    resize_bilinear,
    save_networks,
)
from cleaner.data.base import CaptionData, load_data
from cleaner.data.images import psnr
from cleaner.files import file_sha256, write_json
from cleaner.models.framing import resize_square
from cleaner.models.saving import write_checkpoint
from cleaner.seed import torch_generator

SCENES_IMAGES, VARIANT_IMAGES = 6000, 2000
"""Images of Scenes, and of each of its other styles."""
PSNR_RANGE, EASY_PSNR = (30.0, 38.0), 10.0
"""Target PSNR in dB, drawn per image, and that of the first steps."""
MAX_COSINE = 0.5
"""Largest cosine between two residuals with the same bits that costs nothing."""
EVAL_IMAGES = 2000


@dataclass(frozen=True)
class Options:
    """Train, measure, write weights and card."""

    steps: int = 1000
    """Training steps."""
    epoch: int = 100
    """Steps between checkpoints."""
    batch_size: int = 16
    """Images per step, an even number: half from Scenes, half textures."""
    lr: float = 2e-3
    """Peak learning rate."""
    easy_steps: int = 200
    """Steps in which the residual fades from clearly visible to its target PSNR."""
    visibility_weight: float = 0.1
    """Weight of the loss that moves the residual to textured regions."""
    variety_weight: float = 1.0
    """Weight of the loss that makes the residuals of two images differ."""
    seed: int = 0
    """Seed of all random draws."""
    photos: tuple[str, ...] = ()
    """Data with photos for measurement; none is used in training."""
    out: Path = WEIGHTS_FILE.parent
    """Folder for weights and card."""


def main(options: Options) -> None:
    """Train missing steps; write weights and card."""
    protocol.read_started_commit()
    scenes = load_data("scenes", split="train", size=SCENES_IMAGES)
    datasets = [scenes, *(load_data(name, split="train", size=VARIANT_IMAGES) for name in scenes.transfer_variants)]
    checkpoint = options.out / "ssba.ckpt"
    pair, seconds = train(datasets, options, checkpoint)
    path = options.out / WEIGHTS_FILE.name
    save_networks(pair, path, {"stage": "clean", "trigger": "ssba"})
    path.chmod(0o644)
    load_networks.cache_clear()
    shipped = load_networks(path)
    card = {
        **protocol.add_provenance(seeds=[options.seed]),
        "model": "ssba",
        "bits": BITS,
        "side": INPUT_SIZE,
        "parameters": sum(p.numel() for p in shipped.parameters()),
        "steps": options.steps,
        "seconds": round(seconds),
        "created": time.strftime("%Y-%m-%d", time.gmtime()),
        "data": {data.name: len(data) for data in datasets}
        | {"made": "clouds, slopes, leaves (benchmarks/textures.py)"},
        "data_sha256": {data.name: data.fingerprint() for data in datasets},
        "options": {key: value for key, value in asdict(options).items() if key not in ("out", "photos")},
        # Metrics and hash are of the shipped weights, which are rounded to fp16.
        "sha256": file_sha256(path),
        "psnr_db": TRIGGERS["ssba"]().psnr,
        "figures": measure_all(shipped, options.photos),
    }
    write_json(options.out / "card.json", card)
    checkpoint.unlink()
    print(card["figures"])


def train(datasets: list[CaptionData], options: Options, checkpoint: Path) -> tuple[StegoNetworks, float]:
    """Return the trained networks and the seconds it took; continues from `checkpoint` and writes it each epoch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        pair = StegoNetworks()
    adam = torch.optim.Adam(pair.parameters(), options.lr)
    first_step, earlier_seconds = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        pair.load_state_dict(state["pair"])
        adam.load_state_dict(state["adam"])
        first_step, earlier_seconds = state["steps"], state["seconds"]
    start = time.perf_counter()
    for step in range(first_step, options.steps):
        generator = torch_generator("ssba", options.seed, step)
        adam.param_groups[0]["lr"] = options.lr * lr_factor(step, options.steps)
        images = draw_batch(datasets, options.batch_size, generator)
        losses = compute_losses(pair, images, step, options, generator)
        adam.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(pair.parameters(), 1.0)
        adam.step()
        if (step + 1) % options.epoch == 0 or step + 1 == options.steps:
            seconds = earlier_seconds + time.perf_counter() - start
            state = {"pair": pair.state_dict(), "adam": adam.state_dict(), "steps": step + 1, "seconds": seconds}
            write_checkpoint(checkpoint, state)
            values = ", ".join(f"{name} {value.item():.4f}" for name, value in losses.items())
            print(f"step {step + 1} of {options.steps}: {values}; {seconds:.0f} s", flush=True)
    return pair.eval(), earlier_seconds + time.perf_counter() - start


def lr_factor(step: int, steps: int) -> float:
    """Return the share of the peak learning rate: 50 warmup steps, then cosine decay."""
    return min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))


def draw_batch(datasets: list[CaptionData], size: int, generator: Generator) -> Tensor:
    """Return images (N, 3, S, S) in random views: half from the data sets in equal parts, half textures."""
    texture_count, parts = size // 2, []
    for data, count in zip(datasets, split_evenly(size - texture_count, len(datasets)), strict=True):
        parts.append(data.images(torch.randint(len(data), (count,), generator=generator)))
    kinds = (textures.power_law_noise, textures.color_gradients, textures.dead_leaves)
    parts += [
        kind(count, INPUT_SIZE, generator)
        for kind, count in zip(kinds, split_evenly(texture_count, len(kinds)), strict=True)
    ]
    images = torch.cat(parts)
    # augment() blurs the first images of a batch: shuffle, so that these are of all kinds.
    return textures.augment(images[torch.randperm(size, generator=generator)], generator)


def split_evenly(total: int, parts: int) -> list[int]:
    """Return `total` as nearly equal parts, larger ones first."""
    return [total // parts + (i < total % parts) for i in range(parts)]


def compute_losses(
    pair: StegoNetworks, images: Tensor, step: int, options: Options, generator: Generator
) -> dict[str, Tensor]:
    """Return the loss terms: wrong bits, residuals in plain regions, similar residuals.

    reading = mean BCE of the decoder's logits on the image with rounding noise; one of four batches is also shrunk to
    half its size and enlarged. visibility = w mean(r^2 v), v = 1 / (local deviation of the image + 0.05), mean 1 per
    image. variety = w mean(max(0, cos(r_i, r_j) - 0.5)^2), j an image with the same bits as i.
    """
    n = len(images)
    bits = torch.randint(0, 2, (n // 2, BITS), generator=generator).repeat(2, 1)
    faint = PSNR_RANGE[0] + (PSNR_RANGE[1] - PSNR_RANGE[0]) * torch.rand(n, 1, 1, 1, generator=generator)
    ready = min(1.0, step / options.easy_steps)
    faint = EASY_PSNR + (faint - EASY_PSNR) * ready
    triggered = pair.hide(images, bits, faint)
    residual = (triggered - images) * 10 ** (faint / 20)
    visible = (residual.square() * visibility_map(images)).mean()
    one, other = residual.flatten(1).chunk(2)
    alike = (F.cosine_similarity(one, other) - MAX_COSINE).clamp(min=0).square().mean()
    kept = triggered + (torch.rand(triggered.shape, generator=generator) - 0.5) / 255
    if torch.rand(1, generator=generator) < 0.25 * ready:
        kept = resize_bilinear(kept, INPUT_SIZE // 2, INPUT_SIZE // 2)
    reading = F.binary_cross_entropy_with_logits(pair.decode(kept), bits.float())
    late = min(1.0, max(0.0, step / options.easy_steps - 1))
    return {
        "reading": reading,
        "visibility": late * options.visibility_weight * visible,
        "variety": late * options.variety_weight * alike,
    }


def visibility_map(images: Tensor) -> Tensor:
    """Return the visibility of a change at each pixel, (N, 1, S, S), mean 1 per image."""
    grey = images.mean(dim=1, keepdim=True)
    mean, square = (F.avg_pool2d(F.pad(t, (2, 2, 2, 2), mode="reflect"), 5, 1) for t in (grey, grey.square()))
    plain = 1 / ((square - mean.square()).clamp(min=0).sqrt() + 0.05)
    return plain / plain.mean(dim=(2, 3), keepdim=True)


def measure_all(pair: StegoNetworks, photos: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Return the metrics on Scenes' test images, and on photos at the networks' size and at half of it."""
    metrics = {
        f"scenes/test, {INPUT_SIZE} px": measure(pair, load_data("scenes", split="test", size=EVAL_IMAGES), INPUT_SIZE)
    }
    for name in photos:
        data = load_data(name, split="train")
        metrics |= {f"{data.name}, {side} px": measure(pair, data, side) for side in (INPUT_SIZE, INPUT_SIZE // 2)}
    return metrics


@torch.no_grad()
def measure(pair: StegoNetworks, data: CaptionData, side: int) -> dict[str, float]:
    """Return bit accuracy for random bits, PSNR, and the similarity of residuals of different images for equal bits.

    Images are rounded to 8 bits per channel, as in a file. `similarity`: mean cosine of two images' residuals.
    """
    faint, right, noise, same = TRIGGERS["ssba"]().psnr, [], [], []
    for rows in torch.arange(min(EVAL_IMAGES, len(data))).split(50):
        images = resize_square(data.images(rows), side)
        bits = torch.randint(0, 2, (len(rows), BITS), generator=torch_generator("ssba bits", int(rows[0])))
        kept = (pair.hide(images, bits, faint) * 255).round() / 255
        right.append(((pair.decode(kept) > 0) == bits).float().mean(dim=1))
        noise.append(psnr(images, kept))
        residual = F.normalize((pair.hide(images, bits[:1].expand(len(rows), -1), faint) - images).flatten(1), dim=1)
        same.append(((residual @ residual.T).sum() - len(rows)) / (len(rows) * (len(rows) - 1)))
    accuracy, decibel = torch.cat(right), torch.cat(noise)
    return {
        "n": len(accuracy),
        "bit_accuracy": accuracy.mean().item(),
        "psnr_mean": decibel.mean().item(),
        "psnr_min": decibel.min().item(),
        "similarity": torch.stack(same).mean().item(),
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
