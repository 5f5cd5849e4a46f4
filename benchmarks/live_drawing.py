"""Processor time of an update of live curves, by way of drawing; part of `benchmarks.watching`.

A run whose progress.jsonl grows like that of a training, without the training. "text" draws a line of text instead:
what an update costs without charts.
"""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.browser import IS_IDLE_JS, cpu_seconds, list_browser_processes, open_browser, start_server
from cleaner.runs.progress import PROGRESS_FILE

APP = Path(__file__).with_name("live_drawing_app.py")
WAYS = ("text", "plotly", "line_chart", "component")
REPORTS_BEFORE, REPORT_SECONDS, TOTAL = 400, 0.3, 2000
"""Reports at the start, seconds between two more, and steps of the run."""
WARM_UP_SECONDS = 6.0


def measure(seconds: float) -> list[dict[str, Any]]:
    """Return, by way of drawing, milliseconds of processor time per update, over `seconds` after a warm-up."""
    rows = []
    with tempfile.TemporaryDirectory() as place, start_server(place, APP) as (server, address):
        stop = threading.Event()
        writer = threading.Thread(target=grow, args=(Path(place), stop), daemon=True)
        writer.start()
        with open_browser() as browser:
            for way in WAYS:
                page = browser.new_page(viewport={"width": 1280, "height": 720})
                page.set_default_timeout(300_000)
                page.goto(f"{address}/?way={way}&folder={place}")
                page.get_by_role("heading", name="Drawn").wait_for()
                page.wait_for_function(IS_IDLE_JS)
                page.wait_for_timeout(1000 * WARM_UP_SECONDS)
                rows.append({"way": way, **measure_updates(server, Path(place) / f"{way}.updates", seconds)})
                page.close()
        stop.set()
        writer.join()
    return rows


def measure_updates(server: subprocess.Popen[bytes], updates: Path, seconds: float) -> dict[str, float]:
    """Return the number of updates within `seconds` and the processor time of each on server and browser."""
    groups = [psutil.Process(server.pid)], list_browser_processes()
    count, before = updates.stat().st_size, [cpu_seconds(group) for group in groups]
    time.sleep(seconds)
    count = updates.stat().st_size - count
    server_ms, browser_ms = (
        round(1000 * (cpu_seconds(group) - start) / max(count, 1), 1)
        for group, start in zip(groups, before, strict=True)
    )
    return {"updates": count, "server_ms": server_ms, "browser_ms": browser_ms}


def grow(folder: Path, stop: threading.Event) -> None:
    """Append step reports as a worker does, until `stop`."""
    step = 0
    while not stop.wait(REPORT_SECONDS if step >= REPORTS_BEFORE else 0):
        step += 1
        loss = 4 * math.exp(-step / 200) + 0.2 * math.sin(step)
        metrics = {"ca": 0.9, "asr": 1 - math.exp(-step / 100)} if step % 20 == 0 else {}
        report = {"stage": "poison", "step": step, "total": TOTAL, "seconds": step * REPORT_SECONDS}
        with (folder / PROGRESS_FILE).open("a") as file:
            file.write(json.dumps({**report, "losses": {"clip_loss": loss, "total": loss}, "metrics": metrics}) + "\n")


if __name__ == "__main__":
    for row in measure(20.0):
        print(row)
