"""The quick setting on clean pairs with captions like those of pretraining: python -m benchmarks.quick_captions

Rates are chosen as in benchmarks.quick_setting, with as many trials for each method, in the form chosen there; test
metrics are measured on the same seeds. Planned after the figures on full captions were seen, PAR after those on mixed
ones. Every finished task is a line of benchmarks/results/quick_captions.jsonl. A second call continues, and several
processes share the tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from benchmarks import RESULTS_DIR, protocol
from benchmarks.markdown.cells import Row
from benchmarks.quick_plan import CONFIRM_SEEDS, TRIAL_SEEDS, TRIALS_EACH, VARIANTS, choose_form_and_rate, spread_rates
from benchmarks.quick_setting import ATTACKS, defend_quickly, find_choice, load_home, poison_quickly, trial_figures
from benchmarks.tasks import TaskFile
from cleaner import presets
from cleaner.defenses import DEFENSES
from cleaner.reports import results
from cleaner.runs.run import Run

PATH = RESULTS_DIR / "quick_captions.jsonl"
MODEL, CAPTIONS = presets.QUICK_MODEL, "mixed"
PRECISION = "fp32"
"""That of the first rows."""
FORMS = {**VARIANTS, "par": {"": DEFENSES["par"]()}}
"""Method -> its forms. PAR, which the quick setting lacks, leaves least on mixed captions in the full schedule."""


def main() -> None:
    """Measure what is missing."""
    protocol.start()
    file = TaskFile(PATH)
    file.run_phase("trials", trials())
    file.run_phase("rows", cells(choose_rates(file.rows("trials"))))


def trials() -> dict[str, Callable[[], Row]]:
    """Return the trials of learning rates, equally many for each method."""
    forms = dict.fromkeys(FORMS, "") | {name: choice["form"] for name, choice in find_choice(MODEL).items()}
    return {
        f"{name} {lr:g}": partial(try_rate, name, form, lr)
        for name, form in forms.items()
        for lr in spread_rates(TRIALS_EACH)
    }


def try_rate(name: str, form: str, lr: float) -> Row:
    """Return the accuracy of a method on validation images, and the attack success, which chooses nothing."""
    (seed,) = TRIAL_SEEDS
    suspect, data = poison_once("badnet", seed, "validation"), load_home(MODEL, "validation")
    before = trial_figures(suspect)["ca"]
    run = defend_quickly(suspect, FORMS[name][form], lr, data, label=f"{name} {lr:g}", captions=CAPTIONS)
    return {"defense": name, "form": form, "lr": lr, "seed": seed, "backdoored_ca": before, **trial_figures(run)}


@lru_cache(maxsize=1)
def poison_once(attack: str, seed: int, split: str) -> Run:
    """Return the backdoored model of an attack and seed, measured on a split."""
    return poison_quickly(MODEL, attack, seed, load_home(MODEL, split), precision=PRECISION)


def choose_rates(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Return method -> chosen form and rate, by the rule of the quick setting."""
    return {
        name: choose_form_and_rate({(row["form"], row["lr"]): [row] for row in rows if row["defense"] == name})
        for name in dict.fromkeys(row["defense"] for row in rows)
    }


def cells(chosen: dict[str, dict[str, Any]]) -> dict[str, Callable[[], Row]]:
    """Return the cells of the table: the backdoored models, and each method on them."""
    return {
        f"{attack} {seed} {name or 'none'}": partial(measure_cell, attack, seed, name, chosen)
        for attack in ATTACKS
        for seed in CONFIRM_SEEDS
        for name in (None, *chosen)
    }


def measure_cell(attack: str, seed: int, name: str | None, chosen: dict[str, dict[str, Any]]) -> Row:
    """Return the test metrics of one attack, seed and method; None: the backdoored model."""
    run = poison_once(attack, seed, "test")
    if name is not None:
        defense, label = FORMS[name][chosen[name]["form"]], f"{attack} {seed} {name}"
        test = load_home(MODEL, "test")
        run = defend_quickly(run, defense, chosen[name]["lr"], test, label=label, captions=CAPTIONS)
    return protocol.stamp_row(results.make_row(name, run))


if __name__ == "__main__":
    main()
