"""What watching costs a training: python -m benchmarks.watching

A server on an empty run store and a real poisoning at the page's settings. Phases take turns over several rounds: no
page; the Poison page open; its tab hidden; then each page is opened from the menu. Written are the training's steps per
second and the time of each page switch. Measure on an idle machine; it needs Chromium.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.browser import IS_IDLE_JS, open_browser, set_hidden, start_server
from benchmarks.step import median_ratio, rounded_median
from benchmarks.visitors import list_titles
from cleaner import presets
from cleaner.config import with_eval_interval
from cleaner.jobs import local, process
from cleaner.runs import store
from cleaner.runs.progress import read_progress

RESULT_PATH = RESULTS_DIR / "watching.json"
PHASES = ("no page", "Poison open", "tab hidden")
IDLE_PAUSE = 20.0
"""Seconds in which the server prepares its next worker after the training."""
EPOCHS = 1000
"""More than any measurement takes; the training is canceled at the end."""


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    model: str = "scenes-rn"
    """Built-in model to poison."""
    pairs: int = presets.QUICK_POISON_PAIRS
    """Training pairs."""
    seconds: float = 20.0
    """Seconds of each phase."""
    rounds: int = 3
    """Rounds of the phases and of the page switches."""
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> None:
    """Measure and write."""
    protocol.read_started_commit()
    with tempfile.TemporaryDirectory() as place:
        os.environ["CLEANER_RUNS"] = place
        with ExitStack() as stack:
            with train(options) as folder:
                _, address = stack.enter_context(start_server(place))
                browser = stack.enter_context(open_browser())
                phases, switches = measure_rounds(options, folder, address, browser)
            idle = measure_idle_switches(options, address, browser)
    protocol.write_result(
        options.out,
        model=options.model,
        pairs=options.pairs,
        seconds=options.seconds,
        rounds=options.rounds,
        phases=summarize_phases(phases),
        page_switches=summarize_switches(switches, idle),
    )


@contextmanager
def train(options: Options) -> Iterator[Path]:
    """Yield the folder of a poisoning that trains already; cancel it at the end."""
    eval_every = with_eval_interval(options.pairs, presets.QUICK_POISON).eval_every
    request = protocol.make_quick_request(options.model, epochs=EPOCHS, eval_every=eval_every)
    request = replace(request, pairs=options.pairs)
    folder = store.create_run(request)
    local.start(folder)
    try:
        while count_steps(folder)[0] < 2:
            if (status := local.poll_status(folder)).state not in ("queued", "running"):
                raise SystemExit(f"The training ended as {status.state}: {status.message}")
            time.sleep(0.2)
        yield folder
    finally:
        if (worker := process.find_process(folder, local.poll_status(folder))) is not None:
            process.kill(worker)


def count_steps(folder: Path) -> tuple[int, float]:
    """Return the training steps done so far and the seconds that they took."""
    reports = [report for report in read_progress(folder) if report["stage"] == "poison"]
    return (reports[-1]["step"], reports[-1]["seconds"]) if reports else (0, 0.0)


Phases = dict[str, list[float]]
Switches = dict[str, list[float]]


def measure_rounds(options: Options, folder: Path, address: str, browser: Any) -> tuple[Phases, Switches]:
    """Return the steps per second of each phase and the seconds of each page switch, one per round."""
    phases: Phases = {name: [] for name in PHASES}
    titles = list_titles()
    switches: Switches = {title: [] for title in titles}
    for _ in range(options.rounds):
        for name in PHASES:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.set_default_timeout(300_000)
            if name != "no page":
                page.goto(f"{address}/Poison")
                page.get_by_text("Training · continues").wait_for()
                page.wait_for_function(IS_IDLE_JS)
                page.wait_for_timeout(4000)  # imports of the first page run, and charts
            if name == "tab hidden":
                set_hidden(page)
            phases[name].append(measure_phase(folder, options.seconds))
            if name == "Poison open":
                for title in (*titles[2:], *titles[:2]):
                    switches[title].append(time_switch(page, title))
            page.close()
    return phases, switches


def measure_idle_switches(options: Options, address: str, browser: Any) -> Switches:
    """Return the seconds of each page switch without a training, one per round."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(300_000)
    page.goto(f"{address}/Poison")
    page.wait_for_function(IS_IDLE_JS)
    page.wait_for_timeout(1000 * IDLE_PAUSE)
    titles = list_titles()
    switches: Switches = {title: [] for title in titles}
    for _ in range(options.rounds + 1):
        for title in (*titles[2:], *titles[:2]):
            switches[title].append(time_switch(page, title))
    page.close()
    return {title: seconds[1:] for title, seconds in switches.items()}


def measure_phase(folder: Path, seconds: float) -> float:
    """Return the training's steps per second."""
    steps, trained = count_steps(folder)
    time.sleep(seconds)
    steps_after, trained_after = count_steps(folder)
    if trained_after <= trained:
        raise SystemExit(f"No step in {seconds} s: choose more --seconds.")
    return (steps_after - steps) / (trained_after - trained)


def time_switch(page: Any, title: str) -> float:
    """Return the seconds from a click on the menu until a page is drawn."""
    link = page.get_by_test_id("stSidebar").get_by_test_id("stPageLink").filter(has_text=title)
    link.wait_for()
    start = time.perf_counter()
    link.click()
    page.get_by_role("heading", name=title, exact=True).wait_for()
    page.wait_for_function(IS_IDLE_JS)
    return time.perf_counter() - start


def summarize_phases(phases: Phases) -> list[dict[str, Any]]:
    """Return medians over the rounds; `of_rate`: the rate relative to that without a page in the same round."""
    return [
        {
            "phase": name,
            "of_rate": median_ratio(rates, phases[PHASES[0]]),
            "steps_per_second": rounded_median(rates),
        }
        for name, rates in phases.items()
    ]


def summarize_switches(switches: Switches, idle: Switches) -> list[dict[str, Any]]:
    """Return the seconds of the first switch to each page, and medians of the later ones and of those when idle."""
    return [
        {
            "page": title,
            "first_seconds": round(seconds[0], 2),
            "later_seconds": rounded_median(seconds[1:]) if seconds[1:] else None,
            "idle_seconds": rounded_median(idle[title]),
        }
        for title, seconds in switches.items()
    ]


if __name__ == "__main__":
    main(tyro.cli(Options))
