"""Distributed training: two processes train as one and stop together."""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES
from cleaner.jobs import execution, worker
from cleaner.models.clip import load_clip, save_clip
from cleaner.runs.request import Request
from cleaner.runs.run import read_progress
from cleaner.runs.status import Status, read_status, write_status
from cleaner.runs.store import create_run
from cleaner.training import distributed
from cleaner.types import CleanerError
from tests import ranks
from tests.conftest import make_clip
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


def torchrun(python: str, module: str, argument: Path, patience: float = 240) -> list[str]:
    """Run a module in two processes as torchrun does; return the stderr of each."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [python, "-m", module, str(argument)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=patience)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return said


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, warm_command: str) -> list[dict[str, Any]]:
    """The results of two processes of `tests/ranks.py`."""
    out = tmp_path_factory.mktemp("ranks")
    torchrun(warm_command, "tests.ranks", out)
    return [torch.load(out / f"rank{rank}.pt") for rank in range(2)]


def test_every_defense_has_a_case() -> None:
    assert {name for _, name in ranks.CASES} == set(DEFENSES)


@pytest.mark.parametrize(("kind", "name"), ranks.CASES)
def test_two_processes_train_as_one(results: list[dict[str, Any]], kind: str, name: str) -> None:
    alone = ranks.train(kind, name)
    first, second = (found[f"{kind} {name}"] for found in results)
    assert len(alone["losses"]) == ranks.CONFIG.steps
    for here, there in zip(alone["losses"], first["losses"], strict=True):
        assert here == pytest.approx(there, abs=1e-5)
    before = DEFENSES[name]().prepare(make_clip(kind), ranks.CONFIG.seed).model.state_dict()
    moved = 0.0
    for key, weight in alone["weights"].items():
        assert torch.equal(first["weights"][key], second["weights"][key])
        ours, theirs = without_key_bias(key, weight), without_key_bias(key, first["weights"][key])
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-4), key
        moved = max(moved, (weight - before[key]).abs().max().item())
    assert moved > 2e-3  # the tolerance is small compared with the change of six steps


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scenes-vit", "scenes-rn"])
def test_two_processes_train_a_built_in_model_as_one(
    kind: str, tmp_path: Path, warm_command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KINDS", kind)
    torchrun(warm_command, "tests.ranks", tmp_path, 1500)
    both = torch.load(tmp_path / "rank0.pt", mmap=True)
    # Not from `ranks.CASES`: this process imported it before KINDS was set.
    names = [key.removeprefix(f"{kind} ") for key in both if key.startswith(f"{kind} ")]
    assert {"ta_cleaner", "cleanclip"} <= set(names)
    for name in names:
        before = DEFENSES[name]().prepare(load_clip(kind), ranks.CONFIG.seed).model.state_dict()
        alone, first = ranks.train(kind, name), both[f"{kind} {name}"]
        for here, there in zip(alone["losses"], first["losses"], strict=True):
            assert here == pytest.approx(there, abs=5e-3), name
        # Compared as a whole: Adam moves a single weight by the full rate even if its gradient is only rounding.
        apart = moved = 0.0
        for key, weight in alone["weights"].items():
            if weight.is_floating_point():
                ours, theirs = without_key_bias(key, weight), without_key_bias(key, first["weights"][key])
                apart += (ours - theirs).double().square().sum().item()
                moved += (ours - without_key_bias(key, before[key])).double().square().sum().item()
        assert (apart / moved) ** 0.5 < 0.02, name


def without_key_bias(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return a weight without key biases: their gradient is zero up to rounding, which Adam amplifies."""
    if name.endswith("in_proj_bias"):
        query, _, value = weight.chunk(3)
        return torch.cat([query, value])
    return weight[:0] if name.endswith("k_proj.bias") else weight


def test_rank_zero_reports_and_cancels_all(results: list[dict[str, Any]]) -> None:
    first, second = results
    assert first["reported"] == list(range(1, 7))  # paused after the fourth step, and resumed
    assert second["reported"] == []
    assert first["computed"] == second["computed"] == 10


def test_worker_in_two_processes(tmp_path: Path, warm_command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    model = save_clip(make_clip(), tmp_path / "tiny.safetensors")
    config = FinetuneConfig(epochs=2, batch_size=16, precision="fp32", device="cpu", augmentation="none")
    defense = {"name": "cleanclip"}
    folder = create_run(Request("defended", "scenes", 48, config, str(model), defense=defense, test_size=40))
    torchrun(warm_command, "cleaner.worker", folder)
    assert read_status(folder).state == "done"
    assert [r["step"] for r in read_progress(folder)][-1] == 6
    assert '"processes": 2' in (folder / "config.json").read_text()


def test_split_batch_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distributed.split_batch([3, 1, 2]) == [[3, 1, 2]]
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    for count in (3, 7, 64):
        parts = distributed.split_batch(list(range(count)))
        assert [row for part in parts for row in part] == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert min(map(len, parts)) >= 1


def test_prepare_model_rejects_what_cannot_be_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_clip("rn").model
    assert distributed.prepare_model(model, 1, freeze_bn=False) is model
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(CleanerError, match="cannot be shared by 2 processes"):
        distributed.prepare_model(model, 1, freeze_bn=True)
    with pytest.raises(CleanerError, match="set freeze_bn"):
        distributed.prepare_model(model, 16, freeze_bn=False)
    assert distributed.prepare_model(model, 16, freeze_bn=True) is model
    assert distributed.prepare_model(make_clip("vit").model, 16, freeze_bn=False) is not None


def test_more_processes_than_gpus_are_refused_on_every_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 too, which reports the error: it would wait for the others, and be killed without a message."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda card: pytest.fail("it would join the others"))
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    for card in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", card)
        with pytest.raises(CleanerError, match="has 1 GPUs"):
            distributed.join_process_group("auto")


@pytest.mark.parametrize(("state", "raises"), [("paused", False), ("cancelled", False), ("running", True)])
def test_who_follows_ends_well_where_the_first_process_has_stopped(
    state: str, raises: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perform(*_: object, **__: object) -> None:
        raise RuntimeError("Connection closed by peer")

    write_status(tmp_path, Status(state))
    for name in ("load_request", "join_process_group"):
        monkeypatch.setattr(worker, name, lambda _: None)
    monkeypatch.setattr(execution, "execute_request", perform)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    monkeypatch.setattr(worker.threading, "Thread", lambda **_: SimpleNamespace(start=lambda: None))
    with pytest.raises(RuntimeError) if raises else nullcontext():
        assert worker.run_secondary_rank(tmp_path) == 0


def test_single_process_calls_change_nothing() -> None:
    rows = torch.rand(6, 2, requires_grad=True)
    first, second = distributed.gather(rows, [[4, 2]])
    assert torch.equal(torch.cat([first, second]), rows)
    assert distributed.run_on_rank_zero(lambda: 3) == 3
    distributed.join_process_group("cpu")
    assert (distributed.world_size(), distributed.rank(), distributed.is_rank_zero()) == (1, 0, True)
