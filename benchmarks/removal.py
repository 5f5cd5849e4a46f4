"""Does removing what an audit found remove the backdoor? python -m benchmarks.removal

Audits each backdoored model of the shipped zoo, and hands the found trigger to the defenses that take one; TA-Cleaner
and plain finetuning, which take none, are the baselines. All have the quick setting's clean pairs and steps; its
learning rates were chosen without looking at the attack. TBAR's rate and coefficient are those of `RATES` and `ALPHAS`
that cost most accuracy on validation images, but at most `MAX_LOSS`. Resumable: every finished row is in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.markdown.cells import Row
from benchmarks.rows import add_row, read_rows
from cleaner.attacks.base import load_trigger
from cleaner.audit import IMAGES
from cleaner.audit.population import find_population
from cleaner.audit.report import audit
from cleaner.audit.result import removal_settings
from cleaner.cli.output import Progress
from cleaner.data.base import load_data
from cleaner.defenses import DEFENSES
from cleaner.evaluation.evaluate import evaluate
from cleaner.models.clip import Clip, load_clip
from cleaner.presets import home_data, quick_defense_preset
from cleaner.training.loop import finetune
from cleaner.zoo.build import load_pool
from cleaner.zoo.plan import DEVELOPMENT
from cleaner.zoo.store import Zoo

RESULT_PATH = RESULTS_DIR / "removal.json"
METHODS = ("finetune", "ta_cleaner", "unlearn_trigger", "tbar")
RATES = (1e-6, 1e-5, 1e-4, 1e-3)
ALPHAS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
MAX_LOSS = 0.01
"""Largest accuracy on validation images that TBAR may cost."""
VALIDATED = 1000
"""Validation images."""


@dataclass(frozen=True)
class Options:
    """Measure missing rows."""

    model: str = "scenes-lite"
    """Built-in model that the models of the zoo were finetuned from."""


def main(options: Options) -> None:
    """Run missing rows."""
    protocol.start(1)
    zoo = Zoo.read()
    _, test = load_pool()
    for name, answer in zoo.read_answers(DEVELOPMENT).items():
        done = {row["method"] for row in read_rows(RESULT_PATH) if row["id"] == name}
        if not answer["backdoored"] or answer["plan"]["base"] != options.model or set(METHODS) <= done:
            continue
        suspect = load_clip(zoo.model_path(name))
        data = load_data(home_data(options.model), split="test", size=IMAGES)
        found = audit(suspect, data, find_population(suspect, data), Progress(f"{name}, audit"))
        trigger, target = load_trigger(answer["trigger"]), answer["target_class"]
        for method in METHODS:
            if method in done:
                continue
            cleaned, settings = clean(suspect, method, found, options.model, f"{name}, {method}")
            metrics = evaluate(cleaned, test, trigger, target, ks=(1,), counterfactual=False, use_store=False)
            row = {
                "id": name,
                "model": options.model,
                "attack": answer["trigger"]["name"],
                "method": method,
                **settings,
                "verdict": found["verdict"],
                "found": found["trigger"]["label"],
                "found_class": found["trigger"]["class_name"],
                "is_right": found["trigger"]["class_name"] == target,
                "ca_before": answer["ca"],
                "asr_before": answer["asr"],
                **{key: metrics.metric(key) for key in ("ca", "asr")},
                "n": metrics.n,
                "seed": 0,
            }
            add_row(RESULT_PATH, protocol.stamp_row(row), find_place)


def find_place(row: Row) -> tuple[Any, ...]:
    """Return the place of a row in the table: by model, the methods in their order."""
    return row["model"], row["attack"], row["id"], METHODS.index(row["method"])


def clean(
    suspect: Clip, method: str, found: Mapping[str, Any], model: str, label: str
) -> tuple[Clip, dict[str, float | None]]:
    """Return the model after a method, with its learning rate and coefficient."""
    preset = quick_defense_preset("finetune" if method == "tbar" else method, model)
    assert preset.training is not None
    training = preset.training
    pairs = load_data(home_data(model), split="clean", size=training.pairs).with_transform(suspect.framing)
    settings = dict(preset.parameters)
    if method in ("unlearn_trigger", "tbar"):
        settings |= removal_settings(found)
    config = replace(training.finetune, device="cpu")
    if method == "tbar":
        defense = DEFENSES[method](**settings, target_class=found["trigger"]["class_name"], alpha=1.0)
        negate = partial(finetune, suspect, pairs, defense, on_step=Progress(label))
        return choose_removal(suspect, lambda lr: negate(replace(config, lr=lr)).clip, model)
    defense = DEFENSES[method](**settings)
    return finetune(suspect, pairs, defense, config, on_step=Progress(label)).clip, {"lr": config.lr, "alpha": None}


def choose_removal(suspect: Clip, negate: Callable[[float], Clip], model: str) -> tuple[Clip, dict[str, float | None]]:
    """Return the model that costs most of the affordable accuracy, with rate and coefficient; else the suspect, 0.

    negate: learning rate to the model of coefficient 1.
    """
    validation = load_data(home_data(model), split="validation", size=VALIDATED)

    def measure(clip: Clip) -> float:
        return float(evaluate(clip, validation, ks=(1,), counterfactual=False, use_store=False).ca[1])

    before = measure(suspect)
    chosen, lowest, settings = suspect, before, (0.0, 0.0)
    for lr in RATES:
        once = negate(lr)
        for alpha in ALPHAS:
            cleaned = scale_change(suspect, once, alpha)
            accuracy = measure(cleaned)
            if before - MAX_LOSS <= accuracy <= lowest:
                chosen, lowest, settings = cleaned, accuracy, (lr, alpha)
    return chosen, dict(zip(("lr", "alpha"), settings, strict=True))


@torch.no_grad()
def scale_change(suspect: Clip, once: Clip, alpha: float) -> Clip:
    """Return the suspect with alpha times the change that `once` has."""
    scaled, after = suspect.copy(), dict(once.model.named_parameters())
    for name, weight in scaled.model.named_parameters():
        weight.add_(alpha * (after[name] - weight))
    return scaled


if __name__ == "__main__":
    main(tyro.cli(Options))
