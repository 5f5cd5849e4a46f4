"""sweep: defenses x learning rates x seeds on one suspect, with a table of progress and metrics."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cleaner import presets
from cleaner.cli.cluster import REFRESH_SECONDS, ClusterOptions
from cleaner.cli.options import (
    CLEAN_PAIRS_DEFAULT,
    OWN_DATA_HELP,
    PRECHECK_SIZE,
    SUSPECT_HELP,
    SweepFinetune,
    instantiate,
    options_from_config,
    stated_default,
    to_config,
)
from cleaner.cli.output import (
    INTERVAL_NOTE,
    describe_protocol,
    format_duration,
    format_table,
    headline_metrics,
    print_json,
)
from cleaner.evaluation.result import Metrics, format_metric
from cleaner.files import read_json
from cleaner.jobs import sweep
from cleaner.jobs.local import poll_entries
from cleaner.labels import state_label
from cleaner.models.resolve import resolve_model_name
from cleaner.registry import DEFENSES
from cleaner.reports.comparability import list_notes
from cleaner.runs.folders import is_run_folder, run_id, runs_root
from cleaner.runs.inversion_result import adopt_inversion
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request, split_words
from cleaner.runs.status import ACTIVE, RunState
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from cleaner.defenses.base import Defense
    from cleaner.models.clip import Clip

DEFENSES_HELP = "Defenses; one with options in quotes: 'ta_cleaner share=1.0'."


@dataclass(frozen=True)
class Sweep:
    """Clean one suspect in many ways: each defense with each learning rate and seed, one run after the other.

    The same command again resumes the sweep; with more rates, seeds or defenses it adds runs. Ctrl-C pauses it. Metrics
    of a run are shown once it is done. On a cluster the runs are one job array, which continues after Ctrl-C.
    """

    suspect: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|MODEL", help=SUSPECT_HELP)]
    defenses: Annotated[tuple[str, ...], tyro.conf.arg(help=DEFENSES_HELP)] = presets.SWEEP_DEFENSES
    lrs: Annotated[tuple[float, ...], tyro.conf.arg(help="Learning rates.")] = (1e-5, 1e-4, 1e-3)
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(help="Seeds.")] = (0,)
    data: Annotated[tuple[str, ...], stated_default(help=f"Clean pairs (their clean split). {OWN_DATA_HELP}")] = ()
    pairs: Annotated[int | None, stated_default(help=f"Clean pairs. {CLEAN_PAIRS_DEFAULT}.")] = None
    test_pairs: Annotated[int, tyro.conf.arg(help="Test pairs to measure on; 0: all.")] = 0
    film: Annotated[bool, tyro.conf.arg(help="Keep frames of each training for its film.")] = True
    cluster_options: Annotated[ClusterOptions, tyro.conf.arg(name="")] = ClusterOptions()
    background: Annotated[bool, tyro.conf.arg(help="Start it and return at once; watch it with --status.")] = False
    status: Annotated[bool, tyro.conf.arg(help="Only print the table of this suspect's sweeps.")] = False
    cancel: Annotated[bool, tyro.conf.arg(help="Only cancel the unfinished runs of this suspect's sweeps.")] = False
    json: Annotated[bool, tyro.conf.arg(help="Print the table as JSON.")] = False
    finetune: Annotated[SweepFinetune, tyro.conf.arg(name="")] = options_from_config(SweepFinetune, presets.DEFEND)

    def run(self) -> None:
        if self.status or self.cancel:
            names = self._find_sweeps()
            if not names:
                option = "--cancel" if self.cancel else "--status"
                raise CleanerError(f"there is no sweep of {self.suspect} in {runs_root()}: start one without {option}.")
            for name in names if self.cancel else ():
                sweep.cancel(name)
                watch_sweep(name)
            self._print_sweeps(names)
            return
        name = sweep.start_sweep(self._build_requests(), self.cluster_options.to_cluster())
        if not self.background:
            watch_sweep(name)
        self._print_sweeps([name])
        records = sweep.list_sweep_runs(name)
        missing = [record.status for record in records if record.status.state != RunState.DONE]
        if missing and not self.background:
            reasons = dict.fromkeys(
                status.message for status in missing if status.state in (RunState.FAILED, RunState.DIED)
            )
            details = "".join(f" ({message})" for message in reasons if message)
            raise CleanerError(
                f"{len(missing)} of {len(records)} runs are not done{details}: read log.txt in their folders, then "
                "start them again with the same command."
            )

    def _build_requests(self) -> list[Request]:
        from cleaner.cli.inputs import choose_clean_pairs, load_model, resolve_data
        from cleaner.runs.run import load_run

        run = Path(self.suspect) if is_run_folder(self.suspect) else None
        chosen = [instantiate(DEFENSES, _split_spec(spec)) for spec in self.defenses]
        defenses = [adopt_inversion(defense, run, self.suspect) for defense in chosen]
        parent, model = self._resolve_suspect()
        # Fails before any run is created, also for a trigger that is gone.
        clip = load_model(self.suspect) if run is None else load_run(run, with_clean=False).clip
        data, options = resolve_data(self.data, self.suspect)
        base = Request(
            "defended",
            data,
            choose_clean_pairs((data, options), self.suspect) if self.pairs is None else self.pairs,
            to_config(self.finetune),
            model,
            parent=parent,
            test_size=self.test_pairs or None,
            data_options=options,
            film=self.film,
        )
        states = [defense.state_dict() for defense in defenses]
        requests = sweep.grid(base, states, rates=self.lrs, seeds=self.seeds)
        self._probe_data(clip, defenses, base)
        return requests

    def _probe_data(self, clip: Clip, defenses: Sequence[Defense], base: Request) -> None:
        """Raise `CleanerError` before any run is created if a few samples show that one must fail."""
        from cleaner.cli.inputs import print_activation
        from cleaner.data.base import load_data
        from cleaner.evaluation.evaluate import validate_eval_data

        target_class = read_json(Path(self.suspect) / "config.json").get("target_class")
        data, options = base.data, base.data_options
        clean = load_data(data, split="clean", size=min(base.pairs, PRECHECK_SIZE), **options)
        if reason := next(filter(None, (defense.unsupported_reason(clip, clean) for defense in defenses)), None):
            raise CleanerError(reason)
        test = load_data(data, split="test", size=min(self.test_pairs or PRECHECK_SIZE, PRECHECK_SIZE), **options)
        validate_eval_data(test, target_class)
        print_activation(clip, test)

    def _resolve_suspect(self) -> tuple[str | None, str | None]:
        """Return the id of the backdoored run and None, or None and the suspicious model."""
        if is_run_folder(self.suspect):
            return run_id(Path(self.suspect)), None
        return None, resolve_model_name(self.suspect)

    def _find_sweeps(self) -> list[str]:
        parent, model = self._resolve_suspect()
        records = poll_entries()
        return sweep.list_sweep_ids([r for r in records if (r.request.parent, r.request.model) == (parent, model)])

    def _print_sweeps(self, names: Sequence[str]) -> None:
        """Print the sweeps, as tables or JSON."""
        sweeps = {name: sweep.make_rows(sweep.list_sweep_runs(name)) for name in names}
        if self.json:
            print_json([{"sweep": name, "runs": list(map(_to_dict, rows))} for name, rows in sweeps.items()])
            return
        for name, rows in sweeps.items():
            print(f"{name}: {format_progress(rows)}\n\n{format_sweep(rows)}\n")
            measured = [Metrics.from_dict(metrics) for row in rows if (metrics := _test_metrics(row))]
            print(*dict.fromkeys(map(describe_protocol, measured)), sep="\n")
            for note in list_notes([row for row in rows if _test_metrics(row)]):
                print(note)
        print(*(row.help for row in headline_metrics()), f"Of finished runs only. {INTERVAL_NOTE}", sep="\n")


def _split_spec(spec: str) -> list[str]:
    try:
        words = split_words(spec)
    except ValueError as error:
        raise CleanerError(f"the defense {spec!r} lacks a closing quotation mark: add it.") from error
    if words and "=" in words[0]:
        raise CleanerError(
            f"{spec!r} is not a defense: put a defense and its options in quotes, 'ta_cleaner share=1.0'."
        )
    return words


def _test_metrics(row: RunRecord) -> Mapping[str, Any]:
    """Return the test metrics of a finished run; empty for others."""
    return row.metrics if row.status.state == RunState.DONE else {}


def _to_dict(row: RunRecord) -> dict[str, Any]:
    return {
        "folder": str(row.folder),
        "defense": row.defense or "",
        "lr": row.lr,
        "seed": row.seed,
        "state": row.status.state,
        "progress": round(row.status.progress, 4),
        "metrics": _test_metrics(row) or None,
    }


def format_sweep(records: Sequence[RunRecord]) -> str:
    """Return the table of a sweep as text."""
    metrics = [row.header(1) for row in headline_metrics()]
    header = ("defense", "learning rate", "seed", "state", "progress", *metrics, "run")
    return format_table(format_rows(records), header)


def format_rows(records: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    """Return one line of text for each run of a sweep."""
    lines: list[tuple[str, ...]] = []
    for row in sweep.make_rows(records):
        status = row.status
        state = "queued" if status.state == sweep.WAITING_STATE else state_label(status.state)
        cells = [format_metric(row, metric) if _test_metrics(row) else "-" for metric in headline_metrics()]
        lines.append((row.defense or "", f"{row.lr:g}", str(row.seed), state, f"{status.progress:.0%}", *cells, row.id))
    return lines


def format_progress(records: Sequence[RunRecord]) -> str:
    """Return how many runs of a sweep are done, and how long the others will take."""
    done = sum(record.status.state == RunState.DONE for record in records)
    seconds = sweep.seconds_left(records)
    left = "" if seconds is None or not sweep.is_active(records) else f", about {format_duration(seconds)} left"
    return f"{done} of {len(records)} runs done{left}"


def watch_sweep(name: str) -> None:
    """Show the progress of a sweep on stderr until it stops; Ctrl-C pauses the run on this machine."""
    is_terminal, last_line, drawn = sys.stderr.isatty(), "", 0
    try:
        while True:
            records = sweep.list_sweep_runs(name)
            text = f"{format_progress(records)}\n{format_sweep(records)}\n"
            if is_terminal:
                columns, height = shutil.get_terminal_size()
                # A wrapped line, or one that was scrolled away, could not be erased.
                lines = [line[: columns - 1] for line in text.splitlines()[: height - 1]]
                sys.stderr.write((f"\x1b[{drawn}F\x1b[J" if drawn else "") + "".join(f"{line}\n" for line in lines))
                drawn = len(lines)
            elif (line := _describe_active(records)) != last_line:
                sys.stderr.write(f"{format_progress(records)}{line and '; '}{line}\n")
                last_line = line
            sys.stderr.flush()
            if not sweep.is_active(records):
                break
            time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        if any(record.status.place for record in sweep.list_sweep_runs(name)):
            raise KeyboardInterrupt("The jobs keep running: --status shows them, --cancel stops them.") from None
        sweep.pause(name)
        raise KeyboardInterrupt("Paused: the same command resumes it.") from None


def _describe_active(records: Sequence[RunRecord]) -> str:
    """Return the active runs in one line, for a log."""
    active = [row for row in sweep.make_rows(records) if row.status.state in ACTIVE]
    return ", ".join(f"{r.defense}, learning rate {r.lr:g}, seed {r.seed}: {r.status.state}" for r in active)
