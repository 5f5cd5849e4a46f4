"""The first minute in a real browser: python -m benchmarks.first_minute

Starts a server with an empty run store and an empty cache, opens Overview as a newcomer does, and presses the default
buttons: Plant a backdoor, Train model, Defend this model, Start defenses. Seconds count from the click on Train model
to the result of each run on the page; the phases of each run come from its files. Warm: the newcomer reads Poison
before the click. Cold: each button is pressed as soon as it is there. Measure on an idle machine.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.browser import open_page, start_server, wait_idle
from cleaner.runs.record import RunRecord
from cleaner.runs.run import read_progress
from cleaner.runs.store import list_entries

RESULT_PATH = RESULTS_DIR / "first_minute.json"
POLL_SECONDS = 0.05
TIMEOUT_SECONDS = 600.0
RETRY_SECONDS = 5.0
"""Seconds after which a user clicks again."""
TRAINING_STAGES = ("poison", "defend")
"""Stages of step reports that are training steps."""


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    rounds: int = 3
    """Repetitions, each with a new server, run store and cache; the result has their medians."""
    reading_seconds: float = 20.0
    """Seconds between the drawn page and the click on Train model, in which a newcomer reads; warm case."""
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> None:
    """Measure, print each round, and write."""
    protocol.read_started_commit()
    rounds: list[dict[str, Any]] = []
    for _ in range(options.rounds):
        for case, reading_seconds in (("warm", options.reading_seconds), ("cold", 0.0)):
            with tempfile.TemporaryDirectory() as folder:
                rounds.append({"case": case, **measure_round(Path(folder), reading_seconds)})
            print(f"{case}: Poison idle after {rounds[-1]['poison_idle'] or float('nan'):.1f} s")
            print("\n".join(describe(row) for row in rounds[-1]["rows"]), end="\n\n", flush=True)
    protocol.write_result(
        options.out,
        seeds=[0],
        reading_seconds=options.reading_seconds,
        rounds=rounds,
        poison_idle=round(statistics.median(each["poison_idle"] for each in rounds if each["poison_idle"]), 3),
        rows=list(summarize(rounds)),
    )


def summarize(rounds: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the medians of each case and run."""
    for case in dict.fromkeys(each["case"] for each in rounds):
        rows = [row for each in rounds if each["case"] == case for row in each["rows"]]
        for name in dict.fromkeys(row["run"] for row in rows):
            yield {"case": case, **median_row([row for row in rows if row["run"] == name])}


def measure_round(folder: Path, reading_seconds: float) -> dict[str, Any]:
    """Return one row per run, in the order in which they ended, and when Poison was idle; None if nobody waited."""
    os.environ |= {"CLEANER_RUNS": str(folder / "runs"), "CLEANER_CACHE": str(folder / "cache")}
    with start_server(folder / "runs") as (_, address), open_page(address) as page:
        page.get_by_role("button", name="Plant a backdoor").click()
        opened, idle = time.time(), None
        train = page.get_by_role("button", name="Train model")
        train.wait_for()
        if reading_seconds:
            wait_idle(page)
            idle = time.time() - opened
            page.wait_for_timeout(1000 * reading_seconds)
        start = time.time()
        train.click()
        (poisoned,) = watch_runs(1, start, page)
        # Until the page has noticed that the run is done, this heading is that of the shipped example, and says so.
        page.get_by_role("heading", name="Did the attack succeed?", exact=True).wait_for()
        wait_idle(page)
        poisoned["drawn"] = time.time() - start
        open_by_button(page, "Defend this model", "Defend")
        button = page.get_by_role("button", name="Start defenses")
        button.wait_for()
        wait_idle(page)
        defending = time.time() - start
        button.click()
        rows = watch_runs(count_runs(page, 2), start, page)
        wait_idle(page)
        check_parents()
    defended = ({**row, "clicked": defending} for row in rows if row["run"] != poisoned["run"])
    return {"poison_idle": idle, "rows": [poisoned, *defended]}


def check_parents() -> None:
    """End the benchmark if the defenses did not start from the model that was trained before."""
    runs = [entry for entry in list_entries() if not entry.is_shipped]
    backdoored = {entry.id for entry in runs if entry.stage == "backdoored"}
    if any(entry.parent not in backdoored for entry in runs if entry.id not in backdoored):
        raise SystemExit("The defenses started from another model than the one that was trained.")


def open_by_button(page: Any, name: str, heading: str) -> None:
    """Click a button until its page is there: as a rerun ends, Streamlit may drop a click."""
    from playwright.sync_api import TimeoutError as Late

    for _ in range(int(TIMEOUT_SECONDS / RETRY_SECONDS)):
        page.get_by_test_id("stMain").get_by_role("button", name=name).click()
        with suppress(Late):
            page.get_by_role("heading", name=heading, exact=True).wait_for(timeout=1000 * RETRY_SECONDS)
            return
    raise SystemExit(f"The page {heading} did not open.")


def count_runs(page: Any, minimum: int) -> int:
    """Wait until the store has at least `minimum` runs, and a moment for the others of the same click."""
    deadline = time.time() + TIMEOUT_SECONDS
    while count() < minimum and time.time() < deadline:
        page.wait_for_timeout(1000 * POLL_SECONDS)
    page.wait_for_timeout(500)
    return count()


def count() -> int:
    """Return the number of runs that were started."""
    return sum(not entry.is_shipped for entry in list_entries())


def watch_runs(count: int, start: float, page: Any) -> list[dict[str, Any]]:
    """Wait until `count` runs are done and their results are drawn; return seconds since `start` for each."""
    rows: dict[str, dict[str, Any]] = {}
    first_steps: dict[str, float] = {}
    deadline = time.time() + TIMEOUT_SECONDS
    while len(rows) < count or not all("drawn" in row for row in rows.values() if row["stage"] == "defended"):
        if time.time() > deadline:
            raise SystemExit("The runs did not end: see their logs.")
        for entry in list_entries():
            if entry.is_shipped:
                continue
            if entry.status.stage in TRAINING_STAGES:
                first_steps.setdefault(entry.id, time.time() - start)
            if entry.status.state in ("failed", "died"):
                raise SystemExit(f"{entry.label}: {entry.status.message}")
            if entry.status.state == "done" and entry.id not in rows:
                rows[entry.id] = {"first_step": first_steps.get(entry.id, 0.0), **describe_run(entry, start)}
            if entry.id in rows and "drawn" not in rows[entry.id] and is_drawn(entry, page):
                rows[entry.id]["drawn"] = time.time() - start
        page.wait_for_timeout(1000 * POLL_SECONDS)
    return list(rows.values())


def is_drawn(entry: RunRecord, page: Any) -> bool:
    """Return whether the card of a defense is on the page."""
    card = page.locator(f".st-key-card-{entry.id}")
    return bool(card.count() and card.first.is_visible())


def describe_run(entry: RunRecord, start: float) -> dict[str, Any]:
    """Return a run's seconds from `start` to its end, split into start-up, training and evaluation."""
    return {
        "run": entry.defense or entry.attack,
        "stage": entry.stage,
        "steps": max(report["step"] for report in read_progress(entry.folder) if report["stage"] in TRAINING_STAGES),
        "training": float(entry.seconds or 0.0),
        "done": entry.status.updated - start,
        "ca": entry.metric("ca"),
        "asr": entry.metric("asr"),
    }


def median_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians of the numbers of one run over the rounds."""
    numbers = {name: value for name, value in rows[0].items() if isinstance(value, float)}
    return {**rows[0], **{name: round(statistics.median(row[name] for row in rows), 3) for name in numbers}}


def describe(row: dict[str, Any]) -> str:
    """Return a row in words."""
    return (
        f"{row['run']:16} first step {row['first_step']:6.1f} s, trained {row['training']:5.1f} s in {row['steps']} "
        f"steps, done {row['done']:6.1f} s, drawn {row.get('drawn', float('nan')):6.1f} s, "
        f"CA {row['ca']:.3f}, ASR@1 {row['asr']:.3f}"
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
