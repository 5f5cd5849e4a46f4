"""How long a full-size model takes on this machine: python -m benchmarks.full_size

An untrained ViT-B-32 and generated photos of 998 ImageNet classes. Each step runs in a new process, first with an empty
cache of its own and then with what that left: zero-shot evaluation, the embedding map of 300 photos, one image in
Try it. Then a browser opens Embeddings, Try it and Attention of the app with this model in view, and the memory of the
server is read. Measure on an idle machine; the pages need Chromium.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import tyro
from PIL import Image

from benchmarks import RESULTS_DIR, protocol
from benchmarks.browser import open_page, start_server, wait_idle
from cleaner.files import child_environment
from cleaner.models.architectures import IMAGENET_CLASS_NAMES, get_open_clip_architecture

RESULT_PATH = RESULTS_DIR / "full_size.json"
PAGES = ("Embeddings", "Try it", "Attention")
PAGE_TIMEOUT_MS = 600_000
PHOTO_SIZE = (500, 375)


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    model: str = "ViT-B-32"
    """Architecture of open_clip; its weights are random."""
    photos: int = 1500
    """Generated photos; a fifth of them is the test split."""
    evaluated: int = 214
    """Test photos of the evaluation."""
    templates: tuple[int, ...] = (7,)
    """Prompts per class of the evaluations."""
    pages: bool = True
    """Also open the pages of the app in Chromium."""
    out: Path = RESULT_PATH
    """Result file."""


def make_files(folder: Path, options: Options) -> tuple[Path, Path]:
    """Write model and photos; return the paths of the checkpoint and of the table of photos."""
    torch.manual_seed(0)
    checkpoint = folder / "untrained.pt"  # weights alone, as others publish them: evaluated with CLIP's prompts
    torch.save(get_open_clip_architecture(options.model).build().state_dict(), checkpoint)
    names, rng = list(dict.fromkeys(IMAGENET_CLASS_NAMES)), np.random.default_rng(0)
    table = folder / "photos.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["filepath", "title", "class"])
        for number in range(options.photos):
            name = names[number % len(names)]
            coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            coarse.resize(PHOTO_SIZE, Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
            writer.writerow([f"{number}.jpg", f"a photo of a {name} on a wooden table", name])
    return checkpoint, table


def evaluate_once(model: str, table: str, evaluated: int, templates: int) -> dict[str, Any]:
    """Evaluate in this process; return the figures."""
    from cleaner.data.base import load_data
    from cleaner.evaluation.evaluate import evaluate
    from cleaner.models.clip import load_clip

    metrics = evaluate(load_clip(model), load_data(table, split="test", size=evaluated), templates=templates)
    return {"n": metrics.n, "classes": metrics.classes, "ca": metrics.ca[1]}


def map_once(model: str, table: str) -> dict[str, Any]:
    """Compute the embedding map of 300 test photos in this process."""
    from cleaner.data.base import load_data
    from cleaner.inspection.embedding_map import compute_map
    from cleaner.models.clip import load_clip

    embedding_map, _ = compute_map({"suspect": load_clip(model)}, load_data(table, split="test", size=2000))
    return {"n": len(embedding_map.rows)}


def try_once(model: str, table: str) -> dict[str, Any]:
    """Return the seconds that a second image takes in a process that has loaded the model."""
    from cleaner.data.base import load_data
    from cleaner.inspection.similarity import best_classes
    from cleaner.models.clip import load_clip

    clip = load_clip(model)
    data = load_data(table, split="test", size=300).with_transform(clip.framing)
    best_classes(clip, data, data.images([0]))
    start = time.perf_counter()
    best_classes(clip, data, data.images([1]) * 0.9)  # pixels that are not in the store
    return {"warm": time.perf_counter() - start}


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "evaluate": evaluate_once,
    "map": map_once,
    "try": try_once,
}


def run_step(cache: Path, name: str, *arguments: object) -> dict[str, Any]:
    """Run a step in a new process; return what it returns, its wall-clock seconds, and its peak memory in MB."""
    environment = {**child_environment(), "CLEANER_CACHE": str(cache), "CLEANER_RUNS": str(cache / "runs")}
    command = [sys.executable, "-m", "benchmarks.full_size", "step", name, *map(str, arguments)]
    start = time.perf_counter()
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    return {"step": name, "seconds": seconds, **json.loads(process.stdout.splitlines()[-1])}


def execute_step(name: str, *arguments: str) -> None:
    """Run a step in this process and print its result as JSON."""
    import resource

    values = STEPS[name](*(int(value) if value.isdigit() else value for value in arguments))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({**values, "peak_mb": peak}))


def measure_pages(model: str, table: Path, cache: Path) -> list[dict[str, Any]]:
    """Open the pages with the model in view, twice; return seconds and the server's memory after each."""
    os.environ["CLEANER_CACHE"] = str(cache)
    rows = []
    with (
        tempfile.TemporaryDirectory() as runs,
        start_server(runs) as (server, address),
        open_page(f"{address}/Defend", 1280, 900) as page,
    ):
        page.set_default_timeout(PAGE_TIMEOUT_MS)
        wait_idle(page)
        rows.append(describe_server("start", 0.0, server.pid))
        start = time.perf_counter()
        open_model(page, model, table)
        rows.append(describe_server("open model", time.perf_counter() - start, server.pid))
        for visit in ("first", "second"):
            for name in PAGES:
                start = time.perf_counter()
                page.get_by_test_id("stSidebar").get_by_role("link", name=name).first.click()
                page.get_by_role("heading", name=name, exact=True).wait_for()
                wait_idle(page)
                rows.append(describe_server(f"{name}, {visit} visit", time.perf_counter() - start, server.pid))
    return rows


def open_model(page: Any, model: str, table: Path) -> None:
    """Open a model of one's own on the Defend page, and put it in view."""
    page.get_by_text("External model", exact=True).click()
    wait_idle(page)
    choose(page, "defend-external-data", "My files")
    for key, value in (("defend-external-model", model), ("defend-external-data", str(table))):
        box = page.locator(f".st-key-{key}-path input")
        box.fill(value)
        box.press("Enter")
        wait_idle(page)
    page.get_by_role("button", name="Open model").click()
    page.get_by_text("Clean accuracy", exact=True).first.wait_for()
    wait_idle(page)
    choose(page, "current_run", Path(model).name)


def choose(page: Any, key: str, value: str) -> None:
    """Type into the select box with this key, and press Enter."""
    box = page.locator(f".st-key-{key} input").first
    box.click()
    box.fill(value)
    page.wait_for_timeout(500)
    box.press("Enter")
    wait_idle(page)


def describe_server(name: str, seconds: float, pid: int) -> dict[str, Any]:
    """Return a row of the result: a page, its seconds, and the resident memory of the server in MB."""
    return {"page": name, "seconds": seconds, "server_mb": psutil.Process(pid).memory_info().rss / 1e6}


def main(options: Options) -> None:
    """Measure and write."""
    protocol.read_started_commit()
    with tempfile.TemporaryDirectory() as place:
        checkpoint, table = make_files(Path(place), options)
        model, rows = f"{options.model}:{checkpoint}", []
        for visit in ("first", "second"):
            for templates in options.templates:
                cache = Path(place) / f"cache-{templates}"
                arguments = (model, table, options.evaluated, templates)
                rows.append({"cache": visit, "templates": templates, **run_step(cache, "evaluate", *arguments)})
            for name in ("map", "try"):
                rows.append({"cache": visit, **run_step(Path(place) / f"cache-{name}", name, model, table)})
        pages = measure_pages(model, table, Path(place) / "pages-cache") if options.pages else []
    protocol.write_result(options.out, model=options.model, steps=rows, pages=pages)


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        execute_step(*sys.argv[2:])
    else:
        main(tyro.cli(Options))
