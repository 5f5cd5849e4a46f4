"""Pictures on disk: rendered once, by several processes, into one uint8 file that is put in place whole."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cleaner.data.scenery.facts import SCENES_VERSION, make_scene
from cleaner.data.scenery.render import render
from cleaner.files import atomic_write, cache_root, source_root
from cleaner.types import OnStep, StepReport

IMAGES_PER_CHUNK = 250
_MAX_IN_PROCESS = 600  # fewer pictures than this are rendered here: starting processes would take longer


def default_cache_dir() -> Path:
    """Return the folder of Scenes in the cache."""
    return cache_root() / "scenes"


def find_cached(variant: str, split: str, seed: int, size: int, image_size: int, folder: Path) -> Path | None:
    """Return a file with at least `size` pictures: picture i does not depend on how many there are."""
    for path in folder.glob(f"{_stem(variant, split, seed, image_size)}-n*.npy"):
        match = re.fullmatch(r".*-n(\d+)", path.stem)
        if match and int(match[1]) >= size:
            return path
    return None


def _stem(variant: str, split: str, seed: int, image_size: int) -> str:
    return f"v{SCENES_VERSION}-{variant}-{split}-seed{seed}-{image_size}px"


def load_images(
    variant: str, split: str, seed: int, size: int, image_size: int, folder: Path, on_step: OnStep | None
) -> NDArray[np.uint8]:
    """Return at least `size` pictures (N, H, W, 3) as a read-only memory map, rendering them if no file has them."""
    found = find_cached(variant, split, seed, size, image_size, folder)
    if found is None:
        found = folder / f"{_stem(variant, split, seed, image_size)}-n{size}.npy"
        with atomic_write(found, "Set CLEANER_CACHE to a folder for pictures that can be written.") as temporary:
            _render_all(temporary, variant, split, seed, size, image_size, on_step)
    return np.asanyarray(np.load(found, mmap_mode="r"))


def _render_all(
    path: Path, variant: str, split: str, seed: int, size: int, image_size: int, on_step: OnStep | None
) -> None:
    shape = (size, image_size, image_size, 3)
    start = time.perf_counter()
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if on_step:
            on_step(StepReport("render", done, size, time.perf_counter() - start))

    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    target.flush()
    workers = min(os.cpu_count() or 1, 8, -(-size // IMAGES_PER_CHUNK))
    if size <= _MAX_IN_PROCESS or workers == 1:
        for first in range(0, size, IMAGES_PER_CHUNK):
            report(render_range(target, variant, split, seed, first, min(first + IMAGES_PER_CHUNK, size)))
        target.flush()
        return
    del target
    # Plain processes rather than multiprocessing: nothing is forked from a process with threads, and the caller's
    # main module (a script without a guard, a Streamlit page) is not imported again.
    messages: queue.Queue[int | None] = queue.Queue()
    bounds = [size * i // workers for i in range(workers + 1)]
    processes = [_start_worker(path, variant, split, seed, bounds[i], bounds[i + 1], messages) for i in range(workers)]
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
    path: Path, variant: str, split: str, seed: int, first: int, stop: int, messages: queue.Queue[int | None]
) -> subprocess.Popen[str]:
    root = str(source_root())
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }
    command = [sys.executable, "-m", __name__, str(path), variant, split, str(seed), str(first), str(stop)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def listen() -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                messages.put(int(line))
        messages.put(None)

    threading.Thread(target=listen, daemon=True).start()
    return process


def render_range(target: NDArray[np.uint8], variant: str, split: str, seed: int, first: int, stop: int) -> int:
    """Render pictures first..last-1 into target[first:last]; returns how many."""
    for i in range(first, stop):
        target[i] = render(make_scene(split, seed, i, variant), target.shape[1])
    return stop - first


def main(arguments: list[str]) -> None:
    path, variant, split, seed, first, last = arguments
    target = np.load(path, mmap_mode="r+")
    for start in range(int(first), int(last), IMAGES_PER_CHUNK):
        print(
            render_range(target, variant, split, int(seed), start, min(start + IMAGES_PER_CHUNK, int(last))), flush=True
        )
    target.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
