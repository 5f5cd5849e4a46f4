"""The server leaves the processor to a training on this machine."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cleaner.config import FinetuneConfig
from cleaner.jobs import process
from cleaner.runs.request import Request
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import create_run
from pages._shared import cache
from pages._shared.cache import processor
from pages._shared.runs import jobs


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    processor._defaults.clear()
    torch.set_num_threads(2)
    yield
    processor._defaults.clear()
    torch.set_num_threads(before)


def count_threads_elsewhere() -> int:
    """Return the threads of torch as another page run, in its own thread, has them."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_pages_compute_with_one_thread_during_a_training() -> None:
    cache.yield_to_training(False)
    assert torch.get_num_threads() == 2
    cache.yield_to_training(True)
    assert (torch.get_num_threads(), count_threads_elsewhere()) == (1, 1)
    cache.yield_to_training(True)
    cache.yield_to_training(False)
    assert (torch.get_num_threads(), count_threads_elsewhere()) == (2, 2)


@pytest.mark.parametrize(
    ("values", "is_busy"),
    [
        ({"state": "running", "device": "cpu"}, True),
        ({"state": "running", "device": "cpu", "host": "elsewhere"}, False),
        ({"state": "running", "device": "cuda"}, False),
        ({"state": "running", "device": "cpu", "place": "slurm"}, False),
        ({"state": "queued", "device": "cpu"}, False),
        ({"state": "done", "device": "cpu"}, False),
    ],
)
def test_only_a_running_job_on_this_processor_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], is_busy: bool
) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    folder = create_run(Request("backdoored", "scenes", 500, FinetuneConfig(), "scenes-rn", trigger={"name": "badnet"}))
    monkeypatch.setattr(process, "is_alive", lambda folder, status: True)
    write_status(folder, Status(**{"host": socket.gethostname(), **values}))
    assert jobs.is_processor_busy() == is_busy
