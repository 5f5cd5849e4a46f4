"""Tables of the detectors from benchmarks/results/detection.json."""

from __future__ import annotations

from pathlib import Path

from benchmarks.markdown.captions import format_seeds
from benchmarks.markdown.cells import (
    Row,
    describe_origins,
    format_mean_range,
    group_rows,
    join_unique,
    markdown_table,
    mean,
    read_measurement,
)
from cleaner.labels import to_attack_label, to_label

COMMAND = "python -m benchmarks.detection --seeds 3 4 5"


def detection(root: Path) -> str:
    """Return one table per model: AUROC of each detector on each attack, and ASR and CA without the flagged pairs."""
    groups = group_rows(read_rows(root), "model")
    return "\n\n".join(f"`{group[0]['model']}`, {_describe_rows(group)}\n\n{_auroc_table(group)}" for group in groups)


def read_rows(root: Path) -> list[Row]:
    """Return the measured rows."""
    return list(read_measurement(root, "detection.json")["rows"])


def auroc_columns(rows: list[Row]) -> list[tuple[str, str]]:
    """Return (question, detector) of all detectors of some rows, pairs first."""
    return [(q, name) for q in ("pairs", "image") for name in dict.fromkeys(n for row in rows for n in row[q])]


def mean_auroc(rows: list[Row], question: str, detector: str) -> float | None:
    """Return the mean AUROC of a detector over seeds; None if it was not measured."""
    return mean([row[question][detector]["auroc"] for row in rows if detector in row[question]])


def _describe_rows(rows: list[Row]) -> str:
    """Return seeds, numbers of pairs and images, what was removed, and where the rows come from."""
    pairs = join_unique(f"{row['config']['pairs']:,}" for row in rows)
    images = join_unique(f"{row['images']:,}" for row in rows)
    flagged = join_unique(to_label(row["retrained"]["detector"]) for row in rows)
    share = join_unique(f"{row['retrained']['flagged'] / row['config']['pairs']:.0%}" for row in rows)
    counts = f"seeds {format_seeds(rows)}; n {pairs} pairs, {images} test images"
    retrained = f"retrained: without the {share} of the pairs that the {flagged} flags, before to after"
    return f"{counts}; {retrained}; {describe_origins(rows)}; `{COMMAND}`"


def _auroc_table(rows: list[Row]) -> str:
    columns = auroc_columns(rows)
    lines = [
        [
            to_attack_label(group[0]["trigger"]),
            *(_format_range(group, *column) for column in columns),
            *(_format_retrained(group, metric) for metric in ("asr", "ca")),
        ]
        for group in group_rows(rows, "trigger")
    ]
    kinds = {"pairs": "", "image": " (image)"}
    names = (to_label(name) + kinds[q] for q, name in columns)
    return markdown_table(["attack", *names, "ASR@1, retrained", "CA, retrained"], lines)


def _format_range(rows: list[Row], question: str, detector: str) -> str:
    """Return the mean AUROC; with its bootstrap interval for one seed, else with minimum and maximum."""
    found = [row[question][detector] for row in rows if detector in row[question]]
    interval = found[0]["interval"] if len(found) == 1 else None
    return format_mean_range([each["auroc"] for each in found], interval, form="{:.2f}")


def _format_retrained(rows: list[Row], metric: str) -> str:
    """Return a mean before the flagged pairs were removed, and after with its range over seeds."""
    retrained = [row["retrained"] for row in rows]
    before, after = ([each["metrics"][metric]["1"] for each in source] for source in (rows, retrained))
    return f"{mean(before):.3f} to {format_mean_range(after)}"
