"""Make the shipped example: python -m benchmarks.example

One model, backdoored and cleaned three ways in the quick setting, the default of the pages. Shipped runs contain only
the quantized difference to the built-in model's weights; their metrics are those of the shipped weights, and their
config has those of the full run. Their films show the training of the full run. The backdoored run has the scores of
its training pairs and the inversion of its trigger. To remake the shipped runs, delete the folders of all four first;
--remeasure only measures them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from benchmarks import protocol
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.cli.output import Progress
from cleaner.config import with_eval_interval
from cleaner.data.base import CaptionData, load_data
from cleaner.defenses import DEFENSES
from cleaner.evaluation.evaluate import Metrics, evaluate
from cleaner.files import read_json, write_json
from cleaner.inspection import embedding_map
from cleaner.inspection.inversion import InversionConfig, invert
from cleaner.inspection.pair_detection import DETECTION_FILE, detect_pairs, read_detection, write_detection
from cleaner.inspection.training_pairs import load_training_pairs
from cleaner.models import delta
from cleaner.models.clip import Clip, load_clip, save_delta
from cleaner.models.devices import configure_torch
from cleaner.playground.export import make_data
from cleaner.playground.files import name_file, write_data
from cleaner.runs.folders import is_run_folder, shipped_root
from cleaner.runs.integrity import HASHES_KEY, hash_files
from cleaner.runs.inversion_result import FOLDER, RESULT_FILE, write_inversion
from cleaner.runs.request import TEST_SIZE
from cleaner.runs.run import Run, load_run, write_run
from cleaner.runs.store import list_shipped_runs, read_record
from cleaner.workflow import defend, poison

ATTACK, SEED = "badnet", 0
DEFENSE_NAMES = ("cleanclip", "cleanclip_short", "ta_cleaner")
VALIDATION_SIZE = 500
"""Validation pairs behind the shipped curves."""
HISTORY_STRIDE = 4
"""Every fourth training step is shipped, and every step with metrics."""


@dataclass(frozen=True)
class Options:
    """Train the four runs and write their shipped forms, unless they exist."""

    model: str = presets.QUICK_MODEL
    """Built-in model."""
    remeasure: bool = False
    """Train nothing; measure the shipped weights with this version."""


def main(options: Options) -> None:
    """Make the four runs unless they exist, and their maps, scores and inversion where they are missing."""
    configure_torch()
    clean, test = load_clip(options.model), load_data("scenes", split="test", size=TEST_SIZE)
    if options.remeasure:
        for entry in list_shipped_runs():
            run = load_run(entry.folder)
            write_json(entry.folder / "metrics.json", measure(run, run.clip, clean=clean, test=test).to_dict())
            write_hashes(entry.folder)
        return
    if not has_shipped_runs():
        train_runs(clean, test)
    for entry in list_shipped_runs():
        embedding_map.ensure_map(entry.folder, output_folder=entry.folder)
        if entry.stage == "backdoored":
            ensure_detection(entry.folder)
            ensure_inversion(entry.folder)
    ensure_playground()


def shipped_folders() -> dict[str, Path]:
    """Return "backdoored" and each defense -> folder of the shipped run."""
    parent = f"example-{ATTACK}"
    defended = {name: f"{parent}-{number}-{name}" for number, name in enumerate(DEFENSE_NAMES, start=1)}
    return {name: shipped_root() / folder for name, folder in {"backdoored": parent, **defended}.items()}


def has_shipped_runs() -> bool:
    """Return whether the shipped runs exist; raises `SystemExit` if only some do: all defend one backdoored model."""
    missing = [folder.name for folder in shipped_folders().values() if not is_run_folder(folder)]
    if missing and len(missing) < len(shipped_folders()):
        raise SystemExit(f"{', '.join(missing)} missing: delete the folders of all shipped runs to train them again.")
    return not missing


def train_runs(clean: Clip, test: CaptionData) -> None:
    """Train the four runs, and write what is shipped: weights and metrics."""
    folders, suspect = shipped_folders(), poison_model(clean, test)
    ship(suspect, folders["backdoored"], clean, test)
    for name in DEFENSE_NAMES:
        run = defend_model(suspect, name, test)
        run.config["parent"] = folders["backdoored"].name
        ship(run, folders[name], clean, test)


def poison_model(clean: Clip, test: CaptionData) -> Run:
    """Return the backdoored run, in the quick setting."""
    config = replace(presets.QUICK_POISON, lr=presets.poison_lr(clean.name), seed=SEED)
    return poison(
        clean,
        load_data("scenes", split="train", size=presets.QUICK_POISON_PAIRS),
        TRIGGERS[ATTACK](**presets.scenes_attack_preset(ATTACK, clean.name).parameters),
        protocol.TARGET_CLASS,
        poison_rate=presets.QUICK_POISON_RATE,
        config=with_eval_interval(presets.QUICK_POISON_PAIRS, config),
        validation=load_data("scenes", split="validation", size=VALIDATION_SIZE),
        test=test,
        on_step=Progress(ATTACK),
        film=True,
    )


def defend_model(suspect: Run, name: str, test: CaptionData) -> Run:
    """Return the run of a defense, in the quick setting."""
    preset = presets.quick_defense_preset(name, suspect.config["model"])
    assert preset.training is not None
    return defend(
        suspect,
        DEFENSES[name](**preset.parameters),
        load_data("scenes", split="clean", size=preset.training.pairs),
        with_eval_interval(preset.training.pairs, replace(preset.training.finetune, seed=SEED)),
        validation=load_data("scenes", split="validation", size=VALIDATION_SIZE),
        test=test,
        on_step=Progress(name),
        film=True,
    )


def ship(run: Run, folder: Path, clean: Clip, test: CaptionData) -> Clip:
    """Write the shipped form of a run; return its model as loaded from there."""
    file = save_delta(run.clip, clean.name, folder / "change.safetensors")
    clip = load_clip(str(file))
    whole, shipped = (measure(run, model, clean=clean, test=test) for model in (run.clip, clip))
    origin = {"step": delta.QUANTIZATION_STEP, "sha256": clip.sha256(), "whole": headline_metrics(whole)}
    config = {**run.config, "data_name": "scenes", "test_size": TEST_SIZE, "shipped": origin}
    history = [r for r in run.history if r.step % HISTORY_STRIDE == 1 or r.metrics or r.step == r.total]
    write_run(replace(run, clip=clip, metrics=shipped, config=config, history=history), folder)
    os.replace(file, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    write_hashes(folder)
    print(folder.name, "as trained", headline_metrics(whole), "as shipped", headline_metrics(shipped))
    return load_clip(str(folder / "model.safetensors"))


def write_hashes(folder: Path) -> None:
    """Write the hashes of a run's files again, after one was replaced."""
    config = folder / "config.json"
    write_json(config, read_json(config) | {HASHES_KEY: hash_files(folder)})


def measure(run: Run, clip: Clip, *, clean: Clip, test: CaptionData) -> Metrics:
    """Return the metrics of a model under the attack of a run."""
    return evaluate(clip, test, run.trigger, run.target_class, clean_clip=clean)


def headline_metrics(metrics: Metrics) -> dict[str, float]:
    """Return CA, ASR@1 and RA."""
    return {"ca": metrics.ca[1], "asr": (metrics.asr or {})[1], "ra": (metrics.ra or {})[1]}


def ensure_detection(folder: Path) -> None:
    """Write the scores of a backdoored run's training pairs, unless they exist."""
    if read_detection(folder) is None:
        clip = load_clip(str(folder / "model.safetensors"))
        pairs = load_training_pairs(folder, clip.framing)
        write_detection(detect_pairs(clip, pairs), folder / DETECTION_FILE)


def ensure_inversion(folder: Path) -> None:
    """Write the trigger inversion of a backdoored run, unless it exists."""
    if not (folder / FOLDER / RESULT_FILE).exists():
        run, config = load_run(folder), InversionConfig()
        images = load_data("scenes", split="clean", size=config.images)
        found = invert(
            run.clip, images, config, Progress("inversion"), trigger=run.trigger, target_class=run.target_class
        )
        write_inversion(found, folder / FOLDER)


def ensure_playground() -> None:
    """Write the playground of the shipped runs, newest defense first as the app asks for it, unless it exists."""
    attack, *defenses = (read_record(folder) for folder in shipped_folders().values())
    defenses.reverse()
    path = attack.folder / name_file(attack, defenses)
    if not path.exists():
        write_data(path, *make_data([attack, *defenses]))


if __name__ == "__main__":
    main(tyro.cli(Options))
