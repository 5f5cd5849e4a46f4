"""Attack x defense on the model of CIFAR-10's photos: python -m benchmarks.photos

Phases, each done once: attack settings, by ASR and CA of models backdoored with seed 100, before any defense; learning
rates, by clean accuracy on validation photos alone, from `FIRST_RATE` down to the first within the budget; the table,
on all test photos, with accuracy and ASR on corrupted photos; the rest of the grid of learning rates. Every finished
task is a line of benchmarks/results/cifar10.jsonl. The same call continues after a stop, and several processes share
the tasks. benchmarks/results/cifar10.json, from which the tables of the docs are made, has each attack and seed whose
cells are all measured. The model was trained on the photos that attack and defense use, but on no validation or test
photo.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import tyro

from benchmarks import RESULTS_DIR, learning_rates, protocol
from benchmarks.corruptions import CORRUPTIONS, Corrupted
from benchmarks.markdown.cells import Row
from benchmarks.photos_data import load_photos
from benchmarks.poison_setting import PoisonSetting
from benchmarks.protocol2 import plan
from benchmarks.rows import complete_groups, load_or_make_run, select_suspects
from benchmarks.tasks import TaskFile
from cleaner import presets
from cleaner.attacks import TRIGGERS, Trigger
from cleaner.cli.output import Progress
from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES, Defense
from cleaner.evaluation.equal_accuracy import is_within
from cleaner.evaluation.evaluate import evaluate
from cleaner.files import assets, read_json
from cleaner.models.clip import Clip, load_clip
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.runs.folders import runs_root
from cleaner.runs.run import Run
from cleaner.variant import Variant
from cleaner.workflow import defend, poison

LINES_PATH = RESULTS_DIR / "cifar10.jsonl"
RESULT_PATH = RESULTS_DIR / "cifar10.json"
MODEL, TARGET = "photos-rn", "frog"
PRECISION = "fp32"
"""Precision of all models that are backdoored or defended. Those of the attack trials were trained in bf16, which takes
ten times as long on a CPU without instructions for it."""
SEEDS = (0, 1, 2)
PHOTO_ATTACKS = ("badnet", "blended", "sig", "badclip")
ATTACK_GRID = (
    PoisonSetting(6000, 4, 0.03, 3e-4),
    PoisonSetting(6000, 4, 0.03, 1e-3),
    PoisonSetting(6000, 4, 0.1, 3e-4),
    PoisonSetting(6000, 4, 0.1, 1e-3),
    PoisonSetting(22_500, 2, 0.1, 3e-4),
    PoisonSetting(22_500, 2, 0.1, 1e-3),
)
"""The trials choose one setting for all attacks. The last two were added once the others were measured: with 6,000
photos the model did not learn badnet's patch, or lost more accuracy than the budget allows."""
ATTACK_BUDGET = 0.02
"""Accuracy that an attack may cost."""
PATCH_PAIRS, CLEAN_PAIRS = presets.POISON_PAIRS, presets.CLEAN_PAIRS
"""Pairs that a patch is optimized on, and those of a defense."""
_DRAWING = [DEFENSES[name](share=share) for name in ("cleanclip_short", "ta_cleaner") for share in (0.1, 1.0)]
METHODS: dict[str, Defense] = {
    Variant.of(defense).key: defense
    for defense in (DEFENSES["finetune"](), DEFENSES["cleanclip"](), *_DRAWING, DEFENSES["par"]())
}
LR_GRID = (5e-3, 3e-3, 2e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6)
FIRST_RATE = 1e-3
"""Rates above it are tried last: every method lost at least 4 points of accuracy there before the subtexts were
corrected."""
TEXT_METHODS = tuple(Variant.of(defense).key for defense in _DRAWING)
TEXTS = 2
"""Version of the subtexts, written into each row of these methods. Before (no version), 11% of the true ones ("a
thumbnail") named no class, and 3% of the false ones replaced the word for the photo."""
SUBTEXT_METHODS = TEXT_METHODS[1:]
SUBTEXT_SUSPECT = ("badnet", 2)
"""Methods, attack and seed that were measured with both versions at the same rates; the docs compare them."""
CORRUPTED_PHOTOS = 1000
"""Test photos under each corruption."""


@dataclass(frozen=True)
class Options:
    """Measure the missing tasks of the table on photos; several processes may run at the same time."""

    gather: bool = False
    """Measure nothing; write the result file from the finished tasks."""


def main(options: Options) -> None:
    """Run all phases, then write the result file."""
    protocol.read_started_commit()
    if not options.gather:
        configure_torch()
        task_file().run_phase("attack_trials", attack_trials())
        first = [lr for lr in LR_GRID if lr <= FIRST_RATE]
        task_file().run_phase("rate_trials", rate_trials(first), select_trials, needless_trials)
        task_file().run_phase("rows", cells(), select_cells)
        task_file().run_phase("rate_trials", rate_trials(LR_GRID), select_trials)
    results.write_result(RESULT_PATH, gather())


def task_file() -> TaskFile:
    """Return the finished tasks."""
    return TaskFile(LINES_PATH)


def read_trials() -> list[Row]:
    """Return the finished trials of learning rates."""
    return select_trials(task_file().rows("rate_trials"))


def select_trials(rows: list[Row]) -> list[Row]:
    """Return the trials that count; the first four were in bf16."""
    return [row for row in select_texts(rows) if row.get("precision") == PRECISION]


def select_texts(rows: list[Row]) -> list[Row]:
    """Return the rows without those whose subtexts were of another version."""
    return [row for row in rows if row.get("texts") == text_version(row["defense"])]


def text_version(name: str | None) -> int | None:
    """Return the version of the subtexts of a method, None for one without."""
    return TEXTS if name in TEXT_METHODS else None


def needless_trials(trials: list[Row]) -> set[str]:
    """Return the trials that cannot change the choice: a larger rate is within the budget."""
    chosen = choose_rates(trials)[0]
    return {trial_key(name, lr) for name, rate in chosen.items() for lr in LR_GRID if lr < rate}


def choose_rates(trials: list[Row]) -> tuple[dict[str, float], list[list[str]]]:
    """Return method -> rate, and the (model, method) pairs that lost more accuracy than the budget.

    A trial is judged against the backdoored model that it began with. On another processor the same attack and seed
    give slightly other weights, so not all trials have the same one.
    """
    chosen, lost = learning_rates.choose_rates(trials, LR_GRID)
    return chosen.get(MODEL, {}), lost


def select_cells(rows: list[Row]) -> list[Row]:
    """Return, of each attack and seed, the cells of one backdoored model."""
    return select_suspects(select_texts(rows), 1 + len(METHODS), suspect_folder)


def suspect_folder(attack: str, seed: int) -> Path:
    """Return the folder of a backdoored run of the table."""
    return runs_root() / f"photos_{attack}_{seed}"


@lru_cache(maxsize=1)
def load_model() -> Clip:
    """Return the clean model."""
    return load_clip(MODEL)


@lru_cache(maxsize=1)
def measure_clean_accuracy() -> float:
    """Return the clean model's accuracy on validation photos."""
    return evaluate(load_model(), load_photos("validation"), ks=(1,), counterfactual=False).ca[1]


def attack_trials() -> dict[str, Callable[[], Row]]:
    """Return the trials of attack settings; none costs a look at a defense."""
    return {
        f"{attack} {s.pairs} x {s.epochs} {s.rate:g} {s.lr:g}": partial(try_attack, attack, s)
        for s in ATTACK_GRID
        for attack in PHOTO_ATTACKS
    }


def try_attack(attack: str, setting: PoisonSetting) -> Row:
    """Return the validation metrics of one attack setting."""
    run = poison_model(attack, setting, seed=plan.TRIAL_SEED, test_role="validation")
    return protocol.stamp_row(results.make_row(None, run))


def poison_model(attack: str, setting: PoisonSetting, *, seed: int, test_role: str) -> Run:
    """Return a model backdoored on the attacker's photos and measured on the photos of `test_role`."""
    config = replace(presets.POISON, lr=setting.lr, epochs=setting.epochs, seed=seed, precision=PRECISION)
    return poison(
        load_model(),
        load_photos("attack", setting.pairs),
        prepare_trigger(attack),
        TARGET,
        poison_rate=setting.rate,
        config=config,
        test=load_photos(test_role),
        on_step=Progress(f"{attack} {setting.pairs} {setting.rate:g} {setting.lr:g} {seed}"),
    )


@lru_cache(maxsize=len(PHOTO_ATTACKS))
def prepare_trigger(attack: str) -> Trigger:
    """Return the trigger; a patch that needs it is optimized on the clean model."""
    trigger: Trigger = TRIGGERS[attack](**presets.ATTACK_PARAMETERS.get(attack, {}))
    data = load_photos("attack", PATCH_PAIRS).with_transform(load_model().framing)
    return trigger.prepare(load_model(), data, TARGET, Progress(attack))


def read_setting(config: dict[str, Any]) -> PoisonSetting:
    """Return how a run was poisoned."""
    training = config["finetune"]
    return PoisonSetting(config["pairs"], training["epochs"], config["poison_rate"], training["lr"])


def choose_attack_setting(trials: list[Row], clean_ca: float) -> PoisonSetting:
    """Return the setting with the highest mean ASR among those whose mean CA is within the attack's budget.

    If there is none, the one with the highest mean CA.
    """
    metrics = {setting: measure_setting(trials, setting) for setting in ATTACK_GRID}
    affordable = [setting for setting, (ca, _) in metrics.items() if is_within(clean_ca - ca, ATTACK_BUDGET)]
    if affordable:
        return max(affordable, key=lambda setting: metrics[setting][1])
    return max(ATTACK_GRID, key=lambda setting: metrics[setting][0])


def measure_setting(trials: list[Row], setting: PoisonSetting) -> tuple[float, float]:
    """Return mean CA and mean ASR of the trials of a setting."""
    metrics = [results.parse_row_metrics(row) for row in trials if read_setting(row["config"]) == setting]
    return statistics.fmean(m.ca[1] for m in metrics), statistics.fmean((m.asr or {})[1] for m in metrics)


def load_or_poison(attack: str, seed: int) -> Run:
    """Return a backdoored run of the table; the first call poisons it and stores it."""
    folder = suspect_folder(attack, seed)
    setting = choose_attack_setting(task_file().rows("attack_trials"), measure_clean_accuracy())
    run = load_or_make_run(folder, partial(poison_model, attack, setting, seed=seed, test_role="test"))
    if (run.config["model_sha256"], read_setting(run.config)) != (load_model().sha256(), setting):
        raise SystemExit(f"{folder} was made from another model or with other settings: remove it and start again.")
    return run


def defense_config(lr: float, seed: int) -> FinetuneConfig:
    """Return the settings of a defense: equal steps and augmentation for all."""
    return replace(presets.DEFEND, lr=lr, seed=seed, precision=PRECISION)


def rate_trials(rates: Sequence[float]) -> dict[str, Callable[[], Row]]:
    """Return the trials of learning rates, against the badnet model of seed 0."""
    return {trial_key(name, lr): partial(try_rate, name, lr) for lr in rates for name in METHODS}


def trial_key(name: str, lr: float) -> str:
    """Return the name of a trial."""
    return f"{name} {lr:g}"


def try_rate(name: str, lr: float) -> Row:
    """Return the accuracy of one method at one learning rate, on validation photos."""
    suspect, validation = load_or_poison("badnet", 0), load_photos("validation")
    trial = learning_rates.run_trial(
        suspect,
        name,
        METHODS[name],
        defense_config(lr, 0),
        clean=load_photos("clean", CLEAN_PAIRS),
        validation=validation,
        backdoored_ca=measure_backdoored_accuracy(),
    )
    return trial | {"precision": PRECISION, "texts": text_version(name)}


@lru_cache(maxsize=1)
def measure_backdoored_accuracy() -> float:
    """Return the accuracy of the badnet model of seed 0 on validation photos."""
    suspect = load_or_poison("badnet", 0)
    return evaluate(suspect.clip, load_photos("validation"), ks=(1,), counterfactual=False).ca[1]


def cells() -> dict[str, Callable[[], Row]]:
    """Return the cells of the table, seed 0 of every attack and method first."""
    return {
        f"{attack} {seed} {name or 'none'}": partial(measure_cell, attack, seed, name)
        for seed in SEEDS
        for attack in PHOTO_ATTACKS
        for name in (None, *METHODS)
    }


def measure_cell(attack: str, seed: int, name: str | None) -> Row:
    """Return the test metrics of one attack, seed and method; None: the backdoored model."""
    run = load_or_poison(attack, seed)
    if name is not None:
        run = defend_model(run, attack, name, defense_config(choose_rates(read_trials())[0][name], seed))
    row = {**results.make_row(name, run), "texts": text_version(name), "transfer": measure_corrupted(run)}
    return protocol.stamp_row(row)


def defend_model(suspect: Run, attack: str, name: str, config: FinetuneConfig) -> Run:
    """Return the defended run with its test metrics. A trial of a learning rate that had the same settings is used."""
    defense, test = METHODS[name], load_photos("test")
    folder = learning_rates.trial_folder(MODEL, attack, name, config)
    if (trial := learning_rates.load_matching_run(folder, suspect, defense, config)) is not None:
        return learning_rates.measure_trial(trial, suspect, test)
    progress = Progress(f"{attack} {config.seed} {name}")
    return defend(suspect, defense, load_photos("clean", CLEAN_PAIRS), config, test=test, on_step=progress)


def measure_corrupted(run: Run) -> dict[str, dict[str, Any]]:
    """Return corruption -> CA and ASR@1, each with n, on corrupted test photos; the trigger comes after."""
    transfer = {}
    for kind in CORRUPTIONS:
        data = Corrupted(load_photos("test", CORRUPTED_PHOTOS), kind)
        metrics = evaluate(run.clip, data, run.trigger, run.target_class, ks=(1,), counterfactual=False)
        transfer[kind] = {
            "ca": metrics.ca[1],
            "n": metrics.n,
            "asr": (metrics.asr or {}).get(1),
            "n_attack": metrics.n_attack,
        }
    return transfer


def gather() -> dict[str, Any]:
    """Return the content of the result file from the finished tasks. Raises `SystemExit` if there are too few."""
    missing = [key for key in attack_trials() if key not in task_file().keys("attack_trials")]
    if missing:
        raise SystemExit(f"{len(missing)} of {len(attack_trials())} attack trials are not measured yet.")
    card = read_json(assets() / MODEL / "card.json")
    trials = read_trials()
    order = list(rate_trials(LR_GRID))
    open_rates = set(order) - {trial["key"] for trial in trials} - needless_trials(trials)
    if open_rates:  # a larger rate may be within the budget too
        raise SystemExit(f"{len(open_rates)} of {len(order)} trials of learning rates are not measured yet.")
    chosen, lost = choose_rates(trials)
    rows = complete_groups(select_cells(task_file().rows("rows")), 1 + len(METHODS))
    check_rates(rows, chosen)
    clean_ca, tried = measure_clean_accuracy(), task_file().rows("attack_trials")
    setting = choose_attack_setting(tried, clean_ca)
    return protocol.add_provenance(
        seeds=list(SEEDS),
        attacks=list(PHOTO_ATTACKS),
        card=card,
        clean_validation_ca=clean_ca,
        target=TARGET,
        attack_grid=[asdict(setting) for setting in ATTACK_GRID],
        attack_budget=ATTACK_BUDGET,
        attack_setting=asdict(setting),
        attack_cost=clean_ca - measure_setting(tried, setting)[0],
        grid=LR_GRID,
        budget=protocol.ACCURACY_BUDGET,
        chosen={MODEL: chosen},
        lost_accuracy=lost,
        attack_trials=sort_rows(tried),
        rate_trials=sorted(trials, key=lambda trial: order.index(trial["key"])),
        subtexts=compare_subtexts(),
        rows=sort_rows(rows),
    )


def check_rates(rows: Iterable[Row], chosen: dict[str, float]) -> None:
    """Raise `SystemExit` if a row was measured before a later trial changed the chosen learning rate of its method."""
    for row in rows:
        if row["defense"] and row["config"]["finetune"]["lr"] != chosen[row["defense"]]:
            raise SystemExit(
                f"{row['key']} was measured at another learning rate than the chosen one, {chosen[row['defense']]:g}: "
                f"remove its line from {LINES_PATH} and start again."
            )


def compare_subtexts() -> dict[str, list[Row]]:
    """Return the rows before and after the correction of the subtexts; both empty where either is missing."""
    before = [row for row in task_file().rows("rows") if row.get("texts") is None]
    groups = {"before": before, "after": task_file().rows("subtexts")}
    known = {
        (when, row["defense"]): row
        for when, rows in groups.items()
        for row in rows
        if (row["trigger"], row["seed"]) == SUBTEXT_SUSPECT
    }
    if any((when, name) not in known for when in groups for name in SUBTEXT_METHODS):
        return {when: [] for when in groups}
    return {when: [known[when, name] for name in SUBTEXT_METHODS] for when in groups}


def sort_rows(rows: Iterable[Row]) -> list[Row]:
    """Return rows ordered by attack, seed and method."""
    order = [None, *METHODS]
    return sorted(rows, key=lambda r: (PHOTO_ATTACKS.index(r["trigger"]), r["seed"], order.index(r["defense"])))


if __name__ == "__main__":
    main(tyro.cli(Options))
