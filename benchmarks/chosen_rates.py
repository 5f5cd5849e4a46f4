"""Learning rates that the trials chose by accuracy alone, collected for `cleaner.presets` by benchmarks.tables.

Later trials of a method on a model replace earlier ones.
"""

from __future__ import annotations

from typing import Any

from benchmarks import RESULTS_DIR, quick_captions, vit_rivals
from benchmarks.json_lines import read_json_lines
from benchmarks.protocol2 import plan, summary
from benchmarks.protocol2.records import results_path
from benchmarks.tasks import TaskFile
from cleaner.files import read_json
from cleaner.variant import Variant

Choices = dict[str, dict[str, dict[str, Any]]]
"""Model -> method, as runs name it -> chosen "lr", the result "file" of the trials, and "parameters" if they differ."""
CORRECTED = {"learning_rates.json": ("par",)}
"""Result file -> methods that were corrected after its trials: it chooses no rate for them."""


def collect() -> dict[str, Choices]:
    """Return the choices of each setting: "full", "quick", and "quick mixed" on clean pairs with mixed captions."""
    return {"full": _collect_full(), "quick": _collect_quick(), "quick mixed": _collect_mixed()}


def _collect_full() -> Choices:
    choices: Choices = {}
    for file in ("learning_rates.json", "cifar10.json"):
        for model, rates in read_json(RESULTS_DIR / file)["chosen"].items():
            _add(choices, model, {n: lr for n, lr in rates.items() if n not in CORRECTED.get(file, ())}, file)
    for model in plan.MODELS:
        _add(choices, model, decide_rates(model), results_path(model).name)
    return choices


def decide_rates(model: str) -> dict[str, float]:
    """Return method -> rate that protocol 2 chose on a model; empty while its grid is open."""
    decided = summary.decide(model, read_json_lines(results_path(model)))
    rates: dict[str, float] = {}
    for (method, form), choice in decided[1].rates.items() if decided else ():
        rates[Variant.of(plan.build_defense(method, form)).key] = choice.lr
    return rates


def _collect_quick() -> Choices:
    file = "quick_setting.json"
    return {
        model: {
            name: {"lr": choice["lr"], "file": file, "parameters": choice["parameters"]}
            for name, choice in chosen.items()
        }
        for model, chosen in read_json(RESULTS_DIR / file)["chosen"].items()
    }


def _collect_mixed() -> Choices:
    choices: Choices = {}
    for bench in (quick_captions, vit_rivals):
        chosen = bench.choose_rates(TaskFile(bench.PATH).rows("trials"))
        _add(choices, bench.MODEL, {name: choice["lr"] for name, choice in chosen.items()}, bench.PATH.name)
    return choices


def _add(choices: Choices, model: str, rates: dict[str, float], file: str) -> None:
    if rates:
        choices.setdefault(model, {}).update({name: {"lr": lr, "file": file} for name, lr in rates.items()})
