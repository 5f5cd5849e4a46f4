"""Learning rates are chosen by accuracy alone, within grid and budget."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from benchmarks import learning_rates
from benchmarks.learning_rates import TRAINING_BUDGET, append_trial, choose_rates, find_trial, read_trials

GRID = (1e-4, 3e-4, 1e-3)


def trial(lr: float, ca: float, asr: float = 0.5) -> dict[str, Any]:
    return {"model": "rn", "defense": "finetune", "lr": lr, "ca": ca, "backdoored_ca": 0.99, "asr": asr}


def test_the_largest_affordable_rate_is_chosen_regardless_of_asr() -> None:
    trials = [trial(1e-3, 0.96, asr=0.0), trial(3e-4, 0.971, asr=0.9), trial(1e-4, 0.98, asr=0.1)]
    assert choose_rates(trials, GRID) == ({"rn": {"finetune": 3e-4}}, [])


def test_the_most_accurate_rate_is_chosen_and_marked_if_none_is_affordable() -> None:
    trials = [trial(1e-3, 0.90), trial(3e-4, 0.95), trial(1e-4, 0.94)]
    assert choose_rates(trials, GRID) == ({"rn": {"finetune": 3e-4}}, [["rn", "finetune"]])
    assert choose_rates(trials[:2], GRID) == ({}, [])  # incomplete: no choice yet


def test_rates_outside_the_grid_are_ignored() -> None:
    trials = [trial(3e-3, 0.98), trial(1e-3, 0.96), trial(3e-4, 0.975)]
    assert choose_rates(trials, GRID)[0] == {"rn": {"finetune": 3e-4}}


def test_a_loss_of_exactly_the_budget_is_affordable_in_float32() -> None:
    before, after = float(np.float32(0.98)), float(np.float32(0.96))
    assert before - after > 0.02
    trials = [{**trial(1e-3, after), "backdoored_ca": before}, trial(3e-4, 0.99)]
    assert choose_rates(trials, GRID)[0] == {"rn": {"finetune": 1e-3}}


def test_trials_against_another_backdoored_model_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    old, here, other = trial(1e-3, 0.96), trial(3e-4, 0.965), trial(3e-4, 0.975)
    trials = [t | TRAINING_BUDGET for t in (other | {"suspect_sha256": "b"}, old, here | {"suspect_sha256": "a"})]
    monkeypatch.setattr(learning_rates, "read_trials", lambda: trials)
    assert find_trial("rn", "finetune", 3e-4, "a") == trials[2]
    assert find_trial("rn", "finetune", 3e-4, "b") == trials[0]
    assert find_trial("rn", "finetune", 3e-4, "c") is None
    assert find_trial("rn", "finetune", 1e-3, "c") == trials[1], "an older trial does not record its model"
    trials.append(trial(1e-4, 0.972) | {"suspect_sha256": "a"})
    assert choose_rates(trials, GRID)[0] == {"rn": {"finetune": 1e-4}}


def test_the_stored_choice_follows_from_the_stored_trials() -> None:
    stored = json.loads(learning_rates.RESULT_PATH.read_text(encoding="utf-8"))
    chosen, lost = choose_rates(learning_rates.current_trials(stored["trials"]))
    assert (chosen, lost) == (stored["chosen"], stored["lost_accuracy"])


def test_trials_of_two_threads_are_both_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_slowly() -> list[dict[str, Any]]:
        trials = read_trials()
        time.sleep(0.1)
        return trials

    monkeypatch.setattr(learning_rates, "RESULT_PATH", tmp_path / "learning_rates.json")
    monkeypatch.setattr(learning_rates, "read_trials", read_slowly)
    threads = [Thread(target=append_trial, args=[trial(lr, 0.98) | TRAINING_BUDGET]) for lr in GRID]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(t["lr"] for t in read_trials()) == sorted(GRID)
