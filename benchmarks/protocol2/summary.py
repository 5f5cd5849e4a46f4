"""What the lines of protocol 2 say: cells by method and seed, ASR at equal accuracy, paired gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.equal_accuracy import interpolate_asr
from benchmarks.markdown.cells import Row
from benchmarks.protocol2 import plan, rule
from benchmarks.protocol2.lines import PLAIN_TASK, find_variant, select_rows
from benchmarks.protocol2.tasks import Attacks, Log, Methods, Task, decide_attacks, decide_methods
from cleaner.evaluation.equal_accuracy import Setting, is_within
from cleaner.variant import Variant


@dataclass(frozen=True)
class Cell:
    """One line with its task."""

    task: Task
    row: Row

    @property
    def variant(self) -> Variant:
        """The method as tables name it."""
        return find_variant(self.row)

    def metric(self, name: str, k: int = 1) -> float | None:
        """Return a test metric at k; None if it was not measured."""
        value = (self.row["metrics"] or {}).get(name)
        if isinstance(value, Mapping):
            value = value.get(str(k), value.get(k))
        return None if value is None else float(value)

    @property
    def loss(self) -> float:
        """Validation accuracy lost against the backdoored model."""
        return float(self.row["backdoored_validation_ca"]) - float(self.row["validation_ca"])


def _is_usual(task: Task) -> bool:
    return task.data == "disjoint" and task.steps == plan.STEPS


def select_cells(rows: Iterable[Row], is_compared: Callable[[Task], bool] = _is_usual) -> list[Cell]:
    """Return the cells that a table compares, by default those with the usual clean pairs and steps.

    Only cells with metrics; of each backdoored model those of one processor, which measured most of them.
    """
    compared = (row for row in rows if is_compared(Task(**row["task"])))
    return [Cell(Task(**row["task"]), dict(row)) for row in select_rows(compared)]


def select(cells: Iterable[Cell], **fields: Any) -> list[Cell]:
    """Return the cells whose task has these values. Backdoored models have no steps or data of their own."""
    free = ("steps", "data")

    def fits(task: Task) -> bool:
        return all(getattr(task, name) == value or (name in free and not task.method) for name, value in fields.items())

    return [cell for cell in cells if fits(cell.task)]


def decide(model: str, rows: Iterable[Row]) -> tuple[Attacks, Methods] | None:
    """Return targets and rates; None while they are open. A rival has a rate once its own trials are done."""
    log = Log(rows)
    attacks = decide_attacks(model, log)
    if attacks.missing:
        return None
    if decide_methods(log, attacks).missing:
        return None
    return attacks, decide_methods(log, attacks, plan.RIVALS[model])


def main_cells(cells: Iterable[Cell], attack: str, target: str) -> list[Cell]:
    """Return the cells of the main table and its curves for one attack."""
    return select(cells, attack=attack, target=target, **PLAIN_TASK)


def is_key_method_at_rate(task: Task, methods: Methods) -> bool:
    """Whether a task is of a key method, in the form that goes on and at the rate that the rule chose."""
    choice = methods.rates.get((task.method, task.form))
    is_key = task.method in plan.KEY_METHODS and (task.method != plan.FULL_METHOD or task.form == methods.form)
    return is_key and choice is not None and choice.lr == task.lr


def select_attackers(rows: Iterable[Row], methods: Methods) -> list[Cell]:
    """Return the backdoored models and the key methods of attackers who know the defense and of those who do not.

    A seed counts once one processor measured both attackers: the processor alone moves such a cell by 10 points.
    """
    measured: dict[tuple[str, int, str, str], dict[Task, Row]] = {}
    for row in rows:
        task = Task(**row["task"])
        is_compared = not task.method or is_key_method_at_rate(task, methods)
        if is_compared and task.kind == "cell" and task.world == "scenes" and _is_usual(task) and row["metrics"]:
            key = (task.attack, task.seed, task.target, str(row["processor"]))
            measured.setdefault(key, {})[task] = row
    size = 2 * (1 + len(plan.KEY_METHODS))
    complete = {key[:3]: found for key, found in measured.items() if len(found) == size}
    return [Cell(task, dict(row)) for found in complete.values() for task, row in found.items()]


def select_chosen(cells: Iterable[Cell]) -> list[Cell]:
    """Return the backdoored models and each method at the rate that the rule chose, for one attack and target.

    Seeds on which a method is missing that another seed has are left out, but for the rivals: means over different
    seeds cannot be compared.
    """
    chosen = [cell for cell in cells if cell.task.has_followups or not cell.task.method]
    measured: dict[int, set[tuple[str, str]]] = {}
    for cell in chosen:
        if cell.task.method not in plan.ALL_RIVALS:
            measured.setdefault(cell.task.seed, set()).add((cell.task.method, cell.task.form))
    most = max(measured.values(), key=len, default=set())
    return [cell for cell in chosen if measured.get(cell.task.seed, set()).issuperset(most)]


def by_method(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Return name in tables -> cells, in the order of tables; formulas in order of appearance."""
    groups: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: plan.ORDER.index(cell.task.method)):
        groups.setdefault(cell.variant.key, []).append(cell)
    return groups


def drop_open_curves(
    cells: Iterable[Cell],
    rows: Iterable[Row],
    curves: Mapping[tuple[str, str], Iterable[float]],
    *,
    on_one_processor: bool = True,
) -> list[Cell]:
    """Return the cells without those of a method on a seed while a rate of its curve is missing: it could be the best.

    rows: all lines, those of trainings that diverged too; curves: (method, form) -> rates. on_one_processor: whether
    only a curve that one processor measured is complete.
    """
    measured: dict[tuple[Task, str], set[float]] = {}

    def name_curve(row: Row) -> tuple[Task, str]:
        """Return what the cells of one curve share."""
        task = replace(Task(**row["task"]), lr=0.0, has_followups=False)
        return task, str(row["processor"]) if on_one_processor else ""

    for row in rows:
        measured.setdefault(name_curve(row), set()).add(row["task"]["lr"])

    def is_closed(cell: Cell) -> bool:
        rates = curves.get((cell.task.method, cell.task.form), ())
        return measured.get(name_curve(cell.row), set()).issuperset(rates)

    return [cell for cell in cells if not cell.task.method or is_closed(cell)]


def undefended_asr(cells: Iterable[Cell], of_method: Iterable[Cell] = ()) -> dict[int, float | None]:
    """Return seed -> ASR@1 of the backdoored models of `cells`, or of the copies that a method was measured on."""
    usual = {cell.task.seed: cell.metric("asr") for cell in cells if not cell.task.method}
    return usual | {cell.task.seed: cell.row["copy_asr"] for cell in of_method if cell.row.get("is_on_copy")}


def find_cut_short(cells: Iterable[Cell], max_loss: float) -> set[tuple[str, int]]:
    """Return the (method, seed) pairs whose largest rate of the grid loses at most `max_loss`.

    A rate beyond the grid might leave less: their ASR at equal accuracy is an upper bound.
    """
    largest = (cell for cell in cells if cell.task.lr == max(rule.GRID))
    return {(cell.variant.key, cell.task.seed) for cell in largest if is_within(cell.loss, max_loss)}


def at_equal_accuracy(cells: Sequence[Cell], max_loss: float) -> dict[str, dict[int, float]]:
    """Return method -> seed -> the lowest test ASR@1 at a validation loss of at most `max_loss`, interpolated.

    A seed counts only if its backdoored model was measured.
    """
    found: dict[str, dict[int, float]] = {}
    for name, of_method in by_method(cell for cell in cells if cell.task.method).items():
        before = undefended_asr(cells, of_method)
        for seed in sorted({cell.task.seed for cell in of_method}):
            settings = [
                Setting(cell.task.lr, cell.loss, asr)
                for cell in of_method
                if cell.task.seed == seed and (asr := cell.metric("asr")) is not None
            ]
            undefended = before.get(seed)
            if undefended is not None:
                lowest = interpolate_asr(settings, max_loss, undefended=undefended, grid=rule.GRID)
                found.setdefault(name, {})[seed] = lowest
    return found
