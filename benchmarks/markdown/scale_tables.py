"""Tables of docs/scale.md: GPU hours of the paper's run, what breaks first, predicted and measured steps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.markdown.cells import describe_origin, markdown_table, read_measurement
from benchmarks.scale_cost import (
    BYTES,
    CONTEXT_LENGTH,
    CORES,
    GPU_BATCH,
    GPU_PEAK,
    LINKS,
    METHODS,
    MFU,
    Host,
    Method,
    Model,
    Step,
    count_hours,
    make_gpu,
    predict_step,
)

FILE = "scale.json"
PARTS = {
    "compute": "towers",
    "loss": "loss",
    "update": "optimizer",
    "gather": "gather",
    "reduce": "gradients",
    "tokenize": "tokens",
    "load": "loader thread",
    "decode": "decoding",
}
"""Part of a step -> its name in the tables."""


def scale_hours(root: Path) -> str:
    """Return the GPU hours of each model and method, by number of GPUs."""
    result = read_measurement(root, FILE)
    host = Host(**result["host"])
    lines = []
    for name, values in result["models"].items():
        for method_name, method in METHODS.items():
            cells = [format_hours(Model(**values), method, host, processes) for processes in LINKS]
            lines.append((f"`{name}`", method_name, *cells))
    header = ("model", "method", *(f"{processes} GPU{'s' if processes > 1 else ''}" for processes in LINKS))
    return f"{markdown_table(header, lines)}\n\n{describe(result)}"


def format_hours(model: Model, method: Method, host: Host, processes: int) -> str:
    """Return the GPU hours at both ends of the assumed efficiency; in brackets: with the loader, if that differs."""
    steps = predict_steps(model, method, host, processes)
    device, real = (
        format_range([count_hours(seconds, method, GPU_BATCH) for seconds in times])
        for times in ([step.device for step in steps], [step.seconds for step in steps])
    )
    return device if real == device else f"{device} ({real})"


def format_range(values: Sequence[float]) -> str:
    """Return "low to high", or one figure if both read the same."""
    return " to ".join(dict.fromkeys(map(format_figure, sorted(values))))


def predict_steps(model: Model, method: Method, host: Host, processes: int) -> list[Step]:
    """Return a step at the low and at the high end of the assumed efficiency."""
    return [
        predict_step(model, method, make_gpu(processes, mfu), host, batch=GPU_BATCH, processes=processes) for mfu in MFU
    ]


def format_figure(value: float) -> str:
    """Return two significant digits, without an exponent."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def scale_limits(root: Path) -> str:
    """Return what one process can prepare per second, and what a GPU would need."""
    result = read_measurement(root, FILE)
    host, method = Host(**result["host"]), METHODS["ta_cleaner, K 100%"]
    texts = method.captions + method.subtexts
    ceilings = {
        "AutoAugment at 224 px": (host.augment, 1, "one thread"),
        "subtexts of a pair": (host.subtexts, 1, "the same thread, K 100%"),
        "EDA": (host.eda, 1, "the same thread"),
        "tokens of a pair's texts": (texts * host.tokenize, 1, "the training thread"),
        "decode a JPEG of 500 x 375": (host.decode, CORES, f"{CORES} threads"),
    }
    lines = [
        (part, f"{1e3 * seconds:.2f} ms", where, f"{cores / seconds:,.0f}")
        for part, (seconds, cores, where) in sorted(ceilings.items(), key=lambda item: item[1][1] / item[1][0])
    ]
    some_model = Model(**next(iter(result["models"].values())))
    loads = {name: predict_steps(some_model, method, host, 1)[0].load for name, method in METHODS.items()}
    prepared = ", ".join(f"`{name}` {GPU_BATCH / seconds:,.0f}" for name, seconds in loads.items() if seconds)
    needs = ", ".join(
        f"`{name}` {GPU_BATCH / high.device:,.0f} to {GPU_BATCH / low.device:,.0f}"
        for name, values in result["models"].items()
        for high, low in [predict_steps(Model(**values), METHODS["cleanclip"], host, 1)]
    )
    header = ("part", "one core, per pair", "runs in", "pairs per second")
    return (
        f"{markdown_table(header, lines)}\n\nThe loader thread prepares, in pairs per second: {prepared}. One GPU with "
        f"CleanCLIP would take: {needs}.\n\n{describe_gather(result)}"
    )


def describe_gather(result: dict[str, Any]) -> str:
    """Return the ceiling of the gather: over the measured link of two processes, and over the assumed links."""
    check, host, method = result["validation"], Host(**result["host"]), METHODS["ta_cleaner, K 100%"]
    bandwidth = statistics.median(parts["bandwidth"][0] for parts in (r["parts"] for r in check["measured"]))
    name, model = max(((n, Model(**values)) for n, values in result["models"].items()), key=lambda item: item[1].width)
    per_pair = BYTES * model.width * (method.images + method.captions + method.subtexts)
    assumed = ", ".join(
        f"{n} GPUs {GPU_BATCH / predict_steps(model, method, host, n)[0].gather:,.0f} each" for n in LINKS if n > 1
    )
    rows, seconds = max((int(rows), seconds["ta_cleaner, K 100%"]) for rows, seconds in result["loss_seconds"].items())
    return (
        f"Gather, with K 100% and the widest features (`{name}`, {per_pair / 1e3:.0f} kB per pair), in pairs per "
        f"second: {bandwidth / per_pair:,.0f} at the {bandwidth / 1e9:.1f} GB/s measured between two processes of one "
        f"machine (gloo, a tensor of 16 MB). Computed from the assumed links: {assumed}. The loss after the gather was "
        f"measured on random features in place of gathered ones: {seconds:.1f} s for {rows:,} pairs on one core."
    )


def scale_check(root: Path) -> str:
    """Return measured and predicted steps of two processes on one machine."""
    result = read_measurement(root, FILE)
    check = result["validation"]
    lines = [
        (
            row["method"],
            row["clock"],
            f"{row['measured']:.3f}",
            f"{row['predicted']:.3f}",
            f"{row['predicted'] / row['measured'] - 1:+.0%}",
            describe_parts(row["parts"]),
        )
        for row in check["rows"]
    ]
    header = ("method", "clock", "measured, s", "predicted, s", "off by", "of it")
    caption = (
        f"`{check['model_name']}`, {check['batch']} pairs per process, two processes of one thread (gloo), medians of "
        f"{check['rounds']} rounds of {check['steps']} steps. {describe_origin(result)}"
    )
    return f"{markdown_table(header, lines)}\n\n{caption}"


def describe_parts(parts: dict[str, Any]) -> str:
    """Return the largest parts of a step, with their shares."""
    known = {f.name for f in fields(Step)} & PARTS.keys()
    total = sum(parts[name] for name in known)
    largest = sorted(known, key=lambda name: -parts[name])[:3]
    return ", ".join(f"{PARTS[name]} {parts[name] / total:.0%}" for name in largest)


def describe(result: dict[str, Any]) -> str:
    """Return assumptions and origin."""
    padded = CONTEXT_LENGTH / result["caption_tokens"]
    operations = "; ".join(
        f"`{name}` {values['image_flops'] / 1e9:.1f} / {values['caption_flops'] / 1e9:.2f}"
        for name, values in result["models"].items()
    )
    return (
        f"Range: {MFU[0]:.0%} to {MFU[1]:.0%} of an A100's {GPU_PEAK / 1e12:.0f} TFLOP/s, an assumption. In brackets: "
        f"with the current loader, {CORES} cores per GPU, where that is slower. {GPU_BATCH} pairs per GPU; 10 epochs "
        "of 500,000 pairs to poison, of 100,000 to defend. Counted operations of a forward pass in 10^9, image / "
        f"caption of {result['caption_tokens']:.1f} tokens ({result['captions']}): {operations}. Padded to "
        f"{CONTEXT_LENGTH} tokens, captions would cost {padded:.1f} times as much. Commit "
        f"{result['commit']}; `{result['command']}`."
    )
