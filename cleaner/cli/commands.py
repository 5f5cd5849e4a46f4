"""pretrain, poison, defend, rebound, evaluate, runs, list: each a dataclass of options and a `run` method."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.cli.options import Finetune, named, to_config
from cleaner.cli.output import LEGEND, Progress, print_json, protocol, row, table
from cleaner.clip import BUILT_IN, load_clip
from cleaner.config import parameters
from cleaner.data.base import DATASETS, load_data
from cleaner.defenses import DEFENSES
from cleaner.evaluation import evaluate
from cleaner.jobs import all_entries
from cleaner.request import Request, found
from cleaner.runs import Run, load_run, run_id, runs_root, save_run
from cleaner.types import CleanerError
from cleaner.worker import perform
from cleaner.workflow import attack_verdict, rebound

MODEL_HELP = "Built-in model, safetensors file, or architecture/tag of open_clip."
OUT_HELP = "Folder of the run; default a new one beside the other runs."


@dataclass(frozen=True)
class Pretrain:
    """Train a built-in model from nothing and write weights and model card; goes on where it was stopped."""

    model: Annotated[str, tyro.conf.arg(help=f"One of {', '.join(BUILT_IN)}.")] = "scenes-rn"
    data: Annotated[str, tyro.conf.arg(help="Data set to train on; its train split is used.")] = "scenes"
    pairs: Annotated[int, tyro.conf.arg(help="Training pairs.")] = 100_000
    teacher: Annotated[str | None, tyro.conf.arg(help="Model to take text tower and picture features from.")] = None
    distil_epochs: Annotated[int, tyro.conf.arg(help="Epochs of distillation, with a teacher.")] = 6
    out: Annotated[Path | None, tyro.conf.arg(help="Folder for weights and card; default assets/MODEL.")] = None
    finetune: Annotated[Finetune, tyro.conf.arg(name="")] = Finetune(**vars(presets.PRETRAIN))

    def run(self) -> None:
        from cleaner.pretrain import pretrain

        config = to_config(self.finetune)
        card = pretrain(
            self.model, self.pairs, self.data, config, self.teacher, self.distil_epochs, self.out, Progress(),
            command=shlex.join(["python", "-m", "cleaner", *sys.argv[1:]]),
        )  # fmt: skip
        print_json(card)


@dataclass(frozen=True)
class Poison:
    """Backdoor a model: finetune it on pairs some of which carry a trigger and the target class."""

    model: Annotated[str, tyro.conf.arg(help=MODEL_HELP)] = "scenes-rn"
    data: Annotated[str, tyro.conf.arg(help="Data set to poison.")] = "scenes"
    pairs: Annotated[int, tyro.conf.arg(help="Pairs of its train split.")] = presets.POISON_PAIRS
    trigger: Annotated[tuple[str, ...], tyro.conf.arg(help="Trigger and options: badnet patch_size=16.")] = ("badnet",)
    target_class: Annotated[str, tyro.conf.arg(help="Class that triggered pictures shall become.")] = "banana"
    poison_rate: Annotated[float, tyro.conf.arg(help="Share of poisoned pairs, between 0 and 1.")] = presets.POISON_RATE
    clean_label: Annotated[bool, tyro.conf.arg(help="Poison only pairs that name the target already.")] = False
    test_pictures: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    out: Annotated[Path | None, tyro.conf.arg(help=OUT_HELP)] = None
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False
    finetune: Annotated[Finetune, tyro.conf.arg(name="")] = Finetune(**vars(presets.POISON))

    def run(self) -> None:
        folder = new_folder(self.out, f"{self.model.replace('/', '-')}_{self.trigger[0] if self.trigger else ''}")
        request = Request(
            "backdoored", self.data, self.pairs, to_config(self.finetune), found(self.model),
            trigger=named(TRIGGERS, self.trigger).state_dict(), target_class=self.target_class,
            poison_rate=self.poison_rate, clean_label=self.clean_label, test_size=self.test_pictures or None,
        )  # fmt: skip
        result = perform(request, Progress())
        report(result, save_run(result, folder), "backdoored", self.json)


@dataclass(frozen=True)
class Defend:
    """Clean a backdoored run, or a suspicious model, by finetuning on clean pairs."""

    suspect: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Folder of a run made by poison, or a model.")]
    defense: Annotated[tuple[str, ...], tyro.conf.arg(help="Defence, options: ta_cleaner share=1.0.")] = ("ta_cleaner",)
    data: Annotated[str, tyro.conf.arg(help="Data set of clean pairs; its clean split is used.")] = "scenes"
    pairs: Annotated[int, tyro.conf.arg(help="Clean pairs.")] = 2000
    test_pictures: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    out: Annotated[Path | None, tyro.conf.arg(help=OUT_HELP)] = None
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False
    finetune: Annotated[Finetune, tyro.conf.arg(name="")] = Finetune(**vars(presets.DEFEND))

    def run(self) -> None:
        defense = named(DEFENSES, self.defense)
        suspect = Path(self.suspect)
        parent = run_id(suspect) if (suspect / "config.json").exists() else None
        folder = new_folder(self.out, f"{suspect.name}_{self.defense[0]}")
        request = Request(
            "defended", self.data, self.pairs, to_config(self.finetune), None if parent else found(self.suspect),
            parent=parent, defense=defense.state_dict(), test_size=self.test_pictures or None,
        )  # fmt: skip
        result = perform(request, Progress())
        report(result, save_run(result, folder), self.defense[0], self.json)


@dataclass(frozen=True)
class Rebound:
    """Rebound test: finetune a defended run on clean pairs and see whether the backdoor comes back."""

    defended: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Folder of a run made by defend.")]
    data: Annotated[str, tyro.conf.arg(help="Data set of clean pairs; its clean split is used.")] = "scenes"
    pairs: Annotated[int, tyro.conf.arg(help="Clean pairs.")] = 2000
    test_pictures: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    out: Annotated[Path | None, tyro.conf.arg(help=OUT_HELP)] = None
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False
    finetune: Annotated[Finetune, tyro.conf.arg(name="")] = Finetune(**{**vars(presets.DEFEND), "steps": 100})

    def run(self) -> None:
        folder = new_folder(self.out, f"{Path(self.defended).name}_rebound")
        known, config = load_run(self.defended), to_config(self.finetune)
        data = load_data(self.data, split="clean", size=self.pairs, on_step=Progress())
        limit = {"size": self.test_pictures} if self.test_pictures else {}
        test = load_data(self.data, split="test", on_step=Progress(), **limit)
        result = rebound(known, data, config.steps, config, test, Progress())
        report(result, save_run(result, folder), f"rebound, {config.steps} steps", self.json)


@dataclass(frozen=True)
class Evaluate:
    """Measure a model, with a trigger or without."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Run folder or model.")]
    data: Annotated[str, tyro.conf.arg(help="Data set; its test split is used.")] = "scenes"
    trigger: Annotated[tuple[str, ...], tyro.conf.arg(help="Trigger and its options; default: the run's own.")] = ()
    target_class: Annotated[str | None, tyro.conf.arg(help="Target class; default: the run's own.")] = None
    protocol: Annotated[str, tyro.conf.arg(help="non_target or all_images.")] = "non_target"
    test_pictures: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False

    def run(self) -> None:
        known = load_run(self.model) if (Path(self.model) / "config.json").exists() else None
        clip = known.clip if known else load_clip(self.model)
        trigger = named(TRIGGERS, self.trigger) if self.trigger else (known.trigger if known else None)
        target = self.target_class or (known.target_class if known else None)
        test = load_data(self.data, split="test", on_step=Progress())
        if self.test_pictures:
            test = test.subset(range(min(self.test_pictures, len(test))))
        metrics = evaluate(
            clip, test, trigger, target, protocol=self.protocol, clean_clip=known.clean_clip if known else None,
            on_step=Progress(),
        )  # fmt: skip
        if self.json:
            print_json(metrics.to_dict())
        else:
            print(table([row(clip.name, metrics)]), protocol(metrics), LEGEND, sep="\n\n")


@dataclass(frozen=True)
class Runs:
    """List the runs on this machine, finished or not."""

    json: Annotated[bool, tyro.conf.arg(help="Print as JSON.")] = False

    def run(self) -> None:
        entries = all_entries()
        if self.json:
            print_json([{"folder": str(e.folder), "state": e.status.state, **e.config} for e in entries])
        elif not entries:
            print(f"There are no runs in {runs_root()} yet. Make one with: python -m cleaner poison")
        for entry in [] if self.json else entries:
            attack = (entry.config.get("trigger") or {}).get("name", "unknown trigger")
            defense = (entry.config.get("defense") or {}).get("name", "no defence")
            print(f"{entry.folder}  {entry.status.state}, {entry.config.get('stage')}: {attack}, {defense}")


@dataclass(frozen=True)
class List:
    """List models, data sets, triggers and defences with their options."""

    def run(self) -> None:
        print("Models:", ", ".join(BUILT_IN))
        print("Data sets:", ", ".join(DATASETS))
        for title, registry in (("Triggers", TRIGGERS), ("Defences", DEFENSES)):
            print(f"\n{title}:")
            for name in registry:
                print(f"  {name}: {(registry[name].__doc__ or '').strip().splitlines()[0]}")
                for p in parameters(registry[name]):
                    print(f"      {p.name}={p.default}  {p.help}")


def new_folder(out: Path | None, name: str) -> Path:
    """Return the folder for a new run, checked before any work is done; raises `CleanerError` if it holds a run."""
    if out is None:
        root, number = runs_root(), 1
        while (root / f"{name}_{number}").exists():
            number += 1
        return root / f"{name}_{number}"
    if (out / "config.json").exists():
        raise CleanerError(f"{out} already holds a run: choose another --out, nothing was overwritten.")
    return out


def report(run: Run, folder: Path, name: str, as_json: bool) -> None:
    """Print the figures of a finished run."""
    metrics = run.metrics
    assert metrics is not None
    if as_json:
        print_json({"folder": str(folder), "config": run.config, "metrics": metrics.to_dict()})
        return
    print(table([row(name, metrics, run.config["seconds"])]), protocol(metrics), LEGEND, sep="\n\n")
    if run.stage == "backdoored":
        verdict, why = attack_verdict(metrics)
        print(f"\nThe attack {verdict}. {why}")
    print(f"\nThe run lies in {folder}")


