"""The commands that train: pretrain, poison, defend and rebound."""

import os
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from cleaner import presets
from cleaner.cli.cluster import ClusterOptions, submit_run, wait_for_run
from cleaner.cli.folders import check_writable, reserve_run_folder
from cleaner.cli.options import (
    CLEAN_PAIRS_DEFAULT,
    DATA_HELP,
    MODEL_HELP,
    OWN_DATA_HELP,
    SUSPECT_HELP,
    TARGET_DEFAULT,
    TARGET_HELP,
    TRIGGER_DEFAULTS,
    TRIGGER_HELP,
    AttackFinetune,
    FinetuneWithoutLr,
    PretrainFinetune,
    ReboundFinetune,
    add_tried_parameters,
    apply_preset,
    instantiate,
    options_from_config,
    stated_default,
    to_config,
    validate_minima,
)
from cleaner.cli.output import (
    Progress,
    describe_protocol,
    format_command_line,
    format_row,
    format_table,
    format_verdict,
    metric_legend,
    print_json,
)
from cleaner.config import FinetuneConfig, is_poison_rate
from cleaner.files import read_json
from cleaner.labels import format_count
from cleaner.models.resolve import resolve_model_name
from cleaner.registry import DEFENSES, TRIGGERS
from cleaner.runs.folders import is_run_folder, run_id
from cleaner.runs.inversion_result import adopt_inversion
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request, make_rebound_request, parse_data_arguments
from cleaner.runs.run import Run
from cleaner.runs.store import missing_run_error
from cleaner.types import CleanerError
from cleaner.variant import REBOUND

PRESET_HELP = "Preset to start from; other options override it. List: python -m cleaner presets."
POISON_PAIRS_DEFAULT = (
    f"Default: {presets.POISON_PAIRS:,}"
    + "".join(f" ({model}: {setting.pairs:,})" for model, setting in presets.OWN_POISON.items())
    + "; at most half of your own data; with --preset the preset's."
)
DEFENSE_LR = f"the one chosen for the defense on the built-in model, else on {' or '.join(presets.TRIED_MODELS)}"
ATTACK_LR = "the one with which attacks succeed on the built-in model"
CLEAN_DATA_HELP = f"{OWN_DATA_HELP} The clean split is used."
POISON_RATE_HELP = "Share of poisoned pairs below 1, or their number: 0.03, 200."
TEST_PAIRS_HELP = "Test pairs to evaluate on; 0: all."
OUT_HELP = "Run folder. Default: a new one in the folder of all runs."
FILM_HELP = "Keep frames of the training for its film: four, and more while they take at most 7% of its time or 3 s."
JSON_HELP = "Print the result as JSON."
BACKGROUND_HELP = "With --cluster: return once the job is submitted."


def describe_lr(default: str, whose: str = "") -> str:
    """Return the help text of --lr."""
    return f"Peak learning rate. Default: {default}; {presets.PRETRAINED_LR:g} for a model trained elsewhere{whose}."


@dataclass(frozen=True)
class Pretrain:
    """Train a built-in model from scratch and write its weights and model card; resumes if interrupted."""

    model: Annotated[str, tyro.conf.arg(help="Built-in model; list them: python -m cleaner list.")] = "scenes-rn"
    data: Annotated[
        tuple[str, ...], stated_default(help=f"{DATA_HELP} The train split. Default: the model's own.")
    ] = ()
    pairs: Annotated[int, tyro.conf.arg(help="Maximum number of training pairs.")] = 100_000
    image_size: Annotated[int, tyro.conf.arg(help="Image side in px; 0: the architecture's default.")] = 0
    class_share: Annotated[
        float, tyro.conf.arg(help="Share of each target spread over the pairs of the same class, 0 to 1 (UniCL).")
    ] = 0.0
    teacher: Annotated[str | None, tyro.conf.arg(help="Model to distill image features and text tower from.")] = None
    distill_epochs: Annotated[int, tyro.conf.arg(help="Epochs of distillation, if there is a teacher.")] = 6
    out: Annotated[
        Path | None,
        stated_default(
            help="Folder for weights and card. Default: assets/MODEL. A finished model is never overwritten."
        ),
    ] = None
    finetune: Annotated[PretrainFinetune, tyro.conf.arg(name="")] = options_from_config(
        PretrainFinetune, presets.PRETRAIN
    )

    def run(self) -> None:
        from cleaner.pretrain import pretrain

        if self.out is not None:
            check_writable(self.out)
        if not 0 <= self.class_share <= 1:
            raise CleanerError(f"--class-share takes a share between 0 and 1, not {self.class_share:g}.")
        if not 1 <= self.distill_epochs <= 1000:
            raise CleanerError(f"--distill-epochs must be between 1 and 1,000, not {self.distill_epochs}.")
        data_name, data_options = parse_data_arguments(self.data or (presets.home_data(self.model),))
        card = pretrain(
            self.model,
            pairs=self.pairs,
            data_name=data_name,
            data_options=data_options,
            image_size=self.image_size,
            class_share=self.class_share,
            config=to_config(self.finetune),
            teacher=self.teacher,
            distill_epochs=self.distill_epochs,
            out=self.out,
            on_step=Progress(),
            command=format_command_line(),
        )
        print_json(card)


@dataclass(frozen=True)
class Poison:
    """Backdoor a model: finetune it on pairs, a share of which carries the trigger and the target class."""

    preset: Annotated[str | None, tyro.conf.arg(help=PRESET_HELP)] = None
    model: Annotated[str, tyro.conf.arg(help=MODEL_HELP)] = "scenes-rn"
    data: Annotated[tuple[str, ...], tyro.conf.arg(help=DATA_HELP)] = ("scenes",)
    pairs: Annotated[int | None, stated_default(help=f"Pairs of the train split. {POISON_PAIRS_DEFAULT}")] = None
    trigger: Annotated[tuple[str, ...], tyro.conf.arg(help=f"{TRIGGER_HELP} {TRIGGER_DEFAULTS}")] = ("badnet",)
    target_class: Annotated[str | None, stated_default(help=f"{TARGET_HELP} {TARGET_DEFAULT}")] = None
    poison_rate: Annotated[float, tyro.conf.arg(help=POISON_RATE_HELP)] = presets.POISON_RATE
    clean_label: Annotated[bool, tyro.conf.arg(help="Poison only pairs whose caption names the target.")] = False
    test_pairs: Annotated[int, tyro.conf.arg(help=TEST_PAIRS_HELP)] = 0
    out: Annotated[Path | None, stated_default(help=OUT_HELP)] = None
    film: Annotated[bool, tyro.conf.arg(help=FILM_HELP)] = True
    json: Annotated[bool, tyro.conf.arg(help=JSON_HELP)] = False
    cluster_options: Annotated[ClusterOptions, tyro.conf.arg(name="")] = ClusterOptions()
    background: Annotated[bool, tyro.conf.arg(help=BACKGROUND_HELP)] = False
    lr: Annotated[float | None, stated_default(help=describe_lr(ATTACK_LR))] = None
    finetune: Annotated[AttackFinetune, tyro.conf.arg(name="")] = options_from_config(AttackFinetune, presets.POISON)

    def run(self) -> None:
        validate_lr(self.lr)
        if not is_poison_rate(self.poison_rate):
            limits = "above 0 and below 1, or a whole number of pairs"
            raise CleanerError(f"--poison-rate must be {limits}, not {self.poison_rate:g}.")
        kind = Path(self.trigger[0]).name if self.trigger else ""
        model = Path(self.model).name if os.path.exists(self.model) else self.model
        with reserve_run_folder(self.out, f"{model}_{kind}") as folder:
            train(
                self._build_request(),
                folder,
                label="backdoored",
                as_json=self.json,
                cluster_options=self.cluster_options,
                background=self.background,
            )

    def _build_request(self) -> Request:
        from cleaner.cli.inputs import (
            choose_pairs,
            load_sample,
            print_clean_accuracy,
            print_model_file,
            resolve_trigger,
        )
        from cleaner.data.base import resolve_data_paths
        from cleaner.models.architectures import BUILT_IN

        presets_of = partial(presets.attack_presets, model=self.model)
        spec = apply_preset(self.preset, self.trigger, TRIGGERS, presets_of)
        trigger = resolve_trigger(spec if self.preset else add_tried_parameters(spec, self.model))
        data, options = resolve_data_paths(*parse_data_arguments(self.data))
        print_model_file(self.model)
        if self.model not in BUILT_IN:
            print_clean_accuracy(self.model, (data, options), self.cluster_options.local_device(self.finetune.device))
        settings = presets.settings_for(self.model, trigger)
        lr = settings.finetune.lr if self.lr is None else self.lr
        pairs, target_class = self.pairs, self.target_class
        if pairs is None or target_class is None:
            sample = load_sample((data, options))
            pairs = choose_pairs(settings.pairs, sample) if pairs is None else pairs
            target_class = presets.default_target(sample.class_names) if target_class is None else target_class
        return Request(
            stage="backdoored",
            data=data,
            pairs=pairs,
            finetune=replace(to_config(self.finetune), lr=lr),
            model=resolve_model_name(self.model),
            trigger=trigger.state_dict(),
            target_class=target_class,
            poison_rate=self.poison_rate,
            clean_label=self.clean_label,
            test_size=self.test_pairs or None,
            data_options=options,
            film=self.film,
        )


def validate_lr(lr: float | None) -> None:
    """Raise `CleanerError` for a learning rate out of range, before anything is loaded."""
    if lr is not None:
        replace(presets.DEFEND, lr=lr)


def original_model(suspect: str) -> str:
    """Return the model that a run started from; of anything else its own name."""
    config = read_json(Path(suspect) / "config.json")
    return (RunRecord.from_config(Path(suspect), config).model if config else "") or suspect


@dataclass(frozen=True)
class Defend:
    """Clean a backdoored run, or a suspicious model, by finetuning it on clean pairs."""

    suspect: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|MODEL", help=SUSPECT_HELP)]
    preset: Annotated[str | None, tyro.conf.arg(help=PRESET_HELP)] = None
    defense: Annotated[tuple[str, ...], tyro.conf.arg(help="Defense and options: ta_cleaner share=1.0.")] = (
        "ta_cleaner",
    )
    data: Annotated[tuple[str, ...], stated_default(help=CLEAN_DATA_HELP)] = ()
    pairs: Annotated[
        int | None, stated_default(help=f"Number of clean pairs. {CLEAN_PAIRS_DEFAULT}; with --preset the preset's.")
    ] = None
    test_pairs: Annotated[int, tyro.conf.arg(help=TEST_PAIRS_HELP)] = 0
    out: Annotated[Path | None, stated_default(help=OUT_HELP)] = None
    film: Annotated[bool, tyro.conf.arg(help=FILM_HELP)] = True
    json: Annotated[bool, tyro.conf.arg(help=JSON_HELP)] = False
    cluster_options: Annotated[ClusterOptions, tyro.conf.arg(name="")] = ClusterOptions()
    background: Annotated[bool, tyro.conf.arg(help=BACKGROUND_HELP)] = False
    lr: Annotated[float | None, stated_default(help=describe_lr(DEFENSE_LR, " whose weights the defense trains"))] = (
        None
    )
    finetune: Annotated[FinetuneWithoutLr, tyro.conf.arg(name="")] = options_from_config(
        FinetuneWithoutLr, presets.DEFEND
    )

    def run(self) -> None:
        from cleaner.cli.inputs import choose_clean_pairs, print_clean_accuracy, print_model_file, resolve_data
        from cleaner.models.architectures import BUILT_IN

        validate_lr(self.lr)
        model = original_model(self.suspect)
        presets_of = partial(presets.defense_presets, model=model)
        defense = instantiate(DEFENSES, apply_preset(self.preset, self.defense, DEFENSES, presets_of))
        data, options = resolve_data(self.data, self.suspect)
        parent = run_id(Path(self.suspect)) if is_run_folder(self.suspect) else None
        defense = adopt_inversion(defense, Path(self.suspect) if parent else None, self.suspect)
        if parent is None:
            print_model_file(self.suspect)
        with reserve_run_folder(self.out, f"{Path(self.suspect).name}_{self.defense[0]}") as folder:
            if parent is None and self.suspect not in BUILT_IN:
                device = self.cluster_options.local_device(self.finetune.device)
                print_clean_accuracy(self.suspect, (data, options), device)
            _refuse_unused_options(defense, to_config(self.finetune))
            lr = self.lr
            if lr is None:
                lr = presets.settings_for(model, defense).finetune.lr
                print(f"learning rate {lr:g}; change it with --lr", file=sys.stderr)
            request = Request(
                stage="defended",
                data=data,
                pairs=choose_clean_pairs((data, options), self.suspect) if self.pairs is None else self.pairs,
                finetune=replace(to_config(self.finetune), lr=lr),
                model=None if parent else resolve_model_name(self.suspect),
                parent=parent,
                defense=defense.state_dict(),
                test_size=self.test_pairs or None,
                data_options=options,
                film=self.film,
            )
            train(
                request,
                folder,
                label=self.defense[0],
                as_json=self.json,
                cluster_options=self.cluster_options,
                background=self.background,
            )


def _refuse_unused_options(defense: Any, config: FinetuneConfig) -> None:
    """Raise `CleanerError` for a changed setting that the defense replaces by its own."""
    used, defaults = asdict(defense.adapt(config)), asdict(presets.DEFEND)
    unused = [key for key, value in asdict(config).items() if value not in (used[key], defaults[key])]
    if unused:
        name, flags = defense.state_dict()["name"], " and ".join(f"--{key.replace('_', '-')}" for key in unused)
        raise CleanerError(f"{name} replaces {flags} by its own settings: drop {flags}.")


@dataclass(frozen=True)
class Rebound:
    """Rebound test: finetune a defended run on clean pairs and measure whether the backdoor returns."""

    defended: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="Folder of a defended run whose trigger is known.")
    ]
    data: Annotated[tuple[str, ...], stated_default(help=CLEAN_DATA_HELP)] = ()
    pairs: Annotated[int | None, stated_default(help="Number of clean pairs. Default: as many as the defense had.")] = (
        None
    )
    test_pairs: Annotated[int, tyro.conf.arg(help=TEST_PAIRS_HELP)] = 0
    out: Annotated[Path | None, stated_default(help=OUT_HELP)] = None
    film: Annotated[bool, tyro.conf.arg(help=FILM_HELP)] = True
    json: Annotated[bool, tyro.conf.arg(help=JSON_HELP)] = False
    lr: Annotated[float | None, stated_default(help=describe_lr(f"{presets.DEFEND.lr:g}"))] = None
    steps: Annotated[int, tyro.conf.arg(help="Steps of harmless training, at least 1.")] = presets.REBOUND_STEPS
    finetune: Annotated[ReboundFinetune, tyro.conf.arg(name="")] = options_from_config(ReboundFinetune, presets.DEFEND)

    def run(self) -> None:
        from cleaner.cli.inputs import resolve_data

        validate_lr(self.lr)
        validate_minima(self, steps=1)
        if not is_run_folder(self.defended):
            raise missing_run_error(self.defended)
        parent = Path(self.defended)
        config = read_json(parent / "config.json")
        if config.get("stage") != "defended":
            raise CleanerError(f"{self.defended} is not a defended run: name one made by defend.")
        settings = presets.settings_for(original_model(self.defended), REBOUND)
        lr = settings.finetune.lr if self.lr is None else self.lr
        finetune = replace(presets.DEFEND, **vars(self.finetune), steps=self.steps, lr=lr)
        request = make_rebound_request(
            config,
            parent=run_id(parent),
            data=resolve_data(self.data, self.defended),
            pairs=int(config.get("pairs") or presets.CLEAN_PAIRS) if self.pairs is None else self.pairs,
            test_size=self.test_pairs or None,
            finetune=finetune,
        )
        with reserve_run_folder(self.out, f"{parent.name}_rebound") as folder:
            label = f"rebound, {format_count(finetune.steps, 'steps')}"
            train(replace(request, film=self.film), folder, label=label, as_json=self.json)


def train(
    request: Request,
    folder: Path,
    *,
    label: str,
    as_json: bool,
    cluster_options: ClusterOptions | None = None,
    background: bool = False,
) -> None:
    """Execute a request in this process, or on a cluster, and print its metrics."""
    resources = cluster_options.to_cluster() if cluster_options else None
    if resources is None:
        if background:
            raise CleanerError("--background requires --cluster slurm.")
        from cleaner.cli.forecast import print_forecast
        from cleaner.cli.inputs import print_skipped
        from cleaner.jobs.execution import make_loader
        from cleaner.jobs.foreground import train_in_foreground

        load_split = make_loader(request, Progress(), print_skipped)
        print_forecast(request, load_split)
        run = train_in_foreground(request, folder, load_split, Progress())
    else:
        folder = submit_run(request, folder, resources)
        if background:
            if as_json:
                print_json({"folder": str(folder)})
            else:
                print(f"Run folder: {folder}")
            return
        run = wait_for_run(folder)
    print_result(run, folder, label=label, as_json=as_json)


def describe_result(run: Run, folder: Path) -> dict[str, Any]:
    """Return folder, config and metrics of a finished run."""
    return {"folder": str(folder), "config": run.config, "metrics": run.describe_metrics()}


def print_result(run: Run, folder: Path, *, label: str, as_json: bool) -> None:
    """Print the metrics of a finished run."""
    if as_json:
        print_json(describe_result(run, folder))
        return
    metrics = run.metrics
    assert metrics is not None
    table = format_table([format_row(label, metrics, run.config["seconds"])])
    print(table, describe_protocol(metrics), metric_legend(), sep="\n\n")
    if run.verdict is not None:
        print(f"\n{format_verdict(*run.verdict)}")
    if note := RunRecord.from_config(folder, run.config).overlap_note:
        print(f"\n{note}")
    print(f"\nRun folder: {folder}")
