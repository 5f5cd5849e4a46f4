"""Tables of the quick setting: what was chosen, what it does on five seeds, and how long the first minute takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import quick_captions as bench
from benchmarks import vit_rivals as vit
from benchmarks.markdown.captions import describe_protocol
from benchmarks.markdown.cells import (
    Row,
    describe_origin,
    describe_origins,
    format_mean_range,
    format_number,
    group_rows,
    join_unique,
    markdown_table,
    method_label,
    read_measurement,
)
from benchmarks.markdown.comparison import format_summary
from benchmarks.quick_plan import BUDGET, CONFIRM_SEEDS, TRIALS_EACH
from benchmarks.tasks import TaskFile
from cleaner.reports.results import parse_row_metrics

METRICS = ("rate", "CA", "CF", "ASR@1")


def quick_captions(root: Path) -> str:
    """Return the quick setting on clean pairs with full and with mixed captions, of attacks that are measured."""
    file = TaskFile(root / "benchmarks" / "results" / bench.PATH.name)
    chosen, rows = bench.choose_rates(file.rows("trials")), file.rows("rows")
    result = read_measurement(root, "quick_setting.json")
    full = [row for row in result["rows"] if row["model"] == bench.MODEL]
    lost = {name for name, choice in result["chosen"][bench.MODEL].items() if choice["lost_accuracy"]}
    table, used = [], list[Row]()
    for mixed in group_rows(rows, "trigger"):
        attack = mixed[0]["trigger"]
        if len(mixed) < len(CONFIRM_SEEDS) * (1 + len(chosen)):
            continue  # not all methods have all seeds yet
        used += mixed
        for name in (None, *chosen):
            groups = [
                [row for row in group if (row["trigger"], row["defense"]) == (attack, name)] for group in (full, mixed)
            ]
            cells = [cell for group in groups for cell in (_list_rate(group), *_summarize(group))]
            table.append((f"`{attack}`", method_label(name, marked=name in lost), *cells))
    header = ("attack", "defense", *(f"{name}, {kind}" for kind in ("full", "mixed") for name in METRICS))
    hashes = [{(row["trigger"], row["seed"], row["suspect_sha256"]) for row in group} for group in (used, full)]
    others = "" if hashes[0] <= hashes[1] else ", on models backdoored again, whose weights differ"
    caption = (
        f"`{bench.MODEL}`, seeds {', '.join(map(str, CONFIRM_SEEDS))}, mean [minimum, maximum]; full, mixed: captions "
        f"of the clean pairs. {describe_protocol(used)}. Rates on mixed captions: chosen by the rule of the quick "
        f"setting from {TRIALS_EACH} trials of each method, in the form chosen there. Points of validation accuracy "
        f"lost: {_list_costs(chosen)}. †: on full captions no learning rate met the accuracy budget. Planned after the "
        f"figures on full captions were seen{others}. {describe_origins(used)}; `python -m benchmarks.quick_captions`."
    )
    return f"{markdown_table(header, table)}\n\n{caption}"


def vit_rivals(root: Path) -> str:
    """Return RVPT, feature repelling and the other methods on the ViT, of seeds with all of them."""
    file = TaskFile(root / "benchmarks" / "results" / vit.PATH.name)
    chosen = vit.choose_rates(file.rows("trials"))
    lost = [(vit.MODEL, name) for name, choice in chosen.items() if choice["lost_accuracy"]]
    lost += [(vit.MODEL, vit.LONG) for _, name in lost if name == "rvpt"]
    rows = vit.complete_cells(file.rows("rows"))
    summary = format_summary(rows, "python -m benchmarks.vit_rivals", lost)
    (low, *_, high), (prompt_low, *_, prompt_high) = vit.RATES["finetune"], vit.RATES["rvpt"]
    text = (
        f"Captions of the clean pairs: {vit.CAPTIONS}; `ta_cleaner` and `cleanclip_short` shorten all (K 100%). RVPT "
        f"learns prompts from class labels, on the pairs that have one, with AdamW as all methods here. Rates: "
        f"{len(vit.RATES['rvpt'])} trials of each method ({low:g} to {high:g}, of RVPT {prompt_low:g} to "
        f"{prompt_high:g}), validation split, `badnet`, seed {vit.TRIAL_SEED}, {vit.STEPS} steps; the largest rate "
        f"that loses at most {100 * BUDGET:g} points of accuracy, whatever it leaves of the attack. Points lost: "
        f"{_list_costs(chosen)}."
    )
    return f"{summary}\n\n{text}"


def _list_costs(chosen: dict[str, dict[str, Any]]) -> str:
    """Return the points of validation accuracy that each method loses at its chosen rate."""
    return ", ".join(f"{name} {100 * choice['loss']:+.1f}" for name, choice in chosen.items())


def _list_rate(rows: Sequence[Row]) -> str:
    """Return the learning rate of some defended runs."""
    return join_unique(f"{row['config']['finetune']['lr']:g}" for row in rows if row["defense"]) or "-"


def _summarize(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return CA, CF and ASR@1 over the seeds."""
    measured = [parse_row_metrics(row) for row in rows]
    return (
        format_mean_range(metrics.ca[1] for metrics in measured),
        format_mean_range(metrics.counterfactual_accuracy for metrics in measured),
        format_mean_range((metrics.asr or {}).get(1) for metrics in measured),
    )


def first_minute(root: Path) -> str:
    """Return the phases of the first minute, in seconds from the click on Train model."""
    result = read_measurement(root, "first_minute.json")
    lines = [
        (
            row["case"],
            row["run"],
            *(format_number(row[name], 1) for name in ("first_step", "training", "done", "drawn")),
            str(row["steps"]),
            *(format_number(row[name]) for name in ("ca", "asr")),
        )
        for row in result["rows"]
    ]
    header = ("case", "run", "first step after", "training", "done after", "on the page after", "steps", "CA", "ASR@1")
    return (
        f"{markdown_table(header, lines)}\n\nSeconds from the click on Train model, in a real browser with the page "
        f"open; medians of {len(result['rounds']) // 2} rounds of each case, in turn, each with a new server, run "
        "store and cache; the clicks are on the default buttons, from Overview on. Warm: "
        f"{result['reading_seconds']:g} s are spent on Poison, which is idle "
        f"{format_number(result['poison_idle'], 1)} s after it is first opened. Cold: each button is pressed as soon "
        f"as it is there. {describe_origin(result)}"
    )
