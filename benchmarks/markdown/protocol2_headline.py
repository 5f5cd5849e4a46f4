"""The table of the README: what the main methods of protocol 2 leave of each attack, and what that costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.markdown.captions import LOST_ACCURACY_NOTE, describe_protocol
from benchmarks.markdown.cells import format_mean_range, format_number, markdown_table, mean
from benchmarks.markdown.protocol2_claim import COMMAND, CUT_SHORT_NOTE, format_mark, name_seeds, note_copies
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
METHODS = ("", "finetune", "par", *plan.KEY_METHODS)
"""Methods of the table; docs/claim.md has all."""
NO_RATE = "no rate"
POINTS = f"{100 * rule.BUDGET:g}"
COSTS = {"CA": "ca", "CF": "counterfactual_accuracy"}


def headline(root: Path) -> str:
    """Return ASR@1 at equal accuracy, then ASR@1, CA and CF at each method's rate, on the first model and target."""
    rows = read_json_lines(root / "benchmarks" / "results" / results_path(MODEL).name)
    decided = decide(MODEL, rows)
    assert decided is not None
    attacks, methods = decided
    measured, curves, chosen = select_cells(rows), {}, {}
    for attack in attacks.settings:
        cells = main_cells(measured, attack, attacks.targets[0])
        at_rates = _select_shown(select_chosen(cells), methods)
        if any(cell.task.method for cell in at_rates):
            seeds = {cell.task.seed for cell in at_rates}
            chosen[attack] = by_method(at_rates)
            curves[attack] = [cell for cell in drop_open_curves(cells, rows, methods.curves) if cell.task.seed in seeds]
    columns = {name: cells[0].task for groups in chosen.values() for name, cells in groups.items()}
    lines = []
    for attack in filter(chosen.__contains__, plan.JUDGES):
        values = _format_equal_accuracy(curves[attack], columns)
        lines.append((f"ASR@1 `{attack}`, {POINTS} points lost", *values, _format_floor(chosen[attack])))
    for attack, groups in chosen.items():
        values = [format_mean_range(_read(groups.get(name, []), "asr")) for name in columns]
        lines.append((f"ASR@1 `{attack}`, own rate", *values, _format_floor(groups)))
    for title, metric in COSTS.items():
        values = [format_number(_average(chosen, name, metric)) for name in columns]
        lines.append((f"{title}, own rate", *values, ""))
    header = [
        "none (backdoored)" if name == NO_METHOD else f"`{name}`{format_mark(task, methods)}"
        for name, task in columns.items()
    ]
    table = markdown_table((f"`{MODEL}`", *header, "floor"), lines)
    return f"{table}\n\n{_format_caption(chosen)}"


def _select_shown(cells: Iterable[Cell], methods: Methods) -> list[Cell]:
    """Return the cells of `METHODS`, of TA-Cleaner those in the form that the rule chose."""
    forms = {plan.FULL_METHOD: methods.form}
    return [
        cell
        for cell in cells
        if cell.task.method in METHODS and cell.task.form == forms.get(cell.task.method, cell.task.form)
    ]


def _format_equal_accuracy(curves: Sequence[Cell], names: Iterable[str]) -> list[str]:
    """Return the lowest ASR@1 of each method within the budget."""
    found = at_equal_accuracy(curves, rule.BUDGET)
    cut_short = {name for name, _ in find_cut_short(curves, rule.BUDGET)}
    groups, texts = by_method(curves), []
    for name in names:
        lowest = found.get(name)
        if lowest is not None and lowest == undefended_asr(curves, groups.get(name, [])):
            texts.append(NO_RATE)
        else:
            values = _read(groups.get(name, []), "asr") if lowest is None else lowest.values()
            texts.append(format_mean_range(values) + " ‡" * (name in cut_short))
    return texts


def _read(cells: Sequence[Cell], metric: str) -> list[float]:
    return [value for cell in cells if (value := cell.metric(metric)) is not None]


def _format_floor(groups: Mapping[str, Sequence[Cell]]) -> str:
    return format_number(mean(_read(groups[NO_METHOD], "asr_clean_model")))


def _average(chosen: Mapping[str, Mapping[str, Sequence[Cell]]], name: str, metric: str) -> float | None:
    """Return the mean over the attacks, which weigh the same, however many seeds they have."""
    means = (mean(_read(groups.get(name, []), metric)) for groups in chosen.values())
    return mean([value for value in means if value is not None])


def _format_caption(chosen: Mapping[str, Mapping[str, Sequence[Cell]]]) -> str:
    cells = [cell for groups in chosen.values() for of_method in groups.values() for cell in of_method]
    attacks_of: dict[str, list[str]] = {}
    for attack, groups in chosen.items():
        attacks_of.setdefault(name_seeds(groups[NO_METHOD]), []).append(f"`{attack}`")
    seeds = "; ".join(f"{', '.join(attacks)}: {named}" for named, attacks in attacks_of.items())
    rows = [cell.row for cell in cells]
    return (
        f"Mean [minimum, maximum] over the seeds. {POINTS} points lost: the lowest ASR@1 that a method reaches at this "
        "loss of validation accuracy, a bound, because a defender cannot measure ASR and pick out that learning rate. "
        f"{NO_RATE}: none within that loss leaves less than the backdoored model. ‡: on some seed {CUT_SHORT_NOTE}. "
        "Own rate: the learning rate that clean accuracy chose; CA and CF are means over the attacks. "
        f"{LOST_ACCURACY_NOTE} {describe_protocol(rows)}. {seeds}.{note_copies(rows)} `{COMMAND}`; commits, processor, "
        f"every seed and the other methods: {LINK}."
    )
