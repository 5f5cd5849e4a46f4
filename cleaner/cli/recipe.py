"""python -m cleaner recipe: the paper's whole experiment with its published numbers, for who has a GPU and the data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cleaner.attacks import TRIGGERS, Trigger
from cleaner.cli.folders import check_out
from cleaner.cli.inputs import MODEL_HELP, opened, show_broken
from cleaner.cli.options import chosen, named, with_help
from cleaner.cli.output import Progress, duration, protocol, table
from cleaner.config import FinetuneConfig, parameters
from cleaner.data.base import CaptionData, data_source, load_data, located
from cleaner.data.pairs import FileData
from cleaner.defenses import DEFENSES
from cleaner.evaluation.evaluate import Metrics, evaluate
from cleaner.files import read_json, write_json
from cleaner.jobs.local import discard_checkpoint
from cleaner.models.checkpoints import validate_model_name
from cleaner.models.clip import Clip
from cleaner.models.devices import pick_device
from cleaner.presets import (
    CLIP_POISONING,
    NOT_RUN,
    RECIPE_ATTACK,
    RECIPE_DEFENSES,
    Preset,
    Training,
    attack_presets,
    defense_presets,
)
from cleaner.runs.request import parse_data_arguments
from cleaner.runs.store import CHECKPOINT_FILE, Run, load_run, save_run
from cleaner.types import CleanerError
from cleaner.workflow import defend, poison

PROTOCOL, TOPS = "all_images", (1, 10)
"""How the papers count attack success: on all pictures, those of the target too, in the best 1 and 10 classes."""
LOOK = 20
"""Pairs that are looked at before any work."""
WARNING = f"This recipe was {NOT_RUN}: its numbers are those of the sources, its results are not known here."

if TYPE_CHECKING:
    Machine = FinetuneConfig
else:
    KEPT = ("device", "precision", "chunk_size", "seed")
    Machine = with_help(FinetuneConfig, without=[p.name for p in parameters(FinetuneConfig) if p.name not in KEPT])


@dataclass(frozen=True)
class Stage:
    """One training; `state` is the `state_dict()` of its trigger or defence."""

    name: str
    preset: Preset
    training: Training
    pairs: int
    config: FinetuneConfig
    state: dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """The paper's whole experiment in one command, for a GPU and data of yours (NOT RUN BY US).

    BadCLIP poisons OpenAI's RN50 with CC3M pairs, TA-Cleaner (K 10 %) cleans it, both are measured on ImageNet, with
    the published numbers (python -m cleaner presets). Called again, it goes on where it was stopped.
    """

    pairs: Annotated[tuple[str, ...], tyro.conf.arg(help="The attacker's pairs: cc3m.csv, and options of the table.")]
    clean: Annotated[tuple[str, ...], tyro.conf.arg(help="The defender's pairs: another table.")]
    imagenet: Annotated[tuple[str, ...], tyro.conf.arg(help="Test pictures: ImageNet's val, a folder per class.")]
    out: Annotated[Path, tyro.conf.arg(help="Folder for the runs and evaluation.json.")]
    dry_run: Annotated[bool, tyro.conf.arg(help="Check all, print exactly what would be done, and stop.")] = False
    defenses: Annotated[tuple[str, ...], tyro.conf.arg(help="Presets of defences.")] = RECIPE_DEFENSES
    model: Annotated[str, tyro.conf.arg(help=MODEL_HELP)] = str(CLIP_POISONING.model)
    target_class: Annotated[str, tyro.conf.arg(help="Class that triggered pictures shall become.")] = "banana"
    poison_pairs: Annotated[int, tyro.conf.arg(help="Pairs to poison among; 0: as published.")] = 0
    poison_rate: Annotated[float, tyro.conf.arg(help="Share of poisoned pairs; 0: as published.")] = 0.0
    clean_pairs: Annotated[int, tyro.conf.arg(help="Clean pairs of each defence; 0: as published.")] = 0
    test_pictures: Annotated[int, tyro.conf.arg(help="Test pictures; 0: all.")] = 0
    steps: Annotated[int, tyro.conf.arg(help="Rehearsal: steps of the patch and of each training; 0: all.")] = 0
    machine: Annotated[Machine, tyro.conf.arg(name="")] = Machine()

    def run(self) -> None:
        for option in ("poison_pairs", "clean_pairs", "test_pictures"):
            if getattr(self, option) < 0:
                raise CleanerError(f"--{option.replace('_', '-')} must be at least 0, not {getattr(self, option)}.")
        check_out(self.out)
        attack = self._attack()
        defenses = [self._defense(name) for name in self.defenses]
        print("\n".join(self._described(attack, defenses)))
        if self.dry_run:
            print("Nothing was done (--dry-run).")
            return
        clip, test = opened(self.model).to(self.machine.device), self._test()
        backdoored = self._done(attack, partial(self._poison, clip, attack, test))
        after = [self._done(stage, partial(self._defend, backdoored, stage, test)) for stage in defenses]
        self._measure(test, clip, [backdoored, *after], [attack, *defenses])

    # What is asked for, checked without any work.

    def _attack(self) -> Stage:
        pick_device(self.machine.device)
        validate_model_name(self.model)
        preset = chosen(RECIPE_ATTACK, TRIGGERS, attack_presets)
        steps = [f"steps={self.steps}"] if self.steps else []
        trigger: Trigger = named(TRIGGERS, [preset.method, *preset.arguments, f"seed={self.machine.seed}", *steps])
        names = self._looked_at(self.imagenet, 1, "--test-pictures").class_names
        if self.target_class not in names:
            raise CleanerError(
                f"the class {self.target_class!r} is not among the {len(names)} folders of {self.imagenet[0]}: choose "
                "another --target-class, or name the folders by classes=FILE after the path."
            )
        stage = self._stage("backdoored", preset, self.poison_pairs, trigger.state_dict())
        if not 0 < self._rate(stage) < 1:
            raise CleanerError(f"--poison-rate must lie between 0 and 1, not {self.poison_rate:g}.")
        if located(*parse_data_arguments(self.pairs))[0] == located(*parse_data_arguments(self.clean))[0]:
            raise CleanerError("--pairs and --clean name the same table: the defender's pairs must be others.")
        self._looked_at(self.pairs, stage.pairs, "--poison-pairs")
        return self._free(stage)

    def _defense(self, name: str) -> Stage:
        preset = chosen(name, DEFENSES, defense_presets)
        defense = named(DEFENSES, [preset.method, *preset.arguments])
        stage = self._stage(name, preset, self.clean_pairs, defense.state_dict())
        self._looked_at(self.clean, stage.pairs, "--clean-pairs")
        return self._free(stage)

    def _stage(self, name: str, preset: Preset, pairs: int, state: dict[str, Any]) -> Stage:
        training = preset.training
        if training is None:
            raise CleanerError(f"the training of {preset.name} is not stated in its source: choose another preset.")
        config = replace(training.finetune, steps=self.steps, **vars(self.machine))
        return Stage(name, preset, training, pairs or training.pairs, config, state)

    def _looked_at(self, words: tuple[str, ...], wanted: int, option: str) -> FileData:
        """Return a glance at data in files; raises `CleanerError` if they cannot be used or are too few."""
        name, options = parse_data_arguments(words)
        source, _ = data_source(name)
        if not (isinstance(source, type) and issubclass(source, FileData)):
            raise CleanerError(f"{name} are no data in files: name a table, a folder of pictures, a .tar or a .zip.")
        data = load_data(name, split="all", size=LOOK, **{**options, "most_broken": 0.5})
        assert isinstance(data, FileData)
        there = len(data.table.keys)
        if there < wanted:
            raise CleanerError(
                f"{name} holds {there:,} pairs, the recipe takes {wanted:,}: give more, or set {option}."
            )
        return data

    def _free(self, stage: Stage) -> Stage:
        folder = self.out / stage.name
        before = read_json(folder / "config.json").get("recipe")
        if (folder / "config.json").exists() and before != json.loads(json.dumps(self._record(stage))):
            raise CleanerError(
                f"{folder} holds a run of other settings: choose another --out, nothing was overwritten."
            )
        return stage

    def _record(self, stage: Stage) -> dict[str, Any]:
        """Return all that a stage's result depends on, JSON-ready: a run with the same is taken as done."""
        return {
            "settings": stage.state,
            "pairs": stage.pairs,
            "finetune": vars(stage.config),
            "model": self.model,
            "target": self.target_class,
            "rate": self._rate(stage),
            "test": self.test_pictures,
            "poisoned": [self.poison_pairs, self.poison_rate],  # a defence starts from what came of it
            "data": [*self.pairs, *self.clean, *self.imagenet],
        }

    def _rate(self, stage: Stage) -> float:
        return (self.poison_rate or stage.training.poison_rate or 0.0) if stage.name == "backdoored" else 0.0

    def _described(self, attack: Stage, defenses: list[Stage]) -> list[str]:
        """Return in lines what will be done."""
        count = max(1, round(self._rate(attack) * attack.pairs))
        where = "" if os.path.exists(self.model) else ", downloaded unless it was before"
        lines = [
            WARNING,
            "",
            f"1. Load {self.model}{where}.",
            f"2. Poison {count:,} of {attack.pairs:,} pairs of {self.pairs[0]}, target {self.target_class!r}.",
            *_settings(attack),
        ]
        for number, stage in enumerate(defenses, start=3):
            lines += [f"{number}. Clean with {stage.pairs:,} pairs of {self.clean[0]}.", *_settings(stage)]
        pictures = f"{self.test_pictures:,}" if self.test_pictures else "all"
        lines += [
            f"{3 + len(defenses)}. Measure on {pictures} pictures of {self.imagenet[0]}: accuracy, and attack success "
            f"in the best {' and '.join(map(str, TOPS))} classes, protocol {PROTOCOL}.",
            f"Runs and evaluation.json go to {self.out}.",
        ]
        return lines

    # The work.

    def _loaded(self, words: tuple[str, ...], size: int, split: str = "all", **more: Any) -> CaptionData:
        name, options = parse_data_arguments(words)
        sized = {"size": size} if size else {}
        data = load_data(name, split=split, on_step=Progress(), **sized, **{**more, **options})
        show_broken(data)
        return data

    def _test(self) -> CaptionData:
        """Return ImageNet's val, as the papers measure on it; of another folder all pictures, or its test folder."""
        known = self._looked_at(self.imagenet, 1, "--test-pictures").table.splits or ()
        split = next((split for split in ("validation", "test") if split in known), "all")
        return self._loaded(self.imagenet, self.test_pictures, split)

    def _done(self, stage: Stage, work: Callable[[Path], Run]) -> Run:
        """Return the stage's run: from its folder if it is there, else made and written there."""
        folder = self.out / stage.name
        if (folder / "config.json").exists():
            return load_run(folder)
        run = work(folder / CHECKPOINT_FILE)
        run.config["recipe"] = self._record(stage)
        save_run(run, folder)
        discard_checkpoint(folder)
        return run

    def _poison(self, clip: Clip, stage: Stage, test: CaptionData, file: Path) -> Run:
        # The classes are ImageNet's: a caption that names one tells what its picture shows.
        data = self._loaded(self.pairs, stage.pairs, classes=test.class_names)
        return poison(
            clip,
            data,
            TRIGGERS.load(stage.state),
            self.target_class,
            self._rate(stage),
            stage.config,
            test=test,
            on_step=Progress(stage.name),
            checkpoint=file,
        )

    def _defend(self, backdoored: Run, stage: Stage, test: CaptionData, file: Path) -> Run:
        data = self._loaded(self.clean, stage.pairs)
        return defend(
            backdoored,
            DEFENSES.load(stage.state),
            data,
            stage.config,
            test=test,
            on_step=Progress(stage.name),
            checkpoint=file,
        )

    def _measure(self, test: CaptionData, clean: Clip, runs: list[Run], stages: list[Stage]) -> None:
        """Measure as the papers do, print the table and write evaluation.json."""
        ks = tuple(k for k in TOPS if k <= len(test.class_names))
        rows, measured, metrics = [], {}, None
        for run, stage in zip(runs, stages, strict=True):
            suspect = run.clip.to(self.machine.device, self.machine.precision)
            metrics = evaluate(
                suspect,
                test,
                run.trigger,
                self.target_class,
                ks,
                PROTOCOL,
                clean_clip=clean,
                counterfactual=False,
                on_step=Progress(stage.name),
            )
            rows.append(_row(stage.name, metrics, run.config["seconds"]))
            measured[stage.name] = metrics.to_dict()
        assert metrics is not None
        print(table(rows, ("model", "CA@1", *(f"ASR@{k}" for k in TOPS), "floor@1", "training")))
        print(f"\n{protocol(metrics)} [..]: 95 % Wilson interval. {WARNING}")
        write_json(self.out / "evaluation.json", {"note": WARNING, "metrics": measured})
        print(f"Runs and evaluation.json lie in {self.out}")


def _settings(stage: Stage) -> list[str]:
    """Return all settings of a stage and their sources, in lines."""
    own = " ".join(f"{name}={value}" for name, value in stage.state.items() if name not in ("name", "png"))
    training = " ".join(f"{name}={value}" for name, value in vars(stage.config).items())
    lines = [f"{stage.preset.name}: {stage.state['name']} {own}", training, f"source: {stage.preset.source}"]
    if stage.preset.unstated:
        lines.append(f"not stated: {stage.preset.unstated}")
    return [f"     {line}" for line in [*lines, f"source of the training: {stage.training.source}"]]


def _row(name: str, metrics: Metrics, seconds: float) -> tuple[str, ...]:
    def share(figure: str, k: int) -> str:
        values = getattr(metrics, figure) or {}
        low, high = metrics.interval(figure, k) if k in values else (0.0, 0.0)
        return f"{values[k]:.3f} [{low:.3f}, {high:.3f}]" if k in values else "-"

    return name, share("ca", 1), *(share("asr", k) for k in TOPS), share("asr_clean_model", 1), duration(seconds)
