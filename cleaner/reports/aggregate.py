"""Runs side by side: means over seeds, heatmaps of attack against defense, and the trade-off of CA and ASR."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cleaner.evaluation.result import METRICS, PROTOCOL_LABELS, Metric, columns, success_metric, success_share
from cleaner.labels import to_attack_label
from cleaner.plots import comparison
from cleaner.plots.styles import STAGE_MARKS
from cleaner.reports.comparability import read_hashes
from cleaner.runs.folders import run_id
from cleaner.runs.names import describe_run
from cleaner.runs.record import RunRecord

SEEDS_NOTE = (
    "Mean over seeds and, with several, [minimum, maximum]. If an attack and a defense have several runs with the same "
    "seeds, only the newest counts, whatever its learning rate, number of pairs, poison rate and trigger parameters."
)
"""Note under tables of attack against defense."""


def heatmap_metrics() -> list[Metric]:
    """Return the table's metrics where higher or lower is better, those of the attack first."""
    rows = dict.fromkeys(row for row, _ in columns("table") if row.better)
    return sorted(rows, key=lambda row: row.better != "lower")


@dataclass(frozen=True)
class Cell:
    """One attack against one defense: mean, minimum and maximum over the runs, and the seed of each."""

    mean: float
    low: float
    high: float
    seeds: tuple[int, ...]
    runs: tuple[RunRecord, ...]


def aggregate_seeds(records: Sequence[RunRecord], name: str) -> dict[tuple[str, str], Cell]:
    """Return (attack, defense) -> a metric over seeds; of runs with equal `RunRecord.seeds` the newest counts.

    Runs of different models, targets or test data are never averaged, nor is the shipped example with other runs.
    """
    row_name = make_row_namer(records)
    newest: dict[tuple[str, str], dict[tuple[int | None, ...], RunRecord]] = {}
    for record in records:
        if record.metric(name) is None:
            continue
        by_seeds = newest.setdefault((row_name(record), record.defense_variant.key), {})
        seeds = record.seeds
        if seeds not in by_seeds or record.created > by_seeds[seeds].created:
            by_seeds[seeds] = record
    return {place: _make_cell(list(by_seeds.values()), name) for place, by_seeds in newest.items()}


def _make_cell(runs: Sequence[RunRecord], name: str) -> Cell:
    """Return the cell of runs with different seeds, all of them with this metric."""
    values = [value for run in runs if (value := run.metric(name)) is not None]
    mean = sum(values) / len(values)
    return Cell(mean, min(values), max(values), tuple(sorted(run.seed for run in runs)), tuple(runs))


def make_row_namer(records: Sequence[RunRecord]) -> Callable[[RunRecord], str]:
    """Return a function that names a run's attack, with model, target and what differs in the test, if anything."""
    models = {record.model for record in records}
    stems = Counter(Path(model).stem for model in models)
    targets = {record.target_class for record in records} - {None}
    protocols = {protocol for record in records if (protocol := record.metrics.get("protocol"))}
    tested = {(record.metrics["data"], record.metrics.get("n")) for record in records if record.metrics.get("data")}
    sizes = Counter(data for data, _ in tested)
    hashes = Counter(hashed for hashed, _ in {item for record in records for item in _read_hashes(record).items()})
    prompts = {count for record in records if (count := record.metrics.get("templates"))}
    is_mixed = len({record.is_shipped for record in records}) > 1

    def row_name(record: RunRecord) -> str:
        stem, target, data = Path(record.model).stem, record.target_class, record.metrics.get("data")
        parts = [
            (record.model if stems[stem] > 1 else stem) if len(models) > 1 else "",  # RN50/openai, ViT-B-32/openai
            f"target {target}" if target and len(targets) > 1 else "",
            f"on {data}" if data and len(tested) > 1 else "",
            f"n = {record.metrics.get('n', 0):,}" if sizes[data] > 1 else "",
            *(f"{hashed[0]} {sha}" for hashed, sha in _read_hashes(record).items() if hashes[hashed] > 1),
            f"{count} prompts" if (count := record.metrics.get("templates")) and len(prompts) > 1 else "",
            PROTOCOL_LABELS.get(record.metrics.get("protocol", ""), "") if len(protocols) > 1 else "",
        ]
        shipped = " (shipped example)" if is_mixed and record.is_shipped else ""
        return "".join([to_attack_label(record.attack), *(f", {part}" for part in parts if part), shipped])

    return row_name


def _read_hashes(record: RunRecord) -> dict[tuple[str, str, Any, Any], str]:
    """Return (what, model, name and size of the test data) -> hash, where it is stated; models frame images."""
    metrics = record.metrics
    return {(what, record.model, metrics.get("data"), metrics.get("n")): sha for what, sha in read_hashes(metrics)}


def make_run_points(records: Sequence[RunRecord]) -> list[comparison.TradeoffPoint]:
    """Return the runs with both accuracy and attack success as points of their plane, one panel for each attack."""
    row_name = make_row_namer(records)
    return [
        comparison.TradeoffPoint(
            label=describe_run(record),
            kind=record.kind,
            ca=ca,
            asr=asr,
            ca_interval=record.interval("ca"),
            asr_interval=record.interval(success_metric(record)),
            is_candidate=record.rebound is None,
            suspect=record.parent or run_id(record.folder),
            legend_label=record.defense_label,
            panel=row_name(record),
            success=METRICS[success_metric(record)].card_label(1),
        )
        for record in sort_by_name(records)
        if (ca := record.metric("ca")) is not None
        and (asr := success_share(record)) is not None
        and record.stage in STAGE_MARKS
    ]


def plot_heatmap(records: Sequence[RunRecord], name: str) -> Any:
    """Return the plot of defense against attack, in the order of the runs."""
    cells = {
        (attack, cell.runs[0].defense_label): (cell.mean, cell.low, cell.high, len(cell.seeds))
        for (attack, _), cell in aggregate_seeds(records, name).items()
    }
    return comparison.attack_defense_heatmap(cells, heatmap_title(name))


def heatmap_title(name: str) -> str:
    """Return the title of a heatmap: "ASR@1: Share of ... (lower is better)"."""
    row = METRICS[name]
    better = f" ({row.better} is better)" if row.better else ""
    return f"{row.header(1)}: {row.meaning_at(1).rstrip('.')}{better}"


def sort_by_name(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the runs by attack and defense, so that a new run does not change the order of a plot."""
    return sorted(records, key=lambda r: (to_attack_label(r.attack), r.defense_label))
