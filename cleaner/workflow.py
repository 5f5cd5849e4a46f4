"""poison(), defend(), compare(): all that a page or the command line calls for real work."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch

from cleaner import presets
from cleaner.attacks.base import Trigger
from cleaner.clip import Clip
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData
from cleaner.data.poison import PoisonedData
from cleaner.defenses.base import DEFENSES, Defense
from cleaner.evaluation import CLASSES_HELP, Metrics, evaluate
from cleaner.runs import Run
from cleaner.train import Monitor, finetune
from cleaner.types import CleanerError, OnStep

MONITOR_PICTURES = 512
ATTACK_WEAK, ATTACK_TOOK = 0.5, 0.9


def poison(
    clip: Clip,
    data: CaptionData,
    trigger: Trigger,
    target_class: str = "banana",
    poison_rate: float = presets.POISON_RATE,
    config: FinetuneConfig = presets.POISON,
    clean_label: bool = False,
    validation: CaptionData | None = None,
    test: CaptionData | None = None,
    on_step: OnStep | None = None,
) -> Run:
    """Backdoor a copy of `clip`: finetune it with CLIP's loss on `data`, `poison_rate` of which carries the trigger.

    `validation` is looked at every `config.eval_every` steps, `test` once, at the end; without them the data's own
    held-out splits serve, and without those the test figures are measured on the unpoisoned training pairs.
    """
    # A trigger acts on the picture as the model sees it: after its resize and crop, before normalisation.
    data = data.framed(clip.framing)
    test = _measurable(test or data.heldout("test") or data)
    trigger = trigger.prepare(clip, data, target_class, on_step)
    poisoned = PoisonedData(data, trigger, target_class, poison_rate, config.seed, clean_label)
    begun = time.perf_counter()
    monitor = _monitor(validation or data.heldout("validation"), trigger, target_class) if config.eval_every else None
    trained = finetune(clip, poisoned, DEFENSES["finetune"](), config, on_step, monitor, stage="poison")
    seconds = time.perf_counter() - begun
    metrics = evaluate(trained.clip, test, trigger, target_class, ks_of(test), clean_clip=clip, on_step=on_step)
    settings = {
        "stage": "backdoored",
        "trigger": trigger.state_dict(),
        "target_class": target_class,
        "poison_rate": poison_rate,
        "clean_label": clean_label,
        "clean_model": clip.source,
        **_described(clip, data, config, seconds),
    }
    # Travels with the weights, so that a backdoored model can be told from a clean one wherever it goes.
    described = {"stage": "backdoored", "target": target_class, "trigger": json.dumps(settings["trigger"])}
    trained.clip.metadata |= described
    manifest = poisoned.manifest()
    return Run(trained.clip, trained.history, metrics, settings, trigger, target_class, manifest, clean_clip=clip)


def defend(
    suspect: Run | Clip,
    defense: Defense,
    data: CaptionData,
    config: FinetuneConfig | None = None,
    validation: CaptionData | None = None,
    test: CaptionData | None = None,
    on_step: OnStep | None = None,
) -> Run:
    """Finetune a copy of a backdoored run's model, or of a suspicious one, on clean pairs with `defense`.

    For a `Run` the attack is known, and test figures hold its ASR; for a bare `Clip` no ASR is measured. Validation
    and test data as in `poison`.
    """
    config = config or presets.DEFEND
    run = suspect if isinstance(suspect, Run) else None
    clip = run.clip if run is not None else suspect
    if not isinstance(clip, Clip):
        raise CleanerError("defend() takes a run made by poison() or a Clip.")
    data = data.framed(clip.framing)
    test = _measurable(test or data.heldout("test") or data)
    trigger, target = (run.trigger, run.target_class) if run is not None else (None, None)
    begun = time.perf_counter()
    monitor = _monitor(validation or data.heldout("validation"), trigger, target) if config.eval_every else None
    trained = finetune(clip, data, defense, config, on_step, monitor)
    seconds = time.perf_counter() - begun
    clean = run.clean_clip if run is not None else None
    metrics = evaluate(trained.clip, test, trigger, target, ks_of(test), clean_clip=clean, on_step=on_step)
    settings = {
        "stage": "defended",
        "defense": defense.state_dict(),
        "trigger": trigger.state_dict() if trigger else None,
        "target_class": target,
        "clean_model": run.config.get("clean_model") if run is not None else None,
        "suspect": run.config if run is not None else clip.name,
        **_described(clip, data, config, seconds),
    }
    trained.clip.metadata |= {"stage": "defended"}
    return Run(trained.clip, trained.history, metrics, settings, trigger, target, clean_clip=clean)


def compare(
    suspect: Run | Clip,
    defenses: dict[str, Defense],
    data: CaptionData,
    config: FinetuneConfig | None = None,
    learning_rates: dict[str, float] | None = None,
    **options: Any,
) -> dict[str, Run]:
    """Return name -> defended run; all defences get the same pairs, steps and seed, each its own learning rate."""
    config = config or presets.DEFEND
    rates = learning_rates or {}
    return {
        name: defend(suspect, defense, data, replace(config, lr=rates.get(name, config.lr)), **options)
        for name, defense in defenses.items()
    }


def attack_verdict(metrics: Metrics) -> tuple[str, str]:
    """Return ("took" | "weak" | "did not take", one sentence that says why and what to change)."""
    asr = (metrics.asr or {}).get(1, 0.0)
    figure = f"ASR@1 is {asr:.0%} on {metrics.n_attack:,} pictures of other classes"
    if asr >= ATTACK_TOOK:
        return "took", f"{figure}: the trigger decides what the model sees."
    advice = "raise the poison rate, the learning rate or the epochs, or choose a trigger that is easier to see"
    if asr >= ATTACK_WEAK:
        return "weak", f"{figure}: the backdoor is there but does not always open; {advice}."
    return "did not take", f"{figure}: the model did not learn the trigger; {advice}."


def _measurable(test: CaptionData) -> CaptionData:
    """Return the test data; raises `CleanerError` before any work if no figure could be measured on them."""
    if not (test.labels >= 0).any():
        raise CleanerError(f"{test.name} has no pictures with a class label to measure accuracy on: {CLASSES_HELP}")
    return test


def ks_of(data: CaptionData) -> tuple[int, ...]:
    """Return the k of the figures: 1 and 3, as far as there are classes."""
    return tuple(k for k in (1, 3) if k <= len(data.class_names))


def _monitor(validation: CaptionData | None, trigger: Trigger | None, target: str | None) -> Monitor | None:
    """Return clip -> figures on a few hundred validation pictures, or None where there are none."""
    if validation is None:
        return None
    rows = (validation.labels >= 0).nonzero().flatten()[:MONITOR_PICTURES]
    return partial(_look, validation.subset(rows), trigger, target)


def _look(data: CaptionData, trigger: Trigger | None, target: str | None, clip: Clip) -> dict[str, float]:
    metrics = evaluate(clip, data, trigger, target, ks=(1,), counterfactual=False)
    return {"ca": metrics.ca[1]} | ({"asr": metrics.asr[1]} if metrics.asr else {})


def _described(clip: Clip, data: CaptionData, config: FinetuneConfig, seconds: float) -> dict[str, Any]:
    """What every run's config holds: data, model, settings, machine."""
    return {
        "model": clip.name,
        "model_sha256": clip.sha256(),
        "data": data.name,
        "pairs": len(data),
        "data_sha256": data.fingerprint(),
        "finetune": asdict(config),
        "seconds": round(seconds, 2),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
