"""Tables of trigger inversion from benchmarks/results/inversion.json."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown.cells import (
    Row,
    describe_origins,
    format_mean_range,
    group_rows,
    join_unique,
    markdown_table,
    read_measurement,
)
from cleaner.labels import to_attack_label

COMMAND = "python -m benchmarks.inversion --seeds 3 4 5"
HEADER = (
    "model",
    "attack",
    "suspect right",
    "outlier index",
    "stands out",
    "ASR inverted",
    "ASR true",
    "mask IoU",
    "inside",
    "masked",
    "seconds",
)
AFTER = {"": "backdoored", "unlearn_trigger": "unlearned", "finetune": "finetuned"}
"""Defense -> heading; empty: the backdoored model itself."""
CLEAN_LABEL = "none (clean model)"


def inversion(root: Path) -> str:
    """Return one line per model and attack: mean over seeds, with minimum and maximum where there are several."""
    rows = read_measurement(root, "inversion.json")["rows"]
    table = markdown_table(HEADER, [_format_line(group) for group in group_rows(rows, "model", "trigger")])
    images = int(rows[0]["inversion"]["settings"]["images"])
    return (
        f"{table}\n\n{images:,} unlabeled images, a quarter of them held out for the ASR. Stands out: outlier index of "
        "2 or more; for a clean model this is a false alarm. The clean model is one, searched with each seed. "
        "Inside: share of the inverted mask inside the true one. "
        "Several seeds: mean [minimum, maximum]; seconds: median, while the machine did other work. "
        f"Measured on {describe_origins(rows)}; `{COMMAND}`."
    )


def unlearning(root: Path) -> str:
    """Return one line per model and attack: ASR@1 and CA before and after, mean over seeds with minimum and maximum."""
    rows = [row for row in read_measurement(root, "inversion.json")["rows"] if row.get("after")]
    header = [
        "model",
        "attack",
        "suspect right",
        *(f"{key.upper()} {name}" for key in ("asr", "ca") for name in AFTER.values()),
    ]
    lines = [_format_unlearning(group) for group in group_rows(rows, "model", "trigger")]
    lr = join_unique(f"{row['after']['finetune']['lr']:g}" for row in rows)
    return (
        f"{markdown_table(header, lines)}\n\nAll test images. Pairs and steps of the quick setting, both at {lr}, the "
        "learning rate of plain finetuning; nothing was tried for `unlearn_trigger`. "
        f"{describe_origins(rows)}; `{COMMAND}`."
    )


def _label(rows: list[Row]) -> str:
    """Return the attack of a group."""
    trigger = rows[0]["trigger"]
    return CLEAN_LABEL if trigger is None else to_attack_label(trigger)


def _format_unlearning(rows: list[Row]) -> list[str]:
    figures = [
        format_mean_range(_share(row["after"].get(method, {}) if method else row["metrics"], key) for row in rows)
        for key in ("asr", "ca")
        for method in AFTER
    ]
    right = _count([bool(row["inversion"]["is_right"]) for row in rows])
    return [f"`{rows[0]['model']}`", _label(rows), right, *figures]


def _share(metrics: Mapping[str, Any], key: str) -> float | None:
    """Return ASR@1 or CA; None if it was not measured."""
    return None if not metrics.get(key) else float(metrics[key]["1"])


def _format_line(rows: list[Row]) -> list[str]:
    """Return the cells of the seeds of one attack on one model."""
    found = [row["inversion"] for row in rows]
    is_clean = rows[0]["trigger"] is None
    figures = [format_mean_range((each[key] for each in found), form=form) for key, form in FIGURES]
    right = "-" if is_clean else _count([bool(each["is_right"]) for each in found])
    stands_out = _count([each["is_anomalous"] for each in found])
    seconds = f"{statistics.median(each['seconds'] for each in found):.0f}"
    return [f"`{rows[0]['model']}`", _label(rows), right, figures[0], stands_out, *figures[1:], seconds]


FIGURES = (
    ("outlier_index", "{:.1f}"),
    *((name, "{:.2f}") for name in ("asr", "true_asr", "iou", "inside")),
    ("masked_share", "{:.3f}"),
)


def _count(outcomes: Sequence[bool]) -> str:
    if len(outcomes) == 1:
        return "yes" if outcomes[0] else "no"
    return f"{sum(outcomes)} of {len(outcomes)}"
