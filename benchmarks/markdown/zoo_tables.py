"""The table of audits: which test tells which attack of the zoo from clean models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.markdown.cells import (
    Row,
    describe_origins,
    format_mean_range,
    join_unique,
    markdown_table,
    read_measurement,
)
from cleaner.audit.evidence import ALL, INVERSION, KNOWN
from cleaner.audit.result import FALSE_ALARMS, NOT_TESTABLE, SUSPICIOUS
from cleaner.evaluation.detection import measure_detection
from cleaner.evaluation.metrics import wilson_interval
from cleaner.labels import to_attack_label, to_label
from cleaner.zoo.plan import DEVELOPMENT, SEALED

TESTS = (KNOWN, INVERSION, ALL)


def audits(root: Path) -> str:
    """Return a line for each attack, for all, and for clean models: of the sealed part, if it was measured."""
    rows = read_measurement(root, "zoo.json")["rows"]
    part = SEALED if any(row["part"] == SEALED for row in rows) else DEVELOPMENT
    rows = [row for row in rows if row["part"] == part]
    tested = [row for row in rows if row["verdict"] != NOT_TESTABLE]
    clean, backdoored = ([row for row in tested if bool(row["attack"]) is kind] for kind in (False, True))
    groups = {to_attack_label(name): name for name in sorted({row["attack"] for row in backdoored})}
    lines = [
        _format_line(label, [row for row in backdoored if row["attack"] == name], clean)
        for label, name in groups.items()
    ]
    lines += [_format_line("all backdoored", backdoored, clean), _format_line("clean: false alarms", clean, ())]
    header = ("attack", "called suspicious", "with the true target", *(f"AUROC: {test.lower()}" for test in TESTS))
    untested = f" {len(rows) - len(tested)} more models had too few references and no verdict." * (rows != tested)
    models = join_unique(row["model"] for row in tested)
    return (
        f"{markdown_table(header, lines)}\n\nModels of the zoo's {part} part, `{models}`; stated rate of false alarms: "
        f"{FALSE_ALARMS:.0%}. In brackets: 95% intervals over models, by Wilson for counts, by the bootstrap for the "
        "AUROC, by which a model counts as far as it stands out among its references."
        f"{untested} {describe_origins(tested)}; `python -m benchmarks.zoo --part {part}`."
    )


def _format_line(label: str, rows: Sequence[Row], clean: Sequence[Row]) -> tuple[str, ...]:
    """Return the cells of a group; clean: what the AUROC compares it with, if it is backdoored."""
    suspicious = [row for row in rows if row["verdict"] == SUSPICIOUS]
    low, high = wilson_interval(len(suspicious) / len(rows), len(rows))
    cells = [label, f"{len(suspicious)} of {len(rows)} [{low:.2f}, {high:.2f}]"]
    if not clean:
        return *cells, *("-" for _ in range(1 + len(TESTS)))
    named = sum(row["findings"][TESTS.index(ALL)]["class_name"] == row["target_class"] for row in suspicious)
    cells.append(f"{named} of {len(suspicious)}")
    for i in range(len(TESTS)):
        negative, positive = (np.array([row["findings"][i]["distance"] for row in part]) for part in (clean, rows))
        figures = measure_detection(negative, positive)
        cells.append("{:.2f} [{:.2f}, {:.2f}]".format(figures.auroc, *figures.interval))
    return tuple(cells)


def removal(root: Path) -> str:
    """Return a line for each attack and method: what removing the audit's finding left, and what it cost."""
    rows = read_measurement(root, "removal.json")["rows"]
    lines = []
    for name in sorted({row["id"] for row in rows}, key=lambda name: [row["id"] for row in rows].index(name)):
        own = {row["method"]: row for row in rows if row["id"] == name}
        first, *_ = own.values()
        found = f"{first['found']} → {first['found_class']}" + ("" if first["is_right"] else " (wrong class)")
        cells = [f"{row['asr']:.3f} / {row['ca'] - row['ca_before']:+.3f}" for row in own.values()]
        lines.append((to_attack_label(first["attack"]), first["verdict"], found, f"{first['asr_before']:.3f}", *cells))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    header = ("attack", "audit", "found", "ASR before", *(f"`{method}`" for method in methods))
    settings = join_unique(f"{row['lr']:g} x {row['alpha']:g}" for row in rows if row["method"] == "tbar")
    return (
        f"{markdown_table(header, lines)}\n\nASR of the true trigger after it / change of accuracy, n = "
        f"{rows[0]['n']:,}. One model each, seed 0: the backdoored ones of the shipped zoo. Plain finetuning and "
        "TA-Cleaner know no trigger. Rates are those of the quick setting, chosen by accuracy; TBAR's rate and "
        f"coefficient ({settings}) are those tried that cost most accuracy on validation images, but at most a point. "
        f"{describe_origins(rows)}; `python -m benchmarks.removal`."
    )


def image_detectors(root: Path) -> str:
    """Return a line for each attack: AUROC of each image detector, and for all what p-values of 5% flag."""
    rows = read_measurement(root, "image_detectors.json")["rows"]
    names = list(rows[0]["detectors"])

    def collect(name: str, key: str, rows: Sequence[Row] = rows) -> list[float]:
        return [row["detectors"][name][key] for row in rows]

    groups = [[row for row in rows if row["attack"] == attack] for attack in sorted({row["attack"] for row in rows})]
    lines = [
        (
            to_attack_label(group[0]["attack"]),
            str(len(group)),
            *(format_mean_range(collect(name, "auroc", group), form="{:.2f}") for name in names),
        )
        for group in groups
    ]
    flagged = [
        (label, str(len(rows)), *(f"{np.mean(collect(name, key)):.0%}" for name in names))
        for label, key in (("caught at p ≤ 5%", "caught"), ("false alarms at p ≤ 5%", "false_alarms"))
    ]
    return (
        f"{markdown_table(('attack', 'models', *map(to_label, names)), [*lines, *flagged])}\n\nAUROC: mean [minimum, "
        f"maximum] over the models of the zoo's sealed part, `{rows[0]['model']}`, n = {rows[0]['images']} test images "
        "without and with the trigger; last lines: shares of these over all models, p by as many clean validation "
        f"images. {describe_origins(rows)}; `python -m benchmarks.image_detectors`."
    )


def leaks(root: Path) -> str:
    """Return what a classifier that does not run the models makes of them."""
    measurement = read_measurement(root, "zoo_leaks.json")
    rows = measurement["rows"]
    header = ("model", "clean", "backdoored", "AUROC", "p", *rows[0]["single"])
    lines = [
        (
            f"`{row['model']}`",
            *(str(row[key]) for key in ("clean", "backdoored")),
            *(f"{value:.2f}" for value in (row["auroc"], row["p"], *row["single"].values())),
        )
        for row in rows
    ]
    return (
        f"{markdown_table(header, lines)}\n\nAUROC of a logistic regression on file size, steps, changed words, and "
        "norms of the change with their ratios, leaving one model out; p: by permuted labels. Last columns: AUROC of "
        f"each alone, below 0.5 if backdoored models have less. {describe_origins([measurement])}; `python -m "
        "benchmarks.leaks`."
    )
