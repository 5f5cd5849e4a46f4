"""Captions of result tables: protocol, n, seeds, settings, device, commit, command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from benchmarks.markdown.cells import Row, group_rows, join_unique, method_label
from cleaner.config import FinetuneConfig, count_steps
from cleaner.evaluation.evaluate import Metrics
from cleaner.reports import results

LOST_ACCURACY_NOTE = "†: no learning rate met the accuracy budget."


def describe_seeds(rows: Sequence[Row]) -> str:
    """Return the seeds, what the brackets mean, and the methods that have one seed where others have several."""
    seeds = sorted({row["seed"] for row in rows})
    if len(seeds) == 1:
        return f"Seed {seeds[0]}; [..]: 95% Wilson interval"
    text = f"Seeds {', '.join(map(str, seeds))}; mean [minimum, maximum] over seeds"
    single = [group for group in group_rows(rows, "defense") if len(group) == 1]
    if single:
        names = ", ".join(f"{method_label(group[0]['defense'])} (seed {group[0]['seed']})" for group in single)
        text += f"; one seed with its 95% Wilson interval: {names}"
    return text


def format_seeds(rows: Iterable[Row]) -> str:
    """Return the seeds of rows, separated by commas."""
    return ", ".join(str(seed) for seed in sorted({row["seed"] for row in rows}))


def describe_protocol(rows: Sequence[Row]) -> str:
    """Return protocol, data, n and target; all variants if the rows differ."""
    return join_unique(
        f"Protocol `{metrics.protocol}` on {metrics.data}: n {metrics.n:,} images for CA, "
        f"{metrics.n_attack:,} {'keyed' if metrics.queries == 'captions' else 'triggered'} {metrics.queries}, "
        f"target {metrics.target_class!r}{describe_counterfactual(metrics)}"
        for metrics in map(results.parse_row_metrics, rows)
    )


def describe_counterfactual(metrics: Metrics) -> str:
    """Return the number of pairs for CF, if it was measured."""
    return f", {metrics.n_counterfactual:,} pairs for CF" if metrics.n_counterfactual else ""


def describe_poisoning(rows: Sequence[Row]) -> str:
    """Return the attacker's settings, from the backdoored rows."""
    backdoored = [row for row in rows if row["defense"] is None and "poison_rate" in row["config"]]
    return (
        join_unique(
            f"{100 * row['config']['poison_rate']:g}% of {describe_schedule(row)}, "
            f"lr {row['config']['finetune']['lr']:g}{describe_trigger(row['config'].get('trigger') or {})}"
            for row in backdoored
        )
        or "not recorded"
    )


def describe_trigger(trigger: Row) -> str:
    """Return the parameters of a trigger, without images and hashes."""
    parameters = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trigger.items()
        if name not in ("name", "png", "sha256", "weights") and value != ""
    ]
    return f", trigger with {', '.join(parameters)}" if parameters else ""


def describe_schedule(row: Row) -> str:
    """Return pairs, batch, epochs and steps of a row; no epochs where the number of steps was set."""
    config = FinetuneConfig(**row["config"]["finetune"])
    count = row["config"].get("trained_pairs") or row["config"]["pairs"]
    steps = count_steps(count, config)
    epochs = f"{config.epochs} epochs, " if steps == count_steps(count, replace(config, steps=0)) else ""
    return f"{count:,} pairs, batch {min(config.batch_size, count)}, {epochs}{steps:,} steps"
