"""Tables of trigger inversion from benchmarks/results/inversion.json."""

from __future__ import annotations

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
AFTER = {"unlearn_trigger": "unlearned", "finetune": "finetuned"}
"""Defense -> heading."""
HEADER = (
    "attack",
    "suspect right",
    "outlier index",
    "stands out",
    "ASR inverted",
    "ASR true",
    "mask IoU",
    "masked",
    *(f"{key} {name}" for key in ("ASR", "CA") for name in AFTER.values()),
)
CLEAN_LABEL = "none (clean model)"


def inversion(root: Path) -> str:
    """Return one line per model and attack: mean over seeds, with minimum and maximum where there are several."""
    rows = read_measurement(root, "inversion.json")["rows"]
    table = markdown_table(HEADER, [_format_line(group) for group in group_rows(rows, "model", "trigger")])
    images = int(rows[0]["inversion"]["settings"]["images"])
    lr = join_unique(f"{row['after']['finetune']['lr']:g}" for row in rows if row.get("after"))
    model = join_unique(row["model"] for row in rows)
    return (
        f"{table}\n\n`{model}`. {images:,} unlabeled images, a quarter of them held out for the ASR. Stands out: "
        "outlier index of 2 or more; for a clean model this is a false alarm. The clean model is one, searched with "
        "each seed. Several seeds: mean [minimum, maximum]. Unlearned, finetuned: ASR@1 and CA on all test images "
        f"after training with pairs and steps of the quick setting, both at {lr}, the rate of plain finetuning; "
        "nothing was tried for `unlearn_trigger`. "
        f"Measured on {describe_origins(rows)}; `{COMMAND}`."
    )


def _label(rows: list[Row]) -> str:
    """Return the attack of a group."""
    trigger = rows[0]["trigger"]
    return CLEAN_LABEL if trigger is None else to_attack_label(trigger)


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
    after = (
        format_mean_range(_share(row["after"][method], key) for row in rows) if rows[0].get("after") else "-"
        for key in ("asr", "ca")
        for method in AFTER
    )
    return [_label(rows), right, figures[0], stands_out, *figures[1:], *after]


FIGURES = (
    ("outlier_index", "{:.1f}"),
    *((name, "{:.2f}") for name in ("asr", "true_asr", "iou")),
    ("masked_share", "{:.3f}"),
)


def _count(outcomes: Sequence[bool]) -> str:
    if len(outcomes) == 1:
        return "yes" if outcomes[0] else "no"
    return f"{sum(outcomes)} of {len(outcomes)}"
