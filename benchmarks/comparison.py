"""Rows of result files as markdown: one model under one attack, what came after, all attacks at a glance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cleaner.evaluation.evaluate import Metrics
from cleaner.evaluation.metrics import wilson_interval
from cleaner.reports import results

Row = dict[str, Any]

COMPARISON_COLUMNS = ("defence", "CA", "CF", "ASR@1", "ASR@3", "RA", "floor", "base rate")
LOST_ACCURACY_NOTE = "†: no learning rate kept the accuracy budget."


def format_comparison(rows: Sequence[Row], result: dict[str, Any], lost: Iterable[tuple[str, ...]] = ()) -> str:
    """Return title, table and caption of one model under one attack."""
    model, trigger = rows[0]["model"], rows[0]["trigger"]
    marked = {name for lost_model, name in lost if lost_model == model}
    names = list(dict.fromkeys(row["defense"] for row in rows))
    own = {name: [row for row in rows if row["defense"] == name] for name in names}
    after = FollowupColumns(rows)
    lines = [
        (method_label(name, name in marked), *format_metrics(own[name]), *after.format_cells(own[name]))
        for name in names
    ]
    note = f" {LOST_ACCURACY_NOTE}" if marked & set(names) else ""
    head = (*COMPARISON_COLUMNS, *after.header)
    return f"**`{model}`, `{trigger}`**\n\n{markdown_table(head, lines)}\n\n{format_caption(rows, result)}{after.note}{note}"


def method_label(name: str | None, marked: bool = False) -> str:
    """Return what a line of a table is called."""
    return (name or "none (backdoored)") + (" †" if marked else "")


def format_metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the test figures of one method: mean [minimum, maximum] over seeds, or one seed with its interval."""
    found = [results.parse_row_metrics(row) for row in rows]

    def figure(which: str, k: int = 1) -> str:
        values = [value for metrics in found if (value := (getattr(metrics, which) or {}).get(k)) is not None]
        return format_mean_range(values, found[0].interval(which, k) if len(values) == 1 == len(found) else None)

    fine = counterfactual_accuracies(found)
    interval = wilson_interval(fine[0], found[0].n_counterfactual) if len(fine) == 1 == len(found) else None
    top3 = figure("asr", 3) + ("" if all(metrics.is_meaningful(3) for metrics in found) else " n. m.")
    return (
        figure("ca"),
        format_mean_range(fine, interval),
        figure("asr"),
        top3,
        figure("ra"),
        figure("asr_clean_model"),
        figure("base_rate"),
    )


class FollowupColumns:
    """The columns that only newer rows have: after harmless training, on variants of the data, and the cost."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.variants = list(dict.fromkeys(name for row in rows for name in row.get("transfer") or {}))
        self.rebounds = [row["rebound"] for row in rows if row.get("rebound")]
        self.finetune_seconds = mean(
            [row["cpu_seconds"] for row in rows if row["defense"] == "finetune" and has_cpu_seconds(row)]
        )
        self.has_cpu_seconds = any(has_cpu_seconds(row) for row in rows)
        self.header: tuple[str, ...] = (
            *(("rebound ASR@1",) if self.rebounds else ()),
            *(f"CA `{name}`" for name in self.variants),
            "CPU seconds" if self.has_cpu_seconds else "seconds",
            *(("x finetune",) if self.finetune_seconds else ()),
        )
        partly = {
            method_label(name): seeds
            for name in dict.fromkeys(row["defense"] for row in rows)
            if (seeds := format_seeds(row for row in rows if row["defense"] == name and row.get("transfer")))
            not in ("", format_seeds(row for row in rows if row["defense"] == name))
        }
        words = "; ".join(
            f"seed {seeds} of {', '.join(name for name, own in partly.items() if own == seeds)}"
            for seeds in dict.fromkeys(partly.values())
        )
        of_seeds = f" Rebound, other looks and CPU seconds: {words}." if partly else ""
        again = self.rebounds[0] if self.rebounds else None
        steps = f" Rebound: {again['steps']} more steps of finetune at {again['lr']:g}." if again else ""
        self.note = steps + of_seeds

    def format_cells(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Return the cells of one method under `header`."""
        again = [results.parse_row_metrics(row["rebound"]).asr or {} for row in rows if row.get("rebound")]
        moved = [
            format_number(mean([row["transfer"][name]["ca"] for row in rows if name in (row.get("transfer") or {})]))
            for name in self.variants
        ]
        spent = mean(
            [
                row["cpu_seconds"] if self.has_cpu_seconds else row["seconds"]
                for row in rows
                if has_cpu_seconds(row) or not self.has_cpu_seconds
            ]
        )
        ratio = spent / self.finetune_seconds if spent and self.finetune_seconds and rows[0]["defense"] else None
        return (
            *((format_number(mean([asr[1] for asr in again])),) if self.rebounds else ()),
            *moved,
            format_number(spent, 0),
            *((format_number(ratio, 1),) if self.finetune_seconds else ()),
        )


def format_seeds(rows: Iterable[Row]) -> str:
    """Return the seeds of rows in words."""
    return ", ".join(str(seed) for seed in sorted({row["seed"] for row in rows}))


def has_cpu_seconds(row: Row) -> bool:
    """Return whether a row's training time on the processor was measured."""
    return row.get("cpu_seconds") is not None


def format_summary(rows: Sequence[Row], result: dict[str, Any], lost: Iterable[tuple[str, ...]] = ()) -> str:
    """Return one model under all attacks: ASR@1 of each, with the mean accuracy beside it."""
    model = rows[0]["model"]
    marked = {name for lost_model, name in lost if lost_model == model}
    attacks = list(dict.fromkeys(row["trigger"] for row in rows))
    names = list(dict.fromkeys(row["defense"] for row in rows))
    lines = []
    for name in names:
        of_attack = [
            [results.parse_row_metrics(row) for row in rows if (row["defense"], row["trigger"]) == (name, attack)]
            for attack in attacks
        ]
        ca, cf = (
            [known for found in of_attack if (known := mean(values(found))) is not None]
            for values in (accuracies, counterfactual_accuracies)
        )
        lines.append(
            (
                method_label(name, name in marked),
                str(len(ca)),
                format_number(mean(ca)),
                format_number(mean(cf)),
                *map(format_asr, of_attack),
            )
        )
    before = [(row["trigger"], results.parse_row_metrics(row)) for row in rows if row["defense"] is None]
    floors = [format_number(mean([(m.asr_clean_model or {})[1] for name, m in before if name == t])) for t in attacks]
    lines.append(("floor: never poisoned", "", "", "", *floors))
    seeds = "; ".join(
        f"{attack}: {format_seeds(row for row in rows if row['trigger'] == attack)}" for attack in attacks
    )
    head = ("defence", "attacks", "CA", "CF", *(f"ASR@1 `{attack}`" for attack in attacks))
    note = f" {LOST_ACCURACY_NOTE}" if marked & set(names) else ""
    said = (
        "CA and CF: mean over the attacks that were measured, whose number stands beside them; ASR@1: mean over seeds, "
        "with the lowest and the highest where "
        f"there are several (seeds {seeds}; of some methods fewer). {describe_protocol(rows)}. Commits, settings and all "
        f"figures: [docs/results.md](docs/results.md).{note}"
    )
    return f"**`{model}`**\n\n{markdown_table(head, lines)}\n\n{said}"


def accuracies(metrics_list: Sequence[Metrics]) -> list[float]:
    """Return CA of each."""
    return [metrics.ca[1] for metrics in metrics_list]


def counterfactual_accuracies(metrics_list: Sequence[Metrics]) -> list[float]:
    """Return CF of each that has it."""
    return [m.counterfactual_accuracy for m in metrics_list if m.counterfactual_accuracy is not None]


def format_asr(metrics_list: Sequence[Metrics]) -> str:
    """Return the mean of ASR@1, with its range over several seeds; "-" where nothing was measured."""
    values = [metrics.asr[1] for metrics in metrics_list if metrics.asr is not None]
    return format_mean_range(values, None) if len(values) > 1 else format_number(mean(values))


def describe_protocol(rows: Sequence[Row]) -> str:
    """Return protocol, data, n and target in words; more than one, should the rows differ, so that it is seen."""
    return join_unique(
        f"Protocol `{metrics.protocol}` on {metrics.data}: n {metrics.n:,} pictures for CA, "
        f"{metrics.n_attack:,} triggered ones, target {metrics.target_class!r}{describe_counterfactual(metrics)}"
        for metrics in map(results.parse_row_metrics, rows)
    )


def format_caption(rows: Sequence[Row], result: dict[str, Any]) -> str:
    """Return protocol, n, seeds, settings, device and commit in words."""
    seeds = sorted({row["seed"] for row in rows})
    defended = [row for row in rows if row["defense"] is not None]
    single = [own for own in group_rows(rows, "defense") if len(own) == 1] if len(seeds) > 1 else []
    several = "mean [minimum, maximum] over the seeds" if len(seeds) > 1 else "[..]: 95 % Wilson interval"
    if single:
        alone = ", ".join(f"{method_label(own[0]['defense'])} (seed {own[0]['seed']})" for own in single)
        several += f"; of one seed, [..] the 95 % Wilson interval: {alone}"
    rates = {row["defense"]: f"{row['config']['finetune']['lr']:g}" for row in defended}
    sentences = [
        describe_protocol(rows),
        f"Seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}; {several}",
        f"Poisoned: {describe_poisoning(rows)}",
        *describe_suspects(rows),
    ]
    if defended:
        views = join_unique(row["config"]["finetune"]["augmentation"] for row in defended)
        sentences += [
            f"Defended: {join_unique(describe_schedule(row) for row in defended)}, augmentation {views}",
            f"Learning rates: {', '.join(f'{name} {rate}' for name, rate in rates.items())}",
        ]
    sentences.append(
        f"{join_unique(str(row.get('device', result.get('device'))) for row in rows)}; "
        f"commit {join_unique(str(row.get('commit', result.get('commit'))) for row in rows)}; `{result['command']}`"
    )
    return ". ".join(sentences) + "."


def describe_counterfactual(metrics: Metrics) -> str:
    return f", {metrics.n_counterfactual:,} pairs for CF" if metrics.n_counterfactual else ""


def describe_poisoning(rows: Sequence[Row]) -> str:
    """Return what the attacker did, from the backdoored rows."""
    attacked = [row for row in rows if row["defense"] is None and "poison_rate" in row["config"]]
    return (
        join_unique(
            f"{100 * row['config']['poison_rate']:g} % of {describe_schedule(row)}, lr {row['config']['finetune']['lr']:g}"
            f"{describe_trigger(row['config'].get('trigger') or {})}"
            for row in attacked
        )
        or "not recorded"
    )


def describe_suspects(rows: Sequence[Row]) -> list[str]:
    """Return which backdoored model the rows of each seed are of, as far as they say so: at most one sentence."""
    named: dict[int, list[str]] = {}
    for row in rows:
        if digest := row.get("suspect_sha256"):
            named.setdefault(row["seed"], []).append(digest[:8])
    if not named:
        return []
    said = "; ".join(f"seed {seed} {join_unique(digests)}" for seed, digests in sorted(named.items()))
    unsaid = len(rows) - sum(map(len, named.values()))
    return [f"Backdoored models by SHA-256: {said}" + (f"; {unsaid} older rows do not name theirs" if unsaid else "")]


def describe_trigger(trigger: Row) -> str:
    """Return the parameters of a trigger in words, without pictures."""
    shown = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trigger.items()
        if name not in ("name", "png", "sha256")
    ]
    return f", trigger of {', '.join(shown)}" if shown else ""


def describe_schedule(row: Row) -> str:
    """Return pairs, batch, epochs and steps of a row in words."""
    count, finetune = row["config"]["pairs"], row["config"]["finetune"]
    batch = min(finetune["batch_size"], count)
    total = finetune["epochs"] * (count // batch)
    return f"{count:,} pairs, batch {batch}, {finetune['epochs']} epochs, {total:,} steps"


def format_mean_range(values: Sequence[float], interval: tuple[float, float] | None) -> str:
    """Return "mean [low, high]": the interval of a single value, else minimum and maximum; "-" for no values."""
    if not values:
        return "-"
    low, high = interval or (min(values), max(values))
    return f"{sum(values) / len(values):.3f} [{low:.3f}, {high:.3f}]"


def group_rows(rows: Sequence[Row], *names: str) -> list[list[Row]]:
    """Return the rows that share the values of these fields, in order of appearance."""
    keys = dict.fromkeys(tuple(row[name] for name in names) for row in rows)
    return [[row for row in rows if tuple(row[name] for name in names) == key] for key in keys]


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *lines])


def format_number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def join_unique(texts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(texts))
