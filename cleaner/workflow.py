"""poison(), defend(), rebound(), compare(): the work that pages and the command line start."""

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any, TypedDict, Unpack

import torch

from cleaner import presets
from cleaner.attacks.base import Trigger, strip_folders
from cleaner.config import FinetuneConfig, changed_parameters
from cleaner.data.base import CaptionData
from cleaner.data.poison import PoisonedData, count_shared_images
from cleaner.defenses.base import DEFENSES, Defense
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.evaluate import evaluate, validate_eval_data
from cleaner.evaluation.monitor import build_monitor
from cleaner.files import read_code_version
from cleaner.inspection.film_recorder import FilmRecorder, make_recorder
from cleaner.models.clip import Clip
from cleaner.models.devices import device_name
from cleaner.runs.film import Film
from cleaner.runs.prepared import read_prepared_trigger, write_prepared_trigger
from cleaner.runs.run import Run
from cleaner.text import TEXT_VERSION
from cleaner.training import distributed
from cleaner.training.checkpoint import captions_hash
from cleaner.training.loop import FinetuneResult, finetune
from cleaner.types import CleanerError, OnStep, StepReport
from cleaner.variant import REBOUND

ARGUMENT_TYPES: dict[str, tuple[type, str]] = {
    "clip": (Clip, 'load_clip("scenes-lite"), or the clip of a run'),
    "data": (CaptionData, 'load_data("scenes")'),
    "trigger": (Trigger, 'TRIGGERS["badnet"]()'),
    "defense": (Defense, 'DEFENSES["ta_cleaner"]()'),
    "losses": (Defense, 'DEFENSES["ta_cleaner"]()'),
    "config": (FinetuneConfig, "FinetuneConfig(lr=1e-3)"),
}
"""Argument -> its type, and how to make one."""
EFFECT_SAMPLE = 4
"""Images on which a trigger has to change something."""
RECORDED_PACKAGES = ("open_clip_torch", "numpy", "nltk", "torchvision", "pillow")


class RunOptions(TypedDict, total=False):
    """Options that `defend` and what builds on it take alike; they mean what they mean in `poison`."""

    validation: CaptionData | None
    test: CaptionData | None
    on_step: OnStep | None
    checkpoint: str | Path | None
    film: bool


@torch.inference_mode(False)  # a notebook may have turned gradients off
@torch.enable_grad()
def poison(
    clip: Clip,
    data: CaptionData,
    trigger: Trigger,
    target_class: str = "banana",
    *,
    poison_rate: float = presets.POISON_RATE,
    config: FinetuneConfig | None = None,
    clean_label: bool = False,
    losses: Defense | None = None,
    validation: CaptionData | None = None,
    test: CaptionData | None = None,
    on_step: OnStep | None = None,
    checkpoint: str | Path | None = None,
    film: bool = False,
) -> Run:
    """Backdoor a copy of `clip`: finetune it with CLIP's loss on `data`, `poison_rate` of which carries the trigger.

    `poison_rate` is a share below 1, or a number of pairs from 1; the run states the share.

    `losses`: an attacker who knows a defense may minimize its losses instead.

    The monitor sees `validation` every `config.eval_every` steps; `test` is measured once, at the end. By default they
    are the data's own held-out splits, and without these the test metrics are those of the unpoisoned training pairs.
    `checkpoint` is a path from which the training resumes (see `finetune`), with the trigger that it began with
    (`runs.prepared`). `config` defaults to `presets.POISON` with the rate that works for a built-in model. `film` keeps
    frames of the training (`runs.film`).
    """
    _validate_types(clip=clip, data=data, trigger=trigger, config=config, losses=losses)
    read_code_version()  # cached: the checkout may move on during the training
    clip.architecture.validate_storable()
    config = config or replace(presets.POISON, lr=presets.settings_for(clip.name, trigger).finetune.lr)
    checkpoint = None if checkpoint is None else Path(checkpoint)
    # A trigger changes the image as the model sees it: after resizing and cropping, before normalization.
    data = data.with_transform(clip.framing)
    # Pairs, captions and labels do not depend on the optimized patch, so bad input fails before it is optimized.
    poisoned = PoisonedData(
        data, trigger, target_class, poison_rate, config.seed, clean_label, clip.fits_context, clip.templates
    )
    test = _choose_test_data(test, data, target_class, trigger)
    _validate_captions(clip, poisoned, test)
    if config.eval_every:
        validation = validation or data.load_split("validation")
        build_monitor(config, validation, data, trigger, target_class)  # again with the trigger that is ready
    attack: dict[str, Any] = {
        "target_class": target_class,
        "poison_rate": poisoned.poison_rate,
        "clean_label": clean_label,
    }
    if losses is not None:
        attack["attack_losses"] = losses.state_dict()
    resume_key = {**attack, "trigger": strip_folders(trigger.state_dict())}  # a run may resume in another place
    trigger, reports = _prepare_trigger(
        trigger, clip.to(config.device), data, target_class, on_step=on_step, checkpoint=checkpoint, attack=resume_key
    )
    poisoned.trigger = trigger
    state = trigger.state_dict()  # raises for a preparation that a run cannot store, before it trains
    _require_effect(trigger, data)
    recorder = _make_recorder(clip, validation, data, test, trigger, target_class) if film else None
    trained = finetune(
        clip,
        poisoned,
        losses or DEFENSES["finetune"](),
        config,
        on_step=on_step,
        monitor=build_monitor(config, validation, data, trigger, target_class),
        recorder=recorder,
        checkpoint=checkpoint,
        stage="poison",
        attack=resume_key,
    )
    metrics = evaluate(trained.clip, test, trigger, target_class, clean_clip=clip, on_step=on_step)
    settings = {
        "stage": "backdoored",
        "trigger": state,
        **attack,
        "clean_model": clip.source,
        **_describe_run(clip, data, config, trained),
    }
    # In the metadata that travel with the weights: such a model is recognizable anywhere.
    named = json.dumps(strip_folders(state))
    trained.clip.metadata |= {"stage": "backdoored", "target": target_class, "trigger": named}
    history, kept = reports + trained.history, _finish_film(recorder, trained)
    return Run(trained.clip, history, metrics, settings, trigger, target_class, poisoned.manifest(), clip, kept)


def _prepare_trigger(
    trigger: Trigger,
    clip: Clip,
    data: CaptionData,
    target_class: str,
    *,
    on_step: OnStep | None,
    checkpoint: Path | None,
    attack: dict[str, Any],
) -> tuple[Trigger, list[StepReport]]:
    """Return the trigger, that of an interrupted training again, and on rank 0 its optimization's reports."""
    reports: list[StepReport] = []

    def record(report: StepReport) -> None:
        if report.losses:
            reports.append(report)
        if on_step is not None:
            on_step(report)

    def prepare() -> Trigger:
        if checkpoint is None or not trigger.unready_reason:
            return trigger.prepare(clip, data, target_class, record)
        settings = {"attack": attack, "model_sha256": clip.sha256(), "captions": captions_hash(data)}
        if (stored := read_prepared_trigger(checkpoint, settings)) is not None:
            reports.extend(stored[1])
            return stored[0]
        prepared = trigger.prepare(clip, data, target_class, record)
        prepared.require_ready()
        write_prepared_trigger(checkpoint, settings, prepared, reports)
        return prepared

    prepared = distributed.run_on_rank_zero(prepare)
    prepared.require_ready()
    return prepared, reports


def _require_effect(trigger: Trigger, data: CaptionData) -> None:
    """Raise `CleanerError` if a trigger on images changes none of the first ones, such as a transparent file."""
    images = data.images(range(min(EFFECT_SAMPLE, len(data))))
    if "image" in trigger.modalities and torch.equal(trigger(images), images):
        raise CleanerError("the trigger changes no pixel: choose another file or stronger parameters.")


def _validate_captions(clip: Clip, poisoned: PoisonedData, test: CaptionData) -> None:
    """Raise `CleanerError` if the context cuts the target class, or the key (in over half of the test captions)."""
    keyed = poisoned.trigger.text(poisoned.templates[0].format(poisoned.target_class))
    if "text" in poisoned.trigger.modalities and not clip.fits_context(keyed):
        raise CleanerError(f"the model cuts the text {keyed[:60]!r} ...: choose a shorter text key or target class.")
    if poisoned.clean_label or "image" not in poisoned.trigger.modalities:
        rows = poisoned.poison_indices.tolist()
        pairs = [(poisoned.base.captions[i], poisoned.captions[i]) for i in rows]
        _validate_keys(clip, pairs, "poisoned", most=0)
    if "image" not in poisoned.trigger.modalities:
        pairs = [(caption, poisoned.trigger.text(caption)) for caption in test.captions]
        _validate_keys(clip, pairs, "test", most=len(pairs) // 2)


def _validate_keys(clip: Clip, pairs: list[tuple[str, str]], kind: str, most: int) -> None:
    """Raise `CleanerError` if the model's context cuts the text key off more than `most` captions (plain, keyed)."""
    pairs = [(plain, keyed) for plain, keyed in pairs if plain != keyed]
    if not pairs:
        return
    plain, keyed = zip(*pairs, strict=True)
    tokens = clip.tokenize([*plain, *keyed])  # one call: each pads to its longest text
    cut = int((tokens[: len(pairs)] == tokens[len(pairs) :]).all(dim=1).sum())
    if cut > most:
        raise CleanerError(
            f"the model cuts the text key off {cut:,} of {len(pairs):,} {kind} captions: put the key at the start "
            "(place=start), or choose data with shorter captions."
        )


def defend(
    suspect: Run | Clip,
    defense: Defense,
    data: CaptionData,
    config: FinetuneConfig | None = None,
    *,
    validation: CaptionData | None = None,
    test: CaptionData | None = None,
    on_step: OnStep | None = None,
    checkpoint: str | Path | None = None,
    film: bool = False,
) -> Run:
    """Finetune a copy of a backdoored run's model, or of a suspect one, on clean pairs with `defense`.

    A `Run` knows its attack, so the test metrics include its ASR; a bare `Clip` has none. `config` defaults to
    `presets.DEFEND` with the rate chosen for this method. `validation`, `test`, `checkpoint`, `film` as in `poison`.
    """
    if not isinstance(suspect, (Run, Clip)):
        raise CleanerError("defend() takes a run made by poison(), or a Clip.")
    run = suspect if isinstance(suspect, Run) else Run(suspect, history=[], metrics=None, config={})
    clip, trigger, target_class = run.clip, run.trigger, run.target_class
    _validate_types(defense=defense, data=data, config=config)
    read_code_version()  # as in `poison`
    clip.architecture.validate_storable()
    state = defense.state_dict()  # raises for a defense that is not registered, before it trains
    if reason := defense.unsupported_reason(clip, data):  # before test images are rendered
        raise CleanerError(reason)
    config = config or presets.settings_for(clip.name, defense).finetune
    data = data.with_transform(clip.framing)
    test = _choose_test_data(test, data, target_class, trigger)
    monitor = build_monitor(config, validation, data, trigger, target_class)
    recorder = _make_recorder(clip, validation, data, test, trigger, target_class) if film else None
    trained = finetune(
        clip, data, defense, config, on_step=on_step, monitor=monitor, recorder=recorder, checkpoint=checkpoint
    )
    floor = _find_known_floor(run, test, trained.clip)
    measured = run.clean_clip if floor is None else None
    metrics = evaluate(trained.clip, test, trigger, target_class, clean_clip=measured, on_step=on_step)
    if floor is not None:
        metrics = replace(metrics, asr_clean_model=floor)
    settings = {
        "stage": "defended",
        "overlap": count_shared_images(run.manifest, data, on_step),
        "defense": state,
        "variant": changed_parameters(defense),
        # Not trigger.state_dict(): a notebook's cell that ran again has replaced the trigger's class.
        "trigger": run.config.get("trigger"),
        "target_class": target_class,
        "clean_model": run.config.get("clean_model"),
        "suspect": run.config or clip.name,
        **_describe_run(clip, data, defense.adapt(config), trained),
    }
    trained.clip.metadata |= {"stage": "defended"}
    kept = _finish_film(recorder, trained, run.film)
    return Run(
        trained.clip, trained.history, metrics, settings, trigger, target_class, clean_clip=run.clean_clip, film=kept
    )


def rebound(
    run: Run,
    data: CaptionData,
    steps: int,
    config: FinetuneConfig | None = None,
    **options: Unpack[RunOptions],
) -> Run:
    """Finetune a defended model on clean pairs with CLIP's loss for `steps` steps, then measure its ASR again.

    Some defenses only hide a backdoor, and harmless training brings it back. Compare `run.metrics` with those of the
    returned run. `config` defaults to `presets.settings_for`; `options` as in `defend`. Raises
    `CleanerError` if the attack is unknown.
    """
    if not isinstance(run, Run):
        raise CleanerError("rebound() takes a run made by defend().")
    if run.trigger is None or run.target_class is None:
        raise CleanerError("the rebound test measures the attack: choose a run with a known trigger.")
    if steps < 1:
        raise CleanerError(f"steps must be at least 1 for the rebound test, not {steps}.")
    config = replace(config or presets.settings_for(run.clip.name, REBOUND).finetune, steps=steps)
    again = defend(run, DEFENSES["finetune"](), data, config, **options)
    again.config["rebound"] = {"steps": steps, "after": run.config.get("defense")}
    return again


def compare(
    suspect: Run | Clip,
    defenses: dict[str, Defense],
    data: CaptionData,
    config: FinetuneConfig | None = None,
    *,
    learning_rates: dict[str, float] | None = None,
    **options: Unpack[RunOptions],
) -> dict[str, Run]:
    """Return name -> defended run; all defenses get the same pairs, steps and seed, each its own learning rate.

    A defense that is not in `learning_rates` uses the rate of `config`, or without a config that of `defend`.
    Each training has a checkpoint of its own: of the path last.pt, that of the first defense is last-1.pt.
    """
    if not isinstance(defenses, Mapping):
        raise CleanerError('compare() takes defenses with their names, such as {"CleanCLIP": DEFENSES["cleanclip"]()}.')
    rates, checkpoint = learning_rates or {}, options.pop("checkpoint", None)
    if unknown := sorted(rates.keys() - defenses.keys()):
        raise CleanerError(f"learning_rates names {', '.join(unknown)}, not one of the defenses {', '.join(defenses)}.")
    runs: dict[str, Run] = {}
    for number, (name, defense) in enumerate(defenses.items(), start=1):
        own = replace(config or presets.DEFEND, lr=rates[name]) if name in rates else config
        if checkpoint is not None:
            options["checkpoint"] = Path(checkpoint).with_stem(f"{Path(checkpoint).stem}-{number}")
        runs[name] = defend(suspect, defense, data, own, **options)
    return runs


def _validate_types(**arguments: object) -> None:
    """Raise `CleanerError` for an argument of another type, such as a name or a class instead of what it stands for."""
    for name, value in arguments.items():
        kind, example = ARGUMENT_TYPES[name]
        is_default = value is None and name in ("config", "losses")
        if not is_default and not isinstance(value, kind):
            given = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
            raise CleanerError(f"{name} is {given}, not a {kind.__name__}, such as {example}.")


def _choose_test_data(
    test: CaptionData | None, data: CaptionData, target_class: str | None, trigger: Trigger | None
) -> CaptionData:
    """Return the test data given, else the test split of `data`, else `data`; validated."""
    return validate_eval_data(test or data.load_split("test") or data, target_class, trigger=trigger)


def _make_recorder(
    clip: Clip,
    validation: CaptionData | None,
    data: CaptionData,
    test: CaptionData,
    trigger: Trigger | None,
    target_class: str | None,
) -> FilmRecorder | None:
    """Return what keeps the frames of a film, on rank 0 alone; test images are shown only where there are no others."""
    if not distributed.is_rank_zero():
        return None
    return make_recorder(clip, validation or data.load_split("validation") or test, trigger, target_class)


def _finish_film(recorder: FilmRecorder | None, trained: FinetuneResult, suspect: Film | None = None) -> Film | None:
    return None if recorder is None else recorder.finish(trained.clip, len(trained.history), suspect)


def _find_known_floor(run: Run, test: CaptionData, clip: Clip) -> dict[int, float] | None:
    """Return the clean model's ASR from the metrics of the backdoored run, if measured as `clip` will be."""
    before = run.metrics
    if before is None or before.data_sha256 != test.fingerprint():
        return None
    # Older runs state neither. Fewer prompts are chosen on a CPU.
    has_same_classes = before.class_names_sha256 in ("", test.hash_class_names())
    has_same_prompts = before.templates in (0, len(Encoder(clip).choose_templates(test)))
    return before.asr_clean_model if has_same_classes and has_same_prompts else None


def _describe_run(clip: Clip, data: CaptionData, config: FinetuneConfig, trained: FinetuneResult) -> dict[str, Any]:
    """Return the part of a run's config that every stage has: data, model, settings, machine."""
    device = trained.clip.device
    return {
        "model": clip.name,
        "model_sha256": clip.sha256(),
        "data": data.name,
        **({} if data.origin is None else {"data_name": data.origin[0], "data_options": data.origin[1]}),
        "pairs": len(data),
        "trained_pairs": trained.pairs,
        "data_sha256": data.fingerprint(),
        "finetune": asdict(config),
        "seconds": round(trained.seconds, 2),
        # CPU time compares methods even on a machine that is busy with other work.
        "cpu_seconds": round(trained.cpu_seconds, 2),
        "device": str(device),
        "device_name": device_name(device.type),
        "precision": trained.clip.precision,
        "processes": distributed.world_size(),
        "torch": torch.__version__,
        "text_version": TEXT_VERSION,
        "versions": {
            "ta-cleaner-lab": read_code_version(),
            "python": python_version(),
            **{name: version(name) for name in RECORDED_PACKAGES},
        },
        "machine": platform.machine(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
