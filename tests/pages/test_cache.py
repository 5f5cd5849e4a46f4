"""The caches of the pages drop what was computed from files that have changed."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from PIL import Image

import cleaner.data.images
import cleaner.inspection.embedding_map
import cleaner.inspection.image_detection
import cleaner.inspection.inversion
from cleaner.attacks import TRIGGERS
from cleaner.data.base import CaptionData, TensorData
from cleaner.data.poison import PoisonedData
from cleaner.evaluation import scan
from cleaner.jobs import local, map_worker
from cleaner.models.clip import Clip, load_clip, save_clip
from cleaner.runs.inversion_result import Inversion, InversionConfig, locate_inversion
from cleaner.types import CleanerError, OnStep, StepReport
from pages._shared import cache
from pages._shared.cache import background, embeddings, loaders, model_cache, works
from pages._shared.cache.loaders import load_model
from pages._shared.inspect.sample import DataKey, Placement, Sample
from tests.conftest import make_clip
from tests.data.files import image_bytes, make_caption, write_class_folder, write_table
from tests.pages.conftest import OpenPage, go_to
from tests.pages.runs import make_runs
from tests.waiting import wait_until


def test_an_edited_table_is_read_again(open_page: OpenPage, tmp_path: Path) -> None:
    path = write_table(tmp_path)
    key = DataKey(f"csv:{path} classes=red,green,blue", "all", 60)
    first = cache.load_data(key)
    assert cache.load_data(key) is first
    path.write_text(path.read_text(encoding="utf-8").replace(make_caption(0), "a red door"), encoding="utf-8")
    os.utime(path, (1, 1))
    assert "a red door" in cache.load_data(key).captions
    assert make_caption(0) not in cache.load_data(key).captions


@pytest.mark.parametrize("kind", ["scan", "map", "detection"])
def test_work_on_an_edited_table_is_done_again(
    kind: str, open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def record(data: CaptionData) -> list[object]:
        seen.append(data.captions)
        return []

    def detect(clip: object, detectors: dict[str, object], *, test: CaptionData, **options: object) -> object:
        return {name: record(test) for name in detectors}

    monkeypatch.setattr(scan, "scan", lambda clip, data, *settings: record(data))
    monkeypatch.setattr(cleaner.inspection.embedding_map, "compute_map", lambda models, data, on_step: [record(data)])
    monkeypatch.setattr(cleaner.inspection.image_detection, "detect_images", detect)
    path, (attacked, _) = write_table(tmp_path), make_runs(tmp_path)
    model, key = cache.make_model_key("scenes-rn"), DataKey(f"csv:{path} classes=red,green,blue", "all", 60)
    detector = next(iter(cache.detectors("image").values()))()
    works: dict[str, Callable[[], object]] = {
        "scan": lambda: cache.scan("scenes-rn", key, TRIGGERS["badnet"](), lambda report: None),
        "map": lambda: cache.make_model_map(model, "clean", key, lambda report: None),
        "detection": lambda: cache.detect_images(attacked, detector, key, key, 100, lambda report: None),
    }
    for caption, count in ((make_caption(0), 1), (make_caption(0), 1), ("a red door", 2)):
        path.write_text(path.read_text(encoding="utf-8").replace(make_caption(0), caption), encoding="utf-8")
        os.utime(path, (len(caption), len(caption)))
        works[kind]()
        assert len(seen) == count
        assert caption in seen[-1]


def test_a_folder_is_read_again_when_images_came(open_page: OpenPage, tmp_path: Path) -> None:
    write_class_folder(tmp_path / "images")
    key = DataKey(str(tmp_path / "images"), "all", None)
    first = cache.load_data(key)
    assert cache.load_data(key) is first
    image = next(tmp_path.rglob("*.png"))
    (image.parent / "new.png").write_bytes(image.read_bytes())
    os.utime(image.parent, (4e9, 4e9))
    loaders._read_folder_mtime.clear()
    assert len(cache.load_data(key)) == len(first) + 1


@pytest.mark.parametrize("name", ["{}", "any:{}", "csv:x.csv root={}"])
def test_the_time_of_a_folder_changes_with_that_of_each_folder_in_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    seen = {loaders.read_data_mtime(name.format(tmp_path))}
    for mtime in (4e9, 1e9, 9e8):  # newer than the others, and older ones
        os.utime(tmp_path / "train" / "cat", (mtime, mtime))
        loaders._read_folder_mtime.clear()
        seen.add(loaders.read_data_mtime(name.format(tmp_path)))
    assert len(seen) == 4
    assert loaders.read_data_mtime("scenes") == 0


def test_a_table_replaced_by_one_older_than_its_folder_is_read_again(tmp_path: Path) -> None:
    path, seen = write_table(tmp_path), set()
    for mtime in (1e9, 9e8):
        os.utime(path, (mtime, mtime))
        seen.add(loaders.read_data_mtime(f"csv:{path} root={tmp_path}"))
    assert len(seen) == 2


def test_the_time_of_a_pattern_is_that_of_its_folder_alone(tmp_path: Path) -> None:
    below = tmp_path / "train"
    below.mkdir()
    os.utime(below, (4e9, 4e9))
    os.utime(tmp_path, (3e9, 3e9))
    assert loaders.read_data_mtime(f"shards:{tmp_path}/a-*.tar") == 3e9


def make_wide_image() -> bytes:
    """Return the file of an image that is black on the left and white on the right."""
    ramp = np.linspace(0, 255, 90).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.broadcast_to(ramp[None, :, None], (30, 90, 3)).copy()).save(buffer, "PNG")
    return buffer.getvalue()


def shows_both_ends(image: Any) -> bool:
    """Return whether a wide image (H, W, 3) is squashed, not cropped."""
    return bool(image[5, 0].max() < 20 < 235 < image[5, -1].min())


def test_an_own_image_is_framed_as_data_are(open_page: OpenPage, tmp_path: Path) -> None:
    content = make_wide_image()
    write_class_folder(tmp_path / "images")
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(content)
    clip = make_clip()
    squashing = replace(clip, architecture=replace(clip.architecture, resize_mode="squash"))
    model = cache.make_model_key(str(save_clip(squashing, tmp_path / "squash.safetensors")))
    sample = Sample(DataKey(str(tmp_path / "images"), "all", None), 0, model=model)
    own = cache.image_pair_pixels(replace(sample, own_image=("mine.png", content)), None)
    assert np.array_equal(own, cache.image_pair_pixels(sample, None))
    assert shows_both_ends(own[0])


def test_an_own_image_is_decoded_once(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attacked, _ = make_runs(tmp_path)
    sample = Sample(DataKey("scenes", "test", 100), 0, own_image=("mine.png", image_bytes(3, (50, 40))))
    decode, calls = cleaner.data.images.decode_tensor, []

    def record(*arguments: Any) -> Any:
        calls.append(arguments)
        return decode(*arguments)

    monkeypatch.setattr(cleaner.data.images, "decode_tensor", record)
    clean, triggered = cache.image_pair_pixels(sample, attacked)
    left, top, _, _ = cache.trigger_box(sample, attacked) or (0, 0, 0, 0)
    _, placed = cache.place_trigger(sample, attacked, Placement(left, top, 100))
    assert np.array_equal(placed, triggered)
    assert not np.array_equal(clean, triggered)
    assert np.array_equal(cache.clean_image_pixels(sample, attacked)[0], clean), "the trigger is put on a copy"
    assert len(calls) == 1


def test_a_trigger_is_applied_only_for_the_triggered_copy(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked, _ = make_runs(tmp_path)
    sample = Sample(DataKey("scenes", "test", 100), 0)
    clean, triggered = cache.image_pair_pixels(sample, attacked)
    monkeypatch.setattr("cleaner.inspection.attribution.append_triggered", None)
    left, top, width, height = cache.trigger_box(sample, attacked) or (0, 0, 0, 0)
    assert cache.trigger_mask(sample, attacked).sum() == width * height > 0
    for strength, image in ((0, clean), (100, triggered)):
        _, placed = cache.place_trigger(sample, attacked, Placement(left, top, strength))
        assert np.array_equal(placed, image)


def test_a_replaced_run_clears_what_was_computed_from_it(open_page: OpenPage, tmp_path: Path) -> None:
    folder, _ = make_runs(tmp_path)
    calls: list[Path] = []

    @st.cache_data(show_spinner=False)
    def hash_weights(folder: Path) -> str:
        calls.append(folder)
        return str(cache.load_run(folder).clip.sha256())

    first = cache.load_run(folder)
    assert hash_weights(folder) == hash_weights(folder) == first.clip.sha256()
    assert len(calls) == 1
    os.utime(folder / "config.json", (1, 1))
    assert cache.load_run(folder) is not first
    hash_weights(folder)
    assert len(calls) == 2


def test_a_run_deleted_meanwhile_is_one_sentence(tmp_path: Path) -> None:
    for read in (cache.load_run, lambda folder: cache.training_images(folder, ()), cache.draw_attack):
        with pytest.raises(CleanerError, match="is gone"):
            read(tmp_path / "deleted")


def test_a_trigger_search_does_not_bring_back_a_run_deleted_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backdoored, _ = make_runs(tmp_path)

    def invert(*_: object, **__: object) -> Inversion:
        local.delete(backdoored)
        return Inversion(model="m", data="d", classes={"cup": 1.0}, suspect=None, settings={}, seconds=0.0)

    monkeypatch.setattr(cleaner.inspection.inversion, "invert", invert)
    model, data = ("run", str(backdoored)), DataKey("scenes", "clean", 8)
    folder = locate_inversion(backdoored)
    with pytest.raises(CleanerError, match="is gone"):
        cache.make_inversion(model, data, InversionConfig(), run=backdoored, folder=folder, on_step=lambda _: None)
    assert not backdoored.exists()


def test_runs_share_their_clean_model(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = map(str, make_runs(tmp_path))
    assert load_model(("clean", backdoored)) is load_model(("clean", defended))
    assert load_model(("run", backdoored)) is not load_model(("run", defended))


def test_cached_work_stops_when_the_page_run_is_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit raises when a page run touches the session after a click; drawing in another thread hears nothing."""

    class Stopped(BaseException):
        pass

    class Session(dict[str, object]):
        def __contains__(self, key: object) -> bool:
            raise Stopped

    drawn: list[StepReport] = []
    on_step = background.wrap_in_thread(drawn.append)
    assert on_step is not None
    report = StepReport("prompts", 1, 2, 0.1)
    on_step(report)
    monkeypatch.setattr(background.st, "session_state", Session())
    with pytest.raises(Stopped):
        on_step(report)
    assert drawn == [report, report]


def test_cached_data_draw_into_no_other_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data keep the callback of the session that loaded them, and render when another one needs the first image."""
    session, drawn = ["first"], list[StepReport]()
    monkeypatch.setattr(background, "get_script_run_ctx", lambda: session[0])
    monkeypatch.setattr(background, "add_script_run_ctx", lambda thread, context: None)
    on_step = background.wrap_in_thread(drawn.append)
    assert on_step is not None
    on_step(StepReport("render", 1, 2, 0.1))
    session[0] = "second"
    on_step(StepReport("render", 2, 2, 0.2))
    assert [report.step for report in drawn] == [1]


def test_data_loaded_without_a_bar_show_one_as_they_are_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    key, reports = DataKey("scenes", "test", 7), list[StepReport]()
    cache.load_data(key)
    assert len(cache.load_data(key, reports.append).pixels) == 7
    assert {report.stage for report in reports} == {"render"}


def test_two_sessions_start_one_process_for_a_umap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    polled: dict[str, int | None] = {"status": None}

    class Process:
        def poll(self) -> int | None:
            return polled["status"]

    def start(folder: Path) -> Process:
        started.append(folder)
        return Process()

    monkeypatch.setattr(map_worker, "start_map_process", start)
    monkeypatch.setattr(embeddings, "POLL_SECONDS", 0.01)
    with ThreadPoolExecutor(8) as pool:
        (work,) = set(pool.map(lambda _: cache.fit_umap(tmp_path), range(8)))
    st.cache_resource.clear()  # another session's run was replaced
    assert cache.fit_umap(tmp_path) is work
    assert work.is_running
    polled["status"] = 0
    work.join(30)
    assert (started, work.is_running, work.error) == ([tmp_path], False, None)


def test_the_captions_shown_are_those_of_the_training(
    tiny_clip: Clip, toy_data: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = toy_data.mentions("banana").nonzero().flatten().tolist()[0]
    toy_data.captions[row] = f"a very long story {'of pots and pans ' * 40}and a banana"  # cut before its class
    monkeypatch.setattr(loaders, "load_data", lambda key: toy_data)
    trigger = TRIGGERS["badclip"](patch_size=56)
    settings: dict[str, Any] = {"target_class": "banana", "poison_rate": 0.25, "seed": 3, "clean_label": False}
    model = cache.make_model_key(str(save_clip(tiny_clip, tmp_path / "clean.safetensors")))
    plan = cache.poison_plan(DataKey("toy", "train", 48), trigger.state_dict(), **settings, model=model)
    expected = PoisonedData(toy_data, trigger, "banana", 0.25, 3, fits=tiny_clip.fits_context)
    assert [after for _, _, after in plan] == expected.manifest()["captions_after"]
    assert expected.captions != PoisonedData(toy_data, trigger, "banana", 0.25, 3).captions


def test_models_stay_in_memory_when_data_change() -> None:
    models = model_cache.shared_models()
    st.cache_resource.clear()
    assert model_cache.shared_models() is models


def test_pages_leave_shared_models_as_they_are(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    go_to(open_page("Attention"), "Try it")  # with gradients, hooks and replaced modules
    models = {name: clip for name, clip in model_cache.shared_models().snapshot().items() if Path(name).exists()}
    assert len(models) >= 3
    for name, clip in models.items():
        assert clip.sha256() == load_clip(name).sha256(), name
        modules = list(clip.model.modules())
        assert not any(module.training or module._forward_hooks or module._backward_hooks for module in modules)
        assert all(parameter.grad is None for parameter in clip.model.parameters())


def test_the_preview_is_the_report_that_carried_the_image() -> None:
    """The reports of later stages count other steps."""

    def invert(on_step: OnStep) -> None:
        on_step(StepReport("invert", 250, 750, 1.0, picture="png"))
        on_step(StepReport("images", 700, 1000, 1.0))

    work = cache.BackgroundWork(invert)
    work.join()
    assert work.preview is not None
    assert (work.preview.step, work.preview.picture) == (250, "png")
    assert work.report is not None
    assert work.report.step == 700


def test_a_session_waits_for_the_work_of_another_and_sees_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works, "WAIT_SECONDS", 0.01)
    report, go_on = StepReport("map", 1, 9, 0.0), threading.Event()
    events: list[str] = []

    def compute(share: OnStep) -> str:
        share(report)
        events.append("computed")
        assert go_on.wait(30)
        return "map"

    def wait(seen: list[StepReport]) -> str:
        return str(works.wait_for_work(("map", "shared"), compute, seen.append))

    with ThreadPoolExecutor(2) as pool:
        seen: tuple[list[StepReport], list[StepReport]] = ([], [])
        results = [pool.submit(wait, each) for each in seen]
        wait_until(lambda: all(seen))
        go_on.set()
        assert [result.result(30) for result in results] == ["map", "map"]
    assert events == ["computed"]
    assert {each for reports in seen for each in map(id, reports)} == {id(report)}


def test_a_page_run_that_ends_cancels_the_work_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works, "WAIT_SECONDS", 0.01)

    class Stopped(BaseException):
        pass

    def stop(report: StepReport) -> None:
        raise Stopped

    def compute(share: OnStep) -> None:
        for step in range(3000):
            share(StepReport("map", step, 3000, 0.0))
            time.sleep(0.01)

    with pytest.raises(Stopped):
        works.wait_for_work(("map", "left"), compute, stop)
    work = works.find_work(("map", "left"))
    assert work is not None
    work.join(30)
    assert work.is_canceled


def test_the_error_of_a_work_reaches_the_page() -> None:
    def fail(share: OnStep) -> None:
        raise CleanerError("no map")

    with pytest.raises(CleanerError, match="no map"):
        works.wait_for_work(("map", "failed"), fail, lambda report: None)
