"""benchmarks.scale: counted operations, measured loading, and the formula of docs/scale.md on round figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.markdown import scale_tables
from cleaner.data.base import load_data
from tests.benchmarks.result_files import write_result

MODEL = {"parameters": 1e9, "width": 512, "image": 1e9, "text": 1e8}
LOADER = {"decode": 16e-3, "augment": 2e-3, "subtexts": 1e-3}


def test_a_pair_costs_three_forward_passes_of_its_images_and_texts() -> None:
    operations = {m: scale_tables.count_pair_operations(MODEL, m) for m in scale_tables.METHODS}
    assert operations["poison"] == pytest.approx(3 * (1e9 + 1e8))
    assert operations["cleanclip"] == 2 * operations["poison"]
    assert operations["ta_cleaner, K 100%"] - operations["cleanclip"] == pytest.approx(3 * 4e8)
    seconds = 5e6 * operations["poison"] / (312e12 * 0.25)
    assert scale_tables.count_hours(MODEL, "poison", 0.25) == pytest.approx(seconds / 3600)
    assert scale_tables.count_hours(MODEL, "cleanclip", 0.25) == pytest.approx(seconds * 2 / 5 / 3600)


def test_the_loader_is_bound_by_its_thread_or_by_decoding() -> None:
    rates = {m: scale_tables.count_loaded_pairs(LOADER, m) for m in scale_tables.METHODS}
    assert list(rates.values()) == pytest.approx([1000, 500, 1 / 2.1e-3, 1 / 3e-3])


def test_operations_are_those_of_the_architecture() -> None:
    model = scale.count_operations("ViT-B-32", tokens=77)
    assert model["parameters"] == 151_277_313
    assert model["image"] == pytest.approx(8.8e9, rel=0.02)  # 4.4 G multiply-adds, as published
    assert scale.count_operations("ViT-B-32", tokens=7.7)["text"] == pytest.approx(model["text"] / 10)


def test_texts_count_with_the_padding_of_a_step() -> None:
    captions = load_data("scenes", split="clean", size=scale.BATCH).captions
    assert 5 < scale.count_tokens(captions) < scale.CONTEXT_LENGTH
    assert scale.count_tokens([f"{caption} and a dog" for caption in captions]) > scale.count_tokens(captions)


def test_measures_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEANER_TEST_DATA", raising=False)
    monkeypatch.setattr(scale, "MODELS", ("RN50",))
    scale.main(scale.Options(out=tmp_path / "scale.json"))
    result = json.loads((tmp_path / "scale.json").read_text())
    assert result["captions"] == "Scenes"
    assert all(0 < seconds < 1 for seconds in result["loader"].values())
    write_result(tmp_path, "scale.json", **result | {"models": {"Mine": MODEL}, "loader": LOADER})
    table = scale_tables.scale(tmp_path)
    assert "| `Mine` | 1.0 / 0.1 |" in table
    assert "| 16.0 GB | 7.0 GB |" in table
    assert "500 (`cleanclip`)" in table
