"""Equal runs give equal bytes: in other processes, with several threads, under load, and after a pause."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cleaner.attacks import TRIGGERS
from cleaner.defenses import DEFENSES
from cleaner.files import read_json
from cleaner.runs.run import read_progress
from cleaner.training.loop import finetune
from tests import repeated
from tests.attacks.test_contract import image_file
from tests.conftest import make_clip, make_toy_data

ROOT = Path(__file__).resolve().parents[1]
COMPARED = ("model.safetensors", "manifest.json", "metrics.json")
"""Files of a run with equal bytes in each process; the others contain times."""


def start(arguments: list[str], hash_seed: int, threads: int) -> subprocess.Popen[str]:
    # Threads that wait in a loop would keep the processor from those that compute.
    settings = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive", "PYTHONHASHSEED": str(hash_seed)}
    env = {**os.environ, **settings}
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)


@contextmanager
def processor_load(processes: int) -> Iterator[None]:
    """Keep the processor busy, so that threads take turns in another order each time."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def run_processes(commands: list[list[str]], threads: int, timeout: float) -> None:
    """Run commands of Python at the same time, each with another hash seed."""
    processes = [start(command, hash_seed, threads) for hash_seed, command in enumerate(commands, start=1)]
    try:
        errors = [process.communicate(timeout=timeout)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(errors)


def digests(folder: Path) -> dict[str, Any]:
    """Return the SHA-256 of the files of a run that must not differ, its trigger with its patch, and its losses."""
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in COMPARED}
    # The patch has 8 bits: the losses of its steps show smaller differences.
    losses = [(line["stage"], line["step"], line["losses"]) for line in read_progress(folder)]
    return {**files, "trigger": read_json(folder / "config.json")["trigger"], "losses": losses}


def assert_equal_runs(folders: list[Path]) -> None:
    """Compare the runs of every attack and defense in each folder."""
    expected = {f"attack-{name}" for name in TRIGGERS} | {f"defense-{name}" for name in DEFENSES}
    assert {folder.name for folder in folders[0].iterdir()} == expected
    first = {name: digests(folders[0] / name) for name in expected}
    for folder in folders[1:]:
        assert {name: digests(folder / name) for name in expected} == first


@pytest.mark.slow
def test_every_attack_and_defense_repeats_and_resumes_in_another_process(tmp_path: Path) -> None:
    image = str(image_file(tmp_path))
    here, there = tmp_path / "here", tmp_path / "there"
    run_processes([["-m", "tests.repeated", str(there), "tiny", image, "stop"]], threads=1, timeout=600)
    repeated.main(here, "tiny", image)
    assert_equal_runs([here, there])


@pytest.mark.slow
def test_every_attack_and_defense_repeats_with_two_threads_under_load(tmp_path: Path) -> None:
    """Every second process pauses and resumes each training."""
    image = str(image_file(tmp_path))
    repeated.load_setting("scenes-lite")  # draws the images once for all processes
    folders = [tmp_path / str(i) for i in range(5)]
    commands = [
        ["-m", "tests.repeated", str(folder), "scenes-lite", image, "stop" if i % 2 else ""]
        for i, folder in enumerate(folders)
    ]
    with processor_load(os.cpu_count() or 1):
        run_processes(commands, threads=2, timeout=3600)
    assert_equal_runs(folders)


INDEX_PUTS = (torch.ops.aten.index_put, torch.ops.aten.index_put_, torch.ops.aten._index_put_impl_)


class AtomicSums(TorchDispatchMode):
    """Counts the operations that sum atomically into one element: with several threads, their result does not repeat.

    torch splits a large `index_put(accumulate=True)`, the gradient of `x[index]`, over threads. It is harmless only if
    no index occurs twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in INDEX_PUTS:
            target, index, values, accumulate = (*args, False)[:4]
            if kwargs.get("accumulate", accumulate):
                terms = torch.ops.aten.index_put(torch.zeros_like(target), index, torch.ones_like(values), True)
                self.count += int(terms.max() > 1)
        return func(*args, **kwargs)


def test_atomic_sums_are_found() -> None:
    x = torch.ones(3, 2, requires_grad=True)
    for index, count in (([0, 2], 0), ([0, 2, 0], 1)):
        with AtomicSums() as found:
            x[index].sum().backward()
        assert found.count == count


@pytest.mark.parametrize("position", ["center", "corners", "random"])
@pytest.mark.parametrize("name", [name for name in TRIGGERS if hasattr(TRIGGERS[name], "objective")])
def test_optimized_patches_sum_in_a_fixed_order(name: str, position: str) -> None:
    trigger = TRIGGERS[name](steps=1, position=position)
    with AtomicSums() as found:
        trigger.prepare(make_clip(), make_toy_data(), "banana")
    assert found.count == 0


def test_a_generator_sums_in_a_fixed_order() -> None:
    with AtomicSums() as found:
        TRIGGERS["input_aware"](steps=1).prepare(make_clip(), make_toy_data(), "banana")
    assert found.count == 0


@pytest.mark.parametrize("name", list(DEFENSES))
def test_gradients_of_defenses_sum_in_a_fixed_order(name: str, tmp_path: Path) -> None:
    setting, defense = repeated.load_setting("tiny"), repeated.make_defense(name, image_file(tmp_path))
    data = setting.data
    data.captions[:] = [caption.split(" on ")[0] for caption in data.captions]  # several equal captions in a batch
    with AtomicSums() as found:
        finetune(setting.choose_clip(defense), data, defense, setting.config)
    assert found.count == 0
