"""sweep: defences x learning rates x seeds on one suspect, trained one by one by workers, with a progress table."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from cleaner import presets
from cleaner.cli.cluster import ClusterOptions
from cleaner.cli.inputs import OWN_DATA_HELP, PRECHECK_SIZE, load_run_or_model, resolve_data
from cleaner.cli.options import SweepFinetune, instantiate, options_from_config, to_config
from cleaner.cli.output import describe_protocol, format_duration, format_row, format_table, print_json
from cleaner.data.base import load_data
from cleaner.defenses import DEFENSES
from cleaner.evaluation.evaluate import Metrics, validate_eval_data
from cleaner.files import read_json
from cleaner.jobs import sweep
from cleaner.jobs.local import poll_entries
from cleaner.models.resolve import resolve_model_name
from cleaner.runs.request import Request
from cleaner.runs.store import ACTIVE, RunEntry, is_run_folder, run_id, runs_root
from cleaner.types import CleanerError

SWEEP_COLUMNS = ("defence", "learning rate", "seed", "state", "progress", "CA", "ASR@1", "run")
SWEEP_LEGEND = (
    "CA: zero-shot accuracy on untouched pictures; ASR@1: triggered pictures of other classes that become the target;\n"
    "both on test pictures, of finished runs only. [..]: 95 % Wilson interval."
)
REFRESH_SECONDS = 0.5
DEFENSES_HELP = "Defences; one with options in quotes: 'ta_cleaner share=1.0'."


@dataclass(frozen=True)
class Sweep:
    """Clean one suspect in many ways: each defence with each learning rate and seed, one run after the other.

    Called again with the same options it goes on with what is missing; with more rates, seeds or defences it adds them.
    Ctrl-C pauses it. The figures of a run are shown once it is done. On a cluster the runs are one job array, which
    goes on after Ctrl-C.
    """

    suspect: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Folder of a run made by poison, or a model.")]
    defenses: Annotated[tuple[str, ...], tyro.conf.arg(help=DEFENSES_HELP)] = ("cleanclip", "ta_cleaner")
    lrs: Annotated[tuple[float, ...], tyro.conf.arg(help="Learning rates.")] = (1e-5, 1e-4, 1e-3)
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(help="Seeds.")] = (0,)
    data: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Clean pairs (their clean split). {OWN_DATA_HELP}")] = ()
    pairs: Annotated[int, tyro.conf.arg(help="Clean pairs.")] = presets.CLEAN_PAIRS
    test_pairs: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    cluster_options: Annotated[ClusterOptions, tyro.conf.arg(name="")] = ClusterOptions()
    background: Annotated[bool, tyro.conf.arg(help="Start it and return at once; see --status.")] = False
    status: Annotated[bool, tyro.conf.arg(help="Only show the table of this suspect's sweeps.")] = False
    cancel: Annotated[bool, tyro.conf.arg(help="Only cancel what is not finished of this suspect's sweeps.")] = False
    json: Annotated[bool, tyro.conf.arg(help="Print the table as JSON.")] = False
    finetune: Annotated[SweepFinetune, tyro.conf.arg(name="")] = options_from_config(SweepFinetune, presets.DEFEND)

    def run(self) -> None:
        if self.status or self.cancel:
            known = self._find_sweeps()
            if not known:
                raise CleanerError(f"there is no sweep of {self.suspect} in {runs_root()}.")
            for name in known if self.cancel else ():
                sweep.cancel(name)
                watch_sweep(name)
            self._print_sweeps(known)
            return
        name = sweep.start_sweep(self._build_requests(), self.cluster_options.to_cluster())
        if not self.background:
            watch_sweep(name)
        self._print_sweeps([name])
        entries = sweep.list_sweep_runs(name)
        missing = [entry.status for entry in entries if entry.status.state != "done"]
        if missing and not self.background:
            why = dict.fromkeys(status.message for status in missing if status.state in ("failed", "died"))
            said = "".join(f" ({message})" for message in why if message)
            raise CleanerError(
                f"{len(missing)} of {len(entries)} runs are not done{said}: the same command tries them again, and "
                "log.txt in a run's folder says more."
            )

    def _build_requests(self) -> list[Request]:
        defenses = [instantiate(DEFENSES, _split_spec(words)).state_dict() for words in self.defenses]
        parent, model = self._resolve_suspect()
        load_run_or_model(self.suspect)  # says what is wrong with it before any run is made
        data, options = resolve_data(self.data, self.suspect)
        base = Request(
            "defended",
            data,
            self.pairs,
            to_config(self.finetune),
            model,
            parent=parent,
            test_size=self.test_pairs or None,
            data_options=options,
        )
        requests = sweep.grid(base, defenses, self.lrs, self.seeds)
        self._probe_data(data, options)
        return requests

    def _probe_data(self, data: str, options: Mapping[str, Any]) -> None:
        """Raise `CleanerError` before any run is made if a few of the data show that none could be trained."""
        target = read_json(Path(self.suspect) / "config.json").get("target_class")
        load_data(data, split="clean", size=min(self.pairs, PRECHECK_SIZE), **options)
        validate_eval_data(
            load_data(data, split="test", size=min(self.test_pairs or PRECHECK_SIZE, PRECHECK_SIZE), **options), target
        )

    def _resolve_suspect(self) -> tuple[str | None, str | None]:
        """Return the id of the backdoored run and None, or None and the suspicious model."""
        if is_run_folder(self.suspect):
            return run_id(Path(self.suspect)), None
        return None, resolve_model_name(self.suspect)

    def _find_sweeps(self) -> list[str]:
        parent, model = self._resolve_suspect()
        asked = [(entry, entry.config.get("request") or {}) for entry in poll_entries()]
        return sweep.list_sweep_ids([e for e, r in asked if (r.get("parent"), r.get("model")) == (parent, model)])

    def _print_sweeps(self, names: Sequence[str]) -> None:
        """Print the sweeps, as tables or JSON."""
        entries = {name: sweep.list_sweep_runs(name) for name in names}
        if self.json:
            print_json(
                [{"sweep": name, "runs": [_to_dict(e) for e in sweep.make_rows(of)]} for name, of in entries.items()]
            )
            return
        for name, of in entries.items():
            print(f"{name}: {format_progress(of)}\n\n{format_table(format_rows(of), SWEEP_COLUMNS)}\n")
            measured = [Metrics.from_dict(dict(row.metrics)) for row in sweep.make_rows(of) if row.metrics]
            print(*dict.fromkeys(describe_protocol(metrics) for metrics in measured), sep="\n")
        print(SWEEP_LEGEND)


def _split_spec(spec: str) -> list[str]:
    try:
        return shlex.split(spec)
    except ValueError as error:
        raise CleanerError(f"the defence {spec!r} is not understood: a quotation mark is missing.") from error


def _to_dict(line: sweep.Row) -> dict[str, Any]:
    return {
        "folder": str(line.folder),
        "defense": line.defense,
        "lr": line.lr,
        "seed": line.seed,
        "state": line.state,
        "progress": round(line.progress, 4),
        "metrics": line.metrics or None,
    }


def format_rows(entries: Sequence[RunEntry]) -> list[tuple[str, ...]]:
    """Return one line of text for each run of a sweep."""
    found: list[tuple[str, ...]] = []
    for line in sweep.make_rows(entries):
        ca, asr = format_row("", Metrics.from_dict(dict(line.metrics)))[1:3] if line.metrics else ("-", "-")
        state = "waits" if line.state == sweep.WAITING_STATE else line.state
        shown = (f"{line.lr:g}", str(line.seed), state, f"{line.progress:.0%}", ca, asr)
        found.append((line.defense, *shown, line.folder.name))
    return found


def format_progress(entries: Sequence[RunEntry]) -> str:
    """Return how far a sweep is, in words."""
    done = sum(entry.status.state == "done" for entry in entries)
    seconds = sweep.seconds_left(entries)
    left = "" if done == len(entries) or seconds is None else f", about {format_duration(seconds)} left"
    return f"{done} of {len(entries)} runs done{left}"


def watch_sweep(name: str) -> None:
    """Show on stderr how far a sweep is, until it goes on no more; Ctrl-C pauses what is at work on this machine."""
    terminal, before, drawn = sys.stderr.isatty(), "", 0
    try:
        while True:
            entries = sweep.list_sweep_runs(name)
            text = f"{format_progress(entries)}\n{format_table(format_rows(entries), SWEEP_COLUMNS)}\n"
            if terminal:
                sys.stderr.write(f"\x1b[{drawn}F\x1b[J{text}" if drawn else text)
                drawn = text.count("\n")
            elif (now := _describe_active(entries)) != before:
                sys.stderr.write(f"{format_progress(entries)}; {now}\n")
                before = now
            sys.stderr.flush()
            if not sweep.is_active(entries):
                break
            time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        if any(entry.status.place for entry in sweep.list_sweep_runs(name)):
            print("\nThe jobs go on: --status shows them, --cancel ends them.", file=sys.stderr)
        else:
            sweep.pause(name)
            print("\nPaused: the same command goes on.", file=sys.stderr)
        raise


def _describe_active(entries: Sequence[RunEntry]) -> str:
    """Return which runs are at work, for a log."""
    work = [line for line in sweep.make_rows(entries) if line.state in ACTIVE]
    return ", ".join(f"{line.defense}, learning rate {line.lr:g}, seed {line.seed}: {line.state}" for line in work)
