"""Table of docs/scale.md: the formula applied to three models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.markdown.cells import describe_origin, markdown_table, read_measurement

METHODS = {"poison": (1, 0.0), "cleanclip": (2, 0.0), "ta_cleaner, K 10%": (2, 0.1), "ta_cleaner, K 100%": (2, 1.0)}
"""Images of a pair, and as many captions; share of the pairs with four subtexts."""
PEAK, EFFICIENCY = 312e12, (0.25, 0.45)
"""Assumed: an A100's peak for dense bf16 products (its data sheet), and the share of it that training reaches."""
EPOCHS, POISON_PAIRS, CLEAN_PAIRS, THREADS, GPUS = 10, 500_000, 100_000, 16, 8


def count_pair_operations(model: Mapping[str, float], method: str) -> float:
    """Return the operations of a pair in a training step; a backward pass counts as two forward passes."""
    images, share = METHODS[method]
    return 3 * (images * model["image"] + (images + 4 * share) * model["text"])


def count_hours(model: Mapping[str, float], method: str, efficiency: float) -> float:
    """Return the GPU hours of a training at a share of the peak."""
    pairs = EPOCHS * (POISON_PAIRS if method == "poison" else CLEAN_PAIRS)
    return pairs * count_pair_operations(model, method) / (PEAK * efficiency) / 3600


def count_loaded_pairs(loader: Mapping[str, float], method: str) -> float:
    """Return the pairs per second of one loader thread and its decoding threads."""
    images, share = METHODS[method]
    return 1 / max((images - 1) * loader["augment"] + share * loader["subtexts"], loader["decode"] / THREADS)


def scale(root: Path) -> str:
    """Return hours, bytes and rates of each model, with assumptions and origin."""
    result, lines = read_measurement(root, "scale.json"), []
    for name, model in result["models"].items():
        hours = [" to ".join(f"{count_hours(model, m, e):.2f}" for e in EFFICIENCY[::-1]) for m in METHODS]
        rates = [e * PEAK / count_pair_operations(model, "cleanclip") for e in EFFICIENCY]
        sent, state = 8 * model["parameters"] * (1 - 1 / GPUS), 16 * model["parameters"]
        amounts = (f"{state / 1e9:.1f} GB", f"{sent / 1e9:.1f} GB", " to ".join(f"{rate:,.0f}" for rate in rates))
        lines.append((f"`{name}`", f"{model['image'] / 1e9:.1f} / {model['text'] / 1e9:.1f}", *hours, *amounts))
    header = ("model", "operations, 10^9", *(f"{method}, h" for method in METHODS), "state", "gradients", "pairs/s")
    loaded = ", ".join(f"{count_loaded_pairs(result['loader'], m):,.0f} (`{m}`)" for m in METHODS)
    parts = ", ".join(f"{part} {1e3 * seconds:.2f} ms" for part, seconds in result["loader"].items())
    return (
        f"{markdown_table(header, lines)}\n\nOperations of a forward pass: image / text of {result['tokens']:.1f} "
        f"tokens ({result['captions']}). Gradients: sent per step and GPU, {GPUS} GPUs. Pairs/s: CleanCLIP on one GPU. "
        f"The loader prepares, in pairs per second: {loaded}; per image or pair on one core: {parts}. "
        f"{describe_origin(result)}"
    )
