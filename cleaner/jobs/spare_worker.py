"""The process side of a spare worker (`jobs.spare`): load the libraries, measure durations, wait for a run."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from cleaner.jobs import process
from cleaner.loading import loading_libraries

DEVICE_RETRY_SECONDS = 0.5
"""Seconds between two attempts to measure while a run uses the device."""


class SpareWorker:
    """Reads the orders of its server. The libraries load in a second thread, so that a run is accepted at any time."""

    def __init__(self) -> None:
        self._requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.current_thread()
        self._orders = process.take_input()

    def wait_for_run(self) -> Path | None:
        """Return the folder of the run to execute; None once the server is gone or needs no spare."""
        self._thread = threading.Thread(target=self._prepare, name="prepare", daemon=True)
        self._thread.start()
        for line in iter(self._orders.readline, b""):
            order = json.loads(line)
            if "run" in order:
                self._requests.put(None)
                process.redirect_output(Path(order["log"]))
                return Path(order["run"])
            self._requests.put(order["measure"])
        return None

    def rest(self) -> None:
        """Become as before the run that has ended: no log, ended by signals, with little memory."""
        process.redirect_output(Path(os.devnull))
        for name in ("SIGTERM", "SIGINT"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        from cleaner.models.devices import release_freed_memory

        release_freed_memory()

    def finish_preparing(self) -> None:
        """Wait until the libraries are loaded and a measurement has stopped; two threads must not import at once."""
        self._thread.join()

    def _prepare(self) -> None:
        try:
            load_libraries()
            while (request := self._requests.get()) is not None:
                self._measure(request)
        except Exception:  # the run will fail in the same way, and report it
            traceback.print_exc()

    def _measure(self, request: dict[str, Any]) -> None:
        """Measure a request while no run uses the device; stop for a run, and for a later request."""
        from cleaner.jobs import timing
        from cleaner.models.devices import empty_gpu_cache, release_freed_memory

        while self._requests.empty():
            is_measured = timing.measure(request, lambda: not self._requests.empty())
            empty_gpu_cache()  # an idle process needs no memory; a run of another one does
            release_freed_memory()
            if is_measured:
                break
            time.sleep(DEVICE_RETRY_SECONDS)
        timing.prepare_defenses(request, lambda: not self._requests.empty())


def load_libraries() -> None:
    """Load what every run needs: torch, the models, the methods, the explainers of its film, the lexicon."""
    with loading_libraries():
        from cleaner.explain import EXPLAINERS
        from cleaner.jobs import execution  # noqa: F401
        from cleaner.text import parse

        list(EXPLAINERS)
        parse("a red car on the grass")
