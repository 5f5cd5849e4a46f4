"""Tables of the detectors: mean and range over seeds, gaps, thresholds, and the model trained again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import detection, plots
from benchmarks.markdown import detection_tables
from benchmarks.rows import read_rows
from tests.benchmarks.result_files import write_result

CLIP_SCORE = {"auroc": 0.9, "interval": [0.8, 1.0], "auroc_by_size": []}


def make_row(trigger: str, seed: int, auroc: float, *, has_images: bool = True) -> dict[str, Any]:
    figures = {"auroc": auroc, "interval": [auroc - 0.01, auroc + 0.01]}
    thresholds = [
        {"allowed": a, "threshold": 0.1, "false_alarms": 2 * a, "caught": auroc / 2, "f1": 0.25} for a in (0.01, 0.05)
    ]
    metrics = {"asr": {"1": 0.02}, "ca": {"1": 0.98}}
    return {
        "model": "scenes-lite",
        "trigger": trigger,
        "seed": seed,
        "config": {"pairs": 6000},
        "images": 1000,
        "device": "cpu",
        "commit": "abc",
        "metrics": {"asr": {"1": 0.9}, "ca": {"1": 0.99}},
        "pairs": {"dao": {**figures, "auroc_by_size": [[64, auroc], [256, auroc / 2]]}, "clip_score": CLIP_SCORE},
        "image": {"masking": {**figures, "thresholds": thresholds}} if has_images else {},
        "retrained": {"detector": "dao", "flagged": 600, "caught": 170 - seed, "poisoned": 180, "metrics": metrics},
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = [make_row("badnet", 0, 0.9), make_row("badnet", 1, 0.8), make_row("sig", 0, 0.3, has_images=False)]
    write_result(tmp_path, "detection.json", rows=rows)
    return tmp_path


def test_seeds_show_mean_and_range_and_one_seed_its_interval(root: Path) -> None:
    table = detection_tables.detection(root)
    assert "seeds 0, 1; n 6,000 pairs, 1,000 test images; cpu; commit abc;" in table
    assert "| attack | DAO | CLIP score | Masking (image) |" in table
    assert "| BadNet patch | 0.85 [0.80, 0.90] | 0.90 [0.90, 0.90] | 0.85 [0.80, 0.90] |" in table
    assert "| Sine wave (SIG) | 0.30 [0.29, 0.31] | 0.90 [0.80, 1.00] | - |" in table


def test_training_again_shows_before_and_after(root: Path) -> None:
    table = detection_tables.detection_retrained(root)
    assert "| Sine wave (SIG) | DAO | 600 | 94% | 0.900 | 0.020 | 0.990 | 0.980 |" in table
    assert "| BadNet patch | DAO | 600 | 94% [94%, 94%] | 0.900 [0.900, 0.900] | 0.020 [0.020, 0.020] |" in table


def test_a_second_call_measures_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def measure_row(model: str, attack: str, seed: int) -> dict[str, Any]:
        measured.append(seed)
        return make_row(attack, seed, 0.9)

    monkeypatch.setattr(detection, "RESULT_PATH", tmp_path / "detection.json")
    monkeypatch.setattr(detection, "measure_row", measure_row)
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    for seeds in ((4,), (4, 3)):
        detection.main(detection.Options(attacks=("badnet",), seeds=seeds))
    assert measured == [4, 3]
    assert [row["seed"] for row in read_rows(detection.RESULT_PATH)] == [3, 4]
    assert set(threads) == {1}, "as the stored models of protocol 2"


def test_heatmap_is_centered_on_chance() -> None:
    heatmap = plots.draw_heatmap(["BadNet"], ["DAO", "Masking"], [[0.9, None]]).data[0]
    assert (heatmap.zmin, heatmap.zmid, heatmap.zmax) == (0, 0.5, 1)
    assert list(heatmap.text[0]) == ["0.90", ""]
