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
    """Return what method, control and baseline leave with other clean pairs: a line per kind of pairs."""
    of_data = select_cells(rows, lambda task: task.steps == plan.STEPS and is_key_method_at_rate(task, methods))
    tables, shown = [], []
    for attack, target in (key for key in list_attacks(cells) if key[0] == FULL_ATTACK):
        at_rate = select(of_data, attack=attack, target=target, world="scenes", is_aware=False)
        # The disjoint pairs of the main table have more seeds.
        seeds = {cell.task.seed for cell in at_rate if cell.task.data != "disjoint"}
        compared = [cell for cell in at_rate if cell.task.seed in seeds]
        if compared:
            lines = {f"{data}": select(compared, data=data) for data in plan.DEFENDER_DATA}
            tables.append(f"**`{attack}`** ({name_seeds(compared)})\n\n{_compare('clean pairs', lines, methods)}")
            shown += [cell.row for cell in compared]
    caption = (
        f"`{model}`, {plan.STEPS} steps each, rates of the main table. Overlap: the attacker's own images, "
        f"untriggered, with full true captions. {RANGE_NOTE} {LOST_ACCURACY_NOTE} {format_origin(shown)}"
    )
    return _join_tables(tables, caption)


def _format_aware(model: str, cells: Sequence[Cell], rows: Sequence[Row], methods: Methods) -> str:
    """Return what is left of an attacker who knows the defense, and of one who does not."""
    of_both = select_attackers(rows, methods)
    lines = {
        f"`{attack}`, {'knows' if knows else 'does not know'} the defense": found
        for attack in plan.JUDGES
        for knows in (True, False)
        if (found := [c for c in select(of_both, attack=attack, is_aware=knows) if c.task.method])
    }
    if not lines:
        return ""
    return (
        f"{_compare('attacker', lines, methods)}\n\n`{model}`, {name_seeds(of_both)}. Both attackers of a seed on one "
        f"processor. {RANGE_NOTE} {LOST_ACCURACY_NOTE} {format_origin([cell.row for cell in of_both])}"
    )


def _compare(title: str, lines: Mapping[str, Sequence[Cell]], methods: Methods) -> str:
    """Return CA and ASR@1 of the key methods as columns, one line per setting."""
    tasks = {name: found[0].task for cells in lines.values() for name, found in by_method(cells).items()}
    names = sorted(tasks, key=lambda name: plan.KEY_METHODS.index(tasks[name].method))
    columns = [(column, name) for column in ("CA", "ASR@1") for name in names]
    header = (f"{column} `{name}`{format_mark(tasks[name], methods)}" for column, name in columns)
    table = [
        (setting, *(format_mean_range(map(COLUMNS[column], groups.get(name, []))) for column, name in columns))
        for setting, groups in ((setting, by_method(cells)) for setting, cells in lines.items())
    ]
    return markdown_table((title, *header), table)


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


equal_accuracy = partial(_each_model, format_model=format_equal_accuracy)
at_rates = partial(_each_model, format_model=_format_at_rates)
defender_data = partial(_each_model, format_model=_format_defender_data)
aware = partial(_each_model, format_model=_format_aware)
fine = partial(_each_model, format_model=_format_fine)
long = partial(_each_model, format_model=_format_long)
rates = partial(_each_model, format_model=format_rates)
