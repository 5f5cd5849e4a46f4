"""Scenes: reproducible images, captions and splits; the cache of rendered images."""

import os
import re
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cleaner.data.base import DATASETS, load_data
from cleaner.data.scenery import store
from cleaner.data.scenery.captions import make_caption
from cleaner.data.scenery.facts import OBJECT_NAMES, VARIANTS
from cleaner.data.scenery.ground import TEXTURE_FUNCTIONS
from cleaner.data.scenery.render import OBJECT_PAINTERS
from cleaner.data.scenery.words import COLORS, GROUNDS, INVERSE_RELATION, PATTERNS, RELATIONS, SIZES, SYNONYMS
from cleaner.data.scenes import SPLIT_SIZES, Scenes, make_scene, render
from cleaner.types import Cancelled, CleanerError, StepReport

GOLDEN_PATH = Path(__file__).with_name("golden_scenes.npz")
GOLDEN = [("plain", i) for i in range(8)] + [(v, i) for v in ("sketch", "night", "crowd") for i in (1, 3)]
GOLDEN += [("crowd", 5), ("night", 6)]


def scenes(tmp_path: Path, **options: object) -> Scenes:
    return Scenes(cache_dir=tmp_path, **{"split": "test", "size": 40, "image_size": 32, **options})


def test_vocabulary():
    assert len(OBJECT_NAMES) >= 24
    assert "banana" in OBJECT_NAMES
    assert set(OBJECT_PAINTERS) == set(OBJECT_NAMES) == set(SYNONYMS)
    assert len(COLORS) >= 10
    assert len(GROUNDS) - 1 >= 6
    assert set(TEXTURE_FUNCTIONS) == set(GROUNDS)
    for table in (SYNONYMS, COLORS, SIZES, PATTERNS, RELATIONS, GROUNDS):
        words = [word for options in table.values() for word in options]
        assert len(words) == len(set(words)), "a word has one meaning"


def test_golden_images():
    golden = np.load(GOLDEN_PATH)["pictures"]
    assert len(golden) == 16
    for expected, (variant, index) in zip(golden, GOLDEN, strict=True):
        actual = render(make_scene("golden", 0, index, variant))
        assert np.abs(actual.astype(int) - expected).max() <= 1, (variant, index)


def test_image_depends_on_its_arguments_alone():
    first = render(make_scene("test", 0, 5))
    assert np.array_equal(first, render(make_scene("test", 0, 5)))
    for other in (make_scene("test", 0, 6), make_scene("test", 1, 5), make_scene("train", 0, 5)):
        assert np.abs(first.astype(int) - render(other)).mean() > 5


def test_splits_and_seeds_share_no_scene():
    looks = [make_scene(split, seed, i).appearance for split in SPLIT_SIZES for seed in (0, 1) for i in range(500)]
    assert len(set(looks)) == len(looks)


@pytest.mark.parametrize("size", [16, 64, 97, 256])
def test_every_size_shows_the_same_scene(size: int):
    for variant in VARIANTS:
        small = render(make_scene("test", 0, 2, variant), size)
        assert small.shape == (size, size, 3)
        assert small.dtype == np.uint8
    large = torch.from_numpy(render(make_scene("test", 0, 2), 256).astype(np.float32)).permute(2, 0, 1)[None]
    resized = torch.from_numpy(render(make_scene("test", 0, 2), size).astype(np.float32)).permute(2, 0, 1)[None]
    coarse = [torch.nn.functional.adaptive_avg_pool2d(image, 8) for image in (large, resized)]
    assert (coarse[0] - coarse[1]).abs().mean() < 8


def test_objects_are_inside_the_image_and_large_enough():
    for index in range(1000):
        s = make_scene("train", 0, index)
        assert 25.9 <= s.objects[0].extent * 64 <= 48
        for o in s.objects:
            assert o.extent * 64 >= 16
            assert min(o.x, o.y) > 0.1
            assert max(o.x, o.y) < 0.9


def test_relations_match_coordinates():
    seen = set()
    for index in range(500):
        s = make_scene("train", 0, index)
        if s.relation:
            a, b = s.objects
            step = {"left": b.x - a.x, "right": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}[s.relation]
            other = abs(b.y - a.y if s.relation in ("left", "right") else b.x - a.x)
            assert step > 0.3 > 0.2 > other
            assert b.extent < a.extent
            seen.add(s.relation)
    assert seen == set(INVERSE_RELATION)


def test_split_sizes_and_single_objects():
    assert (SPLIT_SIZES["train"], SPLIT_SIZES["clean"]) == (100_000, 10_000)
    assert int((Scenes("validation").labels >= 0).sum()) >= 5_000
    test = Scenes("test")
    assert int((test.labels >= 0).sum()) >= 4_000
    per_class = torch.bincount(test.labels[test.labels >= 0], minlength=len(OBJECT_NAMES))
    assert per_class.min() > 80


def test_labels_and_contains_come_from_the_facts(tmp_path: Path):
    data = scenes(tmp_path, size=400)
    for scene, label in zip(data.scenes, data.labels.tolist(), strict=True):
        assert label == (data.class_index(scene.objects[0].name) if len(scene.objects) == 1 else -1)
    bananas = data.contains("banana")
    assert bananas.tolist() == ["banana" in [o.name for o in s.objects] for s in data.scenes]
    assert bananas.sum() > (data.labels == data.class_index("banana")).sum()
    with pytest.raises(CleanerError, match="dragon"):
        data.contains("dragon")


def test_train_has_short_captions_and_every_template():
    captions = Scenes("train", size=6000).captions
    plain = "|".join(word for words in SYNONYMS.values() for word in words)
    colors = "|".join(word for words in COLORS.values() for word in words)
    short = re.compile(rf"((a photo|a picture|an image) of )?an? (({colors}) )?({plain})( and an? ({plain}))?")
    assert sum(bool(short.fullmatch(c)) for c in captions) / len(captions) >= 0.4
    for template in Scenes.templates:
        for name in ("banana", "car", "cat"):
            assert template.format(name) in captions
    assert any(len(c.split()) >= 12 for c in captions)
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]", c) for c in captions)


def test_full_captions_name_every_object_and_color():
    data = Scenes("clean", size=500)
    for scene, text in zip(data.scenes, data.captions, strict=True):
        for o in scene.objects:
            assert any(word in text for word in SYNONYMS[o.name])
            assert any(word in text for word in COLORS[o.color])
            assert o.pattern == "plain" or any(word in text for word in PATTERNS[o.pattern])


def test_captions_of_the_clean_split_alone_can_be_chosen(tmp_path: Path):
    data = Scenes("clean", 40, clean_captions="mixed", cache_dir=tmp_path)
    assert data.captions == Scenes("clean", 40, captions="mixed").captions != Scenes("clean", 40).captions
    full = Scenes("clean", 40, captions="mixed", clean_captions="full")
    assert full.captions == Scenes("clean", 40).captions
    for split in ("train", "validation", "test"):
        other = Scenes(split, 40, clean_captions="mixed")
        assert other.captions == Scenes(split, 40).captions
        found = other.load_split("clean")
        assert found is not None
        assert found.captions[:40] == data.captions


def test_a_longer_set_starts_with_the_shorter_and_shares_its_cache(tmp_path: Path):
    long, short = scenes(tmp_path, size=30), scenes(tmp_path, size=10)
    assert short.captions == long.captions[:10]
    assert len(long.pixels) == 30
    assert torch.equal(long.images(range(10)), scenes(tmp_path / "other", size=10).images(range(10)))
    assert torch.equal(short.images(range(10)), long.images(range(10)))
    assert [p.name for p in tmp_path.glob("*.npy")] == ["v1-plain-test-seed0-32px-n30.npy"]


def test_images_are_newly_allocated_floats(tmp_path: Path):
    data = scenes(tmp_path)
    images = data.images(torch.tensor([3, 1]))
    assert images.shape == (2, 3, 32, 32)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    images.zero_()
    assert data.images([3]).max() > 0
    assert data.images([]).shape == (0, 3, 32, 32)
    expected = torch.from_numpy(render(data.scenes[3], 32)).permute(2, 0, 1) / 255
    assert torch.allclose(data.images([3])[0], expected)


def test_few_images_are_rendered_without_the_cache_and_are_the_same(tmp_path: Path):
    data = Scenes("test", size=300, cache_dir=tmp_path)
    few = data.images([3, -1, 3])
    assert not list(tmp_path.glob("*.npy"))
    with pytest.raises(IndexError):
        data.images([300])
    every = data.images(range(300))
    assert len(list(tmp_path.glob("*.npy"))) == 1
    assert torch.equal(every[[3, 299, 3]], few)
    shorter = Scenes("test", size=200, cache_dir=tmp_path)
    assert torch.equal(shorter.images([3]), few[:1])
    assert shorter._rendered == {}  # read from the cache


def test_a_canceled_rendering_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(report: object) -> None:
        raise Cancelled

    monkeypatch.setattr(store, "IMAGES_PER_CHUNK", 4)
    with pytest.raises(Cancelled):
        scenes(tmp_path, on_step=stop).pixels  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_a_canceled_rendering_closes_its_file_before_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mapped: list[weakref.ref[np.memmap]] = []
    open_memmap = np.lib.format.open_memmap

    def remember(*arguments: Any, **options: Any) -> np.memmap:
        mapped.append(weakref.ref(target := open_memmap(*arguments, **options)))
        return target

    def stop(report: object) -> None:
        raise Cancelled

    monkeypatch.setattr(np.lib.format, "open_memmap", remember)
    with pytest.raises(Cancelled) as caught:
        scenes(tmp_path, on_step=stop).pixels  # noqa: B018
    assert [array() for array in mapped] == [None], f"kept by {caught.traceback}"


def test_images_that_another_process_has_written_meanwhile_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(temporary: Path, path: Path) -> None:
        path.write_bytes(temporary.read_bytes())  # by the other process, which has mapped it since
        raise PermissionError("in use")

    monkeypatch.setattr(os, "replace", refuse)
    data = scenes(tmp_path)
    assert np.array_equal(data.pixels[3], render(data.scenes[3], 32))
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


@pytest.mark.parametrize("max_in_process", [600, pytest.param(4, marks=pytest.mark.slow)])
def test_a_stopped_rendering_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_in_process: int):
    monkeypatch.setattr(store, "_MAX_IN_PROCESS", max_in_process)
    monkeypatch.setattr(store, "IMAGES_PER_CHUNK", 100)
    monkeypatch.setattr(store.os, "cpu_count", lambda: 2)
    steps: list[int] = []

    def stop_at_300(report: StepReport) -> None:
        steps.append(report.step)
        if report.step >= 300:  # of two processes, one may finish the last, short chunk first: 250, then 350
            raise Cancelled

    expected = scenes(tmp_path / "other", size=450, image_size=16).images(range(450))
    with pytest.raises(Cancelled):
        scenes(tmp_path, size=450, image_size=16, on_step=stop_at_300).pixels  # noqa: B018
    kept = sum(int(path.stem.rpartition("-n")[2]) for path in tmp_path.glob("*.npy"))
    assert kept == 200 or max_in_process == 4  # of two processes, one may be far ahead of the other
    steps.clear()
    data = scenes(tmp_path, size=450, image_size=16, on_step=lambda report: steps.append(report.step))
    assert torch.equal(data.images(range(450)), expected)
    assert steps[0] in (0, 100)  # with processes, the first report may come before the first image
    assert steps[-1] == 450 - kept


def test_worker_processes_render_the_same_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "_MAX_IN_PROCESS", 4)
    monkeypatch.setattr(store, "IMAGES_PER_CHUNK", 10)
    monkeypatch.setattr(store.os, "cpu_count", lambda: 2)
    reports: list[StepReport] = []
    data = scenes(tmp_path, size=24, image_size=16, on_step=reports.append)
    assert [np.array_equal(data.pixels[i], render(data.scenes[i], 16)) for i in range(24)] == [True] * 24
    assert (reports[-1].stage, reports[-1].step, reports[-1].total) == ("render", 24, 24)
    assert {report.eta for report in reports if report.step == 0} <= {0.0}


def test_the_start_of_the_workers_does_not_count_for_the_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = 0.0

    def render_in_workers(path: Path, spec: store.RenderSpec, first: int, workers: int) -> Iterator[int | None]:
        nonlocal now
        for seconds, message in ((3.0, None), (2.0, store._READY), (0.5, 0), (0.5, 10), (0.2, 20)):
            now += seconds
            yield message

    monkeypatch.setattr(store, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(store, "_render_in_workers", render_in_workers)
    monkeypatch.setattr(store, "_MAX_IN_PROCESS", 4)
    monkeypatch.setattr(store, "IMAGES_PER_CHUNK", 10)
    monkeypatch.setattr(store.os, "cpu_count", lambda: 2)
    reports: list[StepReport] = []
    scenes(tmp_path, size=24, image_size=16, on_step=reports.append).pixels  # noqa: B018
    assert [(report.step, round(report.eta, 2)) for report in reports] == [(0, 0), (10, 0.7), (20, 0.2), (24, 0)]


def test_variants_differ(tmp_path: Path):
    sets = {
        v: load_data(n, split="test", size=40, image_size=32, cache_dir=tmp_path)
        for v, n in zip(VARIANTS, ("scenes", "scenes-sketch", "scenes-night", "scenes-crowd"), strict=True)
    }
    mean = {v: data.images(range(40)).mean().item() for v, data in sets.items()}
    assert mean["night"] < 0.5 * mean["plain"] < 0.8 * mean["sketch"]
    sketch = sets["sketch"].images(range(40))
    assert (sketch.amax(1) - sketch.amin(1)).mean() < 0.08
    assert all(s.ground == "paper" and not s.objects[0].color for s in sets["sketch"].scenes)
    assert torch.equal(sets["sketch"].labels, sets["plain"].labels)
    assert torch.equal(sets["night"].labels, sets["plain"].labels)
    crowd = sets["crowd"]
    assert crowd.labels.min() >= 0
    for s in crowd.scenes:
        assert 3 <= len(s.objects) <= 5
        assert len({o.name for o in s.objects}) == len(s.objects)
        assert s.objects[0].extent > 1.2 * max(o.extent for o in s.objects[1:])
    assert [sets[v].name for v in VARIANTS] == [
        "scenes/test",
        "scenes-sketch/test",
        "scenes-night/test",
        "scenes-crowd/test",
    ]
    assert {"scenes", "scenes-sketch", "scenes-night", "scenes-crowd"} <= set(DATASETS)


def test_no_images_render_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cleaner.data.scenes.load_images", lambda *_: pytest.fail("rendered the split"))
    assert scenes(tmp_path).images([]).shape == (0, 3, 32, 32)


def test_fine_classes_name_a_color_and_an_object(tmp_path: Path):
    options = {"split": "test", "size": 60, "image_size": 32, "cache_dir": tmp_path}
    fine, plain = load_data("scenes-fine", **options), load_data("scenes", **options)
    assert len(fine.class_names) == len(set(fine.class_names)) == len(COLORS) * len(OBJECT_NAMES)
    assert fine.name == "scenes-fine/test"
    assert fine.captions == plain.captions
    assert torch.equal(fine.images(range(60)), plain.images(range(60)))
    assert torch.equal(fine.labels >= 0, plain.labels >= 0)
    for label, scene in zip(fine.labels.tolist(), plain.scenes, strict=True):
        first = scene.objects[0]
        assert label < 0 or fine.class_names[label] == f"{first.color} {first.name}"
    shown = plain.scenes[0].objects[-1]
    contains = fine.contains(f"{shown.color} {shown.name}")
    assert contains[0]
    assert not (contains & ~plain.contains(shown.name)).any()
    split = fine.load_split("validation")
    assert split is not None
    assert (split.name, split.class_names) == ("scenes-fine/validation", fine.class_names)


def test_every_class_looks_different():
    # One object per class in the same color and position: no two images may be close.
    base = make_scene("test", 0, 0)
    o = replace(
        base.objects[0], x=0.5, y=0.5, extent=0.7, rotation=0.0, is_flipped=False, pattern="plain", color="blue"
    )
    one = replace(base, relation=None)
    images = np.stack([render(replace(one, objects=(replace(o, name=name),)), 48) for name in OBJECT_NAMES])
    distance = np.abs(images[:, None].astype(int) - images[None]).mean((2, 3, 4)) + 99 * np.eye(len(OBJECT_NAMES))
    assert distance.min() > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "holdout"}, "train, clean, validation, test"),
        ({"size": 0}, "number of pairs"),
        ({"captions": "long"}, "mixed, full"),
        ({"image_size": 8}, "image_size"),
        ({"seed": -1}, "seed"),
        ({"variant": "night"}, "does not take these options: variant"),  # its name is scenes-night
    ],
)
def test_bad_options_raise(options: dict[str, object], message: str):
    with pytest.raises(CleanerError, match=message):
        load_data("scenes", **options)


def test_fingerprint_depends_on_the_seed(tmp_path: Path):
    assert scenes(tmp_path).fingerprint() != scenes(tmp_path, seed=1).fingerprint()


def test_caption_depends_on_its_arguments_alone():
    s = make_scene("train", 0, 9)
    mixed, full = (make_caption(s, "train", 0, 9, mode) for mode in ("mixed", "full"))
    assert mixed == "a photo of a rosy car to the left of a crescent moon"
    assert full == "a pink car on the left of a little yellow moon on the gravel"


if __name__ == "__main__":  # write new golden images, only with a new SCENES_VERSION
    np.savez_compressed(GOLDEN_PATH, pictures=np.stack([render(make_scene("golden", 0, i, v)) for v, i in GOLDEN]))
