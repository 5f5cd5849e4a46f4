"""Tables of protocol 2: ASR at equal accuracy with paired gaps, every method at its rate, and the other parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.json_lines import read_json_lines
from benchmarks.markdown.captions import LOST_ACCURACY_NOTE
from benchmarks.markdown.cells import Row, format_mean_range, markdown_table
from benchmarks.markdown.protocol2_claim import (
    format_equal_accuracy,
    format_mark,
    format_origin,
    format_rates,
    format_seeds,
    list_attacks,
    name_seeds,
)
from benchmarks.protocol2 import plan, rule
from benchmarks.protocol2.records import results_path
from benchmarks.protocol2.summary import (
    Cell,
    by_method,
    decide,
    is_key_method_at_rate,
    main_cells,
    select,
    select_attackers,
    select_cells,
    select_chosen,
)
from benchmarks.protocol2.tasks import Methods
from cleaner.labels import NO_DEFENSE

Read = Callable[[Cell], float | None]
FULL_ATTACK = "badclip"
"""The tables of the other parts show every column of this attack."""
UNDEFENDED_COMMAND = "python -m benchmarks.undefended"
RANGE_NOTE = "Mean [minimum, maximum] over seeds."


def read(row: Row, *keys: str) -> float | None:
    """Return a nested number of a line; None if it is missing."""
    value: object = row
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) else None


COLUMNS: dict[str, Read] = {
    "CA": lambda cell: cell.metric("ca"),
    "CF": lambda cell: cell.metric("counterfactual_accuracy"),
    "ASR@1": lambda cell: cell.metric("asr"),
    "ASR@3": lambda cell: cell.metric("asr", 3),
    "RA": lambda cell: cell.metric("ra"),
    "floor": lambda cell: cell.metric("asr_clean_model"),
    "target CA": lambda cell: read(cell.row, "target_ca", "ca"),
    "rebound ASR@1": lambda cell: read(cell.row, "rebound", "metrics", "asr", "1"),
    "probe ASR": lambda cell: read(cell.row, "probe", "asr"),
    "CA sketch": lambda cell: read(cell.row, "transfer", "scenes-sketch", "ca"),
    "CA night": lambda cell: read(cell.row, "transfer", "scenes-night", "ca"),
    "CA crowd": lambda cell: read(cell.row, "transfer", "scenes-crowd", "ca"),
}
"""Column of the main table -> how to read it from a cell."""
SHORT_COLUMNS = ("CA", "CF", "ASR@1", "RA", "floor", "target CA")
FINE_COLUMNS: dict[str, Read] = {
    "CA": COLUMNS["CA"],
    "ASR@1": lambda cell: read(cell.row, "fine", "asr", "1"),
    "ASR@10": lambda cell: read(cell.row, "fine", "asr", "10"),
    "base rate@10": lambda cell: read(cell.row, "fine", "base_rate", "10"),
    "floor@1": lambda cell: read(cell.row, "fine", "asr_clean_model", "1"),
    "floor@10": lambda cell: read(cell.row, "fine", "asr_clean_model", "10"),
}


Format = Callable[[str, Sequence[Cell], Sequence[Row], Methods], str]


def _each_model(root: Path, format_model: Format) -> str:
    parts = []
    for model in plan.MODELS:
        rows = read_json_lines(root / "benchmarks" / "results" / results_path(model).name)
        decided = decide(model, rows)
        if decided is not None:
            parts.append(format_model(model, select_cells(rows), rows, decided[1]))
    return "\n\n".join(filter(None, parts))


def _format_at_rates(model: str, cells: Sequence[Cell], rows: Sequence[Row], methods: Methods) -> str:
    """Return every method at the rate that the rule chose: ASR@1 of each attack and target, then badclip in full."""
    chosen = {key: select_chosen(main_cells(cells, *key)) for key in list_attacks(cells)}
    groups = {key: by_method(plain) for key, plain in chosen.items() if any(cell.task.method for cell in plain)}
    names = {name: found[0].task for of_key in groups.values() for name, found in of_key.items()}
    lines = [
        (
            f"`{name}`{format_mark(task, methods)}",
            *(format_mean_range(map(COLUMNS["ASR@1"], of_key.get(name, []))) for of_key in groups.values()),
        )
        for name, task in names.items()
    ]
    floors = (format_mean_range(map(COLUMNS["floor"], of_key[NO_DEFENSE])) for of_key in groups.values())
    header = ("ASR@1", *(f"`{attack}`, {target}, {name_seeds(chosen[attack, target])}" for attack, target in groups))
    tables, shown = [markdown_table(header, [*lines, ("floor", *floors)])], [*chosen.values()]
    full = next((key for key in groups if key[0] == FULL_ATTACK), None)
    if full is not None:
        table = _metric_table(groups[full], COLUMNS, methods)
        tables.append(f"**`{model}`, `{full[0]}`, target {full[1]}** ({name_seeds(chosen[full])})\n\n{table}")
    caption = (
        f"{RANGE_NOTE} Target CA: accuracy on the target class itself. Rebound: "
        f"{plan.REBOUND_STEPS} further steps of plain finetuning at {plan.REBOUND_LR:g}. Probe: a linear probe on the "
        f"image tower. †: no rate met the budget of {100 * rule.BUDGET:g} points. "
        f"{format_origin([cell.row for plain in shown for cell in plain])}"
    )
    return _join_tables(tables, caption) if groups else ""


def _join_tables(tables: Sequence[str], caption: str) -> str:
    return "\n\n".join([*tables, caption]) if tables else ""


def _metric_table(groups: Mapping[str, Sequence[Cell]], columns: Mapping[str, Read], methods: Methods) -> str:
    lines = []
    for name, cells in groups.items():
        task = cells[0].task
        rate = f"{task.lr:g}{format_mark(task, methods)}" if task.method else ""
        figures = (format_mean_range(map(column, cells)) for column in columns.values())
        lines.append((f"`{name}`", rate, *figures))
    return markdown_table(("defense", "rate", *columns), lines)


def _format_defender_data(model: str, cells: Sequence[Cell], rows: Sequence[Row], methods: Methods) -> str:
    """Return what method, control and baseline do with other clean pairs."""
    lines, shown = [], []
    of_data = select_cells(rows, lambda task: task.steps == plan.STEPS and is_key_method_at_rate(task, methods))
    for attack, target in (key for key in list_attacks(cells) if key[0] == FULL_ATTACK):
        at_rate = select(of_data, attack=attack, target=target, world="scenes", is_aware=False)
        # The disjoint pairs of the main table have more seeds.
        seeds = {cell.task.seed for cell in at_rate if cell.task.data != "disjoint"}
        compared = [cell for cell in at_rate if cell.task.seed in seeds]
        for data in plan.DEFENDER_DATA:
            groups = by_method(select(compared, data=data))
            for name, found in sorted(groups.items(), key=lambda item: plan.KEY_METHODS.index(item[1][0].task.method)):
                values = [format_mean_range(map(COLUMNS[c], found)) for c in SHORT_COLUMNS]
                lines.append((f"`{attack}`", data, f"`{name}`", format_seeds(found), *values))
        shown += [cell.row for cell in compared]
    if not lines:
        return ""
    table = markdown_table(("attack", "clean pairs", "defense", "seeds", *SHORT_COLUMNS), lines)
    return (
        f"{table}\n\n`{model}`, {plan.STEPS} steps each, rates of the main table. Overlap: the attacker's own images, "
        f"untriggered, with full true captions. {format_origin(shown)}"
    )


def _format_aware(model: str, cells: Sequence[Cell], rows: Sequence[Row], methods: Methods) -> str:
    """Return what is left of an attacker who knows the defense."""
    columns = {name: COLUMNS[name] for name in (*SHORT_COLUMNS, "probe ASR")}
    lines, shown = [], []
    of_both = select_attackers(rows, methods)
    for attack in plan.JUDGES:
        for knows in (True, False):
            found = select(of_both, attack=attack, is_aware=knows)
            for name, group in by_method(found).items():
                figures = (format_mean_range(map(column, group)) for column in columns.values())
                mark = format_mark(group[0].task, methods)
                lines.append((f"`{attack}`", "yes" if knows else "no", f"`{name}`{mark}", *figures))
            shown += found
    if not lines:
        return ""
    table = markdown_table(("attack", "knows the defense", "defense", *columns), lines)
    return (
        f"{table}\n\n`{model}`, {name_seeds(shown)}. Both attackers of a seed on one processor. {RANGE_NOTE} "
        f"{LOST_ACCURACY_NOTE} {format_origin([cell.row for cell in shown])}"
    )


def _format_fine(model: str, cells: Sequence[Cell], rows: Sequence[Row], methods: Methods) -> str:
    """Return attack success among 352 classes."""
    found = select(cells, world="scenes-fine")
    if not found:
        return ""
    table = _metric_table(by_method(found), FINE_COLUMNS, methods)
    caption = (
        f"352 classes, a color and an object each; target {plan.FINE_TARGET!r}, ASR on images without any banana. "
        f"{name_seeds(found).capitalize()}. This project's own scale, not ImageNet's. {RANGE_NOTE} "
        f"{LOST_ACCURACY_NOTE} "
        f"{format_origin([cell.row for cell in found])}"
    )
    return f"**`{model}`, `badclip`, `scenes-fine`**\n\n{table}\n\n{caption}"


def _format_long(model: str, cells: Sequence[Cell], rows: Sequence[Row], methods: Methods) -> str:
    """Return the methods with twice the steps."""
    tables, shown = [], []
    of_steps = select_cells(rows, lambda task: task.steps == plan.LONG_STEPS)
    for attack, target in (key for key in list_attacks(cells) if key[0] == FULL_ATTACK):
        defended = select_chosen(select(of_steps, attack=attack, target=target, world="scenes", is_aware=False))
        if defended:
            table = _metric_table(by_method(defended), COLUMNS, methods)
            tables.append(f"**`{model}`, `{attack}`, {plan.LONG_STEPS:,} steps** ({name_seeds(defended)})\n\n{table}")
            shown += [cell.row for cell in defended]
    caption = f"{RANGE_NOTE} {LOST_ACCURACY_NOTE} {format_origin(shown)}"
    return _join_tables(tables, caption)


UNDEFENDED_COLUMNS = {
    "probe CA": ("probe", "ca"),
    "probe ASR": ("probe", "asr"),
    "CA sketch": ("transfer", "scenes-sketch", "ca"),
    "CA night": ("transfer", "scenes-night", "ca"),
    "CA crowd": ("transfer", "scenes-crowd", "ca"),
}


def undefended(root: Path) -> str:
    """Return probe and transfer of the backdoored models, and of the clean model with the same triggers."""
    rows = read_json_lines(root / "benchmarks" / "results" / "undefended.jsonl")
    groups: dict[tuple[str, str, str], list[Row]] = {}
    shown = [row for row in rows if row["attack"] == FULL_ATTACK]
    shown = [row for row in shown if row["target"] == shown[0]["target"]]
    for row in shown:
        groups.setdefault((row["model"], row["attack"], row["target"]), []).append(row)
    lines = [
        (
            f"`{model}`",
            f"`{attack}`",
            target,
            title,
            *map(partial(_format_keys, found, kind), UNDEFENDED_COLUMNS.values()),
        )
        for (model, attack, target), found in groups.items()
        for kind, title in (("clean", "never poisoned"), ("backdoored", "backdoored"))
    ]
    table = markdown_table(("model", "attack", "target", "weights", *UNDEFENDED_COLUMNS), lines)
    return f"{table}\n\n{RANGE_NOTE} {format_origin(shown, UNDEFENDED_COMMAND)}"


def _format_keys(rows: Sequence[Row], kind: str, keys: Sequence[str]) -> str:
    return format_mean_range(read(row[kind], *keys) for row in rows)


equal_accuracy = partial(_each_model, format_model=format_equal_accuracy)
at_rates = partial(_each_model, format_model=_format_at_rates)
defender_data = partial(_each_model, format_model=_format_defender_data)
aware = partial(_each_model, format_model=_format_aware)
fine = partial(_each_model, format_model=_format_fine)
long = partial(_each_model, format_model=_format_long)
rates = partial(_each_model, format_model=format_rates)
