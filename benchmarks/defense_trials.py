"""Try defense settings: python -m benchmarks.defense_trials --defense ta_cleaner share=0.1 --lr 3e-4 --epochs 10

Uses a seed that is in no table (100) and validation images. Settings that all methods share (steps, augmentation,
BatchNorm, clean pairs) may be chosen here; benchmarks.learning_rates chooses learning rates, by accuracy alone. Every
trial is appended to the result file, with CA and ASR during training.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import tyro

from benchmarks import protocol
from benchmarks.attack_trials import TRIAL_SEED, append_trial
from cleaner import presets
from cleaner.cli.options import Finetune, instantiate, to_config
from cleaner.cli.output import Progress
from cleaner.config import with_eval_interval
from cleaner.data.base import load_data
from cleaner.defenses import DEFENSES
from cleaner.models.devices import configure_torch
from cleaner.reports import results
from cleaner.workflow import defend

RESULT_PATH = results.RESULTS_DIR / "defense_trials.json"


@dataclass(frozen=True)
class Options:
    """Defend once with the given settings and log the metrics."""

    model: str = "scenes-rn"
    """Built-in model."""
    attack: str = "badnet"
    """Trigger of the backdoored model."""
    defense: tuple[str, ...] = ("ta_cleaner",)
    """Defense and its options."""
    clean_pairs: int = presets.CLEAN_PAIRS
    """Clean pairs."""
    finetune: Annotated[Finetune, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Finetune(**vars(replace(presets.DEFEND, precision=protocol.PRECISION)))
    )


def main(options: Options) -> None:
    """Run one trial and append it."""
    configure_torch()
    suspect = protocol.load_or_poison(options.model, options.attack, TRIAL_SEED)
    clean = load_data("scenes", split="clean", size=options.clean_pairs)
    config = with_eval_interval(options.clean_pairs, replace(to_config(options.finetune), seed=TRIAL_SEED))
    label = " ".join((options.attack, *options.defense))
    run = defend(
        suspect,
        instantiate(DEFENSES, options.defense),
        clean,
        config,
        test=load_data("scenes", split="validation"),
        on_step=Progress(label),
    )
    append_trial(RESULT_PATH, {"curve": results.extract_validation_curve(run), **results.make_row(label, run)})
    metrics = run.metrics
    assert metrics is not None
    print(label, f"CA {metrics.ca[1]:.4f}, ASR@1 {(metrics.asr or {})[1]:.4f}, CF {metrics.counterfactual_accuracy}")


if __name__ == "__main__":
    main(tyro.cli(Options))
