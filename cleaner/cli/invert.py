"""The command invert: which class gives way most easily, and under which trigger?"""

import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cleaner.cli.folders import check_writable
from cleaner.cli.options import OWN_DATA_HELP, RUN_OR_MODEL_HELP, Device, make_options_class, stated_default
from cleaner.cli.output import Progress, format_table, print_json
from cleaner.runs.folders import is_run_folder
from cleaner.runs.inversion_result import (
    CHANCE_NOTE,
    ESTIMATE_NOTE,
    MISS_NOTE,
    NOT_CONVERGED,
    RESULT_FILE,
    Inversion,
    InversionConfig,
    locate_inversion,
    write_inversion,
)
from cleaner.runs.run import load_run
from cleaner.types import CleanerError

LISTED_CLASSES = 10
RANKING_COLUMNS = ("class", "resistance (RMS)", "relative to median")
RESULT_HELP = (
    "Result folder. Default: with the run, where the app and unlearn_trigger find it; of a model, in the cache."
)

if TYPE_CHECKING:
    Options = InversionConfig
else:
    Options = make_options_class(InversionConfig)


@dataclass(frozen=True)
class Invert:
    """Invert the trigger of an untrusted model: find the class that gives way most easily, then patch and mask."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|MODEL", help=RUN_OR_MODEL_HELP)]
    data: Annotated[
        tuple[str, ...], stated_default(help=f"{OWN_DATA_HELP} The clean split is used, without captions and labels.")
    ] = ()
    out: Annotated[Path | None, stated_default(help=RESULT_HELP)] = None
    device: Device = "auto"
    json: Annotated[bool, tyro.conf.arg(help="Print the result as JSON.")] = False
    options: Annotated[Options, tyro.conf.arg(name="")] = Options()

    def run(self) -> None:
        from cleaner.cli.inputs import load_model, load_split, move_clip, print_activation, resolve_data
        from cleaner.inspection.inversion import invert

        config = InversionConfig(**vars(self.options))
        is_run = is_run_folder(self.model)
        out = self.out or locate_inversion(Path(self.model) if is_run else None, self.model)
        if self.out is not None and (out / RESULT_FILE).exists():
            raise CleanerError(f"{out} already holds an inversion and was not overwritten: choose another --out.")
        check_writable(out)
        if (out / RESULT_FILE).exists():
            print(f"The inversion in {out} will be replaced; keep it with --out.", file=sys.stderr)
        data = load_split(resolve_data(self.data, self.model), "clean", config.images)
        run = load_run(self.model, with_clean=False) if is_run else None
        clip = load_model(self.model, self.device) if run is None else move_clip(run.clip, self.device)
        print_activation(clip, data)
        attack: dict[str, Any] = {} if run is None else {"trigger": run.trigger, "target_class": run.target_class}
        inversion = invert(clip, data, config, Progress(), **attack)
        write_inversion(inversion, out)
        if self.json:
            found = asdict(replace(inversion, png="", model=self.model)) | {"model_sha256": clip.sha256()}
            print_json({**found, "outlier_index": inversion.outlier_index, "out": str(out)})
        else:
            print(describe_inversion(inversion), f"Written to {out}.", sep="\n\n")


def describe_inversion(inversion: Inversion) -> str:
    """Return the result as text: the classes that give way most easily, the suspect and its trigger."""
    median = statistics.median(inversion.classes.values())
    rows = [
        (name, f"{inversion.classes[name]:.4f}", f"{inversion.classes[name] / median:.2f}")
        for name in inversion.ranking[:LISTED_CLASSES]
    ]
    return "\n\n".join([format_table(rows, RANKING_COLUMNS), *describe_findings(inversion)])


def describe_findings(inversion: Inversion) -> list[str]:
    """Return what was found, one sentence or two each."""
    if inversion.suspect is None:
        return [f"No class gives way, at any size of the perturbation that was tried: no suspect. {MISS_NOTE}"]
    index = inversion.outlier_index
    if index is None:
        verdict = "may or may not stand out: two classes are too few for an outlier index ("
    elif inversion.is_anomalous:
        verdict = f"stands out (outlier index {index:.2f}; "
    else:
        verdict = f"does not stand out from the others (outlier index {index:.2f}; "
    margin = f"it resists {inversion.margin:.0%} less than the next class)."
    note = CHANCE_NOTE if inversion.is_anomalous else MISS_NOTE
    lines = [f"Suspect: {inversion.suspect}, which {verdict}{margin} {note}"]
    if inversion.asr is not None and inversion.interval is not None and inversion.masked_share is not None:
        low, high = inversion.interval
        lines.append(
            f"Inverted trigger: ASR@1 {inversion.asr:.3f} [{low:.3f}, {high:.3f}], n = {inversion.n:,} held-out images "
            f"of {inversion.data}; it masks {inversion.masked_share:.1%} of the image. {ESTIMATE_NOTE}"
        )
        if not inversion.has_converged:
            lines.append(NOT_CONVERGED)
    if not inversion.changes_images:
        lines.append("The known attack changes no image: there is no trigger to find.")
    elif inversion.target_class is not None:
        figures = [
            ("mask IoU", inversion.iou),
            ("share of the mask inside the true one", inversion.inside),
            ("ASR@1 of the true trigger", inversion.true_asr),
        ]
        measured = [f"{name} {value:.3f}" for name, value in figures if value is not None]
        wrong = f"the suspect is wrong: the target was {inversion.target_class}"
        right = "the suspect is right" if inversion.is_right else wrong
        lines.append(f"Known attack: {'; '.join([right, *measured])}.")
    return lines
