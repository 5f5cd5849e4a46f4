"""Execute a run's request: load its data, model, attack and defense, then train and measure."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from cleaner.attacks.base import load_trigger
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses.base import load_defense
from cleaner.files import read_json
from cleaner.inspection.training_pairs import rebuild_training_pairs
from cleaner.models.clip import Clip, load_clip
from cleaner.models.devices import configure_torch
from cleaner.presets import QUICK_CLEAN_PAIRS
from cleaner.retrain import retrain_without
from cleaner.runs.folders import find_run
from cleaner.runs.manifest import get_requested_pairs, validate_manifest
from cleaner.runs.request import Request
from cleaner.runs.run import TRIGGER_FILES, Run, load_run
from cleaner.runs.store import find_attack_run, read_record
from cleaner.text import parse
from cleaner.types import Cancelled, CleanerError, OnStep, StepReport
from cleaner.workflow import defend, poison, rebound

LoadSplit = Callable[[str, int | None], CaptionData]


def execute_request(
    request: Request,
    on_step: OnStep | None = None,
    *,
    checkpoint: Path | None = None,
    folder: Path | None = None,
    on_data: Callable[[CaptionData], None] | None = None,
    load_split: LoadSplit | None = None,
) -> Run:
    """Execute a request and return the run, whose config contains the request.

    checkpoint: file that makes the training resumable. folder: the run's folder, with the files of its trigger; the
    parent run is looked up next to it first. on_data: called with each split of the data once it is loaded. load_split:
    made by `make_loader` if some splits are already loaded.
    """
    configure_torch()
    load_split = load_split or make_loader(request, on_step, on_data)
    options: dict[str, Any] = {"on_step": on_step, "checkpoint": checkpoint, "film": request.film}
    if request.stage == "backdoored":
        run = _poison(request, folder, load_split, options)
    elif request.excluded is not None:
        run = _retrain(request, request.excluded, folder, load_split, options)
    else:
        run = _defend(request, folder, load_split, options)
    stated = request.initial_config()
    # The options of the request are those of all splits; a run knows those that its data pass on.
    run.config = {**stated, **run.config, "data_name": stated["data_name"], "data_options": stated["data_options"]}
    return run


def make_loader(
    request: Request, on_step: OnStep | None = None, on_data: Callable[[CaptionData], None] | None = None
) -> LoadSplit:
    """Return a function that loads a split of a request's data, each once; arguments as of `execute_request`."""

    @cache
    def load_split(split: str, size: int | None) -> CaptionData:
        data = load_data(request.data, split=split, size=size, on_step=on_step, **request.data_options)
        if on_data is not None:
            on_data(data)
        return data

    return load_split


def prepare_data(request: Request, should_stop: Callable[[], bool]) -> None:
    """Render the images of a run, and after a poisoning those of the quick setting of Defend, whose captions it parses.

    Stops as soon as `should_stop` returns True. Errors are left to the run, which reports them.
    """

    def check(_: StepReport | None = None) -> None:
        if should_stop():
            raise Cancelled

    load_split = make_loader(request, check)
    with suppress(Cancelled, CleanerError, OSError):
        is_poisoning = request.stage == "backdoored"
        for split, size in ("train" if is_poisoning else "clean", request.pairs), ("test", request.test_size):
            data = load_split(split, size)
            data.prepare(range(len(data)))
            check()
        if is_poisoning:
            data = load_split("clean", QUICK_CLEAN_PAIRS)
            data.prepare(range(len(data)))
            for caption in data.captions:
                check()
                parse(caption)


def _poison(request: Request, folder: Path | None, load_split: LoadSplit, options: dict[str, Any]) -> Run:
    if request.model is None or request.trigger is None or request.target_class is None:
        raise CleanerError("the request has no model, trigger or target class: create the run again.")
    files = None if folder is None else folder / TRIGGER_FILES  # copies: the run may have moved to another machine
    trigger, clip = load_trigger(request.trigger, files), load_clip(request.model)
    pairs = load_split("train", request.pairs)
    return poison(
        clip,
        pairs,
        trigger,
        target_class=request.target_class,
        poison_rate=request.poison_rate,
        config=request.finetune,
        clean_label=request.clean_label,
        validation=load_validation(request, pairs, load_split),
        test=load_split("test", request.test_size),
        **options,
    )


def _defend(request: Request, folder: Path | None, load_split: LoadSplit, options: dict[str, Any]) -> Run:
    defense, suspect = load_defense(request.defense or {"name": "none"}), _load_suspect(request, folder)
    pairs = load_split("clean", request.pairs)
    validation = load_validation(request, pairs, load_split)
    test = load_split("test", request.test_size)
    if request.rebound is None:
        return defend(suspect, defense, pairs, request.finetune, validation=validation, test=test, **options)
    if not isinstance(suspect, Run):
        raise CleanerError("a rebound test needs a defended run: create the run again.")
    return rebound(
        suspect, pairs, request.finetune.steps, request.finetune, validation=validation, test=test, **options
    )


def _retrain(
    request: Request, excluded: list[int], folder: Path | None, load_split: LoadSplit, options: dict[str, Any]
) -> Run:
    suspect = _load_suspect(request, folder)
    if not isinstance(suspect, Run):
        raise CleanerError("training without flagged pairs needs a poisoned run: create the run again.")
    framing = suspect.require_clean_clip().framing
    validate_manifest(suspect.manifest)
    size = get_requested_pairs(suspect.config)
    data = load_split("train", size).with_transform(framing)
    return retrain_without(
        suspect,
        rebuild_training_pairs(data, suspect.trigger, suspect.manifest),
        excluded,
        request.finetune,
        detector=str((request.defense or {}).get("detector", "")),
        validation=load_validation(request, data, load_split),
        test=load_split("test", request.test_size),
        **options,
    )


def load_validation(request: Request, pairs: CaptionData, load_split: LoadSplit) -> CaptionData | None:
    """Return the pairs of the film and of the metrics during training; None without both, or if none are held out."""
    if not (request.finetune.eval_every or request.film):
        return None
    try:
        return load_split("validation", request.validation_size)
    except CleanerError:
        if pairs.load_split("validation") is None:
            return None  # few images: it trains without them
        raise


def _load_suspect(request: Request, folder: Path | None) -> Run | Clip:
    """Return the run that a defense or a rebound test starts from, or the bare suspicious model."""
    if request.parent is None:
        if request.model is None:
            raise CleanerError("the request has neither a parent run nor a model: create the run again.")
        return load_clip(request.model)
    parent = find_run(request.parent, folder)
    if not parent.exists():
        raise CleanerError(f"the parent run {request.parent} is gone: create it again first.")
    run = load_run(parent)
    if run.manifest or (attack := find_attack_run(read_record(parent, needs_metrics=False))) is None:
        return run
    # A defense has no manifest of its own: clean pairs are compared with that of the attack.
    return replace(run, manifest=read_json(attack.folder / "manifest.json"))
