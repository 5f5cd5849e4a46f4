"""Captions of result tables: protocol, n, seeds, settings, device, commit, command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.markdown.cells import Row, describe_text_versions, group_rows, join_unique, method_label
from cleaner.config import FinetuneConfig, count_steps
from cleaner.evaluation.evaluate import Metrics
from cleaner.reports import results

LOST_ACCURACY_NOTE = "†: no learning rate met the accuracy budget."


def format_caption(rows: Sequence[Row], result: dict[str, Any]) -> str:
    """Return protocol, n, seeds, settings, device and commit in words."""
    defended = [row for row in rows if row["defense"] is not None]
    rates = {row["defense"]: f"{row['config']['finetune']['lr']:g}" for row in defended}
    sentences = [
        describe_protocol(rows),
        describe_seeds(rows),
        f"Poisoned: {describe_poisoning(rows)}",
        *describe_suspects(rows),
    ]
    if defended:
        augmentation = join_unique(row["config"]["finetune"]["augmentation"] for row in defended)
        sentences += [
            f"Defended: {join_unique(describe_schedule(row) for row in defended)}, augmentation {augmentation}",
            f"Learning rates: {', '.join(f'{name} {rate}' for name, rate in rates.items())}",
        ]
    devices = join_unique(_name_device(row, result) for row in rows)
    code = describe_commits(rows, result) + describe_text_versions(rows)
    sentences.append(f"{devices}; {code}; `{result['command']}`")
    return ". ".join(sentences) + "."


def _name_device(row: Row, result: dict[str, Any]) -> str:
    """Return the device that a row states, else that of the result; with the precision, which older rows lack."""
    device, precision = row.get("device", result.get("device")), row.get("precision")
    return f"{device}, {precision}" if precision else str(device)


def describe_commits(rows: Sequence[Row], result: dict[str, Any]) -> str:
    """Return the commits that rows state, else that of the result; it is None where one cannot speak for all rows."""
    commits = [row.get("commit", result.get("commit")) for row in rows]
    return "several commits" if None in commits else f"commit {join_unique(map(str, commits))}"


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


def describe_suspects(rows: Sequence[Row]) -> list[str]:
    """Return the SHA-256 of each seed's backdoored model where rows record it: at most one sentence."""
    digests_of_seed: dict[int, list[str]] = {}
    for row in rows:
        if digest := row.get("suspect_sha256"):
            digests_of_seed.setdefault(row["seed"], []).append(digest[:8])
    if not digests_of_seed:
        return []
    listed = "; ".join(f"seed {seed} {join_unique(digests)}" for seed, digests in sorted(digests_of_seed.items()))
    missing = len(rows) - sum(map(len, digests_of_seed.values()))
    return [f"Backdoored models by SHA-256: {listed}" + (f"; not recorded in {missing} older rows" if missing else "")]


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
