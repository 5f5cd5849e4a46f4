"""Measure one task of the second protocol."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import torch

from benchmarks import protocol
from benchmarks.markdown.cells import Row
from benchmarks.protocol2 import plan
from benchmarks.protocol2.probe import probe_labels
from benchmarks.protocol2.records import describe_processor
from benchmarks.protocol2.tasks import Task
from benchmarks.rows import load_or_make_run
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.attacks.base import Trigger
from cleaner.cli.output import Progress
from cleaner.config import parameters
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import DEFENSES
from cleaner.evaluation.bootstrap import unpack_outcomes
from cleaner.evaluation.evaluate import evaluate, transfer_accuracy
from cleaner.models.clip import Clip, load_clip
from cleaner.reports import results
from cleaner.runs.folders import runs_root
from cleaner.runs.run import Run
from cleaner.seed import derive_seed
from cleaner.training.loop import finetune
from cleaner.types import DivergedError
from cleaner.workflow import defend, poison, rebound

AWARE_LOSSES = {"share": 1.0, "in_modal_weight": 0.0}
"""Parameters of TA-Cleaner that leave CLIP's loss and the subtext loss, on all pairs."""


def measure(model: str, task: Task) -> Row:
    """Return the line of a task."""
    start = time.perf_counter()
    row = {"attack trial": measure_attack, "grid": measure_accuracy, "cell": measure_cell}[task.kind](model, task)
    origin = protocol.add_provenance(seeds=[task.seed], processor=describe_processor())
    finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"task": asdict(task), **row, **origin, "wall": round(time.perf_counter() - start, 1), "finished": finished}


def measure_attack(model: str, task: Task) -> Row:
    """Return ASR, floor and accuracy of an attack on validation images."""
    validation = load_data("scenes", split="validation")
    row = results.make_row(None, train_attack(model, task, validation))
    metrics = results.parse_row_metrics(row)
    assert metrics.asr is not None
    assert metrics.asr_clean_model is not None
    del row["metrics"]
    shares = {"ca": metrics.ca[1], "asr": metrics.asr[1], "floor": metrics.asr_clean_model[1]}
    return {**shares, "n": metrics.n, "n_attack": metrics.n_attack, **row}


def measure_accuracy(model: str, task: Task) -> Row:
    """Return the validation accuracy of a trial of the grid; None if the training diverged. ASR is not measured."""
    suspect = load_or_poison(model, task)
    validation = load_data("scenes", split="validation")
    before = validation_accuracy(suspect.clip, validation)
    row: Row = {"model": model, "n": int((validation.labels >= 0).sum()), "backdoored_ca": before}
    if not task.method:
        return {**row, "ca": before, "suspect_sha256": suspect.clip.sha256()}
    defense = plan.build_defense(task.method, task.form)
    config = plan.defense_config(task.lr, task.seed, task.steps)
    data = plan.DEFENDER_DATA[task.data](suspect)
    try:
        trained = finetune(suspect.clip, data, defense, config, on_step=Progress(describe(task)))
    except DivergedError as error:  # any other failure may pass, and would be recorded for good
        return {**row, "ca": None, "error": str(error)}
    return {**row, "ca": validation_accuracy(trained.clip, validation), "cpu_seconds": round(trained.cpu_seconds, 2)}


def measure_cell(model: str, task: Task, *, captions: str | None = None, **changes: Any) -> Row:
    """Return the test metrics of a backdoored or defended model, and its validation accuracy.

    `captions`: of the clean pairs, if not the data set's own choice. `changes`: fields of the schedule that differ from
    the protocol's.
    """
    suspect, world = load_or_poison(model, task), task.world
    test, validation = load_data(world, split="test"), load_data(world, split="validation")
    run = suspect
    if task.method:
        if world == "scenes" and captions is None:
            data = plan.DEFENDER_DATA[task.data](suspect)
        else:
            data = plan.load_clean(world, captions=captions)
        config = replace(plan.defense_config(task.lr, task.seed, task.steps), **changes)
        defense = plan.build_defense(task.method, task.form)
        try:
            run = defend(suspect, defense, data, config, test=test, on_step=Progress(describe(task)))
        except DivergedError as error:
            return {
                "model": model,
                "trigger": task.attack,
                "defense": task.method,
                "metrics": None,
                "error": str(error),
            }
    row = results.make_row(task.method, run)
    row["overlap"] = run.config.get("overlap")
    row["validation_ca"] = validation_accuracy(run.clip, validation)
    row["backdoored_validation_ca"] = validation_accuracy(suspect.clip, validation)
    row["target_ca"] = target_accuracy(run, test)
    if task.world != "scenes":
        row["fine"] = measure_fine(run, test)
    if task.has_followups and task.world == "scenes":
        row |= measure_followups(run, test)
    return row


def measure_followups(run: Run, test: CaptionData) -> dict[str, Any]:
    """Return transfer, probe, and the metrics after harmless finetuning."""
    config = plan.defense_config(plan.REBOUND_LR, run.config["finetune"]["seed"])
    clean = plan.load_clean()
    again = rebound(run, clean, plan.REBOUND_STEPS, config, test=test, on_step=Progress("rebound"))
    assert again.metrics is not None
    metrics = again.metrics.to_dict() | {"outcomes": {}}
    return {
        "transfer": transfer_accuracy(run.clip, test),
        "probe": probe_labels(run, test),
        "rebound": {"steps": plan.REBOUND_STEPS, "lr": plan.REBOUND_LR, "metrics": metrics},
    }


def measure_fine(run: Run, test: CaptionData) -> dict[str, Any]:
    """Return ASR@k and base rate@k towards the fine target on images without any object of its kind."""
    assert run.target_class is not None
    kinds = [name.split()[-1] for name in test.class_names]
    is_kin = torch.tensor([kind == run.target_class.split()[-1] for kind in kinds])
    others = test.subset(((test.labels >= 0) & ~is_kin[test.labels]).nonzero().flatten())
    metrics = evaluate(
        run.clip,
        others,
        run.trigger,
        run.target_class,
        ks=plan.FINE_KS,
        clean_clip=run.clean_clip,
        counterfactual=False,
    )
    shares = {name: getattr(metrics, name) for name in ("asr", "base_rate", "asr_clean_model")}
    return {**shares, "n_attack": metrics.n_attack, "classes": metrics.classes}


def target_accuracy(run: Run, test: CaptionData) -> dict[str, Any] | None:
    """Return "ca" and "n" on clean test images of the target class alone: has the defense forgotten it?"""
    if run.metrics is None or run.target_class is None:
        return None
    labels = test.labels[test.labels >= 0]
    hits = torch.from_numpy(unpack_outcomes(run.metrics.outcomes["ca"], len(labels)))
    own = hits[labels == test.class_index(run.target_class)]
    return {"ca": own.float().mean().item(), "n": len(own)}


def validation_accuracy(clip: Clip, validation: CaptionData) -> float:
    """Return clean accuracy on validation images."""
    return evaluate(clip, validation, ks=(1,), counterfactual=False).ca[1]


def load_or_poison(model: str, task: Task) -> Run:
    """Return the backdoored run that a task needs: from the run store, else trained and stored there.

    The store is only a cache. Another process waits while one trains the same attack.
    """
    wanted = replace(task.suspect, kind="cell")
    key = derive_seed(model, str(asdict(wanted)), str(describe_processor()), load_clip(model).sha256())
    folder = runs_root() / f"protocol2_{model}_{wanted.attack}_{wanted.target}_{wanted.seed}_{key:x}".replace(" ", "-")
    return load_or_make_run(folder, lambda: train_attack(model, task, load_data(task.world, split="test")))


def train_attack(model: str, task: Task, test: CaptionData) -> Run:
    """Return the backdoored run of a task, measured on `test`."""
    preset, change = presets.scenes_attack_preset(task.attack, model), plan.ladder(task.attack)[task.setting]
    training = preset.training
    assert training is not None
    epochs, pairs = round(training.finetune.epochs * change.epochs), round(training.pairs * change.pairs)
    config = replace(training.finetune, seed=task.seed, epochs=epochs, precision=plan.PRECISION)
    return poison(
        load_clip(model),
        load_data(task.world, split="train", size=pairs),
        build_trigger(task, {**preset.parameters, **change.parameters}),
        task.target,
        config=config,
        poison_rate=training.poison_rate or presets.POISON_RATE,
        losses=DEFENSES["ta_cleaner"](**AWARE_LOSSES) if task.is_aware else None,
        test=test,
        on_step=Progress(describe(task.suspect)),
    )


def build_trigger(task: Task, settings: dict[str, Any]) -> Trigger:
    """Return the attack's trigger; what is random about it follows the seed of the cell."""
    kind = TRIGGERS[task.attack]
    seed = {"seed": task.seed} if any(p.name == "seed" for p in parameters(kind)) else {}
    trigger: Trigger = kind(**settings, **seed)
    return trigger


def describe(task: Task) -> str:
    """Return a task in a few words, for progress."""
    extras = [task.data if task.data != "disjoint" else "", "aware" if task.is_aware else ""]
    words = [task.kind, task.attack, task.target, str(task.seed), task.method, task.form, *extras]
    return " ".join(word for word in (*words, f"{task.lr:g}" if task.lr else "") if word)
