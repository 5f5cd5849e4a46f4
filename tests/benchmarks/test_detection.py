"""Tables of the detectors: mean and range over seeds, gaps, thresholds, and the model trained again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import detection, plots
from benchmarks.rows import read_rows

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
