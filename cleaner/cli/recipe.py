"""The command recipe: the paper's full experiment with its published settings, on your GPU and data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cleaner.cli.folders import check_writable
from cleaner.cli.options import MODEL_HELP, TARGET_HELP, find_preset, instantiate, make_options_class, validate_minima
from cleaner.cli.output import INTERVAL_NOTE, Progress, describe_protocol, format_duration, format_table
from cleaner.cli.recipe_plan import Stage, describe_stage, probe_data
from cleaner.config import FinetuneConfig, is_poison_rate, parameters
from cleaner.evaluation.result import METRICS, Metrics, format_metric
from cleaner.files import read_json, write_json
from cleaner.jobs.local import discard_checkpoint
from cleaner.presets import NOT_RUN, RECIPE_ATTACK, RECIPE_DEFENSES, attack_presets, defense_presets
from cleaner.published import CLIP_POISONING, Preset
from cleaner.registry import DEFENSES, TRIGGERS
from cleaner.runs.request import parse_data_arguments
from cleaner.runs.run import Run, load_run, save_run
from cleaner.runs.store import CHECKPOINT_FILE
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip

PROTOCOL, KS = "all_images", (1, 10)
"""Attack success as the papers count it: on all images, the target class included, in the top 1 and 10 classes."""
NOT_RUN_WARNING = f"This recipe was {NOT_RUN}: its settings are those of the sources, its results are unknown."

if TYPE_CHECKING:
    MachineOptions = FinetuneConfig
else:
    MACHINE_FIELDS = ("device", "precision", "chunk_size", "seed")
    MachineOptions = make_options_class(
        FinetuneConfig, exclude=[p.name for p in parameters(FinetuneConfig) if p.name not in MACHINE_FIELDS]
    )


@dataclass(frozen=True)
class Recipe:
    """Run the paper's full experiment on your GPU and data (NOT RUN BY US).

    BadCLIP poisons OpenAI's RN50 with CC3M pairs, TA-Cleaner (K = 10%) cleans it, and both are evaluated on ImageNet,
    with the published settings (python -m cleaner presets). The same command resumes an interrupted recipe.
    """

    poison_data: Annotated[tuple[str, ...], tyro.conf.arg(help="The attacker's pairs: cc3m.csv and its options.")]
    clean_data: Annotated[tuple[str, ...], tyro.conf.arg(help="The defender's pairs: a different table.")]
    imagenet: Annotated[tuple[str, ...], tyro.conf.arg(help="Test images: ImageNet's val, one folder per class.")]
    out: Annotated[Path, tyro.conf.arg(help="Folder for the runs and evaluation.json.")]
    dry_run: Annotated[bool, tyro.conf.arg(help="Check all inputs, print the plan, and stop.")] = False
    defenses: Annotated[tuple[str, ...], tyro.conf.arg(help="Presets of the defenses.")] = RECIPE_DEFENSES
    model: Annotated[str, tyro.conf.arg(help=MODEL_HELP)] = str(CLIP_POISONING.model)
    target_class: Annotated[str, tyro.conf.arg(help=TARGET_HELP)] = "banana"
    poison_pairs: Annotated[int, tyro.conf.arg(help="Pairs for the attack; 0: as published.")] = 0
    poison_rate: Annotated[
        float, tyro.conf.arg(help="Share of poisoned pairs, or from 1 their number; 0: as published.")
    ] = 0.0
    clean_pairs: Annotated[int, tyro.conf.arg(help="Clean pairs for each defense; 0: as published.")] = 0
    test_pairs: Annotated[int, tyro.conf.arg(help="Test images to evaluate on; 0: all.")] = 0
    steps: Annotated[
        int,
        tyro.conf.arg(
            help="Rehearsal: limit the patch optimization and each training to this many steps; 0: no limit."
        ),
    ] = 0
    machine: Annotated[MachineOptions, tyro.conf.arg(name="")] = MachineOptions()

    def run(self) -> None:
        from cleaner.cli.inputs import load_model, print_activation
        from cleaner.defenses import load_defense

        validate_minima(self, poison_pairs=0, clean_pairs=0, test_pairs=0, steps=0)
        check_writable(self.out)
        attack = self._plan_attack()
        defenses = [self._plan_defense(name) for name in self.defenses]
        print("\n".join(self._describe_plan(attack, defenses)))
        if self.dry_run:
            print("Dry run: nothing was done.")
            return
        clip, test = load_model(self.model, self.machine.device), self._load_test_data()
        print_activation(clip, test)
        pairs = probe_data(self.clean_data, 1, "--clean-pairs")
        for stage in defenses:
            if reason := load_defense(stage.state).unsupported_reason(clip, pairs):
                raise CleanerError(f"{stage.name}: {reason}")
        backdoored = self._load_or_run(attack, partial(self._poison, clip, attack, test))
        defended = [self._load_or_run(stage, partial(self._defend, backdoored, stage, test)) for stage in defenses]
        self._evaluate(test, clip, [backdoored, *defended], [attack, *defenses])

    # Planning: all inputs are checked before any work.

    def _plan_attack(self) -> Stage:
        from cleaner.data.base import resolve_data_paths
        from cleaner.models.devices import pick_device
        from cleaner.models.lookup import validate_model_name

        pick_device(self.machine.device)
        validate_model_name(self.model)
        preset = find_preset(RECIPE_ATTACK, TRIGGERS, attack_presets)
        steps = [f"steps={self.steps}"] if self.steps else []
        trigger = instantiate(TRIGGERS, [preset.method, *preset.arguments, f"seed={self.machine.seed}", *steps])
        names = probe_data(self.imagenet, 1, "--test-pairs").class_names
        if self.target_class not in names:
            raise CleanerError(
                f"the class {self.target_class!r} is not among the {len(names)} folders of {self.imagenet[0]}: choose "
                "another --target-class, or give the class names with classes=FILE after the path."
            )
        stage = self._make_stage("backdoored", preset, self.poison_pairs, trigger.state_dict())
        if self.poison_rate and not is_poison_rate(self.poison_rate, stage.pairs):
            raise CleanerError(
                f"--poison-rate must be a share between 0 and 1, or a number of the {stage.pairs:,} pairs, not "
                f"{self.poison_rate:g}."
            )
        if (
            resolve_data_paths(*parse_data_arguments(self.poison_data))[0]
            == resolve_data_paths(*parse_data_arguments(self.clean_data))[0]
        ):
            raise CleanerError("--poison-data and --clean-data are the same table: the defender's pairs must differ.")
        probe_data(self.poison_data, stage.pairs, "--poison-pairs")
        return self._check_folder(stage)

    def _plan_defense(self, name: str) -> Stage:
        preset = find_preset(name, DEFENSES, defense_presets)
        defense = instantiate(DEFENSES, [preset.method, *preset.arguments])
        stage = self._make_stage(name, preset, self.clean_pairs, defense.state_dict())
        probe_data(self.clean_data, stage.pairs, "--clean-pairs")
        return self._check_folder(stage)

    def _make_stage(self, name: str, preset: Preset, pairs: int, state: dict[str, Any]) -> Stage:
        training = preset.training
        if training is None:
            raise CleanerError(f"the source of {preset.name} does not state its training: choose another preset.")
        config = replace(training.finetune, steps=self.steps, **vars(self.machine))
        return Stage(
            name=name, preset=preset, training=training, pairs=pairs or training.pairs, config=config, state=state
        )

    def _check_folder(self, stage: Stage) -> Stage:
        folder = self.out / stage.name
        before = read_json(folder / "config.json").get("recipe")
        if (folder / "config.json").exists() and before != json.loads(json.dumps(self._stage_settings(stage))):
            raise CleanerError(
                f"{folder} holds a run with other settings and was not overwritten: choose another --out."
            )
        return stage

    def _stage_settings(self, stage: Stage) -> dict[str, Any]:
        """Return all settings that determine a stage's result, JSON-ready; a run with equal settings is reused."""
        return {
            "settings": stage.state,
            "pairs": stage.pairs,
            "finetune": vars(stage.config),
            "model": self.model,
            "target": self.target_class,
            "rate": self._poison_rate(stage),
            "test": self.test_pairs,
            "poisoned": [self.poison_pairs, self.poison_rate],  # a defense depends on the attack
            "data": [*self.poison_data, *self.clean_data, *self.imagenet],
        }

    def _poison_rate(self, stage: Stage) -> float:
        rate = (self.poison_rate or stage.training.poison_rate or 0.0) if stage.name == "backdoored" else 0.0
        return rate if rate < 1 else rate / stage.pairs

    def _describe_plan(self, attack: Stage, defenses: list[Stage]) -> list[str]:
        """Return the plan as lines."""
        count = max(1, round(self._poison_rate(attack) * attack.pairs))
        source = "" if os.path.exists(self.model) else " (downloaded unless cached)"
        lines = [
            NOT_RUN_WARNING,
            "",
            f"1. Load {self.model}{source}.",
            f"2. Poison {count:,} of {attack.pairs:,} pairs of {self.poison_data[0]}, target {self.target_class!r}.",
            *describe_stage(attack),
        ]
        for number, stage in enumerate(defenses, start=3):
            lines += [f"{number}. Clean with {stage.pairs:,} pairs of {self.clean_data[0]}.", *describe_stage(stage)]
        images = f"{self.test_pairs:,}" if self.test_pairs else "all"
        lines += [
            f"{3 + len(defenses)}. Evaluate on {images} images of {self.imagenet[0]}: accuracy, and attack success "
            f"in the top {' and '.join(map(str, KS))} classes, protocol {PROTOCOL}.",
            f"Runs and evaluation.json are written to {self.out}.",
        ]
        return lines

    # Execution.

    def _load_data(self, spec: tuple[str, ...], size: int, split: str = "all", **defaults: Any) -> CaptionData:
        from cleaner.cli.inputs import load_split

        name, options = parse_data_arguments(spec)
        return load_split((name, {**defaults, **options}), split, size)

    def _load_test_data(self) -> CaptionData:
        """Return ImageNet's val, as in the papers; of another folder its test folder, else all images."""
        splits = probe_data(self.imagenet, 1, "--test-pairs").table.splits or ()
        split = next((split for split in ("validation", "test") if split in splits), "all")
        return self._load_data(self.imagenet, self.test_pairs, split)

    def _load_or_run(self, stage: Stage, run_stage: Callable[[Path], Run]) -> Run:
        """Return the stage's run from its folder, or execute it and save it there."""
        folder = self.out / stage.name
        if (folder / "config.json").exists():
            return load_run(folder)
        run = run_stage(folder / CHECKPOINT_FILE)
        run.config["recipe"] = self._stage_settings(stage)
        save_run(run, folder)
        discard_checkpoint(folder)
        return run

    def _poison(self, clip: Clip, stage: Stage, test: CaptionData, checkpoint: Path) -> Run:
        from cleaner.workflow import poison

        # The class names are ImageNet's: a caption that names one labels its image.
        data = self._load_data(self.poison_data, stage.pairs, classes=test.class_names)
        return poison(
            clip,
            data,
            TRIGGERS.load(stage.state),
            target_class=self.target_class,
            poison_rate=self._poison_rate(stage),
            config=stage.config,
            test=test,
            on_step=Progress(stage.name),
            checkpoint=checkpoint,
        )

    def _defend(self, backdoored: Run, stage: Stage, test: CaptionData, checkpoint: Path) -> Run:
        from cleaner.workflow import defend

        data = self._load_data(self.clean_data, stage.pairs)
        return defend(
            backdoored,
            DEFENSES.load(stage.state),
            data,
            stage.config,
            test=test,
            on_step=Progress(stage.name),
            checkpoint=checkpoint,
        )

    def _evaluate(self, test: CaptionData, clean: Clip, runs: list[Run], stages: list[Stage]) -> None:
        """Evaluate with the papers' protocol, print the table and write evaluation.json."""
        from cleaner.evaluation.evaluate import evaluate

        ks = tuple(k for k in KS if k <= len(test.class_names))
        rows, metrics_by_stage, metrics = [], {}, None
        for run, stage in zip(runs, stages, strict=True):
            suspect = run.clip.to(self.machine.device, self.machine.precision)
            metrics = evaluate(
                suspect,
                test,
                run.trigger,
                target_class=self.target_class,
                ks=ks,
                protocol=PROTOCOL,
                clean_clip=clean,
                counterfactual=False,
                on_step=Progress(stage.name),
            )
            rows.append(_format_row(stage.name, metrics, run.config["seconds"]))
            metrics_by_stage[stage.name] = metrics.to_dict()
        assert metrics is not None
        print(format_table(rows, ("model", "CA@1", *(f"ASR@{k}" for k in KS), "floor@1", "training")))
        print(f"\n{describe_protocol(metrics)} {INTERVAL_NOTE} {NOT_RUN_WARNING}")
        write_json(self.out / "evaluation.json", {"note": NOT_RUN_WARNING, "metrics": metrics_by_stage})
        print(f"Runs and evaluation.json: {self.out}")


def _format_row(name: str, metrics: Metrics, seconds: float) -> tuple[str, ...]:
    shown = [("ca", 1), *(("asr", k) for k in KS), ("asr_clean_model", 1)]
    cells = [format_metric(metrics, METRICS[key], k, has_bounds=True) for key, k in shown]
    return (name, *cells, format_duration(seconds))
