"""Tables of the detectors from benchmarks/results/detection.json."""

from __future__ import annotations

from collections.abc import Callable
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
    """Return one table per model: AUROC of each detector on each attack, pairs before images."""
    return _for_each_model(root, _auroc_table)


def detection_retrained(root: Path) -> str:
    """Return one table per model: attack success and accuracy after training without the flagged pairs."""
    return _for_each_model(root, _retrained_table)


def read_rows(root: Path) -> list[Row]:
    """Return the measured rows."""
    return list(read_measurement(root, "detection.json")["rows"])


def auroc_columns(rows: list[Row]) -> list[tuple[str, str]]:
    """Return (question, detector) of all detectors of some rows, pairs first."""
    return [(q, name) for q in ("pairs", "image") for name in dict.fromkeys(n for row in rows for n in row[q])]


def mean_auroc(rows: list[Row], question: str, detector: str) -> float | None:
    """Return the mean AUROC of a detector over seeds; None if it was not measured."""
    return mean([row[question][detector]["auroc"] for row in rows if detector in row[question]])


def _for_each_model(root: Path, make_table: Callable[[list[Row]], str]) -> str:
    groups = group_rows(read_rows(root), "model")
    return "\n\n".join(f"`{group[0]['model']}`, {_describe_rows(group)}\n\n{make_table(group)}" for group in groups)


def _describe_rows(rows: list[Row]) -> str:
    """Return seeds, numbers of pairs and images, and where the rows come from."""
    pairs = join_unique(f"{row['config']['pairs']:,}" for row in rows)
    images = join_unique(f"{row['images']:,}" for row in rows)
    counts = f"seeds {format_seeds(rows)}; n {pairs} pairs, {images} test images"
    return f"{counts}; {describe_origins(rows)}; `{COMMAND}`"


def _auroc_table(rows: list[Row]) -> str:
    columns = auroc_columns(rows)
    lines = [
        [to_attack_label(group[0]["trigger"]), *(_format_range(group, *column) for column in columns)]
        for group in group_rows(rows, "trigger")
    ]
    kinds = {"pairs": "", "image": " (image)"}
    return markdown_table(["attack", *(to_label(name) + kinds[q] for q, name in columns)], lines)


def _format_range(rows: list[Row], question: str, detector: str) -> str:
    """Return the mean AUROC; with its bootstrap interval for one seed, else with minimum and maximum."""
    found = [row[question][detector] for row in rows if detector in row[question]]
    interval = found[0]["interval"] if len(found) == 1 else None
    return format_mean_range([each["auroc"] for each in found], interval, form="{:.2f}")


def _retrained_table(rows: list[Row]) -> str:
    header = ["attack", "flagged by", "flagged", "poisoned caught", "ASR before", "ASR after", "CA before", "CA after"]
    lines = []
    for group in group_rows(rows, "trigger"):
        after = [row["retrained"] for row in group]
        caught = format_mean_range([each["caught"] / each["poisoned"] for each in after], form="{:.0%}")
        figures = [
            format_mean_range([each["metrics"][name]["1"] for each in source])
            for name in ("asr", "ca")
            for source in (group, after)
        ]
        cells = [to_attack_label(group[0]["trigger"]), to_label(after[0]["detector"]), f"{after[0]['flagged']:,}"]
        lines.append([*cells, caught, *figures])
    return markdown_table(header, lines)
