"""The commands that list: inspect (data), runs, and list (what is built in)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cleaner.cli.cluster import watch_run
from cleaner.cli.options import DATA_HELP, stated_default
from cleaner.cli.output import print_json
from cleaner.config import parameters
from cleaner.jobs import local
from cleaner.labels import state_label
from cleaner.registry import DATASETS, DEFENSES, DETECTORS, TRIGGERS
from cleaner.runs.folders import is_run_folder, runs_root
from cleaner.runs.record import RunRecord
from cleaner.runs.request import parse_data_arguments
from cleaner.runs.store import missing_run_error
from cleaner.types import CleanerError, printable

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData

MAX_CLASSES, MAX_CAPTIONS, MAX_CAPTION_LENGTH = 12, 5, 200
"""Class names and captions that `inspect` prints, and characters of a caption."""
NamedRuns = tuple[str, ...] | None
"""None: the option was not given. Empty: it was, without a run, which is an error."""
_runs = partial(tyro.conf.arg, metavar="RUN [RUN ...]", help_behavior_hint="")


@dataclass(frozen=True)
class InspectData:
    """Inspect a data set before use: format, splits, classes, first captions and skipped images."""

    data: Annotated[
        tuple[str, ...], tyro.conf.Positional, stated_default(metavar="DATA [KEY=VALUE ...]", help=DATA_HELP)
    ]
    json: Annotated[bool, tyro.conf.arg(help="Print as JSON.")] = False

    def run(self) -> None:
        from cleaner.cli.inputs import load_split, print_skipped
        from cleaner.data.base import resolve_data_paths

        train = load_split(resolve_data_paths(*parse_data_arguments(self.data)), "train")
        splits = {"train": train, **{split: train.load_split(split) for split in ("validation", "test")}}
        for data in (splits["validation"], splits["test"]):
            if data is not None:
                print_skipped(data)
        if self.json:
            print_json({split: data and _describe_split(data) for split, data in splits.items()})
            return
        for split, data in splits.items():
            if data is None:
                print(f"{split}: no pairs, too few for this split")
                continue
            print(f"{data.name}: {len(data):,} pairs, {int((data.labels >= 0).sum()):,} of them with a class")
            if split == "train":
                names = data.class_names
                listed = ", ".join(names[:MAX_CLASSES]) + (" ..." if len(names) > MAX_CLASSES else "")
                summary = filter(None, [data.format_summary])
                print(*map(printable, [*summary, f"classes ({len(names)}): {listed}"]), sep="\n")
                if not names:
                    print("no classes, which accuracy and attack success need: add classes=a,b,c or classes=FILE")
                if names and all(name.replace(".", "", 1).isdecimal() for name in names):
                    print("class names are numbers: add classes=FILE with one name per line, in this order")
                print(f"held out: {data.split_rule or 'as the data set defines it'}")
                for caption in data.captions[:MAX_CAPTIONS]:
                    end = " ..." if len(caption) > MAX_CAPTION_LENGTH else ""
                    print(f"    {printable(caption[:MAX_CAPTION_LENGTH])}{end}")


def _describe_split(data: CaptionData) -> dict[str, Any]:
    return {
        "name": data.name,
        "pairs": len(data),
        "labeled_pairs": int((data.labels >= 0).sum()),
        "class_names": list(data.class_names),
        "format": data.format_summary,
        "held_out": data.split_rule,
        "skipped": list(data.skipped_items),
        "first_captions": list(data.captions[:MAX_CAPTIONS]),
    }


@dataclass(frozen=True)
class Runs:
    """List the stored runs, those of the app and those made without --out; or cancel, pause, resume or delete some."""

    json: Annotated[bool, tyro.conf.arg(help="Print as JSON.")] = False
    cancel: Annotated[NamedRuns, _runs(help="Runs to cancel, by name or folder.")] = None
    pause: Annotated[NamedRuns, _runs(help="Runs to pause, by name or folder.")] = None
    resume: Annotated[NamedRuns, _runs(help="Stopped runs to continue in the background.")] = None
    delete: Annotated[NamedRuns, _runs(help="Stored runs to delete; they must have ended.")] = None

    def run(self) -> None:
        if any(names is not None for names in (self.cancel, self.pause, self.resume, self.delete)):
            self._control_runs()
            return
        runs = local.poll_entries()
        if self.json:
            print_json([{"folder": str(run.folder), "state": run.status.state, **run.config} for run in runs])
        elif not runs:
            print(f"There are no runs in {runs_root()} yet. Create one with: python -m cleaner poison")
        else:
            print(*map(_format_run, runs), sep="\n")

    def _control_runs(self) -> None:
        actions = {
            "cancel": (self.cancel, local.cancel, watch_run),
            "pause": (self.pause, local.pause, watch_run),
            "resume": (self.resume, local.start, local.poll_status),
            "delete": (self.delete, local.delete, None),
        }
        for option, (names, _, _) in actions.items():
            if names == ():
                raise CleanerError(f"--{option} needs the name of a run; list them with: python -m cleaner runs")
            for name in names or ():
                if not is_run_folder(Path(name)):
                    raise missing_run_error(name)
        for folder in map(Path, self.delete or ()):
            if folder.resolve().parent != runs_root().resolve():  # it may hold other files, and is the user's
                raise CleanerError(f"{folder} is not in {runs_root()}: delete this folder yourself.")
        states = []
        for names, act, find_status in actions.values():
            for folder in map(Path, names or ()):
                act(folder)
                state = "deleted" if find_status is None else find_status(folder).state
                states.append({"folder": str(folder), "state": state})
                if not self.json:
                    print(f"{folder}: {state_label(states[-1]['state'])}")
        if self.json:
            print_json(states)


def _format_run(run: RunRecord) -> str:
    methods = f"{run.attack or 'unknown trigger'}, {run.defense or 'no defense'}"
    message = f" ({run.status.message})" if run.status.message else ""
    stage = f"{state_label(run.status.state)}, {run.stage or 'unknown stage'}"
    return printable(f"{run.folder}  {stage}: {methods}{message}")


@dataclass(frozen=True)
class List:
    """List the built-in models, data sets, triggers, defenses and detectors with their options."""

    def run(self) -> None:
        from cleaner.models.architectures import BUILT_IN

        print("Models:", ", ".join(BUILT_IN))
        print("Data sets:", ", ".join(DATASETS))
        for title, registry in (("Triggers", TRIGGERS), ("Defenses", DEFENSES), ("Detectors", DETECTORS)):
            print(f"\n{title}:")
            for name in registry:
                print(f"  {name}: {registry[name].describe()}")
                for p in parameters(registry[name]):
                    print(f"      {p.name}={p.default}  {p.help}")
