"""Which measurements are missing, in order: a pure function of the lines that were measured so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.markdown.cells import Row
from benchmarks.protocol2 import plan, rule
from benchmarks.protocol2.lines import MEASURED_ALONE
from benchmarks.protocol2.plan import FULL_METHOD, JUDGES, MODELS, PLAIN, SHARES
from cleaner.types import CleanerError

FAILED_LOSS = 1.0
"""Loss of a training that diverged."""


@dataclass(frozen=True)
class Task:
    """One measurement. Its fields identify its line in the file.

    Attributes:
        kind: "attack trial", "grid" or "cell".
        method: name of the defense; empty: the backdoored model itself. form: one of `plan.FORMS`, or empty.
        setting: position in the attack's ladder.
        data: the defender's pairs, of `plan.DEFENDER_DATA`.
        world: data set of attack and test.
        is_aware: whether the attacker also minimizes the subtext loss.
        has_followups: whether rebound, transfer and probe are measured too.
    """

    kind: str
    attack: str
    target: str
    seed: int
    method: str = ""
    form: str = ""
    lr: float = 0.0
    steps: int = plan.STEPS
    setting: int = 0
    data: str = "disjoint"
    world: str = "scenes"
    is_aware: bool = False
    has_followups: bool = False

    @property
    def suspect(self) -> Task:
        """The backdoored model that the task needs."""
        return replace(self, method="", form="", lr=0.0, steps=plan.STEPS, data="disjoint", has_followups=False)


class Log:
    """The lines of one model, by task. Cells of one backdoored model count only if one processor measured them all."""

    def __init__(self, rows: Iterable[Row], processor: dict[str, Any] | None = None) -> None:
        self.processor = processor
        self._rows: dict[Task, list[Row]] = {}
        for row in rows:
            self._rows.setdefault(Task(**row["task"]), []).append(row)

    def find(self, task: Task) -> Row | None:
        """Return the line of a task; for a cell, the one of this log's processor if it has one."""
        rows = self._rows.get(task, [])
        if task.kind != "cell" or self.processor is None:
            return rows[0] if rows else None
        return next((row for row in rows if row["processor"] == self.processor), None)

    def is_complete(self, tasks: Sequence[Task]) -> bool:
        """Return whether one processor measured all of these tasks."""
        measured = [[row["processor"] for row in self._rows.get(task, [])] for task in tasks]
        return all(measured) and any(all(first in of_task for of_task in measured) for first in measured[0])

    def losses(self, method: str, form: str, target: str) -> dict[float, float]:
        """Return learning rate -> validation loss of a method's trials in the grid."""
        return {
            task.lr: FAILED_LOSS if rows[0]["ca"] is None else rows[0]["backdoored_ca"] - rows[0]["ca"]
            for task, rows in self._rows.items()
            if (task.kind, task.method, task.form, task.target) == ("grid", method, form, target)
        }


def pending(model: str, log: Log, parts: Sequence[str] = ()) -> list[Task]:
    """Return the missing tasks of a model in order, as far as they are known: the later ones depend on results.

    `parts`: those to measure, all if empty; they need the parts attacks and grid. Not every task can start at once: a
    defended model needs its backdoored one (`Task.suspect`).
    """
    attacks = decide_attacks(model, log)
    if attacks.missing or parts == ("attacks",):
        return attacks.missing
    methods = decide_methods(log, attacks)
    if methods.missing or parts == ("grid",):
        return methods.missing
    missing: list[Task] = []
    for part in MODELS[model].parts:
        if part not in ("attacks", "grid") and (not parts or part in parts):
            missing += _missing_in(part, model, log, attacks)
    return list(dict.fromkeys(missing))


@dataclass(frozen=True)
class Attacks:
    """The chosen setting of each attack and the targets; `missing`: trials that the decision still needs."""

    settings: dict[str, int]
    targets: list[str]
    missing: list[Task]


def decide_attacks(model: str, log: Log) -> Attacks:
    """Return settings and targets as far as the trials decide them."""
    order, attacks = plan.draw_targets(), MODELS[model].attacks
    settings = {attack: _decide_setting(attack, order[0], log) for attack in attacks}
    missing = [setting for setting in settings.values() if isinstance(setting, Task)]
    chosen = {attack: setting for attack, setting in settings.items() if isinstance(setting, int)}
    if missing:
        return Attacks(chosen, [], missing)
    takes = {a for a in attacks if _asr(log.find(_trial(a, order[0], chosen[a]))) >= plan.MIN_ASR}
    targets: list[str] = []
    for target in order:
        judges = [a for a in attacks if a in JUDGES or (not targets and a in takes)]
        trials = [_trial(attack, target, chosen[attack]) for attack in judges]
        rows = [log.find(trial) for trial in trials]
        if any(row is not None and not accepts(row) for row in rows):
            continue
        if unknown := [trial for trial, row in zip(trials, rows, strict=True) if row is None]:
            return Attacks(chosen, targets, unknown)
        targets.append(target)
        if len(targets) == plan.TARGETS:
            return Attacks(chosen, targets, [])
    raise CleanerError(f"no {plan.TARGETS} targets suit the attacks on {model}: choose stronger attack settings.")


def _decide_setting(attack: str, target: str, log: Log) -> int | Task:
    """Return the first setting of the ladder that takes, else the one with the highest ASR; or the trial to do next."""
    rates: list[float] = []
    for setting in range(len(plan.ladder(attack))):
        row = log.find(trial := _trial(attack, target, setting))
        if row is None:
            return trial
        rates.append(_asr(row))
        if rates[-1] >= plan.MIN_ASR:
            return setting
    return rates.index(max(rates))


def accepts(row: Row) -> bool:
    """Return whether an attack trial lets its target stay."""
    return _asr(row) >= plan.MIN_ASR and float(row["floor"]) <= plan.MAX_FLOOR


def _asr(row: Row | None) -> float:
    return 0.0 if row is None else float(row["asr"])


def _trial(attack: str, target: str, setting: int) -> Task:
    return Task("attack trial", attack, target, plan.TRIAL_SEED, setting=setting)


@dataclass(frozen=True)
class Methods:
    """The chosen form and the rates of each method.

    Attributes:
        form: the form of TA-Cleaner; empty while it is open.
        rates: (method, form) -> the rule's choice; curves: -> rates of the curve.
        missing: trials that the decision still needs; methods are tried in turn, so that two processes can share them.
    """

    form: str
    rates: dict[tuple[str, str], rule.Choice]
    curves: dict[tuple[str, str], list[float]]
    missing: list[Task]


def decide_methods(log: Log, attacks: Attacks, rivals: Sequence[str] = ()) -> Methods:
    """Return form and rates as far as the grid decides them."""
    target = attacks.targets[0]
    blank = Methods("", {}, {}, [])
    suspect = Task("grid", "badnet", target, plan.GRID_SEED, setting=attacks.settings["badnet"])
    if log.find(suspect) is None:
        return replace(blank, missing=[suspect])
    first = [*((method, "") for method in (*PLAIN, *rivals)), *((FULL_METHOD, form) for form in plan.FORMS)]
    found = _decide_rates(log, suspect, first)
    forms = {form: log.losses(FULL_METHOD, form, target) for form in plan.FORMS}
    if any((FULL_METHOD, form) not in found.rates for form in plan.FORMS):
        return found
    form = rule.choose_form(forms)
    others = [(method, form) for method in SHARES if method != FULL_METHOD]
    rest = _decide_rates(log, suspect, others)
    return Methods(form, found.rates | rest.rates, found.curves | rest.curves, found.missing + rest.missing)


def _decide_rates(log: Log, suspect: Task, methods: Sequence[tuple[str, str]]) -> Methods:
    decided = Methods("", {}, {}, [])
    for method, form in methods:
        losses = rule.needed_losses(log.losses(method, form, suspect.target))
        lr = rule.next_rate(losses)
        if lr is not None:
            decided.missing.append(replace(suspect, method=method, form=form, lr=lr))
        else:
            decided.rates[method, form] = rule.choose_rate(losses)
            decided.curves[method, form] = rule.curve_rates(losses)
    return decided


def _missing_in(part: str, model: str, log: Log, attacks: Attacks) -> list[Task]:
    """Return the missing tasks of a part that follows the grid."""
    methods = decide_methods(log, attacks, plan.RIVALS[model] if part in ("others", "rivals", "rest") else ())
    planned = planned_groups(part, model, attacks, methods) if not methods.missing else []
    groups = [part for group in planned for part in _split_alone(group)]
    cells = [task for group in groups if not log.is_complete(group) for task in group if log.find(task) is None]
    return methods.missing + cells


def _split_alone(group: Sequence[Task]) -> list[list[Task]]:
    """Return the cells that one processor must measure: the methods measured alone need just their backdoored model."""
    usual = [task for task in group if task.method not in MEASURED_ALONE]
    return [usual, [task for task in group if not task.method or task.method in MEASURED_ALONE]]


def planned_groups(part: str, model: str, attacks: Attacks, methods: Methods) -> list[list[Task]]:
    """Return the cells of a part, once everything is decided: one list per backdoored model, that model first.

    A list has everything that a table compares with these cells, because one processor must have measured it all, but
    for `MEASURED_ALONE`.
    """
    own, cells = MODELS[model], _Cells(attacks, methods)
    target, others = attacks.targets[0], attacks.targets[1:]
    pair = [attack for attack in reversed(JUDGES) if attack in own.attacks]
    first, few = own.seeds[0], own.few_seeds
    groups: list[list[Task]] = []
    if part == "main":
        for seed in own.seeds:
            groups += [cells.at_rates(attack, target, seed) for attack in pair]
            groups += [cells.over_rates(attack, target, seed) for attack in pair]
    elif part == "targets":
        groups = [cells.at_rates("badclip", other, first) for other in others]
    elif part == "data":
        groups = [cells.on_data(attack, target, seed) for seed in few for attack in pair]
    elif part == "classes":
        groups = [cells.of_key_methods("badclip", plan.FINE_TARGET, seed, world="scenes-fine") for seed in few]
    elif part == "aware":
        groups = [cells.of_attackers(attack, target, seed) for seed in few for attack in pair]
    elif part == "others":
        # Not in protocol.json, added while seed 7 was measured: the rivals, at the rates that the rule gives them.
        rivals = [(name, "") for name in plan.RIVALS[model]]
        groups = [
            cells.at_rates(attack, target, seed, rivals=rivals)
            for seed in few
            for attack in own.attacks
            if attack not in JUDGES
        ]
    elif part == "rivals":
        groups = [cells.of_rivals(attack, target, seed, plan.RIVALS[model]) for seed in few for attack in pair]
    elif part == "long":
        groups = [cells.at_rates(attack, target, seed, steps=plan.LONG_STEPS) for seed in few for attack in pair]
    elif part == "rest":
        groups = [cells.rest_of_grid(target)]
    return groups


@dataclass(frozen=True)
class _Cells:
    """Builds the tasks of one backdoored model."""

    attacks: Attacks
    methods: Methods

    def _suspect(self, attack: str, target: str, seed: int, **changes: Any) -> Task:
        return Task("cell", attack, target, seed, setting=self.attacks.settings[attack], **changes)

    def _table_methods(self) -> list[tuple[str, str]]:
        form = self.methods.form
        drawn = [(method, form) for method in SHARES]
        return [*((method, "") for method in PLAIN), *drawn, (FULL_METHOD, plan.other_formula(form))]

    def _key_methods(self) -> list[tuple[str, str]]:
        return [(method, self.methods.form if method in SHARES else "") for method in plan.KEY_METHODS]

    def _at_rate(self, suspect: Task, methods: Sequence[tuple[str, str]], **changes: Any) -> list[Task]:
        rates = self.methods.rates
        return [
            replace(suspect, method=method, form=form, lr=rates[method, form].lr, **changes) for method, form in methods
        ]

    def at_rates(
        self, attack: str, target: str, seed: int, steps: int = plan.STEPS, rivals: Sequence[tuple[str, str]] = ()
    ) -> list[Task]:
        """Return the backdoored model, and all methods of the table and the rivals at their rates."""
        suspect, methods = self._suspect(attack, target, seed), [*self._table_methods(), *rivals]
        return [suspect, *self._at_rate(suspect, methods, steps=steps, has_followups=True)]

    def over_rates(self, attack: str, target: str, seed: int) -> list[Task]:
        """Return the backdoored model, and every method of the table over the rates of its curve."""
        suspect, curves = self._suspect(attack, target, seed), self.methods.curves
        at_rates = {(task.method, task.form, task.lr): task for task in self.at_rates(attack, target, seed)}
        cells = [
            at_rates.get((method, form, lr)) or replace(suspect, method=method, form=form, lr=lr)
            for method, form in self._table_methods()
            for lr in curves[method, form]
        ]
        return [suspect, *cells]

    def on_data(self, attack: str, target: str, seed: int) -> list[Task]:
        """Return the backdoored model, and the key methods on the usual pairs and on each of the defender's others."""
        suspect = self._suspect(attack, target, seed)
        methods = self._key_methods()
        usual = self._at_rate(suspect, methods, has_followups=True)
        others = [task for data in plan.OTHER_DATA for task in self._at_rate(suspect, methods, data=data)]
        return [suspect, *usual, *others]

    def of_key_methods(self, attack: str, target: str, seed: int, **changes: Any) -> list[Task]:
        """Return another backdoored model, and the key methods on it."""
        suspect = self._suspect(attack, target, seed, **changes)
        return [suspect, *self._at_rate(suspect, self._key_methods(), has_followups=True)]

    def of_attackers(self, attack: str, target: str, seed: int) -> list[Task]:
        """Return the backdoored models of attackers who know the defense and who do not, each with the key methods."""
        return [
            task for is_aware in (True, False) for task in self.of_key_methods(attack, target, seed, is_aware=is_aware)
        ]

    def of_rivals(self, attack: str, target: str, seed: int, rivals: Sequence[str]) -> list[Task]:
        """Return the backdoored model, the methods of the table, and the rivals, all over the rates of their curves."""
        suspect, methods = self._suspect(attack, target, seed), self.methods
        cells = [
            replace(suspect, method=name, lr=lr, has_followups=lr == methods.rates[name, ""].lr)
            for name in rivals
            for lr in methods.curves[name, ""]
        ]
        return [*self.over_rates(attack, target, seed), *cells]

    def rest_of_grid(self, target: str) -> list[Task]:
        """Return the trials of the grid that the rule did not need, and those that it needed."""
        suspect = replace(self._suspect("badnet", target, plan.GRID_SEED), kind="grid")
        rates = sorted(rule.GRID, reverse=True)
        return [replace(suspect, method=m, form=form, lr=lr) for m, form in self.methods.rates for lr in rates]
