"""What the pages ask the workers to do, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from cleaner.config import FinetuneConfig
from cleaner.models.resolve import resolve_model_name
from cleaner.presets import CLEAN_PAIRS, DEFEND
from cleaner.runs.record import RunRecord
from cleaner.runs.request import TEST_SIZE, Request, format_data, get_test_data, make_rebound_request
from cleaner.runs.store import run_id
from pages._shared import cache

SECONDS_PER_STEP = 0.22
"""Seconds of a training step of a built-in model, 64 pairs, on two cores (benchmarks/results/step.json)."""
VALIDATION_SIZE = 500
"""Pictures of the validation split behind the live curves; those with one class count."""


@dataclass(frozen=True)
class PoisonSettings:
    """All that the Poison page asks for."""

    data: str
    model: str
    trigger: Any
    target_class: str
    poison_rate: float
    clean_label: bool
    pairs: int
    test_size: int
    config: FinetuneConfig

    def plan(self) -> list[tuple[int, str, str]]:
        """Return (index, caption before, caption after) of the pairs to poison."""
        return cache.poison_plan(
            self.data,
            self.pairs,
            self.trigger.state_dict(),
            self.target_class,
            self.poison_rate,
            self.config.seed,
            self.clean_label,
        )


@dataclass(frozen=True)
class ExternalModel:
    """A model that was not poisoned here, and data to clean and to measure it with."""

    model: str
    data: str


def set_eval_interval(pairs: int, config: FinetuneConfig) -> FinetuneConfig:
    """Return the settings with about ten looks at the validation split on the way."""
    steps = config.epochs * max(1, pairs // min(config.batch_size, max(pairs, 1)))
    return replace(config, eval_every=max(1, steps // 10))


def build_poison_request(attack: PoisonSettings) -> Request:
    """Return the training of a backdoored model."""
    data, options = cache.resolve_data_name(attack.data)
    return Request(
        "backdoored",
        data,
        attack.pairs,
        set_eval_interval(attack.pairs, attack.config),
        resolve_model_name(attack.model),
        trigger=attack.trigger.state_dict(),
        target_class=attack.target_class,
        poison_rate=attack.poison_rate,
        clean_label=attack.clean_label,
        validation_size=VALIDATION_SIZE,
        test_size=attack.test_size,
        data_options=options,
        map=True,
    )


def build_defense_request(
    suspect: RunRecord | ExternalModel, defense: Any, pairs: int, config: FinetuneConfig
) -> Request:
    """Return the training of one defence on clean pairs; tested on the pictures that the attack was tested on."""
    if isinstance(suspect, ExternalModel):
        (name, options), test_size = cache.resolve_data_name(suspect.data), TEST_SIZE
        where: dict[str, Any] = {"model": resolve_model_name(suspect.model)}
    else:
        name, options, _ = get_test_data(suspect.config)
        # None means all of them.
        test_size, where = suspect.config.get("test_size", TEST_SIZE), {"parent": run_id(suspect.folder)}
    return Request(
        "defended",
        name,
        pairs,
        set_eval_interval(pairs, config),
        defense=defense.state_dict(),
        validation_size=VALIDATION_SIZE,
        test_size=test_size,
        data_options=options,
        map=True,
        **where,
    )


def build_rebound_request(defended: RunRecord, steps: int) -> Request:
    """Return the rebound test of a defence: harmless finetuning on its clean pairs, measured on its test pictures."""
    config = defended.config
    return make_rebound_request(
        config,
        run_id(defended.folder),
        get_test_data(config)[:2],
        pairs=int(defended.pairs or CLEAN_PAIRS),
        test_size=config.get("test_size", TEST_SIZE),
        finetune=replace(DEFEND, steps=steps),
    )


def read_test_data(run: RunRecord) -> tuple[str, int]:
    """Return a run's data in one line, as `cache.data` takes it, and the size of its test split."""
    name, options, size = get_test_data(run.config)
    return format_data(name, options), size


def estimate_step_seconds(
    suspect: RunRecord | ExternalModel, earlier_runs: list[RunRecord], defense: Any, config: FinetuneConfig
) -> tuple[float, str]:
    """Return the expected seconds of a training step, and what was measured to know it.

    The newest run of the same defence, device, precision and batch size serves; else the poisoning itself, times two
    if the defence encodes a second view of each picture and caption; for the shipped example, `SECONDS_PER_STEP`.
    """
    name = defense.state_dict()["name"]
    wanted = (config.device, config.precision, config.batch_size)
    for run in earlier_runs:
        settings = run.config.get("finetune") or {}
        if run.defense == name and run.model == suspect.model and not run.is_shipped:
            same = (settings.get("device"), settings.get("precision"), settings.get("batch_size")) == wanted
            if same and (steps := count_steps(run)):
                return run.config["seconds"] / steps, "an earlier run"
    if not isinstance(suspect, RunRecord) or not (steps := count_steps(suspect)):
        return 0.0, "nothing measured yet"
    scale = config.batch_size / max(1, (suspect.config.get("finetune") or {}).get("batch_size", config.batch_size))
    views = 2.2 if type(defense).needs_augmentation else 1.0
    if suspect.is_shipped:  # made beside other work, on a machine that nobody knows here
        return SECONDS_PER_STEP * views * scale, "a machine of two cores"
    return suspect.config["seconds"] / steps * views * scale, "the poisoning"


def count_steps(run: RunRecord) -> int:
    """Return how many steps a run trained."""
    settings = run.config.get("finetune") or {}
    batch = min(settings.get("batch_size", 1), max(1, run.config.get("pairs", 1)))
    return int(settings.get("steps") or settings.get("epochs", 0) * (run.config.get("pairs", 0) // batch))
