"""One HTML file about some runs: metrics, plots, images and settings; it loads nothing from outside."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cleaner.config import file_parameters
from cleaner.evaluation.result import describe_metrics, format_metric
from cleaner.files import write_text
from cleaner.labels import to_attack_label
from cleaner.plots import comparison, images
from cleaner.plots.styles import find_style
from cleaner.registry import TRIGGERS
from cleaner.reports import equal_accuracy
from cleaner.reports.aggregate import (
    SEEDS_NOTE,
    aggregate_seeds,
    heatmap_metrics,
    heatmap_title,
    make_run_points,
    plot_heatmap,
    sort_by_name,
)
from cleaner.reports.comparability import list_notes
from cleaner.reports.paths import hide_folders, name_without_folders
from cleaner.reports.reference import read_reference
from cleaner.reports.tables import find_columns, to_row
from cleaner.runs.record import RunRecord
from cleaner.runs.request import get_test_data
from cleaner.runs.store import find_suspect, has_failed_attack, read_record
from cleaner.types import CleanerError

IMAGES_PER_TRIGGER = 4
TEMPLATE = Path(__file__).with_name("report.html.jinja")
ImageRow = tuple[str, str, str]
"""(clean, triggered, difference x 10) as data URIs."""


def render_html(records: Sequence[RunRecord], origin: str = "") -> str:
    """Return one HTML page about some runs; text is escaped, and its policy forbids every request."""
    from jinja2 import Environment

    if not records:
        raise CleanerError("name at least one run for the report.")
    # with the backdoored runs: the report of a sweep, or of a filtered table, names the defenses alone
    renamed = name_without_folders([*records, *filter(None, map(find_suspect, records))])
    records = renamed[: len(records)]
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    report_columns, plots = find_columns(records), _render_plots(records, renamed)
    return template.render(
        headers=[f"{row.header(k)} [95%]" if row.has_bounds and k == 1 else row.header(k) for row, k in report_columns],
        rows=[
            to_row(record)
            | {
                "labels": (record.defense_label, to_attack_label(record.attack)),
                "protocol": _describe_test(record),
                "cells": [format_metric(record, row, k, absent="–") for row, k in report_columns],
                "style": find_style(record.kind),
            }
            for record in records
        ],
        legend=describe_metrics(report_columns),
        plots=plots,
        notes=list_notes(records),
        variation=read_reference().variation,
        overlaps=[(record.name_or_id, record.overlap_note) for record in records if record.overlap_note],
        origin=origin,
        seeds_note=SEEDS_NOTE,
        equal_accuracy_note=equal_accuracy.NOTE if equal_accuracy.TITLE in dict(plots) else "",
        triggers=render_trigger_images(records),
        configs=[(record.id, json.dumps(hide_folders(record.config), indent=1)) for record in records],
    )


def _describe_test(record: RunRecord) -> str:
    """Return the protocol of a run, with a warning if its attack failed or its files changed."""
    failed = "; the attack failed" if has_failed_attack(record) else ""
    changed = ", ".join(record.changed_files)
    return record.protocol + failed + (f"; changed since the run: {changed}" if changed else "")


def _render_plots(records: Sequence[RunRecord], suspects: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return (title, HTML) of each plot, the first with plotly's script. suspects: have the backdoored runs."""
    from markupsafe import Markup

    plots = []
    if points := make_run_points(records):
        plots.append(("Accuracy and attack success", comparison.pareto(points)))
    if (curves := equal_accuracy.plot(records, suspects)) is not None:
        plots.append((equal_accuracy.TITLE, curves))
    ordered = sort_by_name(records)
    for row in heatmap_metrics():
        if aggregate_seeds(ordered, row.key):
            plots.append((heatmap_title(row.key), plot_heatmap(ordered, row.key)))
    return [
        (title, Markup(plot.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})))
        for number, (title, plot) in enumerate(plots)
    ]


def render_trigger_images(records: Sequence[RunRecord]) -> list[tuple[str, list[ImageRow]]]:
    """Return the name and image rows of each trigger; a run tells two triggers of one attack apart."""
    rendered: dict[str, tuple[RunRecord, list[ImageRow]]] = {}
    for record in records:
        trigger = _identify_trigger(record)
        if record.trigger is None or trigger in rendered:
            continue
        try:
            rows = _render_image_rows(record)
        except CleanerError:
            continue  # a key in the text, or without data or weights: the report has no images, but all metrics
        rendered[trigger] = record, rows
    counts = Counter(record.attack for record, _ in rendered.values())
    return [
        (to_attack_label(record.attack) + (f" (as in {record.name_or_id})" if counts[record.attack] > 1 else ""), rows)
        for record, rows in rendered.values()
    ]


def _identify_trigger(record: RunRecord) -> str:
    """Return the settings of a run's trigger, without the paths of its files: each run reads its own copies."""
    state = dict(record.config.get("trigger") or {})
    paths = file_parameters(TRIGGERS[record.attack]) if record.attack and record.attack in TRIGGERS else ()
    for name in paths:
        state.pop(name, None)
    return json.dumps(state, sort_keys=True)


def _render_image_rows(record: RunRecord) -> list[ImageRow]:
    """Return some test images without and with the trigger of a run, if it changes images."""
    from cleaner.data.base import load_data
    from cleaner.data.images import compare_triggered
    from cleaner.models.clip import load_clip
    from cleaner.runs.run import load_run_trigger

    name, options, _ = get_test_data(record.config)
    trigger, clip = load_run_trigger(record.folder), load_clip(str(record.folder / "model.safetensors"))
    data = load_data(name, split="test", size=64, **options)
    clean = data.with_transform(clip.framing).images(range(min(IMAGES_PER_TRIGGER, len(data))))
    if trigger is None or "image" not in trigger.modalities:
        raise CleanerError(f"{record.folder} has no trigger on images.")
    rows = compare_triggered(clean, trigger)
    return [
        (images.to_data_uri(row.clean), images.to_data_uri(row.triggered), images.to_data_uri(row.difference))
        for row in rows
    ]


def write_report(folders: Sequence[str | Path], out: Path, origin: str = "") -> Path:
    """Write the HTML report of the runs in `folders` to `out`, atomically; return its path."""
    write_text(out, render_html([read_record(folder) for folder in folders], origin))
    return out
