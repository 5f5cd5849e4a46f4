"""Tables of full-size models and large data: seconds and memory."""

from __future__ import annotations

from collections.abc import Sequence
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
    table = markdown_table(("in a new process", "first time, s", "again, s"), steps)
    warm = max(row["warm"] for row in result["steps"] if "warm" in row)
    peak = max(row["peak_mb"] for row in result["steps"])
    return (
        f"{table}\n\n`{result['model']}`, generated photos. In a new process each step starts with an empty cache, so "
        "its first time includes the prompts of all classes; in the app, opening the model encodes them. A further "
        f"image in Try it: {warm:.1f} s. Peak memory of a new process: {peak:,.0f} MB. "
        f"{describe_pages(result['pages'])}{describe_origin(result)}"
    )


def describe_pages(pages: Sequence[dict[str, Any]]) -> str:
    """Return how long the pages take on their first and second visits, and the memory of the server."""
    seconds = {row["page"]: row["seconds"] for row in pages}
    first, second = (max(s for page, s in seconds.items() if page.endswith(f"{n} visit")) for n in ("first", "second"))
    memory = max(row["server_mb"] for row in pages)
    return (
        f"In the app: {seconds['open model']:.1f} s to open the model, at most {first:.1f} s for the first visit to a "
        f"page and {second:.1f} s for the second; the server takes {memory:,.0f} MB. "
    )


def describe_step(row: dict[str, Any]) -> str:
    """Return what a step did, in words."""
    parts = [STEP_NAMES[row["step"]]]
    if "n" in row:
        parts.append(f"{row['n']} photos")
    if "classes" in row:
        parts.append(f"{row['classes']} classes, {row['templates']} prompts each")
    return ", ".join(parts)
