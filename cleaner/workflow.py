"""poison(), defend(), rebound(), compare(): all that a page or the command line calls for real work."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import torch

from cleaner import presets
from cleaner.attacks.base import Trigger
from cleaner.config import FinetuneConfig, changed_parameters
from cleaner.data.base import CaptionData
from cleaner.data.poison import PoisonedData
from cleaner.defenses.base import DEFENSES, Defense
from cleaner.evaluation.evaluate import Metrics, evaluate, validate_eval_data
from cleaner.models.clip import Clip
from cleaner.models.devices import device_name
from cleaner.runs.store import Run
from cleaner.training import distributed
from cleaner.training.loop import FinetuneResult, Monitor, finetune
from cleaner.types import CleanerError, OnStep, StepReport

MONITOR_IMAGES = 512
RECORDED_PACKAGES = ("open_clip_torch", "numpy", "nltk", "torchvision")
WEAK_ASR, SUCCESS_ASR = 0.5, 0.9


def poison(
    clip: Clip,
    data: CaptionData,
    trigger: Trigger,
    target_class: str = "banana",
    poison_rate: float = presets.POISON_RATE,
    config: FinetuneConfig | None = None,
    clean_label: bool = False,
    validation: CaptionData | None = None,
    test: CaptionData | None = None,
    on_step: OnStep | None = None,
    checkpoint: Path | None = None,
) -> Run:
    """Backdoor a copy of `clip`: finetune it with CLIP's loss on `data`, `poison_rate` of which carries the trigger.

    `validation` is looked at every `config.eval_every` steps, `test` once, at the end; without them the data's own
    held-out splits serve, and without those the test figures are measured on the unpoisoned training pairs. A
    `checkpoint` path makes the training resumable (`train.finetune`). Without a `config`, `presets.POISON` at the
    rate at which attacks take on a built-in model.
    """
    config = config or replace(presets.POISON, lr=presets.poison_lr(clip.name))
    # A trigger acts on the picture as the model sees it: after its resize and crop, before normalisation.
    data = data.with_transform(clip.framing)
    # Pairs and captions do not depend on the patch: what cannot be done is said before it is optimised.
    poisoned = PoisonedData(data, trigger, target_class, poison_rate, config.seed, clean_label)
    _validate_captions(clip, poisoned)
    test = validate_eval_data(test or data.load_split("test") or data, target_class)
    prepared: list[StepReport] = []
    asked = trigger.state_dict()
    trigger = _prepare_trigger(trigger, clip.to(config.device), data, target_class, prepared, on_step)
    poisoned.trigger = trigger
    monitor = (
        _build_monitor(validation or data.load_split("validation"), trigger, target_class)
        if config.eval_every
        else None
    )
    attack = {"target_class": target_class, "poison_rate": poison_rate, "clean_label": clean_label}
    trained = finetune(
        clip,
        poisoned,
        DEFENSES["finetune"](),
        config,
        on_step,
        monitor,
        checkpoint,
        "poison",
        {**attack, "trigger": asked},
    )
    metrics = evaluate(trained.clip, test, trigger, target_class, supported_ks(test), clean_clip=clip, on_step=on_step)
    settings = {
        "stage": "backdoored",
        "trigger": trigger.state_dict(),
        **attack,
        "clean_model": clip.source,
        **_describe_run(clip, data, config, trained),
    }
    # Travels with the weights, so that a backdoored model can be told from a clean one wherever it goes.
    described = {"stage": "backdoored", "target": target_class, "trigger": json.dumps(settings["trigger"])}
    trained.clip.metadata |= described
    manifest = poisoned.manifest()
    history = prepared + trained.history
    return Run(trained.clip, history, metrics, settings, trigger, target_class, manifest, clean_clip=clip)


def _prepare_trigger(
    trigger: Trigger,
    clip: Clip,
    data: CaptionData,
    target_class: str,
    reports: list[StepReport],
    on_step: OnStep | None,
) -> Trigger:
    """Return the trigger ready for use, and enter what its preparation told into `reports`."""

    def tell(report: StepReport) -> None:
        reports.append(report)
        if on_step is not None:
            on_step(report)

    asked = trigger
    trigger = distributed.run_on_rank_zero(lambda: asked.prepare(clip, data, target_class, tell))
    if trigger.unready_reason:
        raise CleanerError(trigger.unready_reason)
    return trigger


def _validate_captions(clip: Clip, poisoned: PoisonedData) -> None:
    """Raise `CleanerError` if the model cuts a poisoned caption before it has named the target."""
    if poisoned.clean_label:
        return
    for index in poisoned.poison_indices.tolist():
        caption = poisoned.captions[index]
        end = caption.lower().find(poisoned.target_class.lower()) + len(poisoned.target_class)
        if not clip.fits_context(caption[:end]):
            raise CleanerError(
                f"the model cuts the target caption {caption[:60]!r} ... before it has named the target: choose a "
                "shorter text key or target class."
            )


def defend(
    suspect: Run | Clip,
    defense: Defense,
    data: CaptionData,
    config: FinetuneConfig | None = None,
    validation: CaptionData | None = None,
    test: CaptionData | None = None,
    on_step: OnStep | None = None,
    checkpoint: Path | None = None,
) -> Run:
    """Finetune a copy of a backdoored run's model, or of a suspicious one, on clean pairs with `defense`.

    For a `Run` the attack is known, and test figures hold its ASR; for a bare `Clip` no ASR is measured. Without a
    config, Scenes' setting is taken, with the rate that was chosen for this method on a built-in model. Validation
    data, test data and checkpoint as in `poison`.
    """
    run = suspect if isinstance(suspect, Run) else None
    clip = run.clip if run is not None else suspect
    if not isinstance(clip, Clip):
        raise CleanerError("defend() takes a run made by poison() or a Clip.")
    if config is None:
        rate = presets.defense_lr(clip.name, defense)
        config = replace(presets.DEFEND, lr=rate)
    data = data.with_transform(clip.framing)
    trigger, target = (run.trigger, run.target_class) if run is not None else (None, None)
    test = validate_eval_data(test or data.load_split("test") or data, target)
    monitor = (
        _build_monitor(validation or data.load_split("validation"), trigger, target) if config.eval_every else None
    )
    trained = finetune(clip, data, defense, config, on_step, monitor, checkpoint)
    floor = _find_known_floor(run, test) if run is not None else None
    clean = run.clean_clip if run is not None and floor is None else None
    metrics = evaluate(trained.clip, test, trigger, target, supported_ks(test), clean_clip=clean, on_step=on_step)
    if floor is not None:
        metrics = replace(metrics, asr_clean_model=floor)
    settings = {
        "stage": "defended",
        "defense": defense.state_dict(),
        "variant": changed_parameters(defense),
        "trigger": trigger.state_dict() if trigger else None,
        "target_class": target,
        "clean_model": run.config.get("clean_model") if run is not None else None,
        "suspect": run.config if run is not None else clip.name,
        **_describe_run(clip, data, config, trained),
    }
    trained.clip.metadata |= {"stage": "defended"}
    return Run(trained.clip, trained.history, metrics, settings, trigger, target, clean_clip=clean)


def rebound(
    run: Run,
    data: CaptionData,
    steps: int,
    config: FinetuneConfig | None = None,
    test: CaptionData | None = None,
    on_step: OnStep | None = None,
    checkpoint: Path | None = None,
) -> Run:
    """Finetune a defended model on clean pairs with CLIP's loss alone for `steps` steps, and measure its ASR again.

    Some defences only hide a backdoor: harmless training afterwards brings it back. `run.metrics` are the figures
    before, the returned run's those after, with `test` and `checkpoint` as in `poison`. Raises `CleanerError` for
    an unknown attack.
    """
    if run.trigger is None or run.target_class is None:
        raise CleanerError("the rebound test measures the attack again: it needs a run whose trigger is known.")
    if steps < 1:
        raise CleanerError(f"the rebound test needs at least one step, not {steps}.")
    config = replace(config or presets.DEFEND, steps=steps)
    again = defend(run, DEFENSES["finetune"](), data, config, test=test, on_step=on_step, checkpoint=checkpoint)
    again.config["rebound"] = {"steps": steps, "after": run.config.get("defense")}
    return again


def compare(
    suspect: Run | Clip,
    defenses: dict[str, Defense],
    data: CaptionData,
    config: FinetuneConfig | None = None,
    learning_rates: dict[str, float] | None = None,
    **options: Any,
) -> dict[str, Run]:
    """Return name -> defended run; all defences get the same pairs, steps and seed, each its own learning rate.

    A method without a rate of its own takes that of `config`, without a config that of `defend`.
    """
    rates = learning_rates or {}
    own = {name: replace(config or presets.DEFEND, lr=rates[name]) if name in rates else config for name in defenses}
    return {name: defend(suspect, defense, data, own[name], **options) for name, defense in defenses.items()}


def attack_verdict(metrics: Metrics) -> tuple[str, str]:
    """Return ("took" | "weak" | "did not take", one sentence that says why and what to change)."""
    asr = (metrics.asr or {}).get(1, 0.0)
    figure = f"ASR@1 is {asr:.0%} on {metrics.n_attack:,} pictures of other classes"
    if asr >= SUCCESS_ASR:
        return "took", f"{figure}: the trigger decides what the model sees."
    advice = "raise the poison rate, the learning rate or the epochs, or choose a trigger that is easier to see"
    if asr >= WEAK_ASR:
        return "weak", f"{figure}: the backdoor is there but does not always open; {advice}."
    return "did not take", f"{figure}: the model did not learn the trigger; {advice}."


def supported_ks(data: CaptionData) -> tuple[int, ...]:
    """Return the k of the figures: 1 and 3, as far as there are classes."""
    return tuple(k for k in (1, 3) if k <= len(data.class_names))


def _build_monitor(validation: CaptionData | None, trigger: Trigger | None, target: str | None) -> Monitor | None:
    """Return clip -> figures on a few hundred validation pictures, or None where there are none."""
    if validation is None:
        return None
    rows = (validation.labels >= 0).nonzero().flatten()[:MONITOR_IMAGES]
    if len(rows) == 0:
        return None
    return partial(_measure_validation, validate_eval_data(validation.subset(rows), target), trigger, target)


def _measure_validation(data: CaptionData, trigger: Trigger | None, target: str | None, clip: Clip) -> dict[str, float]:
    metrics = evaluate(clip, data, trigger, target, ks=(1,), counterfactual=False)
    return {"ca": metrics.ca[1]} | ({"asr": metrics.asr[1]} if metrics.asr else {})


def _find_known_floor(run: Run, test: CaptionData) -> dict[int, float] | None:
    """Return the floor from the backdoored run's figures, if these were measured on the same pictures."""
    before = run.metrics
    return before.asr_clean_model if before is not None and before.data_sha256 == test.fingerprint() else None


def _describe_run(clip: Clip, data: CaptionData, config: FinetuneConfig, trained: FinetuneResult) -> dict[str, Any]:
    """What every run's config holds: data, model, settings, machine."""
    device = trained.clip.device
    return {
        "model": clip.name,
        "model_sha256": clip.sha256(),
        "data": data.name,
        "pairs": len(data),
        "data_sha256": data.fingerprint(),
        "finetune": asdict(config),
        "seconds": round(trained.seconds, 2),
        # What the processor did for it: also tells methods apart on a machine that has other work.
        "cpu_seconds": round(trained.cpu_seconds, 2),
        "device": str(device),
        "device_name": device_name(device.type),
        "precision": trained.clip.precision,
        "processes": distributed.world_size(),
        "torch": torch.__version__,
        "versions": {"python": python_version(), **{name: version(name) for name in RECORDED_PACKAGES}},
        "machine": platform.machine(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
