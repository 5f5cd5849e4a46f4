"""Cache of rendered images: one uint8 file per split, rendered in parallel, written atomically."""

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cleaner.data.scenery.facts import SCENES_VERSION, make_scene
from cleaner.data.scenery.render import render
from cleaner.files import atomic_write, cache_root, child_environment
from cleaner.types import CleanerError, OnStep, StepReport

IMAGES_PER_CHUNK = 100
REPORT_SECONDS = 0.2
"""Longest time between two calls of `on_step` while processes render, so that it can stop them soon."""
_MAX_IN_PROCESS = 600
"""Up to this many images are rendered in this process: starting workers would take longer."""
_READY = -1
"""What a worker prints once it has loaded."""


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
    count, path = _find_longest(spec, folder)
    return path if count >= spec.size else None


def _find_longest(spec: RenderSpec, folder: Path) -> tuple[int, Path | None]:
    """Return the number of images of the file that has most of them, and its path; 0 and None without a file."""
    counts = {path: re.fullmatch(r".*-n(\d+)", path.stem) for path in folder.glob(f"{spec.stem}-n*.npy")}
    return max(((int(match[1]), path) for path, match in counts.items() if match), default=(0, None))


def load_images(spec: RenderSpec, folder: Path, on_step: OnStep | None) -> NDArray[np.uint8]:
    """Return a memory map of at least `spec.size` images (N, H, W, 3); an interrupted rendering continues."""
    path = find_cached(spec, folder)
    if path is None:
        path = _path_of(spec, folder, spec.size)
        try:
            with _atomic_write(path) as temporary:
                _render_all(temporary, spec, folder, on_step)
        except CleanerError:
            if not path.exists():  # on Windows: another process has written and mapped the same images meanwhile
                raise
    return np.asanyarray(np.load(path, mmap_mode="r"))


def _path_of(spec: RenderSpec, folder: Path, count: int) -> Path:
    return folder / f"{spec.stem}-n{count}.npy"


def _atomic_write(path: Path) -> AbstractContextManager[Path]:
    return atomic_write(path, "Set CLEANER_CACHE to a writable folder for the images.")


def _render_all(path: Path, spec: RenderSpec, folder: Path, on_step: OnStep | None) -> None:
    """Write all images to `path`; copy those of a smaller file in `folder`, and leave such a file when stopped."""
    first, smaller = _find_longest(spec, folder)
    shape = (spec.size, spec.image_size, spec.image_size, 3)
    target = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        # The file is sparse: on a full disk, a write to its map would kill the process (SIGBUS) instead of raising.
        with path.open("r+b") as sparse:
            os.posix_fallocate(sparse.fileno(), 0, path.stat().st_size)
    if smaller is not None:
        target[:first] = np.load(smaller, mmap_mode="r")
    target.flush()
    missing = {chunk: min(chunk + IMAGES_PER_CHUNK, spec.size) - chunk for chunk in _chunks(spec, first)}

    began = time.perf_counter()

    def report(chunk: int | None) -> None:
        left = sum(count for start, count in missing.items() if start != chunk)
        if on_step:
            on_step(StepReport("render", total - left, total, time.perf_counter() - began))
        if chunk is not None:
            del missing[chunk]

    total = spec.size - first
    workers = min(os.cpu_count() or 1, 8, len(missing))
    try:
        if total <= _MAX_IN_PROCESS or workers == 1:
            for chunk in list(missing):
                render_chunk(target, spec, chunk)
                report(chunk)
        else:
            with closing(_render_in_workers(path, spec, first, workers)) as messages:
                for message in messages:
                    if message == _READY:
                        began = time.perf_counter()  # the rate of the images tells how long the rest takes
                    else:
                        report(message)
    except BaseException:
        if (done := min(missing, default=first)) > first:
            with suppress(CleanerError), _atomic_write(_path_of(spec, folder, done)) as part, part.open("wb") as file:
                np.save(file, target[:done])
        del target  # the traceback keeps this frame, and Windows deletes no file that is mapped
        raise
    target.flush()


def _chunks(spec: RenderSpec, first: int) -> range:
    """Return the first image of each chunk from image `first` on."""
    return range(first, spec.size, IMAGES_PER_CHUNK)


def _render_in_workers(path: Path, spec: RenderSpec, first: int, workers: int) -> Generator[int | None]:
    """Render from `first` on in processes; yield each chunk's start, `_READY` per worker, None meanwhile."""
    # Plain processes rather than multiprocessing: no process with threads is forked, and the caller's main module
    # (a script without a guard, a Streamlit page) is not imported a second time.
    messages: queue.Queue[int | None] = queue.Queue()
    processes = [_start_worker(path, spec, _chunks(spec, first)[i::workers], messages) for i in range(workers)]
    try:
        running = workers
        while running:
            try:
                message = messages.get(timeout=REPORT_SECONDS)
            except queue.Empty:
                yield None
            else:
                if message is None:
                    running -= 1
                else:
                    yield message
        for process in processes:
            if process.wait():
                raise RuntimeError(f"a rendering process ended with exit code {process.returncode}")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start_worker(
    path: Path, spec: RenderSpec, chunks: range, messages: queue.Queue[int | None]
) -> subprocess.Popen[str]:
    """Start a process that renders chunks; put what it prints into `messages`, then None."""
    environment = {
        **child_environment(),
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }
    arguments = [str(path), spec.variant, spec.split, *map(str, (spec.seed, chunks.start, chunks.step))]
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


def render_chunk(target: NDArray[np.uint8], spec: RenderSpec, first: int) -> None:
    """Render a chunk of images into target[first:]."""
    for i in range(first, min(first + IMAGES_PER_CHUNK, spec.size)):
        target[i] = render(make_scene(spec.split, spec.seed, i, spec.variant), spec.image_size)


def main(arguments: list[str]) -> None:
    """Render one worker's chunks; print `_READY`, then each one's first image when it is finished."""
    path, variant, split = arguments[:3]
    seed, first, step = map(int, arguments[3:])
    target = np.load(path, mmap_mode="r+")
    spec = RenderSpec(variant, split, seed, size=len(target), image_size=target.shape[1])
    print(_READY, flush=True)
    for chunk in range(first, spec.size, step):
        render_chunk(target, spec, chunk)
        print(chunk, flush=True)
    target.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
