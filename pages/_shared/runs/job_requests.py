"""Build the requests that pages send to the workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cleaner.config import FinetuneConfig, count_steps, with_eval_interval
from cleaner.labels import CLEAN_CAPTIONS
from cleaner.models.resolve import resolve_model_name
from cleaner.presets import CLEAN_PAIRS, QUICK_CLEAN_PAIRS, settings_for
from cleaner.runs.folders import run_id
from cleaner.runs.inversion_result import adopt_inversion
from cleaner.runs.record import RunRecord
from cleaner.runs.request import (
    TEST_SIZE,
    Request,
    format_data,
    get_test_data,
    make_rebound_request,
    make_retrain_request,
    require_test_data,
)
from cleaner.types import CleanerError
from cleaner.variant import REBOUND
from pages._shared import cache
from pages._shared.inspect.sample import DataKey, ModelKey
from pages._shared.shell import state
from pages._shared.shell.progress import load_data_with_progress

VALIDATION_SIZE = 500
"""Images of the validation split behind the live curves; only those with one class count."""


@dataclass(frozen=True)
class AttackSettings:
    """Everything chosen on the Poison page."""

    data: str
    model: str
    trigger: Any
    target_class: str
    poison_rate: float
    clean_label: bool
    pairs: int
    test_size: int
    config: FinetuneConfig

    @property
    def training_data(self) -> DataKey:
        return DataKey(self.data, "train", self.pairs)

    def plan(self) -> list[tuple[int, str, str]]:
        """Return (index, caption before, caption after) of the pairs to poison."""
        return cache.poison_plan(
            self.training_data,
            self.trigger.state_dict(),
            target_class=self.target_class,
            poison_rate=self.poison_rate,
            seed=self.config.seed,
            clean_label=self.clean_label,
            model=cache.make_model_key(resolve_model_name(self.model)),
        )


@dataclass(frozen=True)
class ExternalModel:
    """A model trained elsewhere, and the data to clean and test it with."""

    model: str
    data: str

    @property
    def key(self) -> ModelKey:
        return cache.make_model_key(self.model)

    @property
    def test_data(self) -> DataKey:
        """The images that its defenses are tested on."""
        return DataKey(self.data, "test", TEST_SIZE)


Suspect = RunRecord | ExternalModel
"""What a defense starts from."""


def count_pairs(run: RunRecord) -> int:
    """Return the pairs that a run trained on: a defense that trains on classes skips those without one."""
    return int(run.pairs if run.trained_pairs is None else run.trained_pairs)


def count_run_steps(run: RunRecord) -> int:
    """Return the steps that a run trained; 0 if its settings do not say."""
    settings = run.finetune
    pairs = count_pairs(run)
    is_stated = settings.steps or (pairs and settings.batch_size)
    return count_steps(pairs, settings) if is_stated else 0


def build_poison_request(attack: AttackSettings) -> Request:
    """Return the request for a backdoored model."""
    data, options = cache.resolve_data_name(attack.data)
    return Request(
        "backdoored",
        data,
        attack.pairs,
        with_eval_interval(attack.pairs, attack.config),
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
    suspect: Suspect, defense: Any, pairs: int, config: FinetuneConfig, clean_options: Mapping[str, str] | None = None
) -> Request:
    """Return the request for one defense, tested as the attack was. clean_options: of the clean pairs only."""
    test_size: int | None
    if isinstance(suspect, ExternalModel):
        (name, options), test_size = cache.resolve_data_name(suspect.data), TEST_SIZE
        start: dict[str, Any] = {"model": resolve_model_name(suspect.model)}
        defense = adopt_inversion(defense, None, suspect.model)
    else:
        name, options, test_size = get_test_data(suspect.config)
        defense = adopt_inversion(defense, suspect.folder)
        start = {"parent": run_id(suspect.folder)}
    if defense.needs_inversion:
        raise CleanerError(
            f"“{defense.label}” needs an inverted trigger: find one on the page Trigger search, or give its file under "
            "Parameters."
        )
    return Request(
        "defended",
        name,
        pairs,
        with_eval_interval(pairs, config),
        defense=defense.state_dict(),
        validation_size=VALIDATION_SIZE,
        test_size=test_size,
        data_options={**options, **(clean_options or {})},
        map=True,
        **start,
    )


def skip_unused_pairs(request: Request, defense: Any) -> Request:
    """Return the request of a defense with the number of pairs that it trains on, to plan and predict it."""
    if not (defense.class_prompt or defense.needs_labels):
        return request
    try:
        key = DataKey(format_data(request.data, request.data_options), "clean", request.pairs)
        data = load_data_with_progress(key, needs_images=False)
    except CleanerError:
        return request
    return replace(request, pairs=len(defense.select(data)))


def build_rebound_request(defended: RunRecord, steps: int) -> Request:
    """Return the request for a rebound test: plain finetuning on the clean pairs, same test images."""
    name, options, test_size = get_test_data(defended.config)
    # With "auto", a run would load torch to find its device, also while it waits in the queue.
    finetune = replace(settings_for(defended.model, REBOUND).finetune, steps=steps, device=cache.default_device())
    return make_rebound_request(
        defended.config,
        run_id(defended.folder),
        (name, options),
        pairs=int(defended.pairs or CLEAN_PAIRS),
        test_size=test_size,
        finetune=finetune,
    )


def build_retrain_request(suspect: RunRecord, flagged: Sequence[int], detector: str, total: int) -> Request:
    """Return the request that trains the model before poisoning again without the flagged of `total` pairs."""
    request = make_retrain_request(suspect.config, run_id(suspect.folder), flagged, detector, total=total)
    config = replace(request.finetune, device=cache.default_device())  # as in `build_rebound_request`
    return replace(request, finetune=with_eval_interval(request.pairs, config), validation_size=VALIDATION_SIZE)


def is_defense_of(run: RunRecord, suspect: Suspect) -> bool:
    """Return whether a run started from `suspect`."""
    if isinstance(suspect, ExternalModel):
        return run.source_model == resolve_model_name(suspect.model)
    return run.started_from(suspect)


def read_test_data(run: RunRecord) -> DataKey:
    """Return the test split on which a run was evaluated."""
    name, options, size = require_test_data(run.config)
    # Keys of caches and comparisons: the captions of the clean pairs do not matter here.
    return DataKey(format_data(name, {key: options[key] for key in options if key != CLEAN_CAPTIONS}), "test", size)


def find_clean_data(test: DataKey) -> DataKey:
    """Return the clean pairs, of the data in view, that subtexts are shown for.

    They are those of the newest defense that draws subtexts, but no more than a quick defense has: pages read all of
    their captions at once.
    """
    defenses = (run for run in state.subtext_defenses() if read_test_data(run).name == test.name)
    if (newest := next(defenses, None)) is None:
        return replace(test, split="clean", size=QUICK_CLEAN_PAIRS)
    name, options, _ = get_test_data(newest.config)
    return DataKey(format_data(name, options), "clean", min(int(newest.pairs) or QUICK_CLEAN_PAIRS, QUICK_CLEAN_PAIRS))
