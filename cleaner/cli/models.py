"""The commands about one model: evaluate and export."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cleaner.cli.options import OWN_DATA_HELP, RUN_OR_MODEL_HELP, TRIGGER_HELP, Device, stated_default
from cleaner.cli.output import Progress, describe_protocol, format_row, format_table, metric_legend, print_json
from cleaner.evaluation.result import describe_test
from cleaner.runs.folders import is_run_folder
from cleaner.runs.inversion_result import ESTIMATE_NOTE, read_inversion
from cleaner.runs.run import load_run
from cleaner.types import CleanerError


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a model zero-shot, with or without a trigger.

    Weights run in fp32. The metrics stored with a run were measured in its precision, on its device, and may differ.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|MODEL", help=RUN_OR_MODEL_HELP)]
    data: Annotated[tuple[str, ...], stated_default(help=f"{OWN_DATA_HELP} The test split is used.")] = ()
    trigger: Annotated[tuple[str, ...], stated_default(help=f"{TRIGGER_HELP} Default: the run's trigger.")] = ()
    target_class: Annotated[
        str | None, stated_default(help="Target class. Default: the suspect of an inversion, or the run's target.")
    ] = None
    protocol: Annotated[
        Literal["non_target", "all_images"],
        tyro.conf.arg(help="Images that count for ASR: those of other classes, or all."),
    ] = "non_target"
    test_pairs: Annotated[int, tyro.conf.arg(help="Test pairs to evaluate on; 0: all.")] = 0
    templates: Annotated[
        Literal[1, 7, 80] | None,
        stated_default(
            help="How many of CLIP's own prompts to use per class. Default: the prompts of the model or the data; "
            "where these are CLIP's 80, 7 of them for many classes on a CPU."
        ),
    ] = None
    device: Device = "auto"
    json: Annotated[bool, tyro.conf.arg(help="Print the metrics as JSON.")] = False

    def run(self) -> None:
        from cleaner.cli.inputs import (
            load_model,
            load_split,
            move_clip,
            print_activation,
            print_metadata,
            resolve_data,
            resolve_trigger,
        )
        from cleaner.evaluation.evaluate import evaluate, validate_eval_data

        run = load_run(self.model) if is_run_folder(self.model) else None
        clip = move_clip(run.clip, self.device) if run else load_model(self.model, self.device)
        trigger = resolve_trigger(self.trigger) if self.trigger else (run.trigger if run else None)
        inversion = read_inversion(Path(self.trigger[0])) if len(self.trigger) == 1 else None
        suspect = inversion.suspect if inversion else None
        target_class = self.target_class or suspect or (run.target_class if run else None)
        if (trigger is None) != (target_class is None):
            raise CleanerError("an attack success rate needs both --trigger and --target-class: give both, or neither.")
        test = load_split(resolve_data(self.data, self.model), "test", self.test_pairs)
        if test.class_names and not (self.target_class or suspect) and target_class not in (None, *test.class_names):
            weights = Path(self.model) / "model.safetensors"
            raise CleanerError(
                f"the run's target class {target_class!r} is not in {test.name}, so attack success cannot be measured "
                f"there. For accuracy alone, evaluate {weights}."
            )
        if run is None:
            print_metadata(clip)
        print_activation(clip, test)
        validate_eval_data(test, target_class, self.protocol, trigger)
        queries = "images" if trigger is None or "image" in trigger.modalities else "captions"
        print(describe_test(test, target_class, queries, self.protocol), file=sys.stderr, flush=True)
        metrics = evaluate(
            clip,
            test,
            trigger,
            target_class=target_class,
            protocol=self.protocol,
            clean_clip=run.clean_clip if run else None,
            templates=self.templates,
            on_step=Progress(),
        )
        is_estimate = trigger is not None and trigger.is_estimate
        if self.json:
            used = None if trigger is None else trigger.state_dict()
            measured = {"model": self.model, "model_sha256": clip.sha256(), "trigger": used}
            print_json(metrics.to_dict() | measured | ({"is_estimate": True} if is_estimate else {}))
        else:
            path = Path(self.model)
            name = path.resolve().name if path.exists() else clip.name
            print(format_table([format_row(name, metrics)]), describe_protocol(metrics), metric_legend(), sep="\n\n")
            if is_estimate:
                print(f"\nASR: {ESTIMATE_NOTE[0].lower()}{ESTIMATE_NOTE[1:]}")


@dataclass(frozen=True)
class Export:
    """Export the model of a run, or any other model, for use in other programs."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|MODEL", help=RUN_OR_MODEL_HELP)]
    out: Annotated[Path, tyro.conf.arg(help="FILE.safetensors, FILE.pt (open_clip checkpoint), or a local-dir folder.")]

    def run(self) -> None:
        from cleaner.cli.inputs import load_run_or_model
        from cleaner.models.clip import save_clip

        clip = load_run_or_model(self.model)
        if os.path.exists(self.out):
            raise CleanerError(f"{self.out} exists and was not overwritten: choose another --out.")
        exported = save_clip(clip, self.out)
        if clip.has_assumed_activation:
            print(
                f"{self.model} does not say whether it was trained with GELU or QuickGELU; the export "
                "assumes QuickGELU. Try both on your images with python -m cleaner evaluate.",
                file=sys.stderr,
            )
        print(f"Exported {self.model} to {exported}")
