"""Embedding maps of runs: all models in the same axes, stored with the run, computed if missing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.evaluation.encode import Encoder
from cleaner.inspection import embedding_map
from cleaner.jobs import locks, map_worker
from cleaner.models.clip import Clip, save_clip
from cleaner.runs.record import RunRecord
from cleaner.runs.store import list_shipped_runs
from cleaner.types import CleanerError
from tests.conftest import make_clip, make_toy_data
from tests.pages.runs import make_runs


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    return make_runs(tmp_path)


def test_map_has_the_metrics_and_coordinates_of_the_models(partly_labeled: TensorData) -> None:
    from cleaner.evaluation.metrics import trustworthiness
    from cleaner.inspection.projection import project

    data, trigger = partly_labeled, TRIGGERS["badnet"](patch_size=120)
    clips = {"clean": make_clip("vit", 0), "backdoored": make_clip("vit", 1)}
    computed, features = embedding_map.compute_map(clips, data, trigger, "banana")
    rows = [row for row in range(48) if row % 3]
    assert (computed.rows, computed.captions) == (rows, [data.captions[row] for row in rows])
    assert computed.counts == {"image": 32, "triggered": 32, "caption": 32, "prompt": 4}
    is_other, captions = data.labels[rows] != 1, []
    for stage, (clip, points) in enumerate(zip(clips.values(), features.chunk(2), strict=True)):
        encoder = Encoder(clip)
        image, triggered = (encoder.encode_rows(data, torch.tensor(rows), each) for each in (None, trigger))
        captions.append(encoder.encode_texts(computed.captions))
        classifier = encoder.build_classifier(data)
        torch.testing.assert_close(points, torch.cat([image, triggered, captions[-1], classifier.T]))
        assert computed.attack_success[stage] == ((triggered @ classifier).argmax(1) == 1).tolist()
        pull = ((triggered - image)[is_other] @ classifier[:, 1]).mean().item()
        assert computed.metrics[stage]["trigger_pull"] == pytest.approx(pull, abs=1e-5)
    cosines = (captions[0] * captions[1]).sum(1)
    np.testing.assert_allclose(computed.shifts[0]["caption"], 1 - cosines, atol=2e-5)
    whole = project(features)
    np.testing.assert_array_equal(computed.coordinates["pca"], whole)
    np.testing.assert_array_equal(computed.get_coordinates("pca", 1, "triggered"), whole[100 + 32 : 100 + 64])
    expected = trustworthiness(features, torch.tensor(whole), k=15)
    assert computed.trustworthiness["pca"] == pytest.approx(expected, abs=1e-4)


def test_without_an_attack_only_the_shown_classes_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, whole, encoded = make_clip("vit", 0), make_toy_data(), []
    rows = (whole.labels == 2).nonzero().flatten().tolist()
    captions = [whole.captions[i] for i in rows]
    data = TensorData(whole.images(rows), captions, whole.class_names, [2] * len(rows))
    expected = Encoder(clip).build_classifier(data)[:, 2]
    encode = clip.encode_text
    monkeypatch.setattr(clip, "encode_text", lambda texts: encoded.extend(texts) or encode(texts))
    computed, features = embedding_map.compute_map({"suspect": clip}, data)
    assert computed.prompts == [2]
    torch.testing.assert_close(features[-1], expected)
    prompts = {template.format(whole.class_names[2]) for template in data.templates}
    assert set(encoded) == prompts | set(captions)


def test_map_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_map, "MAX_POINTS", 200)
    computed, features = embedding_map.compute_map(
        {"clean": make_clip("vit", 0), "backdoored": make_clip("vit", 1)}, make_toy_data()
    )
    assert len(features) <= 200
    assert computed.rows == list(range(32))
    assert computed.prompts == [0, 1, 2, 3]


def test_a_broken_model_has_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clip, "encode_image", lambda self, images: torch.full((len(images), 32), torch.nan))
    with pytest.raises(CleanerError, match="not finite"):
        embedding_map.compute_map({"suspect": make_clip()}, make_toy_data())


def test_two_images_have_a_map() -> None:
    from cleaner.evaluation.metrics import trustworthiness

    computed, features = embedding_map.compute_map(
        {"clean": make_clip()}, make_toy_data().subset([0, 2]), TRIGGERS["badnet"](), "banana"
    )
    assert computed.counts == {"image": 2, "triggered": 2, "caption": 2, "prompt": 3}
    expected = trustworthiness(features, torch.tensor(computed.coordinates["pca"]), k=4)  # of 9 points
    assert computed.trustworthiness["pca"] == pytest.approx(expected, abs=1e-4)


def test_map_needs_classes() -> None:
    data = TensorData(torch.rand(4, 3, 32, 32), ["a cup"] * 4, [], [-1] * 4)
    with pytest.raises(CleanerError, match="no images with a class label"):
        embedding_map.compute_map({"suspect": make_clip()}, data)


def refuse(*arguments: object, **options: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


def test_map_is_stored_with_the_run_and_a_broken_one_is_none(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, defended = folders
    assert embedding_map.read_map(defended) is None
    first = embedding_map.ensure_map(defended, with_umap=False)
    assert first.stages == ("clean", "backdoored", "defended")
    with monkeypatch.context() as patched:
        patched.setattr(np, "load", refuse)
        assert embedding_map.read_map(defended) is None  # and this is not remembered
    stored = embedding_map.read_map(defended)
    assert stored is not None
    np.testing.assert_array_equal(stored.coordinates["pca"], first.coordinates["pca"])
    assert (stored.metrics, stored.shifts, stored.captions) == (first.metrics, first.shifts, first.captions)
    assert embedding_map.locate_map_file(defended).parent == defended
    assert (
        embedding_map.ensure_map(defended, with_umap=False).coordinates["pca"].tobytes()
        == stored.coordinates["pca"].tobytes()
    )
    for content in (b"broken", embedding_map.locate_map_file(defended).read_bytes()[:2000], b""):
        embedding_map.locate_map_file(defended).write_bytes(content)
        assert embedding_map.read_map(defended) is None
    np.savez(embedding_map.locate_map_file(defended), about=np.frombuffer(b"null", np.uint8))
    assert embedding_map.read_map(defended) is None
    assert [path.name for path in defended.iterdir() if path.suffix == ".tmp"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stages", ["![x](http://evil.example/x.png)", "backdoored"]),
        ("class_names", None),
        ("class_names", [1] * 32),
        ("captions", ["x"]),
        ("labels", [10**9] * 300),
        ("rows", ["a"] * 300),
        ("rows", [-1] * 300),
        ("prompts", [99] * 32),
        ("target", 99),
        ("counts", {"zzz": 932}),
        ("counts", {"image": 932, "triggered": 0, "caption": 0, "prompt": 0}),
        ("shifts", 5),
        ("shifts", [{"zzz": [0.1]}]),
        ("shifts", [{"image": ["x"]}]),
        ("attack_success", [[True], [True]]),
        ("metrics", [{"alignment": "x"}, {}]),
        ("metrics", []),
        ("trustworthiness", {}),
    ],
)
def test_an_edited_map_is_none(name: str, value: Any, tmp_path: Path) -> None:
    run = next(entry.folder for entry in list_shipped_runs() if entry.stage == "backdoored")
    shutil.copy(embedding_map.locate_map_file(run), tmp_path)
    stored = embedding_map.read_map(tmp_path)
    assert stored is not None
    embedding_map.write_map(replace(stored, **{name: value}), tmp_path / embedding_map.MAP_FILE)
    assert embedding_map.read_map(tmp_path) is None


def test_map_of_a_read_only_run_is_cached(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    embedding_map.ensure_map(folders[0], with_umap=False)
    place = embedding_map.locate_map_file(folders[0]).parent
    assert (place.parent, place.name.startswith(folders[0].name)) == (tmp_path / "cache" / "runs", True)
    assert not (folders[0] / embedding_map.MAP_FILE).exists()
    assert embedding_map.read_map(folders[0]) is not None
    (folders[0] / embedding_map.MAP_FILE).write_bytes(b"came with the run, without UMAP")
    assert embedding_map.locate_map_file(folders[0]).parent == place
    assert embedding_map.read_map(folders[0]) is not None


def test_a_suspect_whose_file_was_replaced_is_left_out(folders: tuple[Path, Path], tmp_path: Path) -> None:
    suspect, file = make_clip(seed=5), folders[1] / "config.json"
    path = save_clip(suspect, tmp_path / "epoch_10.safetensors")
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {"clean_model": None, "request": {"model": str(path)}, "model_sha256": suspect.sha256()}
    config["suspect"] = path.stem
    file.write_text(json.dumps(config), encoding="utf-8")
    assert embedding_map.ensure_map(folders[1], with_umap=False).stages == ("suspect", "defended")
    embedding_map.locate_map_file(folders[1]).unlink()
    save_clip(make_clip(seed=6), path)
    assert embedding_map.ensure_map(folders[1], with_umap=False).stages == ("defended",)


def test_a_deleted_run_is_not_recreated(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = embedding_map.compute_map

    def deleted_meanwhile(*args: object, **kwargs: object) -> object:
        computed = whole(*args, **kwargs)
        os.rename(folders[0], folders[0].with_name("grave"))
        return computed

    monkeypatch.setattr(embedding_map, "compute_map", deleted_meanwhile)
    embedding_map.ensure_map(folders[0], with_umap=False)
    assert not folders[0].exists()


def test_a_map_keeps_the_umap_that_another_process_has_added(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embedding_map.compute_map

    def added_meanwhile(*args: Any, **kwargs: Any) -> Any:
        computed, features = whole(*args, **kwargs)
        added = embedding_map.add_projection(computed, features, "pca")
        both = {
            field: {method: getattr(added, field)["pca"] for method in ("pca", "umap")}
            for field in ("coordinates", "trustworthiness")
        }
        embedding_map.write_map(replace(added, **both), embedding_map.locate_map_file(folders[0]))
        return computed, features

    monkeypatch.setattr(embedding_map, "compute_map", added_meanwhile)
    assert set(embedding_map.ensure_map(folders[0], with_umap=False).coordinates) == {"pca", "umap"}
    stored = embedding_map.read_map(folders[0])
    assert stored is not None
    assert set(stored.coordinates) == {"pca", "umap"}


@pytest.mark.parametrize("entry", list_shipped_runs(), ids=lambda entry: entry.folder.name)
def test_the_shipped_example_has_its_maps(entry: RunRecord) -> None:
    computed = embedding_map.read_map(entry.folder)
    assert computed is not None
    assert embedding_map.locate_map_file(entry.folder).parent == entry.folder
    assert set(computed.coordinates) == {"pca", "umap"}
    assert computed.stages == ("clean", "backdoored", "defended")[: len(computed.stages)]
    assert len(computed.rows) == embedding_map.MAX_IMAGES
    assert computed.class_names[computed.target or 0] == entry.config["target_class"]


@pytest.mark.slow
def test_umap_in_its_own_process_is_deterministic(folders: tuple[Path, Path]) -> None:
    computed = []
    for _ in range(2):
        assert map_worker.start_map_process(folders[1]).wait(600) == 0, map_worker.read_last_log_line(folders[1])
        computed.append(embedding_map.read_map(folders[1]))
        embedding_map.locate_map_file(folders[1]).unlink()
    assert computed[0] is not None
    assert computed[1] is not None
    np.testing.assert_array_equal(computed[0].coordinates["umap"], computed[1].coordinates["umap"])


def test_a_process_of_a_map_keeps_no_file_open_in_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    logs: list[Path] = []
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(map_worker.process, "start_detached", lambda *_, log, append: logs.append(log))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        map_worker.start_map_process(tmp_path / name)
        logs[-1].write_text(f"the reason of {name}")
        assert list((tmp_path / name).iterdir()) == []
        assert map_worker.read_last_log_line(tmp_path / name) == f"the reason of {name}"


def test_a_background_map_waits_until_no_run_is_active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [True, True, False, False]
    asked: list[bool] = []

    def has_active_runs(root: Path) -> bool:
        assert root == tmp_path
        asked.append(answers[min(len(asked), len(answers) - 1)])
        return asked[-1]

    monkeypatch.setattr(map_worker.local, "has_active_runs", has_active_runs)
    map_worker.wait_for_rest(tmp_path, 0.05)
    assert asked[:3] == [True, True, False]


def test_a_map_is_not_drawn_for_a_run_that_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    map_worker.draw_map(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_background_maps_are_drawn_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    with ExitStack() as other_process:
        assert other_process.enter_context(locks.try_lock(tmp_path))

        def wait_for_rest(root: Path) -> None:
            events.append("rest")
            if len(events) == 2:
                other_process.close()

        monkeypatch.setattr(map_worker, "wait_for_rest", wait_for_rest)
        monkeypatch.setattr(map_worker, "draw_map", lambda folder: events.append(f"draw {folder.name}"))
        map_worker.draw_in_background(tmp_path / "run")
    assert events == ["rest", "rest", "draw run"]
