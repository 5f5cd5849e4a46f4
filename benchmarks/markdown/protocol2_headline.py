"""The table of the README: what every method of protocol 2 costs, and what it leaves of each attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.markdown.captions import LOST_ACCURACY_NOTE, describe_protocol
from benchmarks.markdown.cells import format_mean_range, format_number, markdown_table, mean
from benchmarks.markdown.protocol2_claim import COMMAND, CUT_SHORT_NOTE, format_mark, format_seeds, note_copies
from benchmarks.protocol2 import plan, rule
from benchmarks.protocol2.records import results_path
from benchmarks.protocol2.summary import (
    NO_METHOD,
    Cell,
    at_equal_accuracy,
    by_method,
    decide,
    drop_open_curves,
    find_cut_short,
    main_cells,
    select_cells,
    select_chosen,
    undefended_asr,
)
from benchmarks.protocol2.tasks import Methods
from cleaner.files import read_json_lines

LINK = "[docs/claim.md](docs/claim.md)"
MODEL = next(iter(plan.MODELS))
NO_RATE = "no rate"


@dataclass(frozen=True)
class Column:
    """ASR@1 of one attack: method -> a value per seed."""

    header: str
    asr: Mapping[str, Sequence[float]]
    floor: float | None
    seeds: str
    cut_short: frozenset[str] = frozenset()
    """Methods whose largest learning rate loses less than the points of the column."""
    untouched: Mapping[str, int] = field(default_factory=dict)
    """Method -> seeds on which no learning rate leaves less than the backdoored model within these points."""


def headline(root: Path) -> str:
    """Return CA, CF and ASR@1 of every method on the first model and target of the protocol."""
    rows = read_json_lines(root / "benchmarks" / "results" / results_path(MODEL).name)
    decided = decide(MODEL, rows)
    assert decided is not None
    attacks, methods = decided
    chosen: dict[str, list[Cell]] = {}
    columns: list[Column] = []
    measured = select_cells(rows)
    for attack in attacks.settings:
        cells = main_cells(measured, attack, attacks.targets[0])
        at_rates = select_chosen(cells)
        if {cell.task.method for cell in at_rates} & {*plan.PLAIN, *plan.SHARES}:  # not only the rivals
            chosen[attack] = at_rates
            columns.append(_make_column(attack, at_rates, drop_open_curves(cells, rows, methods.curves)))
    return f"**`{MODEL}`**\n\n{_format_lines(chosen, columns, methods)}\n\n{_format_caption(chosen, columns)}"


def _make_column(attack: str, at_rates: Sequence[Cell], curves: Sequence[Cell]) -> Column:
    """Return ASR@1 at equal accuracy where the protocol measures curves, else at the rate of each method."""
    asr = {name: _read(cells, "asr") for name, cells in by_method(at_rates).items()}
    floor = mean(_read([cell for cell in at_rates if not cell.task.method], "asr_clean_model"))
    if attack not in plan.JUDGES:
        return Column(f"ASR@1 `{attack}`", asr, floor, f"{attack} {format_seeds(at_rates)}")
    seeds = {cell.task.seed for cell in at_rates}
    found = at_equal_accuracy([cell for cell in curves if cell.task.seed in seeds], rule.BUDGET)
    measured = {seed for of_seed in found.values() for seed in of_seed}
    before = [cell for cell in at_rates if not cell.task.method and cell.task.seed in measured]
    values = {name: list(of_seed.values()) for name, of_seed in found.items()}
    untouched = {
        name: sum(undefended_asr(curves, of_method)[seed] == value for seed, value in found[name].items())
        for name, of_method in by_method(cell for cell in curves if cell.task.method).items()
        if name in found
    }
    return Column(
        f"ASR@1 `{attack}`, {100 * rule.BUDGET:g} points lost",
        {NO_METHOD: _read(before, "asr"), **values},
        floor,
        f"{attack} {format_seeds(before)}",
        frozenset(name for name, seed in find_cut_short(curves, rule.BUDGET) if seed in measured),
        untouched,
    )


def _read(cells: Sequence[Cell], metric: str) -> list[float]:
    return [value for cell in cells if (value := cell.metric(metric)) is not None]


def _format_lines(chosen: Mapping[str, Sequence[Cell]], columns: Sequence[Column], methods: Methods) -> str:
    groups = [by_method(cells) for cells in chosen.values()]
    lines = []
    everything = [cell for of_attack in chosen.values() for cell in of_attack]
    for name, cells in by_method(everything).items():
        task = cells[0].task
        # Every attack weighs the same, however many seeds it has.
        shares = [
            format_number(mean([value for group in groups if (value := mean(_read(group.get(name, []), metric)))]))
            for metric in ("ca", "counterfactual_accuracy")
        ]
        asr = [_format_asr(column, name) for column in columns]
        lines.append((f"`{name}`{format_mark(task, methods)}" if task.method else "none (backdoored)", *shares, *asr))
    lines.append(("floor: never poisoned", "", "", *(format_number(column.floor) for column in columns)))
    return markdown_table(("defense", "CA", "CF", *(column.header for column in columns)), lines)


def _format_asr(column: Column, name: str) -> str:
    values, untouched = column.asr.get(name), column.untouched.get(name, 0)
    if not values:
        return "-"
    if untouched == len(values):
        return NO_RATE
    return format_mean_range(values) + " §" * (untouched > 0) + " ‡" * (name in column.cut_short)


def _format_caption(chosen: Mapping[str, Sequence[Cell]], columns: Sequence[Column]) -> str:
    cells = [cell for of_attack in chosen.values() for cell in of_attack]
    seeds = "; ".join(dict.fromkeys(column.seeds for column in columns))
    if rivals := [cell for cell in cells if cell.task.method in plan.RIVALS[MODEL]]:
        seeds += f" ({', '.join(f'`{name}`' for name in by_method(rivals))}: {format_seeds(rivals)})"
    return (
        "CA, CF: at the learning rate that clean accuracy chose, mean over the attacks. ASR@1: mean over seeds "
        "[minimum, maximum]. Where points of (validation) accuracy lost are named, it is the lowest that a method "
        f"reaches within that loss. {NO_RATE}: no learning rate leaves less than the backdoored model within it; §: on "
        "some seeds none does, and the backdoored model counts there. ‡: on some seed "
        f"{CUT_SHORT_NOTE}. The other attacks are "
        f"measured at the chosen learning rate. Seeds: {seeds}. {describe_protocol([cell.row for cell in cells])}. "
        f"{LOST_ACCURACY_NOTE}{note_copies([cell.row for cell in cells])} "
        f"`{COMMAND}`; commits, processor and every seed: {LINK}."
    )
