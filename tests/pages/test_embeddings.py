"""Embeddings: one map for all models, a selection that outlives a change of model, numbers with their meaning."""

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
from tests.pages.conftest import OpenPage, page_text
from tests.pages.runs import make_runs


def traces(app: AppTest) -> list[dict[str, Any]]:
    chart = next(c for c in app.get("plotly_chart") if "embeddings.map" in c.proto.id)
    return list(json.loads(chart.proto.spec)["data"])


def show(app: AppTest, what: str) -> None:
    app.segmented_control(key="embeddings.show").set_value(what).run()
    assert not app.exception, [e.message for e in app.exception]


def test_without_a_run(open_page: OpenPage) -> None:
    app = open_page("Embeddings")
    assert [trace["name"] for trace in traces(app)] == ["Clean images", "Class prompts"]
    assert "Trigger pull" not in str(app.dataframe[0].value)


def test_models_share_the_axes_and_movement_has_arrows(open_page: OpenPage, tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    app = open_page("Embeddings")
    assert [trace["name"] for trace in traces(app)] == [
        "Clean images",
        "Images with trigger",
        "Class prompts",
        "Prompt of the target: banana",
    ]
    show(app, "Clean → Backdoored")
    assert traces(app)[0]["name"] == "moved"
    show(app, "All models")
    app.selectbox(key="embeddings.color").set_value("Model").run()
    assert {trace["name"].partition(":")[0] for trace in traces(app)} == {"Clean", "Backdoored", "Defended"}
    for coloring in ("Class", "Success of the trigger"):
        app.selectbox(key="embeddings.color").set_value(coloring).run()
        assert not app.exception
    assert app.dataframe[0].value["Figure"].tolist()[0] == "Trigger pull"
    assert f"n = {len(embedding_map.read_map(defended).rows)} test pictures" in page_text(app)


def test_the_trigger_works_on_pictures_of_other_classes_only(open_page: OpenPage, tmp_path: Path) -> None:
    attacked, defended = make_runs(tmp_path)
    made = embedding_map.ensure_map(defended, attacked, with_umap=False)
    shown = replace(made, target=made.labels[0], attack_success=[[True] * len(made.rows)] * 3)
    embedding_map.write_map(shown, embedding_map.locate_map_file(defended))
    app = open_page("Embeddings")
    app.selectbox(key="embeddings.color").set_value("Success of the trigger").run()
    found = {trace["name"]: len(trace["customdata"]) for trace in traces(app) if "customdata" in trace}
    own = made.labels.count(made.labels[0])
    assert found["Trigger works: taken for the target"] == len(made.rows) - own
    assert found["Images with trigger, of the target itself"] == own


def test_a_selection_is_shown_and_outlives_another_model(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Embeddings")
    drawn = app.session_state["embeddings.drawn"]
    app.session_state["embeddings.selected"] = (drawn, ["image:3", "triggered:3", "prompt:1"])
    app.run()
    assert "3 points selected" in page_text(app)
    assert page_text(app).count(" · with trigger") == 1
    assert "your selection" not in [trace["name"] for trace in traces(app)]
    show(app, "Defended")
    assert "3 points selected" in page_text(app)
    assert traces(app)[-1]["name"] == "your selection"
    app.button(key="embeddings.clear").click().run()
    assert "points selected" not in page_text(app)


def test_a_selection_is_not_taken_for_points_of_other_data(open_page: OpenPage, tmp_path: Path) -> None:
    first, _ = make_runs(tmp_path)
    second, _ = make_runs(tmp_path, seed=1)
    config = json.loads((second / "config.json").read_text())
    (second / "config.json").write_text(json.dumps({**config, "test_size": 50}))
    app = open_page("Embeddings")
    app.selectbox(key="current_run").set_value(first.name).run()
    app.session_state["embeddings.selected"] = (app.session_state["embeddings.drawn"], ["image:3"])
    app.run()
    assert "1 points selected" in page_text(app)
    app.selectbox(key="current_run").set_value(second.name).run()
    assert not app.exception
    assert "points selected" not in page_text(app)
    app.selectbox(key="current_run").set_value(first.name).run()
    assert "1 points selected" in page_text(app)


def test_of_many_points_some_of_each_kind_are_shown(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Embeddings")
    many = [f"{kind}:{i}" for kind in ("image", "triggered") for i in range(20)]
    app.session_state["embeddings.selected"] = (app.session_state["embeddings.drawn"], many)
    app.run()
    assert "40 points selected" in page_text(app)
    assert page_text(app).count(" · with trigger") == 6


def test_umap_is_made_once_where_it_is_missing_and_then_read(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, defended = make_runs(tmp_path)
    app = open_page("Embeddings")
    asked: list[Path] = []

    def start(folder: Path, parent: Path | None) -> subprocess.Popen[bytes]:
        asked.append(folder)
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    monkeypatch.setattr(map_worker, "start_map_process", start)
    app.segmented_control(key="embeddings.method").set_value("umap").run()
    assert "UMAP is being fitted" in page_text(app)
    assert asked == [defended]
    kept = embedding_map.read_map(defended)
    assert kept is not None
    places = np.random.default_rng(0).normal(size=kept.coordinates["pca"].shape).astype(np.float32)
    umap = replace(
        kept, coordinates={**kept.coordinates, "umap": places}, trustworthiness={**kept.trustworthiness, "umap": 0.5}
    )
    embedding_map.write_map(umap, embedding_map.locate_map_file(defended))
    app.run()
    assert not app.exception
    assert "UMAP is being fitted" not in page_text(app)
    assert "Distances in UMAP are not distances" in page_text(app)
    assert "trustworthiness 0.50" in page_text(app)


def test_a_kept_map_is_read_without_any_model(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked, defended = make_runs(tmp_path)
    embedding_map.ensure_map(defended, attacked, with_umap=False)
    for folder in (attacked, defended):
        (folder / "model.safetensors").write_bytes(b"gone")
    app = open_page("Embeddings")
    assert not app.error
    assert len(traces(app)) == 4
