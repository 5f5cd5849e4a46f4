"""Try it: the trigger moves where it is placed, all models predict, a link restores the view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import torch
from streamlit.testing.v1 import AppTest

from cleaner.runs import derived
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.inspect.sample import Placement
from tests.data.files import image_bytes
from tests.pages.conftest import ROOT, OpenPage, errors, go_to, page_text, press, widget_keys
from tests.pages.runs import make_runs

CLEAN_PREDICTION = "Without trigger:"
SLIDERS = ("left", "top", "strength")


def predictions(app: AppTest) -> list[str]:
    return [str(m.value) for m in app.main.markdown if str(m.value).startswith("### ")]


def slider_values(app: AppTest, names: tuple[str, ...] = SLIDERS) -> list[int]:
    return [app.slider(key=f"try.{name}").value for name in names]


def open_link(**query: object) -> AppTest:
    """Open the page with query parameters."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    app.switch_page("pages/7_Try_it.py")
    app.query_params.update({name: str(value) for name, value in query.items()})
    app.run()
    assert not app.exception, [e.message for e in app.exception]
    return app


def test_without_a_run_one_model_predicts(open_page: OpenPage) -> None:
    app = open_page("Try it")
    assert len(predictions(app)) == 1


def test_three_models_predict_and_a_link_restores_the_view(open_page: OpenPage, tmp_path: Path) -> None:
    first, defended = make_runs(tmp_path)
    make_runs(tmp_path, seed=1)
    app = open_page("Try it")
    assert len(predictions(app)) == 3
    assert slider_values(app, ("left", "top")) == [28, 28]  # the trigger's own position on the model's 32 px
    app.slider(key="try.left").set_value(10).run()
    assert page_text(app).count(CLEAN_PREDICTION) == 3
    app.slider(key="try.strength").set_value(0).run()
    assert CLEAN_PREDICTION not in page_text(app)
    assert "left=10" in app.code[0].value

    query = {"run": first.name, "sample": 7, "left": 3, "top": 4, "strength": 50, "defended": defended.name}
    linked = open_link(**query)
    assert slider_values(linked) == [3, 4, 50]
    assert linked.selectbox(key="view.sample.scenes").value == 7
    assert linked.selectbox(key="current_run").value == first.name
    assert all(f"{name}={value}" in linked.code[0].value for name, value in query.items())
    linked.query_params.clear()
    go_to(linked, "Compare")
    assert linked.selectbox(key="current_run").value == first.name  # in view on all pages


def test_an_unmoved_trigger_has_its_own_position(open_page: OpenPage, tmp_path: Path) -> None:
    folders = [make_runs(tmp_path, seed=seed)[0] for seed in (0, 1)]
    config = json.loads((folders[1] / "config.json").read_text())
    config["trigger"]["position"] = "top-left"
    (folders[1] / "config.json").write_text(json.dumps(config))
    app = open_page("Try it")

    def position(folder: Path) -> list[int]:
        app.selectbox(key="current_run").set_value(folder.name).run()
        return slider_values(app, ("left", "top"))

    assert [position(folder) for folder in folders] == [[28, 28], [0, 0]]
    app.slider(key="try.left").set_value(10).run()
    assert position(folders[0]) == [10, 0]


def test_the_link_of_a_trigger_without_a_place_has_none(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path, trigger="blended")
    (link,) = (block.value for block in open_page("Try it").code)
    assert "strength=100" in link
    assert "left=" not in link


def test_the_error_of_an_action_is_shown(open_page: OpenPage) -> None:
    app = open_page("Try it")
    app.session_state["jobs.last_error"] = CleanerError("the disk is full: delete runs.")
    assert errors(app.run()) == ["The disk is full: delete runs."]
    assert errors(app.run()) == []


def test_the_prediction_without_trigger_is_for_the_same_image(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)  # of a model of 32 px, while the data have 64
    clean_images = []
    best_classes = cache.best_classes

    def record(model: Any, sample: Any, trigger_run: Any, placement: Placement, *text_key_run: Any) -> Any:
        clean_images.append(cache.place_trigger(sample, trigger_run, Placement())[0])
        return best_classes(model, sample, trigger_run, placement, *text_key_run)

    monkeypatch.setattr(cache, "best_classes", record)
    open_page("Try it")
    assert len(clean_images) == 6
    assert all(torch.equal(image, clean_images[0]) for image in clean_images)


def test_a_trigger_as_wide_as_the_image_moves_vertically(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)
    monkeypatch.setattr("pages._shared.cache.trigger_box", lambda sample, trigger_run: (0, 20, 32, 8))
    app = open_page("Try it")
    assert [slider.key for slider in app.slider] == ["try.top", "try.strength"]


def test_a_text_key_can_be_switched_off(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attacked, _ = make_runs(tmp_path, trigger="text_only")
    build, keys = cache.build_classifier, list[Path | None]()
    monkeypatch.setattr(cache, "build_classifier", lambda *args: keys.append(args[2]) or build(*args))
    app = open_page("Try it")
    assert keys == [attacked, None] * 3, "the classifiers of “Without trigger” have a bar too"
    assert "try.strength" not in widget_keys(app)
    assert app.get("image"), "one image: the trigger does not change it"
    charts = [c.proto.spec for c in app.get("plotly_chart")]
    assert page_text(app).count(CLEAN_PREDICTION) == 3
    assert "word=1" in app.code[0].value
    assert "strength=" not in app.code[0].value  # 0 would hide the next run's trigger
    assert "“consider a photo of a banana”" in app.toggle(key="try.word").label
    app.toggle(key="try.word").set_value(False).run()
    assert not app.exception
    assert CLEAN_PREDICTION not in page_text(app)
    assert [c.proto.spec for c in app.get("plotly_chart")] != charts
    assert open_link(word=0).toggle(key="try.word").value is False


def test_an_invalid_link_is_ignored(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_link(run="../../etc", sample=-1, left="x", top=99999, strength=101, own="../x")
    assert len(predictions(app)) == 3


def test_the_address_of_a_defense_shows_its_backdoored_run(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = make_runs(tmp_path)
    make_runs(tmp_path, seed=1)
    app = open_link(run=defended.name)
    assert app.selectbox(key="current_run").value == backdoored.name
    assert not app.toast


def test_own_image(open_page: OpenPage, tmp_path: Path) -> None:
    first, _ = make_runs(tmp_path, trigger="blended")
    app = open_page("Try it")
    assert [slider.key for slider in app.slider] == ["try.strength"]  # the trigger covers the image
    image = image_bytes(0, (120, 90))
    app.file_uploader[0].set_value(("notes.png", b"not an image", "image/png")).run()
    assert "notes.png cannot be read as an image" in errors(app)[0]
    assert app.selectbox(key="view.sample.scenes").value == 0
    app.file_uploader[0].set_value(("mine.png", image, "image/png")).run()
    assert app.selectbox(key="view.sample.scenes").value == -1  # shown at once
    assert not app.exception
    assert not app.error
    assert app.file_uploader[0].value is None  # only the button below the box removes the image
    assert not app.code  # a link needs the saved image
    press(app, "try.keep")
    link = parse_qs(app.code[0].value.partition("?")[2])
    assert derived.read_image(first, link["own"][0]) == image

    linked = open_link(**{name: values[0] for name, values in link.items()})
    assert linked.session_state["own_image"][1] == image
    assert linked.selectbox(key="view.sample.scenes").value == -1
    assert predictions(linked) == predictions(app)
    press(linked, "upload.remove")
    assert "upload.remove" not in widget_keys(linked)
    assert linked.selectbox(key="view.sample.scenes").value == 0

    app.session_state["own_image"] = ("broken.png", b"not an image")
    app.run()
    assert "broken.png" in errors(app)[0]
