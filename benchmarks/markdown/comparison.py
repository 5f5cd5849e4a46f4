"""One model under all attacks as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from benchmarks.markdown.captions import LOST_ACCURACY_NOTE, describe_protocol, format_seeds
from benchmarks.markdown.cells import (
    Row,
    describe_origins,
    format_mean_range,
    format_number,
    markdown_table,
    mean,
    method_label,
)
from cleaner.evaluation.evaluate import Metrics
from cleaner.evaluation.metrics import wilson_interval
from cleaner.reports import results


def format_metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the test metrics of one method: mean [minimum, maximum] over seeds, or one seed with its interval."""
    metrics_list = [results.parse_row_metrics(row) for row in rows]

    def cell(which: str, k: int = 1) -> str:
        values = [value for metrics in metrics_list if (value := (getattr(metrics, which) or {}).get(k)) is not None]
        interval = metrics_list[0].interval(which, k) if len(values) == 1 == len(metrics_list) else None
        return format_mean_range(values, interval)

    cf = counterfactual_accuracies(metrics_list)
    cf_interval = (
        wilson_interval(cf[0], metrics_list[0].n_counterfactual) if len(cf) == 1 == len(metrics_list) else None
    )
    is_meaningful = all(metrics.is_meaningful(3) for metrics in metrics_list)
    return (
        cell("ca"),
        format_mean_range(cf, cf_interval),
        cell("asr"),
        cell("asr", 3) + ("" if is_meaningful else " (n.m.)"),
        cell("ra"),
        cell("asr_clean_model"),
        cell("base_rate"),
    )


def format_summary(rows: Sequence[Row], command: str, lost: Iterable[tuple[str, ...]] = ()) -> str:
    """Return one model under all attacks: ASR@1 of each, mean CA and CF."""
    model = rows[0]["model"]
    marked = {name for lost_model, name in lost if lost_model == model}
    attacks = list(dict.fromkeys(row["trigger"] for row in rows))
    names = list(dict.fromkeys(row["defense"] for row in rows))
    lines = [summary_line(rows, name, attacks, marked=name in marked) for name in names]
    backdoored = [(row["trigger"], results.parse_row_metrics(row)) for row in rows if row["defense"] is None]
    floors = [
        format_number(mean([(metrics.asr_clean_model or {})[1] for name, metrics in backdoored if name == attack]))
        for attack in attacks
    ]
    lines.append(("floor: never poisoned", "", "", "", *floors))
    seeds = "; ".join(f"{attack} {format_seeds(r for r in rows if r['trigger'] == attack)}" for attack in attacks)
    header = ("defense", "attacks", "CA", "CF", *(f"ASR@1 `{attack}`" for attack in attacks))
    note = f" {LOST_ACCURACY_NOTE}" if marked & set(names) else ""
    counts = Counter((row["trigger"], row["defense"]) for row in rows)
    has_fewer = any(count < counts[attack, None] for (attack, _), count in counts.items())
    caption = (
        "CA, CF: mean over the attacks measured (second column). ASR@1: mean over seeds, [minimum, maximum] if there "
        f"are several. Seeds: {seeds}{'; some methods have fewer' if has_fewer else ''}. {describe_protocol(rows)}. "
        f"{describe_origins(rows)}; `{command}`.{note}"
    )
    return f"**`{model}`**\n\n{markdown_table(header, lines)}\n\n{caption}"


def summary_line(rows: Sequence[Row], name: str | None, attacks: Sequence[str], *, marked: bool) -> tuple[str, ...]:
    """Return the cells of one method in `format_summary`; every attack weighs the same in CA and CF."""
    metrics_of_attack = [
        [results.parse_row_metrics(row) for row in rows if (row["defense"], row["trigger"]) == (name, attack)]
        for attack in attacks
    ]
    ca, cf = (
        [value for metrics_list in metrics_of_attack if (value := mean(values(metrics_list))) is not None]
        for values in (accuracies, counterfactual_accuracies)
    )
    return (
        method_label(name, marked=marked),
        str(len(ca)),
        format_number(mean(ca)),
        format_number(mean(cf)),
        *map(format_asr, metrics_of_attack),
    )


def accuracies(metrics_list: Sequence[Metrics]) -> list[float]:
    """Return the CA of each."""
    return [metrics.ca[1] for metrics in metrics_list]


def counterfactual_accuracies(metrics_list: Sequence[Metrics]) -> list[float]:
    """Return the CF of each that has one."""
    return [m.counterfactual_accuracy for m in metrics_list if m.counterfactual_accuracy is not None]


def format_asr(metrics_list: Sequence[Metrics]) -> str:
    """Return the mean ASR@1, with its range over several seeds; "-" if not measured."""
    values = [metrics.asr[1] for metrics in metrics_list if metrics.asr is not None]
    return format_mean_range(values)
