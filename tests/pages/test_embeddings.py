"""Embeddings: one map for all models, a selection that outlives a change of model, numbers with their meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import Open, texts
from tests.pages.runs import make_runs


def traces(app: AppTest) -> list[dict[str, Any]]:
    chart = next(c for c in app.get("plotly_chart") if "embeddings.map" in c.proto.id)
    return list(json.loads(chart.proto.spec)["data"])


def show(app: AppTest, what: str) -> None:
    app.segmented_control(key="embeddings.show").set_value(what).run()
    assert not app.exception, [e.message for e in app.exception]


def smallest(app: AppTest) -> AppTest:
    return app.select_slider(key="embeddings.n").set_value(100).run()


def test_without_a_run(open_page: Open) -> None:
    app = open_page("Embeddings")
    assert [trace["name"] for trace in traces(app)] == ["Clean images", "Class prompts"]
    assert "Trigger pull" not in str(app.dataframe[0].value)


def test_models_share_the_axes_and_movement_has_arrows(open_page: Open, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = smallest(open_page("Embeddings"))
    assert [trace["name"] for trace in traces(app)] == ["Clean images", "Images with trigger", "Class prompts"]
    show(app, "Clean → Backdoored")
    assert traces(app)[0]["name"] == "moved"
    show(app, "All models")
    app.selectbox(key="embeddings.color").set_value("Model").run()
    assert {trace["name"].partition(":")[0] for trace in traces(app)} == {"Clean", "Backdoored", "Defended"}
    for coloring in ("Class", "Success of the trigger"):
        app.selectbox(key="embeddings.color").set_value(coloring).run()
        assert not app.exception
    assert app.dataframe[0].value["Figure"].tolist()[0] == "Trigger pull"
    assert "n = 100 test pictures" in texts(app)


def test_a_selection_is_shown_and_outlives_another_model(open_page: Open, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = smallest(open_page("Embeddings"))
    drawn = app.session_state["embeddings.drawn"]
    app.session_state["embeddings.selected"] = (drawn, ["image:3", "triggered:3", "prompt:1"])
    app.run()
    assert "3 points selected" in texts(app)
    assert "your selection" not in [trace["name"] for trace in traces(app)]
    show(app, "Defended")
    assert "3 points selected" in texts(app)
    assert traces(app)[-1]["name"] == "your selection"
    app.button(key="embeddings.clear").click().run()
    assert "points selected" not in texts(app)


def test_a_kept_umap_is_read_and_comes_with_its_warning(open_page: Open, tmp_path: Path) -> None:
    from cleaner.projection import save_coordinates
    from pages._shared import cache

    attacked, defended = make_runs(tmp_path)
    app = smallest(open_page("Embeddings"))
    app.segmented_control(key="embeddings.method").set_value("UMAP").run()
    assert "PCA is shown until then" in texts(app)
    models = (("clean", str(attacked)), ("run", str(attacked)), ("run", str(defended)))
    file = cache.umap_file(models, "scenes", 100, 100, attacked)
    save_coordinates(file, np.random.default_rng(0).normal(size=(3 * total(app), 2)).astype(np.float32))
    app.run()
    assert not app.exception
    assert "Distances in UMAP are not distances" in texts(app)


def total(app: AppTest) -> int:
    """Points of one model: its images, those with trigger, captions; and 32 prompts."""
    images = next(trace for trace in traces(app) if trace["name"] == "Clean images")
    return 3 * len(images["customdata"]) + 32
