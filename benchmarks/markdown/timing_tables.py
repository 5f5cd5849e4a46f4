"""Tables of time: a training step and its parts, watching, predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.markdown.cells import (
    describe_origin,
    format_number,
    join_unique,
    markdown_table,
    read_measurement,
)

STEP_METHODS = ("finetune", "cleanclip", "ta_cleaner, K 10%", "ta_cleaner, K 100%")
"""Methods of the table of steps; the result file has all."""


def step(root: Path) -> str:
    """Return the time of a training step per model and method, and how other times grow."""
    result = read_measurement(root, "step.json")
    header = ("model", "method", "seconds per step", "bare step", "share of the bare rate", "relative to CleanCLIP")
    lines = [
        (
            f"`{model['model']}`",
            row["method"],
            f"{row['seconds']:.3f}",
            f"{row['bare_seconds']:.3f}",
            f"{row['of_bare_rate']:.2f}",
            f"{row['over_cleanclip']:.2f}",
        )
        for model in result["models"]
        for row in model["rows"]
        if row["method"] in STEP_METHODS
    ]
    return f"{markdown_table(header, lines)}\n\n{describe_step_times(result)}"


def describe_step_times(result: dict[str, Any]) -> str:
    """Return what was measured, settings, and the times of texts, preparation and classifiers."""
    models = result["models"]
    preparation = join_unique(
        f"`{model['model']}` " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in model["preparation"].items())
        for model in models
    )
    subtexts = ", ".join(f"{t['seconds']:.2f} s for {t['pairs']:,} pairs" for t in result["texts_of_an_epoch"])
    classifiers = "; ".join(
        f"`{model['model']}` " + ", ".join(f"{t['seconds']:.2f} s for {t['classes']:,}" for t in model["classifier"])
        for model in models
    )
    slowest = {model["model"]: min(model["rows"], key=lambda row: float(row["of_bare_rate"])) for model in models}
    lowest = join_unique(f"`{name}` {row['of_bare_rate']:.2f} ({row['method']})" for name, row in slowest.items())
    clock = "processor time" if result["clock"] == "processor" else "wall time"
    return (
        "Bare: forward, backward and optimizer step of the method on batches that are ready to encode. Lowest share "
        f"over all {max(len(model['rows']) for model in models)} methods timed: {lowest}. "
        f"Processor time to prepare a step of TA-Cleaner, K 100%: {preparation}. "
        f"Batch {result['batch_size']}, {result['precision']}, {result['threads']} thread(s), {clock}; medians of "
        f"{result['rounds']} interleaved rounds of {result['steps']} steps. Subtexts of an epoch, K 10%: "
        f"{subtexts}. A zero-shot classifier, 4 prompts per class: {classifiers}. Peak memory "
        f"{result['peak_mb'] / 1000:.2f} GB. {describe_origin(result)}"
    )


def rival(root: Path) -> str:
    """Return the time of CleanCLIP's step in the published loop, by loader processes, and here, by precision."""
    result = read_measurement(root, "rival.json")
    models = result["models"]
    loaders = list(models[0]["published_seconds"])
    header = (
        "model",
        *(f"published, {count} loader processes" for count in loaders),
        f"here, {result['precision']}",
        "of the best",
        "here, fp32",
        "of the best",
    )
    lines = [
        (
            f"`{model['model']}`",
            *(f"{1000 * model['published_seconds'][count]:.0f} ms" for count in loaders),
            *(
                cell
                for precision in ("auto", "fp32")
                for cell in (f"{1000 * model['seconds'][precision]:.0f} ms", f"{model['of_published'][precision]:.2f}")
            ),
        )
        for model in models
    ]
    return (
        f"{markdown_table(header, lines)}\n\nOf the best: share of the published loop's time with its best number of "
        f"loader processes. Batch {result['batch_size']}, {result['threads']} threads; medians of {result['rounds']} "
        f"rounds in turn, {result['steps']} steps each after {result['warmup_steps']} steps of warm-up. "
        f"{describe_origin(result)}"
    )


def watching(root: Path) -> str:
    """Return the speed of a training with and without a page on it, and the time of the page switches meanwhile."""
    result = read_measurement(root, "watching.json")
    speeds = markdown_table(
        ("page", "steps per second", "of the speed without a page"),
        [(row["phase"], f"{row['steps_per_second']:.1f}", f"{row['of_rate']:.2f}") for row in result["phases"]],
    )
    switches = ", ".join(
        f"{row['page']} {format_number(row.get('later_seconds'), 1)} ({format_number(row.get('idle_seconds'), 1)})"
        for row in result["page_switches"]
    )
    return (
        f"{speeds}\n\nSeconds to switch to a page, without a training in brackets: {switches}. `{result['model']}`; "
        f"medians of {result['rounds']} rounds of {result['seconds']:g} s. {describe_origin(result)}"
    )


def growth(root: Path) -> str:
    """Return seconds and memory of each operation, by pairs and by classes, and the memory of demo and app."""
    result = read_measurement(root, "growth.json")
    tables = []
    for axis, fixed in (("pairs", "classes"), ("classes", "pairs")):
        rows = [row for row in result["rows"] if row["axis"] == axis]
        sizes = [f"{point['size']:,.0f}" for point in rows[0]["points"]]
        lines = [
            (
                row["operation"],
                *(f"{point['seconds']:.1f} s, {point['mb']:.0f} MB" for point in row["points"]),
                f"{row['exponent']:.2f}",
            )
            for row in rows
        ]
        table = markdown_table((f"{axis}, with {result['fixed'][fixed]:,} {fixed}", *sizes, "exponent"), lines)
        tables.append(table)
    memory = result["memory"]
    return (
        "\n\n".join(tables) + f"\n\nMemory is what an operation adds. Exponent: slope of log seconds over log size "
        f"through the three largest sizes. `{result['model']}`, one epoch of training at batch 64, TA-Cleaner with its "
        f"defaults; medians of {result['rounds']}. Peak memory: demo {memory['demo_mb']:,.0f} MB; server "
        f"{memory['server_mb']:,.0f} MB while one visitor opens each page, {memory['with_worker_mb']:,.0f} MB with its "
        f"idle worker. {describe_origin(result)}"
    )
