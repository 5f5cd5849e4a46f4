"""pretrain, poison, defend, rebound, evaluate, look, export, runs, list: each a dataclass of options and a `run`."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from cleaner import jobs, presets
from cleaner.attacks import TRIGGERS, Trigger
from cleaner.checkpoints import describe
from cleaner.cli.cluster import Where, follow, hand_in
from cleaner.cli.options import Finetune, ReboundFinetune, UnratedFinetune, named, options_of, to_config, with_preset
from cleaner.cli.output import LEGEND, Progress, print_json, protocol, row, table
from cleaner.clip import BUILT_IN, Clip, load_clip, save_clip
from cleaner.config import parameters
from cleaner.data.base import DATASETS, CaptionData, load_data, located
from cleaner.defenses import DEFENSES
from cleaner.evaluation import evaluate
from cleaner.files import REMEDY, read_json
from cleaner.jobs import all_entries
from cleaner.request import Request, data_options, found, rebound_test, tested_on
from cleaner.runs import Run, find_run, holds_run, load_run, run_id, run_trigger, runs_root, save_run
from cleaner.types import CleanerError
from cleaner.wording import NO_DEFENSE, defense_name
from cleaner.worker import perform
from cleaner.workflow import attack_verdict, ks_of

MODEL_HELP = "Built-in model, file, local-dir: or hf-hub: name, ARCHITECTURE:FILE, or architecture/tag of open_clip."
DATA_HELP = "Scenes, a table, a folder of pictures, a .tar or .zip, and options: pairs.csv classes=cat,dog."
OWN_DATA_HELP = f"{DATA_HELP} Default: those of the run, else Scenes."
TRIGGER_HELP = "Trigger and options, badnet patch_size=16, or a run folder: its trigger, patch and all."
PRESET_HELP = "Settings to begin with, see: python -m cleaner presets; other options win over them."
LR_HELP = "Peak learning rate; matters most. Default: what was chosen for {} on a built-in model, else {:g}."
BACKGROUND_HELP = "With --cluster: return as soon as the job is handed in."
LOOK = 500
"""Test pictures that a foreign model is looked at with before it is trained."""
OUT_HELP = "Folder of the run; default a new one beside the other runs."
LONGEST = 60
"""Characters of what a run folder is called after: a file system takes 255 bytes, a letter has up to four."""


def opened(name: str) -> Clip:
    """Return a model; a file's SHA-256 is shown before the file is opened."""
    show_file(name)
    return load_clip(name)


def model_of(name: str) -> Clip:
    """Return the model of a run folder, or any other one."""
    return load_run(name).clip if holds_run(name) else opened(name)


def trigger_of(words: Sequence[str]) -> Trigger:
    """Return the trigger of a run folder as it was used, its patch included, or the one that the words describe."""
    if len(words) == 1 and holds_run(words[0]):
        trigger = run_trigger(Path(words[0]))
        if trigger is None:
            raise CleanerError(f"the run {words[0]} has no known trigger: name a run made by poison, or a trigger.")
        return trigger
    known: Trigger = named(TRIGGERS, words)
    return known


def show_file(model: str) -> None:
    """Show name, size and SHA-256 of a model's file, which is not opened."""
    facts = describe(model)
    if facts is not None:
        print(facts, file=sys.stderr, flush=True)


def data_of(words: Sequence[str], model: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of the data that the command line names, else of a run's own, else of Scenes."""
    return located(*data_options(words)) if words else tested_on(read_json(Path(model) / "config.json"))[:2]


def show_accuracy(model: str, data: tuple[str, dict[str, Any]]) -> None:
    """Show how well a model sees some test pictures of the data, before anything is done with it."""
    name, options = data
    metrics = evaluate(
        load_clip(model), load_data(name, split="test", size=LOOK, **options), ks=(1,), counterfactual=False
    )
    low, high = metrics.interval("ca")
    print(
        f"{model}: clean accuracy {metrics.ca[1]:.3f} [{low:.3f}, {high:.3f}] before anything is done, on "
        f"{metrics.n:,} pictures of {metrics.data}; by chance {1 / metrics.classes:.3f}", file=sys.stderr, flush=True,
    )  # fmt: skip


def show_broken(data: CaptionData) -> None:
    """Show which pictures were left out."""
    if data.broken:
        print(f"{data.name}: {len(data.broken)} left out: {'; '.join(data.broken[:5])}", file=sys.stderr, flush=True)


def loaded(data: tuple[str, dict[str, Any]], split: str, size: int | None = None) -> CaptionData:
    """Return one split of data, by name and options; pictures that were left out are shown."""
    name, options = data
    found = load_data(name, split=split, on_step=Progress(), **({"size": size} if size else {}), **options)
    show_broken(found)
    return found


@dataclass(frozen=True)
class Pretrain:
    """Train a built-in model from nothing and write weights and model card; goes on where it was stopped."""

    model: Annotated[str, tyro.conf.arg(help=f"One of {', '.join(BUILT_IN)}.")] = "scenes-rn"
    data: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Its train split is used. {DATA_HELP}")] = ("scenes",)
    pairs: Annotated[int, tyro.conf.arg(help="Training pairs, as far as there are so many.")] = 100_000
    image_size: Annotated[int, tyro.conf.arg(help="Side of its pictures in px; 0: the architecture's own.")] = 0
    teacher: Annotated[str | None, tyro.conf.arg(help="Model to take text tower and picture features from.")] = None
    distil_epochs: Annotated[int, tyro.conf.arg(help="Epochs of distillation, with a teacher.")] = 6
    out: Annotated[Path | None, tyro.conf.arg(help="Folder for weights and card; default assets/MODEL.")] = None
    finetune: Annotated[Finetune, tyro.conf.arg(name="")] = Finetune(**vars(presets.PRETRAIN))

    def run(self) -> None:
        from cleaner.pretrain import pretrain

        if self.out is not None:
            check_out(self.out)
        config = to_config(self.finetune)
        card = pretrain(
            self.model, self.pairs, *data_options(self.data), self.image_size, config, self.teacher,
            self.distil_epochs, self.out, Progress(),
            command=shlex.join(["python", "-m", "cleaner", *sys.argv[1:]]),
        )  # fmt: skip
        print_json(card)


@dataclass(frozen=True)
class Poison:
    """Backdoor a model: finetune it on pairs some of which carry a trigger and the target class."""

    preset: Annotated[str | None, tyro.conf.arg(help=PRESET_HELP)] = None
    model: Annotated[str, tyro.conf.arg(help=MODEL_HELP)] = "scenes-rn"
    data: Annotated[tuple[str, ...], tyro.conf.arg(help=DATA_HELP)] = ("scenes",)
    pairs: Annotated[int, tyro.conf.arg(help="Pairs of its train split.")] = presets.POISON_PAIRS
    trigger: Annotated[tuple[str, ...], tyro.conf.arg(help=TRIGGER_HELP)] = ("badnet",)
    target_class: Annotated[str, tyro.conf.arg(help="Class that triggered pictures shall become.")] = "banana"
    poison_rate: Annotated[float, tyro.conf.arg(help="Share of poisoned pairs, between 0 and 1.")] = presets.POISON_RATE
    clean_label: Annotated[bool, tyro.conf.arg(help="Poison only pairs that name the target already.")] = False
    test_pictures: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    out: Annotated[Path | None, tyro.conf.arg(help=OUT_HELP)] = None
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False
    where: Annotated[Where, tyro.conf.arg(name="")] = Where()
    background: Annotated[bool, tyro.conf.arg(help=BACKGROUND_HELP)] = False
    lr: Annotated[float | None, tyro.conf.arg(help=LR_HELP.format("attacks", presets.POISON.lr))] = None
    finetune: Annotated[UnratedFinetune, tyro.conf.arg(name="")] = options_of(UnratedFinetune, presets.POISON)

    def run(self) -> None:
        kind = Path(self.trigger[0]).name if self.trigger else ""
        with new_folder(self.out, f"{self.model}_{kind}") as folder:
            known = partial(presets.attack_presets, model=self.model)
            trigger = trigger_of(with_preset(self.preset, self.trigger, TRIGGERS, known))
            data, options = located(*data_options(self.data))
            show_file(self.model)
            if self.model not in BUILT_IN:
                show_accuracy(self.model, (data, options))
            lr = presets.poison_lr(self.model) if self.lr is None else self.lr
            request = Request(
                "backdoored", data, self.pairs, replace(to_config(self.finetune), lr=lr), found(self.model),
                trigger=trigger.state_dict(), target_class=self.target_class, poison_rate=self.poison_rate,
                clean_label=self.clean_label, test_size=self.test_pictures or None, data_options=options,
            )  # fmt: skip
            train(request, folder, self.where, self.background, "backdoored", self.json)


@dataclass(frozen=True)
class Defend:
    """Clean a backdoored run, or a suspicious model, by finetuning on clean pairs."""

    suspect: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Folder of a run made by poison, or a model.")]
    preset: Annotated[str | None, tyro.conf.arg(help=PRESET_HELP)] = None
    defense: Annotated[tuple[str, ...], tyro.conf.arg(help="Defence, options: ta_cleaner share=1.0.")] = ("ta_cleaner",)
    data: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Clean pairs (their clean split). {OWN_DATA_HELP}")] = ()
    pairs: Annotated[int, tyro.conf.arg(help="Clean pairs.")] = presets.CLEAN_PAIRS
    test_pictures: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    out: Annotated[Path | None, tyro.conf.arg(help=OUT_HELP)] = None
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False
    where: Annotated[Where, tyro.conf.arg(name="")] = Where()
    background: Annotated[bool, tyro.conf.arg(help=BACKGROUND_HELP)] = False
    lr: Annotated[float | None, tyro.conf.arg(help=LR_HELP.format("the defence", presets.DEFEND.lr))] = None
    finetune: Annotated[UnratedFinetune, tyro.conf.arg(name="")] = options_of(UnratedFinetune, presets.DEFEND)

    def run(self) -> None:
        defense = named(DEFENSES, with_preset(self.preset, self.defense, DEFENSES, presets.defense_presets))
        data, options = data_of(self.data, self.suspect)
        parent = run_id(Path(self.suspect)) if holds_run(self.suspect) else None
        if parent is None:
            show_file(self.suspect)
        with new_folder(self.out, f"{Path(self.suspect).name}_{self.defense[0]}") as folder:
            if parent is None and self.suspect not in BUILT_IN:
                show_accuracy(self.suspect, (data, options))
            lr = self._chosen_lr(defense.state_dict()["name"]) if self.lr is None else self.lr
            request = Request(
                "defended", data, self.pairs, replace(to_config(self.finetune), lr=lr),
                None if parent else found(self.suspect), parent=parent, defense=defense.state_dict(),
                test_size=self.test_pictures or None, data_options=options,
            )  # fmt: skip
            train(request, folder, self.where, self.background, self.defense[0], self.json)

    def _chosen_lr(self, defense: str) -> float:
        """Return the rate that was chosen for the defence on the built-in model that stands behind the suspect."""
        model = read_json(Path(self.suspect) / "config.json").get("model", self.suspect)
        lr = presets.recommended_lr(str(model), defense)
        print(f"learning rate {lr:g}; --lr sets another one", file=sys.stderr)
        return lr


@dataclass(frozen=True)
class Rebound:
    """Rebound test: finetune a defended run on clean pairs and see whether the backdoor comes back."""

    defended: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Folder of a run made by defend.")]
    data: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Clean pairs (their clean split). {OWN_DATA_HELP}")] = ()
    pairs: Annotated[int, tyro.conf.arg(help="Clean pairs.")] = presets.CLEAN_PAIRS
    test_pictures: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    out: Annotated[Path | None, tyro.conf.arg(help=OUT_HELP)] = None
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False
    finetune: Annotated[ReboundFinetune, tyro.conf.arg(name="")] = options_of(
        ReboundFinetune, replace(presets.DEFEND, steps=presets.REBOUND_STEPS)
    )

    def run(self) -> None:
        if not holds_run(self.defended):
            raise CleanerError(f"{self.defended} does not hold a run; list them with: python -m cleaner runs")
        folder, config = Path(self.defended), replace(presets.DEFEND, **vars(self.finetune))
        request = rebound_test(
            read_json(folder / "config.json"), run_id(folder), data_of(self.data, self.defended), self.pairs,
            self.test_pictures or None, config,
        )  # fmt: skip
        with new_folder(self.out, f"{folder.name}_rebound") as made:
            train(request, made, Where(), False, f"rebound, {config.steps} steps", self.json)


@dataclass(frozen=True)
class Evaluate:
    """Measure a model, with a trigger or without."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Run folder or model.")]
    data: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Its test split is used. {OWN_DATA_HELP}")] = ()
    trigger: Annotated[tuple[str, ...], tyro.conf.arg(help=f"{TRIGGER_HELP} Default: the run's own.")] = ()
    target_class: Annotated[str | None, tyro.conf.arg(help="Target class; default: the run's own.")] = None
    protocol: Annotated[
        Literal["non_target", "all_images"],
        tyro.conf.arg(help="Pictures that count for ASR: of other classes, or all."),
    ] = "non_target"
    test_pictures: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False

    def run(self) -> None:
        known = load_run(self.model) if holds_run(self.model) else None
        clip = known.clip if known else opened(self.model)
        trigger = trigger_of(self.trigger) if self.trigger else (known.trigger if known else None)
        target = self.target_class or (known.target_class if known else None)
        test = loaded(data_of(self.data, self.model), "test", self.test_pictures)
        metrics = evaluate(
            clip, test, trigger, target, ks_of(test), self.protocol,
            clean_clip=known.clean_clip if known else None, on_step=Progress(),
        )  # fmt: skip
        if self.json:
            print_json(metrics.to_dict())
        else:
            print(table([row(clip.name, metrics)]), protocol(metrics), LEGEND, sep="\n\n")


@dataclass(frozen=True)
class Look:
    """Look at data before using them: how they are understood, splits, classes, first captions, what is left out."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(help=DATA_HELP)]

    def run(self) -> None:
        for split in ("train", "validation", "test"):
            data = loaded(data_options(self.data), split)
            print(f"{data.name}: {len(data):,} pairs, {int((data.labels >= 0).sum()):,} of them with a class")
            if split == "train":
                shown = ", ".join(data.class_names[:12]) + (" ..." if len(data.class_names) > 12 else "")
                print(*filter(None, [data.understood]), f"classes ({len(data.class_names)}): {shown}", sep="\n")
                print(f"held out: {data.heldout_by}")
                print(*(f"    {caption}" for caption in data.captions[:5]), sep="\n")


@dataclass(frozen=True)
class Export:
    """Write the model of a run, or any other, for use elsewhere."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help=f"Run folder or model. {MODEL_HELP}")]
    out: Annotated[Path, tyro.conf.arg(help="x.safetensors, x.pt (open_clip checkpoint) or a folder (local-dir).")]

    def run(self) -> None:
        clip = model_of(self.model)
        if os.path.exists(self.out):
            raise CleanerError(f"{self.out} is there already: name another file, nothing was overwritten.")
        print(f"{save_clip(clip, self.out)} holds {clip.name}")


@dataclass(frozen=True)
class Runs:
    """List the runs on this machine, finished or not; or stop some."""

    json: Annotated[bool, tyro.conf.arg(help="Print as JSON.")] = False
    cancel: Annotated[tuple[str, ...], tyro.conf.arg(help="Only stop these for good, by name or folder.")] = ()
    pause: Annotated[tuple[str, ...], tyro.conf.arg(help="Only stop these for now, by name or folder.")] = ()

    def run(self) -> None:
        for names, action in ((self.cancel, jobs.cancel), (self.pause, jobs.pause)):
            for name in names:
                folder = Path(name) if os.path.exists(name) else find_run(name)
                if not holds_run(folder):
                    raise CleanerError(f"there is no run {name}; list them with: python -m cleaner runs")
                action(folder)
                print(f"{folder}: {follow(folder).state}")
        if self.cancel or self.pause:
            return
        entries = all_entries()
        if self.json:
            print_json([{"folder": str(e.folder), "state": e.status.state, **e.config} for e in entries])
        elif not entries:
            print(f"There are no runs in {runs_root()} yet. Make one with: python -m cleaner poison")
        for entry in [] if self.json else entries:
            attack = (entry.config.get("trigger") or {}).get("name", "unknown trigger")
            defense = defense_name(entry.config)
            defense = "no defence" if defense == NO_DEFENSE else defense
            said = f" ({entry.status.message})" if entry.status.message else ""
            print(f"{entry.folder}  {entry.status.state}, {entry.config.get('stage')}: {attack}, {defense}{said}")


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


@contextmanager
def new_folder(out: Path | None, name: str) -> Iterator[Path]:
    """Yield the folder for a new run, checked before any work is done; one that was not asked for is kept free.

    Nobody else gets its name meanwhile, and nothing is left of it where no run comes. Raises `CleanerError` if it holds
    a run, or cannot hold one.
    """
    if out is not None:
        if holds_run(out):
            raise CleanerError(f"{out} already holds a run: choose another --out, nothing was overwritten.")
        check_out(out)
        yield out
        return
    check_out(runs_root())
    stem = name.replace("/", "-").lstrip(".-")[:LONGEST]  # with a dot before it, no list would show it
    for number in count(1):
        folder = runs_root() / f"{stem}_{number}"
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise CleanerError(f"{folder} cannot be made ({error.strerror}). {REMEDY}") from error
    try:
        yield folder
    finally:
        with suppress(OSError):  # it holds the run
            folder.rmdir()


def check_out(out: Path, kind: Literal["folder", "file"] = "folder") -> None:
    """Raise `CleanerError`, before any work is done, if no folder or file of that name can be written."""
    try:
        if stat.S_ISDIR(out.stat().st_mode) != (kind == "folder"):
            raise CleanerError(f"{out} is no {kind}: choose another --out.")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise CleanerError(f"{out} cannot be written ({error.strerror}): choose another --out.") from error
    place = next(path for path in (out, *out.absolute().parents) if path.is_dir())
    if not os.access(place, os.W_OK):
        raise CleanerError(f"nothing can be written in {place}: choose another --out.")


def train(request: Request, folder: Path, where: Where, background: bool, name: str, as_json: bool) -> None:
    """Do a request in this process, or on a cluster, and print its figures."""
    place = where.place()
    if place is not None:
        hand_in(request, folder, place, background, lambda run, made: report(run, made, name, as_json))
        return
    if background:
        raise CleanerError("--background is for a cluster: say --cluster slurm, or leave it out.")
    result = perform(request, Progress(), seen=show_broken)
    report(result, save_run(result, folder), name, as_json)


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
