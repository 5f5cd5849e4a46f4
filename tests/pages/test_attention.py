"""Attention: one grid for all models, numbers per model, the test set on request; works without a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Selectbox, SelectSlider

from cleaner.inspection.attribution import TriggerAttribution
from cleaner.plots import images
from pages._shared import cache
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.sample import ModelKey, Sample
from pages._shared.shell import wording
from tests.pages.conftest import OpenPage, chart, chart_keys, page_text, press, record_bars, table, widget_keys
from tests.pages.runs import make_runs

MODELS = ["Clean", "Backdoored", "Defended"]


def method_box(app: AppTest) -> Selectbox[str]:
    return next(box for box in app.selectbox if str(box.key).startswith("attention.method"))


def count_slider(app: AppTest) -> SelectSlider[Any]:
    return next(box for box in app.select_slider if str(box.key).startswith("attention.n"))


def measure(app: AppTest) -> None:
    count_slider(app).set_value(32)
    press(app, "attention.measure")


def enter_text(app: AppTest, text: str) -> None:
    next(box for box in app.text_input if str(box.key).startswith("view.text")).set_value(text).run()


@pytest.mark.parametrize(("text", "message"), [(" ", "empty"), ("x" * 600, "600 characters")])
def test_empty_and_long_texts_are_refused(open_page: OpenPage, text: str, message: str) -> None:
    app = open_page("Attention")
    enter_text(app, text)
    assert message in app.error[0].value
    assert not chart_keys(app)


def test_a_text_that_the_model_cuts_is_reported(open_page: OpenPage) -> None:
    app = open_page("Attention")
    assert "reads only" not in page_text(app)
    enter_text(app, "a red car " * 30)
    read = len(chart(app, "attention.word_bars")["layout"]["xaxis"]["ticktext"])
    assert 0 < read < 90
    assert f"The model reads only the first {read} words." in page_text(app)


def test_without_a_run_it_shows_the_built_in_model(open_page: OpenPage) -> None:
    app = open_page("Attention")
    assert [trace["type"] for trace in chart(app, "attention.grid")["data"]] == ["image", "heatmap"]
    assert table(app, "Similarity")["Model"].tolist() == ["Clean"]
    assert "attention.measure" not in widget_keys(app)


@pytest.mark.parametrize("kind", [pytest.param("vit", marks=pytest.mark.slow), "rn"])
def test_three_models_clean_and_triggered(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    make_runs(tmp_path, kind)
    bars = record_bars(monkeypatch)
    app = open_page("Attention")
    progress = [tuple(map(int, re.findall(r"(\d+) of (\d+)", text)[0])) for text in bars if "attributions" in text]
    assert progress == [*[(1, 2), (2, 2)] * 3, *[(step, 5) for step in range(1, 6)] * 3]  # maps, then words
    method = method_box(app)
    assert method.value == "occlusion"
    assert ("GradCAM" in method.options) == (kind == "rn")
    assert ("Attention rollout" in method.options) == (kind == "vit")
    heatmaps = [trace for trace in chart(app, "attention.grid")["data"] if trace["type"] == "heatmap"]
    assert len(heatmaps) == 6
    assert {trace["coloraxis"] for trace in heatmaps} == {"coloraxis"}
    values = table(app, "Similarity, clean")
    assert values["Model"].tolist() == MODELS
    assert values["Similarity, clean"].nunique() == 3
    added = values["Similarity, triggered"] - values["Similarity, clean"]
    assert np.allclose(values["The trigger adds"], added, atol=5e-3)
    ratios = [ratio for text in values["Share, triggered"] for ratio in re.findall(r"× ([\d.]+)", text)]
    assert ratios
    assert all("." in ratio or float(ratio) >= 10 for ratio in ratios)
    assert not values["The trigger adds"].map("{:+.2f}".format).eq("-0.00").any()
    special = {"rn": ["grad_cam"], "vit": ["rollout", "gradient_rollout"]}[kind]
    for name in [*special, "integrated_gradients", "occlusion"]:
        method_box(app).set_value(name).run()
        assert not app.exception, name
        title = chart(app, "attention.grid")["layout"]["coloraxis"]["colorbar"]["title"]["text"]
        assert title.endswith("the text") is (name != "rollout")
    counts = count_slider(app).options
    assert counts == ["32", "49"], "the other 51 test images show several classes"
    assert f"on {counts[-1]} images of other classes" in page_text(app)
    measure(app)
    assert "n = 32 " in page_text(app)
    assert "attention.spread" in chart_keys(app)
    assert chart(app, "attention.word_bars")["layout"]["xaxis"]["ticktext"] == ["a", "photo", "of", "a", "banana"]


def test_images_maps_and_figures_stand_under_their_names(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)
    pairs: list[Any] = []
    grids: list[tuple[Any, ...]] = []
    load_pair, draw_grid = cache.image_pair_pixels, images.attribution_grid

    def attribute(
        model: ModelKey, method: str, settings: object, sample: Sample, trigger_run: Path, **_: object
    ) -> tuple[Any, list[float]]:
        pairs.append(load_pair(sample, trigger_run))
        clean = 1 - cache.trigger_mask(sample, trigger_run)  # nothing inside the trigger
        return np.stack([clean, np.full_like(clean, 3)]), [0.1, 0.4]

    def draw(*arguments: Any, **options: Any) -> Any:
        grids.append(arguments)
        return draw_grid(*arguments, **options)

    result = TriggerAttribution([0.1], [0.9], [0.5], 0.06)
    monkeypatch.setattr(cache, "attribution", attribute)
    monkeypatch.setattr(cache, "shares_over", lambda *args, **options: result)
    monkeypatch.setattr(cache, "word_attribution", lambda *args: (["a", "b"], [[0.1, 0.2], [0.3, 0.4]]))
    monkeypatch.setattr(images, "attribution_grid", draw)
    app = open_page("Attention")
    app.toggle(key="attention.raw").set_value(True).run()
    press(app, "attention.measure")
    pictures, maps, rows, _ = grids[-1]
    assert rows == ["Triggered image", "Clean image"]
    assert [row[0].max() for row in maps] == [3, 1]
    assert not np.array_equal(*pairs[-1])
    for picture, pixels in zip(pictures, pairs[-1][::-1], strict=True):
        assert np.array_equal(picture, enlarge(pixels))
    values = table(app, "Similarity, clean").iloc[0]
    assert values[["Similarity, clean", "Similarity, triggered", "Share, clean"]].tolist() == [0.1, 0.4, "0.0%"]
    assert [box["y"] for box in chart(app, "attention.spread")["data"]] == [[0.1]] * 3 + [[0.9]] * 3
    assert chart(app, "attention.word_bars")["data"][0]["y"] == [0.3, 0.4]
    labels = [box.label for box in (*app.selectbox, *app.segmented_control)]
    assert len(set(labels)) == len(labels)


def test_large_images_start_with_a_fast_method(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path, "rn")
    app = open_page("Attention")
    assert method_box(app).value == "occlusion"
    monkeypatch.setattr("pages._shared.cache.attributions.image_size", lambda model: 224)
    app.run()
    assert method_box(app).value == "grad_cam"


def test_an_attack_on_texts_has_no_triggered_image(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path, "rn", trigger="text_only")
    app = open_page("Attention")
    assert [trace["type"] for trace in chart(app, "attention.grid")["data"]] == ["image", "heatmap"] * 3
    assert table(app, "Similarity")["Model"].tolist() == MODELS
    assert wording.TEXT_KEY_NOTE in [info.value for info in app.info]
    assert "attention.measure" not in widget_keys(app)
    assert not [box for box in app.segmented_control if box.key == "attention.words"]
    assert "attention.word_bars" in chart_keys(app)


def test_a_trigger_without_a_place_has_no_share(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path, "rn", trigger="blended")
    app = open_page("Attention")
    values = table(app, "Cosine of maps")
    assert not [column for column in values.columns if "share" in column.lower()]
    assert "over half of the image" in page_text(app)
    measure(app)
    app.run()  # a cache hit, which must not draw the progress bar again
    assert not app.exception
    spread = chart(app, "attention.spread")
    assert [(len(box["y"]), box["x"][0]) for box in spread["data"]] == [
        (32, "Clean"),
        (32, "Backdoored"),
        (32, "Defended"),
    ]
    assert spread["layout"]["xaxis"]["range"] == [-0.5, 2.5]
    assert spread["layout"]["yaxis"]["tickformat"] == ".2f"


def test_maps_without_attribution_are_left_out_and_counted(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path, "rn", trigger="blended")
    app = open_page("Attention")
    result = TriggerAttribution([], [], [float("nan"), 0.5, 1.0], 1.0)
    monkeypatch.setattr("pages._shared.cache.shares_over", lambda *args, **options: result)
    press(app, "attention.measure")
    assert [box["y"] for box in chart(app, "attention.spread")["data"]] == [[0.5, 1.0]] * 3
    assert "Clean 1; Backdoored 1; Defended 1" in page_text(app)
