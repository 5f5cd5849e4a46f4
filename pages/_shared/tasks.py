"""What the training thread does: one `cleaner.workflow` call each. Heavy imports happen in the thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cleaner.config import FinetuneConfig
from cleaner.types import OnStep
from pages._shared import cache
from pages._shared.state import Saved, words
from pages._shared.work import Part

if TYPE_CHECKING:
    from cleaner.runs import Run

VALIDATION_SIZE = 500
"""Pictures behind the live curves; those with one class count."""


@dataclass(frozen=True)
class Attack:
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
            self.data, self.pairs, self.trigger.state_dict(), self.target_class, self.poison_rate, self.config.seed,
            self.clean_label,
        )  # fmt: skip


def looks(pairs: int, config: FinetuneConfig) -> FinetuneConfig:
    """Return the settings with about ten looks at the validation split on the way."""
    steps = config.epochs * max(1, pairs // min(config.batch_size, max(pairs, 1)))
    return replace(config, eval_every=max(1, steps // 10))


def poisoning(attack: Attack) -> Part:
    """Return the training of a backdoored model."""

    def work(on_step: OnStep) -> Run:
        from cleaner.workflow import poison

        run = poison(
            cache.clip(attack.model), cache.data(attack.data, "train", attack.pairs), attack.trigger,
            attack.target_class, attack.poison_rate, looks(attack.pairs, attack.config), attack.clean_label,
            cache.data(attack.data, "validation", VALIDATION_SIZE), cache.data(attack.data, "test", attack.test_size),
            on_step,
        )  # fmt: skip
        # What load_run and the Defend page need to find the same model and data again.
        run.config |= {"clean_model": attack.model, "data_name": attack.data, "test_size": attack.test_size}
        return run

    return Part(words(attack.trigger.state_dict()["name"]), work)


def defending(suspect: Saved, defense: Any, pairs: int, config: FinetuneConfig) -> Part:
    """Return the training of one defence on clean pairs; tested on the pictures that the attack was tested on."""
    name, test_size = data_of(suspect)

    def work(on_step: OnStep) -> Run:
        from cleaner.workflow import defend

        run = defend(
            cache.run(suspect.folder), defense, cache.data(name, "clean", pairs), looks(pairs, config),
            cache.data(name, "validation", VALIDATION_SIZE), cache.data(name, "test", test_size), on_step,
        )  # fmt: skip
        run.config |= {"data_name": name, "test_size": test_size}
        return run

    return Part(words(defense.state_dict()["name"]), work)


def data_of(run: Saved) -> tuple[str, int]:
    """Return the registered name of a run's data and the size of its test split."""
    name = run.config.get("data_name") or str(run.config.get("data", "scenes")).partition("/")[0]
    return str(name), int(run.config.get("test_size", 2000))


def seconds_per_step(suspect: Saved, before: list[Saved], defense: Any, config: FinetuneConfig) -> tuple[float, str]:
    """Return the expected seconds of a training step, and what was measured to know it.

    The newest run of the same defence, device, precision and batch size serves; else the poisoning itself, times two
    if the defence encodes a second view of each picture and caption.
    """
    name = defense.state_dict()["name"]
    wanted = (config.device, config.precision, config.batch_size)
    for run in before:
        settings = run.config.get("finetune") or {}
        if run.defense == name and run.model == suspect.model:
            same = (settings.get("device"), settings.get("precision"), settings.get("batch_size")) == wanted
            if same and (steps := steps_of(run)):
                return run.config["seconds"] / steps, "an earlier run of it"
    steps = steps_of(suspect)
    if not steps:
        return 0.0, "nothing measured yet"
    scale = config.batch_size / max(1, (suspect.config.get("finetune") or {}).get("batch_size", config.batch_size))
    views = 2.2 if type(defense).augmented else 1.0
    return suspect.config["seconds"] / steps * views * scale, "the poisoning's own steps"


def steps_of(run: Saved) -> int:
    """Return how many steps a run trained."""
    settings = run.config.get("finetune") or {}
    batch = min(settings.get("batch_size", 1), max(1, run.config.get("pairs", 1)))
    return int(settings.get("steps") or settings.get("epochs", 0) * (run.config.get("pairs", 0) // batch))
