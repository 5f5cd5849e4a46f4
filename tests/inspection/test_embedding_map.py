"""Maps of runs: all models in the same axes, kept whole with the run, made again where they are missing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.inspection import embedding_map
from cleaner.jobs import map_worker
from cleaner.runs.store import RunRecord, list_shipped_runs
from cleaner.types import CleanerError
from tests.conftest import make_clip, make_toy_data
from tests.pages.runs import make_runs


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    return make_runs(tmp_path)


def test_figures_and_places_are_those_of_the_models() -> None:
    from cleaner.inspection.features import (
        compute_embedding_metrics,
        compute_feature_shifts,
        concatenate_features,
        extract_features,
    )
    from cleaner.inspection.projection import Projection

    data, trigger = make_toy_data(), TRIGGERS["badnet"]()
    clips = {"clean": make_clip("vit", 0), "backdoored": make_clip("vit", 1)}
    found, features = embedding_map.compute_map(clips, data, trigger, "banana")
    each = [extract_features(clip, data, 48, trigger, "banana") for clip in clips.values()]
    assert found.counts == {"image": 48, "triggered": 48, "caption": 48, "prompt": 4}
    assert found.metrics == [compute_embedding_metrics(layer, data.labels, 1) for layer in each]
    assert found.attack_success == [layer.attack_success.tolist() for layer in each]
    np.testing.assert_allclose(found.shifts[0]["caption"], compute_feature_shifts(*each)["caption"], atol=1e-5)
    np.testing.assert_array_equal(features, concatenate_features(each))
    whole = Projection("pca").fit(features)
    np.testing.assert_array_equal(found.coordinates["pca"], whole)
    np.testing.assert_array_equal(found.get_coordinates("pca", 1, "triggered"), whole[148 + 48 : 148 + 96])


def test_no_map_has_more_points_than_umap_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_map, "MAX_POINTS", 200)
    found, features = embedding_map.compute_map(
        {"clean": make_clip("vit", 0), "backdoored": make_clip("vit", 1)}, make_toy_data()
    )
    assert len(features) <= 200
    assert found.rows == list(range(32))
    assert found.prompts == [0, 1, 2, 3]


def test_few_pictures_have_a_map_too() -> None:
    found, _ = embedding_map.compute_map(
        {"clean": make_clip()}, make_toy_data().subset([0, 2]), TRIGGERS["badnet"](), "banana"
    )
    assert found.counts == {"image": 2, "triggered": 2, "caption": 2, "prompt": 3}
    assert 0 <= found.trustworthiness["pca"] <= 1


def test_data_without_classes_have_no_map() -> None:
    data = TensorData(torch.rand(4, 3, 32, 32), ["a cup"] * 4, [], [-1] * 4)
    with pytest.raises(CleanerError, match="no pictures with a class label"):
        embedding_map.compute_map({"suspect": make_clip()}, data)


def test_it_is_kept_with_the_run_and_a_broken_one_is_none(folders: tuple[Path, Path]) -> None:
    attacked, defended = folders
    assert embedding_map.read_map(defended) is None
    made = embedding_map.ensure_map(defended, attacked, with_umap=False)
    assert made.stages == ("clean", "backdoored", "defended")
    kept = embedding_map.read_map(defended)
    assert kept is not None
    np.testing.assert_array_equal(kept.coordinates["pca"], made.coordinates["pca"])
    assert (kept.metrics, kept.shifts, kept.captions) == (made.metrics, made.shifts, made.captions)
    assert embedding_map.locate_map_file(defended).parent == defended
    assert (
        embedding_map.ensure_map(defended, attacked, with_umap=False).coordinates["pca"].tobytes()
        == kept.coordinates["pca"].tobytes()
    )
    for content in (b"broken", embedding_map.locate_map_file(defended).read_bytes()[:2000], b""):
        embedding_map.locate_map_file(defended).write_bytes(content)
        assert embedding_map.read_map(defended) is None
    assert [path.name for path in defended.iterdir() if path.suffix == ".tmp"] == []


def test_a_run_that_cannot_be_written_is_kept_in_the_cache(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    embedding_map.ensure_map(folders[0], with_umap=False)
    assert (
        embedding_map.locate_map_file(folders[0])
        == tmp_path / "cache" / "runs" / folders[0].name / embedding_map.MAP_FILE
    )
    assert not (folders[0] / embedding_map.MAP_FILE).exists()
    assert embedding_map.read_map(folders[0]) is not None


def test_a_deleted_run_does_not_come_back(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = embedding_map.compute_map

    def deleted_meanwhile(*args: object, **kwargs: object) -> object:
        found = whole(*args, **kwargs)  # type: ignore[arg-type]
        os.rename(folders[0], folders[0].with_name("grave"))
        return found

    monkeypatch.setattr(embedding_map, "compute_map", deleted_meanwhile)
    embedding_map.ensure_map(folders[0], with_umap=False)
    assert not folders[0].exists()


@pytest.mark.parametrize("entry", list_shipped_runs(), ids=lambda entry: entry.folder.name)
def test_the_shipped_example_has_its_maps(entry: RunRecord) -> None:
    found = embedding_map.read_map(entry.folder)
    assert found is not None
    assert embedding_map.locate_map_file(entry.folder).parent == entry.folder
    assert set(found.coordinates) == {"pca", "umap"}
    assert found.stages == ("clean", "backdoored", "defended")[: len(found.stages)]
    assert len(found.rows) == embedding_map.MAX_IMAGES
    assert found.class_names[found.target or 0] == entry.config["target_class"]


@pytest.mark.slow
def test_umap_in_a_process_of_its_own_gives_the_same_map_each_time(folders: tuple[Path, Path]) -> None:
    found = []
    for _ in range(2):
        assert map_worker.start_map_process(folders[1], folders[0]).wait(600) == 0, map_worker.read_last_log_line(
            folders[1]
        )
        found.append(embedding_map.read_map(folders[1]))
        embedding_map.locate_map_file(folders[1]).unlink()
    assert found[0] is not None
    assert found[1] is not None
    np.testing.assert_array_equal(found[0].coordinates["umap"], found[1].coordinates["umap"])
