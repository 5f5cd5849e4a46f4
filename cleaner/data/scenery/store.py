"""Cache of rendered images: one uint8 file per split, rendered in parallel, written atomically."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cleaner.data.scenery.facts import SCENES_VERSION, make_scene
from cleaner.data.scenery.render import render
from cleaner.files import atomic_write, cache_root, child_environment
from cleaner.types import OnStep, StepReport

IMAGES_PER_CHUNK = 250
_MAX_IN_PROCESS = 600
"""Up to this many images are rendered in this process: starting workers would take longer."""


@dataclass(frozen=True)
class RenderSpec:
    """Which images to render: `size` images of `image_size` px from one split of one variant."""

    variant: str
    split: str
    seed: int
    size: int
    image_size: int

    @property
    def stem(self) -> str:
        """Return the file name without the number of images."""
        return f"v{SCENES_VERSION}-{self.variant}-{self.split}-seed{self.seed}-{self.image_size}px"


def default_cache_dir() -> Path:
    """Return the folder of Scenes in the cache."""
    return cache_root() / "scenes"


def find_cached(spec: RenderSpec, folder: Path) -> Path | None:
    """Return a file with at least `spec.size` images: image i does not depend on how many there are."""
    for path in folder.glob(f"{spec.stem}-n*.npy"):
        match = re.fullmatch(r".*-n(\d+)", path.stem)
        if match and int(match[1]) >= spec.size:
            return path
    return None


def load_images(spec: RenderSpec, folder: Path, on_step: OnStep | None) -> NDArray[np.uint8]:
    """Return a read-only memory map of at least `spec.size` images (N, H, W, 3), rendered if missing."""
    path = find_cached(spec, folder)
    if path is None:
        path = folder / f"{spec.stem}-n{spec.size}.npy"
        with atomic_write(path, "Set CLEANER_CACHE to a writable folder for the images.") as temporary:
            _render_all(temporary, spec, on_step)
    return np.asanyarray(np.load(path, mmap_mode="r"))


def _render_all(path: Path, spec: RenderSpec, on_step: OnStep | None) -> None:
    start = time.perf_counter()
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if on_step:
            on_step(StepReport("render", done, spec.size, time.perf_counter() - start))

    shape = (spec.size, spec.image_size, spec.image_size, 3)
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    target.flush()
    workers = min(os.cpu_count() or 1, 8, -(-spec.size // IMAGES_PER_CHUNK))
    if spec.size <= _MAX_IN_PROCESS or workers == 1:
        for first in range(0, spec.size, IMAGES_PER_CHUNK):
            report(render_range(target, spec, first, min(first + IMAGES_PER_CHUNK, spec.size)))
        target.flush()
    else:
        del target
        _render_in_workers(path, spec, workers, report)


def _render_in_workers(path: Path, spec: RenderSpec, workers: int, report: Callable[[int], None]) -> None:
    """Split the images over `workers` processes; kill them all if one fails or `report` raises."""
    # Plain processes rather than multiprocessing: no process with threads is forked, and the caller's main module
    # (a script without a guard, a Streamlit page) is not imported a second time.
    messages: queue.Queue[int | None] = queue.Queue()
    bounds = [spec.size * i // workers for i in range(workers + 1)]
    processes = [_start_worker(path, spec, bounds[i], bounds[i + 1], messages) for i in range(workers)]
    try:
        running = workers
        while running:
            count = messages.get()
            if count is None:
                running -= 1
            else:
                report(count)
        for process in processes:
            if process.wait():
                raise RuntimeError(f"a rendering process ended with exit code {process.returncode}")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start_worker(
    path: Path, spec: RenderSpec, first: int, stop: int, messages: queue.Queue[int | None]
) -> subprocess.Popen[str]:
    """Start a process that renders images first..stop-1; put its counts into `messages`, then None."""
    environment = {
        **child_environment(),
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }
    arguments = [str(path), spec.variant, spec.split, *map(str, (spec.seed, first, stop))]
    command = [sys.executable, "-m", __name__, *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def listen() -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                messages.put(int(line))
        messages.put(None)

    threading.Thread(target=listen, daemon=True).start()
    return process


def render_range(target: NDArray[np.uint8], spec: RenderSpec, first: int, stop: int) -> int:
    """Render images first..stop-1 into target[first:stop]; return how many."""
    for i in range(first, stop):
        target[i] = render(make_scene(spec.split, spec.seed, i, spec.variant), spec.image_size)
    return stop - first


def main(arguments: list[str]) -> None:
    """Render one worker's range and print the size of every finished chunk."""
    path, variant, split = arguments[:3]
    seed, first, stop = map(int, arguments[3:])
    target = np.load(path, mmap_mode="r+")
    spec = RenderSpec(variant, split, seed, size=len(target), image_size=target.shape[1])
    for start in range(first, stop, IMAGES_PER_CHUNK):
        print(render_range(target, spec, start, min(start + IMAGES_PER_CHUNK, stop)), flush=True)
    target.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
