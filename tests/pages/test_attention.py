"""Attention: one grid for all models, numbers beside it, the test set when asked; works without a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cleaner.inspection.attribution import TriggerAttribution
from tests.pages.conftest import OpenPage, page_text
from tests.pages.runs import make_runs


def spec(app: AppTest, key: str) -> dict[str, object]:
    chart = next(c for c in app.get("plotly_chart") if key in c.proto.id)
    return dict(json.loads(chart.proto.spec))


def test_without_a_run_it_looks_into_the_built_in_model(open_page: OpenPage) -> None:
    app = open_page("Attention")
    kinds = [trace["type"] for trace in spec(app, "attention.grid")["data"]]
    assert kinds == ["image", "heatmap"]
    assert "Models: clean" in page_text(app)


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_three_models_clean_and_triggered(open_page: OpenPage, tmp_path: Path, kind: str) -> None:
    make_runs(tmp_path, kind)
    app = open_page("Attention")
    method = next(s for s in app.selectbox if s.label == "Method")
    assert method.value == "occlusion"
    assert ("GradCAM" in method.options) == (kind == "rn")
    assert ("Attention rollout" in method.options) == (kind == "vit")
    grid = spec(app, "attention.grid")
    assert len([t for t in grid["data"] if t["type"] == "heatmap"]) == 6
    assert {t["coloraxis"] for t in grid["data"] if t["type"] == "heatmap"} == {"coloraxis"}
    assert app.dataframe[0].value["Model"].tolist() == ["Clean", "Backdoored", "Defended"]
    found = app.dataframe[0].value
    assert found["Similarity, clean"].nunique() == 3
    assert np.allclose(found["The trigger adds"], found["Similarity, triggered"] - found["Similarity, clean"])
    own = {"rn": ["grad_cam"], "vit": ["rollout", "gradient_rollout"]}[kind]
    for name in [*own, "integrated_gradients", "occlusion"]:
        next(s for s in app.selectbox if s.label == "Method").set_value(name).run()
        assert not app.exception
    app.select_slider(key="attention.n").set_value(32)
    app.button(key="attention.measure").click().run()
    assert not app.exception
    assert "n = 32 test pictures" in page_text(app)
    words = spec(app, "attention.word_bars")
    assert words["layout"]["xaxis"]["ticktext"] == ["a", "photo", "of", "a", "banana"]


def test_large_pictures_begin_with_a_method_that_asks_once(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path, "rn")
    monkeypatch.setattr("pages._shared.cache.image_size", lambda model: 224)
    app = open_page("Attention")
    assert next(s for s in app.selectbox if s.label == "Method").value == "grad_cam"


def test_a_trigger_all_over_the_picture_gets_no_share(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path, "rn", trigger="blended")
    app = open_page("Attention")
    assert "so no share is given" in page_text(app)
    assert not [c for c in app.dataframe[0].value.columns if "share" in c.lower()]
    app.select_slider(key="attention.n").set_value(32)
    app.button(key="attention.measure").click().run()
    app.run()  # answered by the cache, which must not draw the progress bar again
    assert not app.exception
    assert "Cosine of the maps" in str(spec(app, "attention.spread"))


def test_maps_that_say_nothing_are_left_out_and_counted(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path, "rn", trigger="blended")
    app = open_page("Attention")
    found = TriggerAttribution([], [], [float("nan"), 0.5, 1.0], 1.0)
    monkeypatch.setattr("pages._shared.cache.shares_over", lambda *args: found)
    app.button(key="attention.measure").click().run()
    assert not app.exception
    assert [box["y"] for box in spec(app, "attention.spread")["data"]] == [[0.5, 1.0]] * 3
    assert "left out: Clean 1; Backdoored 1; Defended 1" in page_text(app)


def test_a_word_has_no_place_in_the_picture(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path, "rn", trigger="text_only")
    app = open_page("Attention")
    assert "changes nothing in this picture, so no share is given" in page_text(app)
    assert app.dataframe[0].value["Maps with and without trigger, cosine"].tolist() == pytest.approx([1, 1, 1])
