"""Embeddings: one map for all models, a selection that survives a change of model, metrics per model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cleaner.inspection import embedding_map
from cleaner.jobs import map_worker
from cleaner.plots import features
from cleaner.plots.styles import STAGE_COLORS, find_style
from pages._shared import cache
from pages._shared.inspect import pickers, pixels
from pages._shared.inspect.map_view import MapView
from pages._shared.inspect.sample import DataKey
from pages._shared.shell.state import MODEL_PREFIX
from tests.data.files import write_table
from tests.pages.conftest import (
    AllWork,
    OpenPage,
    chart,
    chart_keys,
    errors,
    finish_work,
    page_text,
    table,
    widget_keys,
)
from tests.pages.runs import make_runs
from tests.waiting import sleeping_process, wait_until

KINDS = ("clean", "backdoored", "ta_cleaner")
"""The models of `make_runs`, as `find_style` knows them."""
NAMES = ["Clean images", "Triggered images", "Class prompts"]
TRIGGERED_NOTE = " · triggered"


def traces(app: AppTest) -> list[dict[str, Any]]:
    return list(chart(app, "embeddings.map")["data"])


def trace_names(app: AppTest) -> list[str]:
    return [trace["name"] for trace in traces(app)]


def shown_models(app: AppTest) -> Any:
    return next(control for control in app.segmented_control if str(control.key).startswith("embeddings.show"))


def show(app: AppTest, option: str) -> None:
    shown_models(app).set_value(option).run()
    assert not app.exception, [e.message for e in app.exception]


def select(app: AppTest, ids: list[str]) -> None:
    app.session_state["embeddings.selected"] = (app.session_state["embeddings.drawn"], ids)
    app.run()


def move_to_table(tmp_path: Path) -> Path:
    """Let new runs have the data of a table; return its path."""
    table_path = write_table(tmp_path)
    for folder in make_runs(tmp_path):
        config = json.loads((folder / "config.json").read_text())
        data = {"data_name": f"csv:{table_path}", "data_options": {"classes": "red,green,blue"}, "target_class": "red"}
        (folder / "config.json").write_text(json.dumps({**config, **data}))
    return table_path


def test_without_a_run(open_page: OpenPage) -> None:
    app = open_page("Embeddings")
    assert trace_names(app) == ["Clean images", "Class prompts"]
    assert "Trigger pull" not in table(app, "Metric")["Metric"].tolist()


def test_a_canceled_map_stays_away_until_it_is_started_again(open_page: OpenPage) -> None:
    app = open_page("Embeddings")
    app.session_state["cancel.canceled"] = AllWork()
    app.run()
    assert "embeddings.map" not in chart_keys(app)
    assert "cancel.restart.map" in widget_keys(app)
    app.session_state["cancel.canceled"] = set()
    app.run()
    assert "embeddings.map" in chart_keys(app)


def test_a_look_at_a_clean_model_changes_no_choice(open_page: OpenPage, tmp_path: Path) -> None:
    attacked, _ = make_runs(tmp_path)
    app = open_page("Embeddings")
    show(app, "Defended")
    app.selectbox(key="current_run").set_value(f"{MODEL_PREFIX}scenes-rn").run()
    assert trace_names(app) == ["Clean images", "Class prompts"]
    app.selectbox(key="current_run").set_value(attacked.name).run()
    assert trace_names(app)[:3] == NAMES
    assert shown_models(app).value == "Defended"


def test_models_share_the_axes_and_movement_has_arrows(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, defended = make_runs(tmp_path)
    arrows: list[Any] = []
    draw_map = features.embedding_map

    def draw(*arguments: Any, **options: Any) -> Any:
        arrows[:] = options["arrows"] or ()
        return draw_map(*arguments, **options)

    monkeypatch.setattr(features, "embedding_map", draw)
    app = open_page("Embeddings")
    assert trace_names(app)[:3] == NAMES
    assert "banana" in trace_names(app)[3]
    before = len(traces(app))
    show(app, "Clean → Backdoored")
    assert len(traces(app)) == before + 1
    saved = embedding_map.read_map(defended)
    assert saved is not None
    for stage, ends in enumerate(arrows):
        assert np.array_equal(ends[: saved.counts["image"]], saved.get_coordinates("pca", stage, "image"))
    assert len(arrows) == 2
    show(app, "All models")
    assert app.selectbox(key="embeddings.color.all").value == "Model"
    assert {text.partition(" · ")[0] for trace in traces(app) for text in trace["text"]} == {
        "Clean",
        "Backdoored",
        "Defended",
    }
    assert {name.partition(":")[0] for name in trace_names(app)} == {"Clean", "Backdoored", "Defended"}
    colors = {trace["name"].partition(":")[0]: trace["marker"]["color"] for trace in traces(app)}
    assert colors == {name: find_style(kind).color for name, kind in zip(colors, KINDS, strict=True)}
    for coloring in app.selectbox(key="embeddings.color.all").options:
        app.selectbox(key="embeddings.color.all").set_value(coloring).run()
        assert not app.exception, coloring
    assert table(app, "Metric")["Metric"].tolist()[0] == "Trigger pull"
    assert f"n = {len(saved.rows)} " in page_text(app)
    monkeypatch.setattr(pickers, "selected_model_key", lambda: None)
    view = MapView(replace(saved, rows=saved.rows[::-1]), "pca", DataKey("scenes", "test", 100), None)
    assert view.sample(0).index == saved.rows[-1]


def test_the_trigger_succeeds_on_images_of_other_classes_only(open_page: OpenPage, tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    made = embedding_map.ensure_map(defended, with_umap=False)
    successful = replace(made, target=made.labels[0], attack_success=[[True] * len(made.rows)] * 3)
    embedding_map.write_map(successful, embedding_map.locate_map_file(defended))
    app = open_page("Embeddings")
    app.selectbox(key="embeddings.color").set_value("Trigger success").run()
    counts = {trace["name"]: len(trace["customdata"]) for trace in traces(app) if "customdata" in trace}
    colors = {trace["name"]: trace["marker"]["color"] for trace in traces(app) if "customdata" in trace}
    assert colors["Classified as target"] == STAGE_COLORS["backdoored"]
    of_target = made.labels.count(made.labels[0])
    assert counts["Classified as target"] == len(made.rows) - of_target
    assert counts["Triggered images, target class"] == of_target


def test_a_selection_is_marked_in_every_view(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Embeddings")
    before = len(traces(app))
    select(app, ["image:3", "triggered:3", "prompt:1"])
    ring = traces(app)[0]
    assert len(traces(app)) == before + 1
    assert "Points selected: 3" in page_text(app)
    assert page_text(app).count(TRIGGERED_NOTE) == 1
    show(app, "Defended")
    assert "Points selected: 3" in page_text(app)
    assert len(traces(app)) == before + 1
    assert traces(app)[0]["name"] == ring["name"]
    show(app, "All models")
    assert traces(app)[0]["name"] == ring["name"]
    show(app, "Backdoored")
    assert traces(app)[0] == ring
    app.button(key="embeddings.clear").click().run()
    assert "embeddings.clear" not in widget_keys(app)
    assert len(traces(app)) == before


def test_clean_and_triggered_images_of_a_table_have_the_framing_of_the_run(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_to_table(tmp_path)
    shown: list[Any] = []
    monkeypatch.setattr(pixels, "enlarge", lambda image, side: shown.append(image) or image)
    load_pair, pairs = cache.image_pair_pixels, list[Any]()
    monkeypatch.setattr(cache, "image_pair_pixels", lambda *args: pairs.append(args) or load_pair(*args))
    select(open_page("Embeddings"), ["image:3", "triggered:3"])
    clean, triggered = shown
    assert clean.shape == triggered.shape
    assert not np.array_equal(clean, triggered)
    assert np.array_equal(clean[0], triggered[0]), "the patch is at the bottom right"
    assert len(pairs) == 1, "no copy is made for the clean image: some triggers take long"


def test_images_of_data_that_have_changed_are_not_shown(open_page: OpenPage, tmp_path: Path) -> None:
    table_path = move_to_table(tmp_path)
    app = open_page("Embeddings")
    saved = embedding_map.read_map(tmp_path / "runs" / "badnet-rn-0")
    assert saved is not None
    last = f"image:{len(saved.rows) - 1}"
    select(app, ["image:0", last])
    assert len(app.image) == 2
    lines = [line for line in table_path.read_text().splitlines() if f'"{saved.captions[0]}"' not in line]
    table_path.write_text("\n".join(lines))
    app.run()
    assert not app.exception, [e.message for e in app.exception]
    assert not app.image
    assert "data have changed" in page_text(app)
    assert saved.captions[0] in page_text(app)


def test_a_selection_does_not_apply_to_other_data(open_page: OpenPage, tmp_path: Path) -> None:
    first, _ = make_runs(tmp_path)
    second, _ = make_runs(tmp_path, seed=1)
    config = json.loads((second / "config.json").read_text())
    (second / "config.json").write_text(json.dumps({**config, "test_size": 50}))
    app = open_page("Embeddings")
    app.selectbox(key="current_run").set_value(first.name).run()
    select(app, ["image:3"])
    assert "Points selected: 1" in page_text(app)
    app.selectbox(key="current_run").set_value(second.name).run()
    assert not app.exception
    assert "embeddings.clear" not in widget_keys(app)
    app.selectbox(key="current_run").set_value(first.name).run()
    assert "Points selected: 1" in page_text(app)


def test_a_large_selection_shows_some_of_each_kind(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Embeddings")
    select(app, [f"{kind}:{i}" for kind in ("image", "triggered") for i in range(20)])
    assert "Points selected: 40" in page_text(app)
    assert page_text(app).count(TRIGGERED_NOTE) == 6


def test_a_missing_umap_is_fitted_once_and_then_read(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, defended = make_runs(tmp_path)
    app = open_page("Embeddings")
    started: list[Path] = []
    with sleeping_process() as fitting:
        monkeypatch.setattr(map_worker, "start_map_process", lambda folder: started.append(folder) or fitting)
        app.segmented_control(key="embeddings.method").set_value("umap").run()
        notes = len(app.info)
        wait_until(lambda: started == [defended])
        saved = embedding_map.read_map(defended)
        assert saved is not None
        coordinates = np.random.default_rng(0).normal(size=saved.coordinates["pca"].shape).astype(np.float32)
        with_umap = replace(
            saved,
            coordinates={**saved.coordinates, "umap": coordinates},
            trustworthiness={**saved.trustworthiness, "umap": 0.5},
        )
        embedding_map.write_map(with_umap, embedding_map.locate_map_file(defended))
        app.run()
    assert not app.exception
    assert started == [defended]
    assert (notes, len(app.info)) == (1, 0)
    assert "UMAP" in app.warning[0].value
    assert "trustworthiness 0.50" in page_text(app)


def test_a_failed_umap_is_one_message(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_runs(tmp_path)
    app = open_page("Embeddings")

    def start(folder: Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])
        process.wait()
        return process

    monkeypatch.setattr(map_worker, "start_map_process", start)
    app.segmented_control(key="embeddings.method").set_value("umap").run()
    finish_work(app)
    assert not app.exception, [e.message for e in app.exception]
    assert "UMAP failed" in errors(app)[0]
    assert traces(app), "the map by PCA stays"


def test_a_saved_map_needs_no_model(open_page: OpenPage, tmp_path: Path) -> None:
    attacked, defended = make_runs(tmp_path)
    embedding_map.ensure_map(defended, with_umap=False)
    for folder in (attacked, defended):
        (folder / "model.safetensors").write_bytes(b"gone")
    app = open_page("Embeddings")
    assert not app.error
    assert len(traces(app)) == 4
