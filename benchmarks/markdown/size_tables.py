"""Tables of full-size models and large data: seconds and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.markdown.cells import (
    describe_origin,
    markdown_table,
    read_measurement,
)

STEP_NAMES = {"evaluate": "zero-shot evaluation", "map": "embedding map", "try": "Try it, first image"}


def full_size(root: Path) -> str:
    """Return how long a full-size model takes, with an empty cache and again, and the memory of the app's server."""
    result = read_measurement(root, "full_size.json")
    seconds = {(row["cache"], describe_step(row)): row["seconds"] for row in result["steps"]}
    names = dict.fromkeys(describe_step(row) for row in result["steps"])
    steps = [(name, *(f"{seconds[cache, name]:.1f}" for cache in ("first", "second"))) for name in names]
    pages = [(row["page"], f"{row['seconds']:.1f}", f"{row['server_mb']:,.0f}") for row in result["pages"][1:]]
    tables = [markdown_table(("in a new process", "first time, s", "again, s"), steps)]
    if pages:
        tables.append(markdown_table(("in the app", "s", "memory of the server, MB"), pages))
    warm = max(row["warm"] for row in result["steps"] if "warm" in row)
    peak = max(row["peak_mb"] for row in result["steps"])
    return "\n\n".join(tables) + (
        f"\n\n`{result['model']}`, generated photos. In a new process each step starts with an empty cache, so its "
        "first time includes the prompts of all classes; in the app, opening the model encodes them. A further image "
        f"in Try it: {warm:.1f} s. Peak memory of a new process: {peak:,.0f} MB. "
        f"{describe_origin(result)}"
    )


def describe_step(row: dict[str, Any]) -> str:
    """Return what a step did, in words."""
    parts = [STEP_NAMES[row["step"]]]
    if "n" in row:
        parts.append(f"{row['n']} photos")
    if "classes" in row:
        parts.append(f"{row['classes']} classes, {row['templates']} prompts each")
    return ", ".join(parts)
