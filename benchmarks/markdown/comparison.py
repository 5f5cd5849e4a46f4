"""One model under one attack as a table, and one model under all attacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.markdown.captions import LOST_ACCURACY_NOTE, describe_protocol, format_caption, format_seeds
from benchmarks.markdown.cells import (
    Row,
    format_mean_range,
    format_number,
    join_unique,
    markdown_table,
    mean,
    method_label,
)
from cleaner.evaluation.evaluate import Metrics
from cleaner.evaluation.metrics import wilson_interval
from cleaner.reports import results

COMPARISON_COLUMNS = ("defense", "CA", "CF", "ASR@1", "ASR@3", "RA", "floor", "base rate")


def format_comparison(rows: Sequence[Row], result: dict[str, Any], lost: Iterable[tuple[str, ...]] = ()) -> str:
    """Return title, table and caption of one model under one attack; `lost`: (model, method) pairs to mark."""
    model, trigger = rows[0]["model"], rows[0]["trigger"]
    marked = {name for lost_model, name in lost if lost_model == model}
    rows_of = {name: [row for row in rows if row["defense"] == name] for name in (row["defense"] for row in rows)}
    followups = FollowupColumns(rows)
    lines = [
        (method_label(name, marked=name in marked), *format_metrics(group), *followups.format_cells(group))
        for name, group in rows_of.items()
    ]
    header = (*COMPARISON_COLUMNS, *followups.header)
    note = f" {LOST_ACCURACY_NOTE}" if marked & set(rows_of) else ""
    caption = f"{format_caption(rows, result)}{followups.note}{note}"
    return f"**`{model}`, `{trigger}`**\n\n{markdown_table(header, lines)}\n\n{caption}"


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


class FollowupColumns:
    """The columns after the test metrics: cost, and, if measured, ASR after rebound, CA and ASR on data variants."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.variants: dict[str, list[Row]] = {}
        for row in rows:
            for name, entry in (row.get("transfer") or {}).items():
                self.variants.setdefault(name, []).append(entry)
        entries = [entry for entries in self.variants.values() for entry in entries]
        has_asr = any(entry.get("asr") is not None for entry in entries)
        self.variant_metrics = {"ca": "CA", "asr": "ASR@1"} if has_asr else {"ca": "CA"}
        self.rebounds = [row["rebound"] for row in rows if row.get("rebound")]
        self.finetune_seconds = mean([row["cpu_seconds"] for row in rows if row["defense"] == "finetune"])
        self.header: tuple[str, ...] = (
            *(("rebound ASR@1",) if self.rebounds else ()),
            *(f"{' / '.join(self.variant_metrics.values())} `{name}`" for name in self.variants),
            "CPU seconds",
            *(("x finetune",) if self.finetune_seconds else ()),
        )
        self.note = self._describe_rebound() + self._describe_variants(has_seeds=len({row["seed"] for row in rows}) > 1)

    def _describe_rebound(self) -> str:
        """Return steps and learning rate of the rebound test, if there was one."""
        if not self.rebounds:
            return ""
        rebound = self.rebounds[0]
        return f" Rebound: {rebound['steps']} more steps of finetune at {rebound['lr']:g}."

    def _describe_variants(self, *, has_seeds: bool) -> str:
        """Return n of each data variant, which is not that of the test metrics, if any were measured."""
        names_of: dict[str, list[str]] = {}
        for name, entries in self.variants.items():
            names_of.setdefault(join_unique(map(describe_variant, entries)), []).append(f"`{name}`")
        if not names_of:
            return ""
        counts = "; ".join(f"{', '.join(names)}: {count}" for count, names in names_of.items())
        return f" {counts}{'; mean over seeds' if has_seeds else ''}."

    def format_cells(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Return the cells of one method under `header`."""
        rebound_asr = [results.parse_row_metrics(row["rebound"]).asr or {} for row in rows if row.get("rebound")]
        metrics = self.variant_metrics
        variant_cells = [
            format_means([row["transfer"][name] for row in rows if name in (row.get("transfer") or {})], metrics)
            for name in self.variants
        ]
        seconds = mean([row["cpu_seconds"] for row in rows])
        is_defended = rows[0]["defense"] is not None
        ratio = seconds / self.finetune_seconds if seconds and self.finetune_seconds and is_defended else None
        return (
            *((format_number(mean([asr[1] for asr in rebound_asr])),) if self.rebounds else ()),
            *variant_cells,
            format_number(seconds, 0),
            *((format_number(ratio, 1),) if self.finetune_seconds else ()),
        )


def describe_variant(entry: Row) -> str:
    """Return n of the metrics on a data variant."""
    count = f"n {entry['n']:,} for CA"
    return f"{count}, {entry['n_attack']:,} for ASR@1" if entry.get("n_attack") else count


def format_means(entries: Sequence[Row], keys: Iterable[str]) -> str:
    """Return the mean of each metric, separated by slashes; "-" for one that was not measured."""
    values = [[entry[key] for entry in entries if entry.get(key) is not None] for key in keys]
    return " / ".join(format_number(mean(numbers)) for numbers in values)


def format_summary(rows: Sequence[Row], lost: Iterable[tuple[str, ...]] = ()) -> str:
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
        f"Commits, settings and all metrics: below.{note}"
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
