"""pretrain, poison, defend, rebound, evaluate, look, export, runs, list: each a dataclass of options and a `run`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.cli.cluster import ClusterOptions, run_on_cluster, watch_run
from cleaner.cli.folders import check_writable, reserve_run_folder
from cleaner.cli.inputs import (
    DATA_HELP,
    MODEL_HELP,
    OWN_DATA_HELP,
    TRIGGER_HELP,
    load_model,
    load_run_or_model,
    load_split,
    resolve_data,
    resolve_trigger,
    show_accuracy,
    show_broken,
    show_file,
)
from cleaner.cli.options import (
    Finetune,
    FinetuneWithoutLr,
    ReboundFinetune,
    apply_preset,
    instantiate,
    options_from_config,
    to_config,
)
from cleaner.cli.output import (
    Progress,
    describe_protocol,
    format_command_line,
    format_row,
    format_table,
    metric_legend,
    print_json,
)
from cleaner.config import parameters
from cleaner.data.base import DATASETS, resolve_data_paths
from cleaner.defenses import DEFENSES, Defense
from cleaner.evaluation.evaluate import evaluate
from cleaner.files import read_json
from cleaner.jobs import local
from cleaner.jobs.local import poll_entries
from cleaner.jobs.worker import execute_request
from cleaner.models.clip import BUILT_IN, save_clip
from cleaner.models.resolve import resolve_model_name
from cleaner.runs.request import Request, make_rebound_request, parse_data_arguments
from cleaner.runs.store import Run, find_run, is_run_folder, load_run, run_id, runs_root, save_run
from cleaner.types import CleanerError
from cleaner.workflow import attack_verdict, supported_ks

PRESET_HELP = "Settings to begin with, see: python -m cleaner presets; other options win over them."
LR_HELP = "Peak learning rate; matters most. Default: what was chosen for {} on a built-in model, else {:g}."
BACKGROUND_HELP = "With --cluster: return as soon as the job is handed in."
OUT_HELP = "Folder of the run; default a new one beside the other runs."


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
            check_writable(self.out)
        config = to_config(self.finetune)
        card = pretrain(
            self.model,
            self.pairs,
            *parse_data_arguments(self.data),
            self.image_size,
            config,
            self.teacher,
            self.distil_epochs,
            self.out,
            Progress(),
            command=format_command_line(),
        )
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
    test_pairs: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    out: Annotated[Path | None, tyro.conf.arg(help=OUT_HELP)] = None
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False
    cluster_options: Annotated[ClusterOptions, tyro.conf.arg(name="")] = ClusterOptions()
    background: Annotated[bool, tyro.conf.arg(help=BACKGROUND_HELP)] = False
    lr: Annotated[float | None, tyro.conf.arg(help=LR_HELP.format("attacks", presets.POISON.lr))] = None
    finetune: Annotated[FinetuneWithoutLr, tyro.conf.arg(name="")] = options_from_config(
        FinetuneWithoutLr, presets.POISON
    )

    def run(self) -> None:
        kind = Path(self.trigger[0]).name if self.trigger else ""
        with reserve_run_folder(self.out, f"{self.model}_{kind}") as folder:
            known = partial(presets.attack_presets, model=self.model)
            trigger = resolve_trigger(apply_preset(self.preset, self.trigger, TRIGGERS, known))
            data, options = resolve_data_paths(*parse_data_arguments(self.data))
            show_file(self.model)
            if self.model not in BUILT_IN:
                show_accuracy(self.model, (data, options))
            lr = presets.poison_lr(self.model) if self.lr is None else self.lr
            request = Request(
                "backdoored",
                data,
                self.pairs,
                replace(to_config(self.finetune), lr=lr),
                resolve_model_name(self.model),
                trigger=trigger.state_dict(),
                target_class=self.target_class,
                poison_rate=self.poison_rate,
                clean_label=self.clean_label,
                test_size=self.test_pairs or None,
                data_options=options,
            )
            train(request, folder, self.cluster_options, self.background, "backdoored", self.json)


@dataclass(frozen=True)
class Defend:
    """Clean a backdoored run, or a suspicious model, by finetuning on clean pairs."""

    suspect: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Folder of a run made by poison, or a model.")]
    preset: Annotated[str | None, tyro.conf.arg(help=PRESET_HELP)] = None
    defense: Annotated[tuple[str, ...], tyro.conf.arg(help="Defence, options: ta_cleaner share=1.0.")] = ("ta_cleaner",)
    data: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Clean pairs (their clean split). {OWN_DATA_HELP}")] = ()
    pairs: Annotated[int, tyro.conf.arg(help="Clean pairs.")] = presets.CLEAN_PAIRS
    test_pairs: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    out: Annotated[Path | None, tyro.conf.arg(help=OUT_HELP)] = None
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False
    cluster_options: Annotated[ClusterOptions, tyro.conf.arg(name="")] = ClusterOptions()
    background: Annotated[bool, tyro.conf.arg(help=BACKGROUND_HELP)] = False
    lr: Annotated[float | None, tyro.conf.arg(help=LR_HELP.format("the defence", presets.DEFEND.lr))] = None
    finetune: Annotated[FinetuneWithoutLr, tyro.conf.arg(name="")] = options_from_config(
        FinetuneWithoutLr, presets.DEFEND
    )

    def run(self) -> None:
        defense = instantiate(DEFENSES, apply_preset(self.preset, self.defense, DEFENSES, presets.defense_presets))
        data, options = resolve_data(self.data, self.suspect)
        parent = run_id(Path(self.suspect)) if is_run_folder(self.suspect) else None
        if parent is None:
            show_file(self.suspect)
        with reserve_run_folder(self.out, f"{Path(self.suspect).name}_{self.defense[0]}") as folder:
            if parent is None and self.suspect not in BUILT_IN:
                show_accuracy(self.suspect, (data, options))
            lr = self._chosen_lr(defense) if self.lr is None else self.lr
            request = Request(
                "defended",
                data,
                self.pairs,
                replace(to_config(self.finetune), lr=lr),
                None if parent else resolve_model_name(self.suspect),
                parent=parent,
                defense=defense.state_dict(),
                test_size=self.test_pairs or None,
                data_options=options,
            )
            train(request, folder, self.cluster_options, self.background, self.defense[0], self.json)

    def _chosen_lr(self, defense: Defense) -> float:
        """Return the rate that was chosen for the defence on the built-in model that stands behind the suspect."""
        model = read_json(Path(self.suspect) / "config.json").get("model", self.suspect)
        lr = presets.defense_lr(str(model), defense)
        print(f"learning rate {lr:g}; --lr sets another one", file=sys.stderr)
        return lr


@dataclass(frozen=True)
class Rebound:
    """Rebound test: finetune a defended run on clean pairs and see whether the backdoor comes back."""

    defended: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Folder of a run made by defend.")]
    data: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Clean pairs (their clean split). {OWN_DATA_HELP}")] = ()
    pairs: Annotated[int, tyro.conf.arg(help="Clean pairs.")] = presets.CLEAN_PAIRS
    test_pairs: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    out: Annotated[Path | None, tyro.conf.arg(help=OUT_HELP)] = None
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False
    finetune: Annotated[ReboundFinetune, tyro.conf.arg(name="")] = options_from_config(
        ReboundFinetune, replace(presets.DEFEND, steps=presets.REBOUND_STEPS)
    )

    def run(self) -> None:
        if not is_run_folder(self.defended):
            raise CleanerError(f"{self.defended} does not hold a run; list them with: python -m cleaner runs")
        folder, config = Path(self.defended), replace(presets.DEFEND, **vars(self.finetune))
        request = make_rebound_request(
            read_json(folder / "config.json"),
            run_id(folder),
            resolve_data(self.data, self.defended),
            pairs=self.pairs,
            test_size=self.test_pairs or None,
            finetune=config,
        )
        with reserve_run_folder(self.out, f"{folder.name}_rebound") as made:
            train(request, made, ClusterOptions(), False, f"rebound, {config.steps} steps", self.json)


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
    test_pairs: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False

    def run(self) -> None:
        known = load_run(self.model) if is_run_folder(self.model) else None
        clip = known.clip if known else load_model(self.model)
        trigger = resolve_trigger(self.trigger) if self.trigger else (known.trigger if known else None)
        target = self.target_class or (known.target_class if known else None)
        test = load_split(resolve_data(self.data, self.model), "test", self.test_pairs)
        metrics = evaluate(
            clip,
            test,
            trigger,
            target,
            supported_ks(test),
            self.protocol,
            clean_clip=known.clean_clip if known else None,
            on_step=Progress(),
        )
        if self.json:
            print_json(metrics.to_dict())
        else:
            print(
                format_table([format_row(clip.name, metrics)]), describe_protocol(metrics), metric_legend(), sep="\n\n"
            )


@dataclass(frozen=True)
class InspectData:
    """Look at data before using them: how they are understood, splits, classes, first captions, what is left out."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(help=DATA_HELP)]

    def run(self) -> None:
        for split in ("train", "validation", "test"):
            data = load_split(parse_data_arguments(self.data), split)
            print(f"{data.name}: {len(data):,} pairs, {int((data.labels >= 0).sum()):,} of them with a class")
            if split == "train":
                shown = ", ".join(data.class_names[:12]) + (" ..." if len(data.class_names) > 12 else "")
                print(*filter(None, [data.format_summary]), f"classes ({len(data.class_names)}): {shown}", sep="\n")
                print(f"held out: {data.split_rule}")
                print(*(f"    {caption}" for caption in data.captions[:5]), sep="\n")


@dataclass(frozen=True)
class Export:
    """Write the model of a run, or any other, for use elsewhere."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help=f"Run folder or model. {MODEL_HELP}")]
    out: Annotated[Path, tyro.conf.arg(help="x.safetensors, x.pt (open_clip checkpoint) or a folder (local-dir).")]

    def run(self) -> None:
        clip = load_run_or_model(self.model)
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
        for names, action in ((self.cancel, local.cancel), (self.pause, local.pause)):
            for name in names:
                folder = Path(name) if os.path.exists(name) else find_run(name)
                if not is_run_folder(folder):
                    raise CleanerError(f"there is no run {name}; list them with: python -m cleaner runs")
                action(folder)
                print(f"{folder}: {watch_run(folder).state}")
        if self.cancel or self.pause:
            return
        entries = poll_entries()
        if self.json:
            print_json([{"folder": str(e.folder), "state": e.status.state, **e.config} for e in entries])
        elif not entries:
            print(f"There are no runs in {runs_root()} yet. Start one with: python -m cleaner poison")
        for entry in [] if self.json else entries:
            description = f"{entry.attack or 'unknown trigger'}, {entry.defense or 'no defense'}"
            message = f" ({entry.status.message})" if entry.status.message else ""
            print(f"{entry.folder}  {entry.status.state}, {entry.stage or 'unknown stage'}: {description}{message}")


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


def train(
    request: Request, folder: Path, cluster_options: ClusterOptions, background: bool, label: str, as_json: bool
) -> None:
    """Do a request in this process, or on a cluster, and print its figures."""
    place = cluster_options.to_cluster()
    if place is not None:
        run_on_cluster(request, folder, place, background, lambda run, made: print_result(run, made, label, as_json))
        return
    if background:
        raise CleanerError("--background is for a cluster: say --cluster slurm, or leave it out.")
    result = execute_request(request, Progress(), on_data=show_broken)
    print_result(result, save_run(result, folder), label, as_json)


def print_result(run: Run, folder: Path, label: str, as_json: bool) -> None:
    """Print the figures of a finished run."""
    metrics = run.metrics
    assert metrics is not None
    if as_json:
        print_json({"folder": str(folder), "config": run.config, "metrics": metrics.to_dict()})
        return
    print(
        format_table([format_row(label, metrics, run.config["seconds"])]),
        describe_protocol(metrics),
        metric_legend(),
        sep="\n\n",
    )
    if run.stage == "backdoored":
        verdict, why = attack_verdict(metrics)
        print(f"\nThe attack {verdict}. {why}")
    print(f"\nThe run lies in {folder}")
