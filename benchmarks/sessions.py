"""Many browser sessions at once on one server, each with a run of its own: python -m benchmarks.sessions

One Chromium holds a context per session. Each session opens another page from the menu or moves a control, in turn,
once every `--pause` seconds, while a run trains and two sessions queue one each. Counted are the sessions' actions and
every problem: an exception or an error on a page, a page that names another session's run, an error in the server's
log, a shared model whose weights are not those of its file, a second run that trains at once, a wrong place in the
queue. Measured are the seconds from each action until the page is drawn, and the server's memory. Measure on an idle
machine; it needs Chromium.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil
import tyro

from benchmarks import RESULTS_DIR, protocol, watching
from benchmarks.browser import start_server
from benchmarks.sessions_server import ANSWER, REQUEST
from benchmarks.visitors import Visitor, open_visitors
from cleaner import presets
from cleaner.files import read_json, write_json
from cleaner.jobs import local
from cleaner.models.clip import load_clip
from cleaner.runs import store
from cleaner.runs.folders import shipped_root

RESULT_PATH = RESULTS_DIR / "sessions.json"
BACKDOORED, CLEANED = "example-badnet", "example-badnet-3-ta_cleaner"
"""Runs of the shipped example that each session gets a copy of."""
QUEUED = 2
"""Sessions that queue a run."""
SAMPLE_SECONDS = 2.0
MAX_GROWTH = 0.25
"""Share by which the server's memory may grow in the second half of the time."""
ERROR_MARKS = ("Traceback (most recent call last)", "Uncaught app exec")


@dataclass(frozen=True)
class Options:
    """Open the sessions, count and measure, and write the result file."""

    sessions: int = 20
    """Browser sessions at once."""
    minutes: float = 12.0
    """Minutes, from the moment all sessions are open."""
    pause: float = 15.0
    """Seconds from one action of a session to its next."""
    model: str = presets.QUICK_MODEL
    """Built-in model that trains meanwhile."""
    pairs: int = presets.QUICK_POISON_PAIRS
    """Its training pairs."""
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> int:
    """Measure, print and write; return 1 if there was a problem."""
    protocol.read_started_commit()
    row = measure(options)
    return write_row(row, options.out)


def write_row(row: dict[str, Any], out: Path) -> int:
    """Write the result file and print its row; return 1 if there was a problem."""
    protocol.write_result(out, seeds=[], rows=[row])
    print(*(f"{name}: {value}" for name, value in row.items()), sep="\n")
    return int(bool(row["failures"]))


def measure(options: Options) -> dict[str, Any]:
    """Return the row of the result file."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        runs = Path(place)
        os.environ["CLEANER_RUNS"] = place
        for number in range(options.sessions):
            copy_example(runs, number)
        training = watching.train(watching.Options(model=options.model, pairs=options.pairs))
        log = runs / ".server.log"
        with training as first, start_server(runs, module="benchmarks.sessions_server", log=log) as (server, address):
            watcher = Watcher(runs, psutil.Process(server.pid))
            visitors = asyncio.run(visit(options, address, watcher))
            problems = [problem for visitor in visitors for problem in visitor.problems]
            models = check_models(runs)
            problems += [problem for changes in models.values() for problem in changes]
            problems += watcher.problems + watcher.check_memory() + check_queue(first)
            lines = log.read_text("utf-8", "replace").splitlines()
            problems += [line for line in lines if any(mark in line for mark in ERROR_MARKS)]
            counts = {"models": len(models), "models_changed": sum(map(bool, models.values()))}
            return summarize(options, visitors, watcher, problems) | counts


def copy_example(runs: Path, number: int) -> None:
    """Give a session its own runs: a backdoored one and a defense of it, named after the session."""
    name = f"session-{number:02d}"
    for source, folder in ((BACKDOORED, runs / name), (CLEANED, runs / f"{name}-cleaned")):
        shutil.copytree(shipped_root() / source, folder)
        config = read_json(folder / "config.json")
        if "parent" in config:
            config["parent"] = name
        write_json(folder / "config.json", config)
        store.annotate(folder, name=f"Session {number:02d}")


async def visit(options: Options, address: str, watcher: Watcher) -> list[Visitor]:
    """Let all sessions act until the time is over; return them."""
    async with open_visitors(options.sessions, address) as visitors:
        for visitor in visitors[:QUEUED]:
            await visitor.queue_a_run()
        end = time.monotonic() + 60 * options.minutes
        watching_task = asyncio.create_task(watcher.watch(end))
        delay = options.pause / options.sessions
        await asyncio.gather(*(v.act_until(end, options.pause, i * delay) for i, v in enumerate(visitors)))
        await watching_task
        for place, visitor in enumerate(visitors[:QUEUED], start=1):
            await visitor.check_place_in_queue(place)
        return visitors


class Watcher:
    """Looks at the server and at the store of runs from outside, every `SAMPLE_SECONDS`."""

    def __init__(self, runs: Path, server: psutil.Process) -> None:
        self._runs, self._server = runs, server
        self.megabytes: list[float] = []
        self.problems: list[str] = []
        self.trainings = 0
        """Most runs that trained at once."""

    async def watch(self, end: float) -> None:
        """Take samples until the time is over."""
        while time.monotonic() < end:
            self.megabytes.append(self._server.memory_info().rss / 1e6)
            running = sum(entry.status.state == "running" for entry in local.poll_entries(self._runs))
            self.trainings = max(self.trainings, running)
            await asyncio.sleep(SAMPLE_SECONDS)
        if self.trainings != 1:
            self.problems.append(f"{self.trainings} runs trained at once")

    @property
    def half(self) -> float:
        """Megabytes after half of the time."""
        return self.megabytes[len(self.megabytes) // 2]

    def check_memory(self) -> list[str]:
        """Return a problem if the server's memory grew too much in the second half."""
        growth = self.megabytes[-1] / self.half - 1
        return [f"memory grew by {growth:.0%} in the second half"] if growth > MAX_GROWTH else []


def check_models(runs: Path) -> dict[str, list[str]]:
    """Return each shared model of the server -> how it differs from its file; empty for none."""
    (runs / REQUEST).touch()
    while not (runs / ANSWER).exists():
        time.sleep(SAMPLE_SECONDS)
    problems: dict[str, list[str]] = {}
    for name, facts in read_json(runs / ANSWER).items():
        fresh = {"sha256": load_clip(name).sha256(), "is_training": False, "hooks": 0, "has_gradients": False}
        problems[name] = [f"shared model {name}: {key} {facts[key]}" for key in fresh if facts[key] != fresh[key]]
    return problems


def check_queue(first: Path) -> list[str]:
    """Cancel one run after the other; return a problem if another than the next in the queue begins to train."""
    waiting = sorted(
        (entry for entry in local.poll_entries(first.parent) if entry.status.state == "queued"),
        key=lambda entry: entry.status.queued,
    )
    problems = [] if len(waiting) == QUEUED else [f"{len(waiting)} runs are queued, not {QUEUED}"]
    for folder in [first, *(entry.folder for entry in waiting)]:
        end = time.monotonic() + 120
        while local.poll_status(folder).state != "running" and time.monotonic() < end:
            time.sleep(0.5)
        running = [e.id for e in local.poll_entries(first.parent) if e.status.state == "running"]
        if running != [folder.name]:
            problems.append(f"{running} train, not {folder.name}, the next in the queue")
        local.cancel(folder)
    return problems


def summarize(options: Options, visitors: list[Visitor], watcher: Watcher, problems: list[str]) -> dict[str, Any]:
    """Return the row of the result file."""
    pages = [seconds for visitor in visitors for seconds in visitor.page_seconds]
    controls = [seconds for visitor in visitors for seconds in visitor.control_seconds]
    return {
        "suite": "sessions",
        "sessions": options.sessions,
        "minutes": options.minutes,
        "pause_seconds": options.pause,
        "actions": len(pages) + len(controls),
        "failures": len(problems),
        "problems": problems[:20],
        "median_page_seconds": round(median(pages), 2),
        "slow_page_seconds": round(quantiles(pages, n=20)[-1], 2),
        "median_control_seconds": round(median(controls), 2),
        "server_mb_start": round(watcher.megabytes[0]),
        "server_mb_half": round(watcher.half),
        "server_mb_end": round(watcher.megabytes[-1]),
        "trainings_at_once": watcher.trainings,
    }


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
