"""Try it: the trigger goes where it is put, all models answer, a link leads back to the same view."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from cleaner.runs import derived
from pages._shared import cache
from tests.pages.conftest import ROOT, OpenPage, go_to, page_text
from tests.pages.runs import make_runs


def answers(app: AppTest) -> list[str]:
    return [str(m.value) for m in app.markdown if str(m.value).startswith("#### ")]


def test_without_a_run_one_model_answers(open_page: OpenPage) -> None:
    app = open_page("Try it")
    assert len(answers(app)) == 1
    assert not [s for s in app.slider if s.key == "try.left"]


def test_three_models_answer_and_a_link_leads_back(open_page: OpenPage, tmp_path: Path) -> None:
    first, defended = make_runs(tmp_path)
    make_runs(tmp_path, seed=1)
    app = open_page("Try it")
    assert len(answers(app)) == 3
    assert (app.slider(key="try.left").value, app.slider(key="try.top").value) == (
        28,
        28,
    )  # its own, on the model's 32 px
    app.slider(key="try.left").set_value(10).run()
    app.slider(key="try.strength").set_value(0).run()
    assert "Without the trigger" not in page_text(app)
    assert "left=10" in app.code[0].value

    linked = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    linked.run().switch_page("pages/7_Try_it.py")
    asked = {"run": first.name, "sample": 7, "left": 3, "top": 4, "strength": 50, "defended": defended.name}
    linked.query_params.update({name: str(value) for name, value in asked.items()})
    linked.run()
    assert not linked.exception
    place = [linked.slider(key=f"try.{name}").value for name in ("left", "top", "strength")]
    assert place == [3, 4, 50]
    assert linked.selectbox(key="view.sample.scenes").value == 7
    assert linked.selectbox(key="current_run").value == first.name
    assert all(f"{name}={value}" in linked.code[0].value for name, value in asked.items())
    linked.query_params.clear()
    go_to(linked, "Compare")
    assert linked.selectbox(key="current_run").value == first.name  # other pages look at the same run


def test_a_trigger_that_was_not_moved_lies_where_it_was_learnt(open_page: OpenPage, tmp_path: Path) -> None:
    folders = [make_runs(tmp_path, seed=seed)[0] for seed in (0, 1)]
    config = json.loads((folders[1] / "config.json").read_text())
    config["trigger"]["position"] = "top-left"
    (folders[1] / "config.json").write_text(json.dumps(config))
    app = open_page("Try it")

    def place(folder: Path) -> list[int]:
        app.selectbox(key="current_run").set_value(folder.name).run()
        return [app.slider(key=f"try.{name}").value for name in ("left", "top")]

    assert [place(folder) for folder in folders] == [[28, 28], [0, 0]]
    app.slider(key="try.left").set_value(10).run()
    assert place(folders[0]) == [10, 0]


def test_without_the_trigger_means_the_same_picture(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)  # of a model of 32 px, while the data have 64
    asked = []
    answer = cache.best_classes

    def listen(model: Any, sample: Any, attacked: Any, left: int, top: int, strength: float, *word: Any) -> Any:
        asked.append(cache.place_trigger(sample, attacked, left, top, 0.0)[0])
        return answer(model, sample, attacked, left, top, strength, *word)

    monkeypatch.setattr(cache, "best_classes", listen)
    open_page("Try it")
    assert len(asked) == 6
    assert all(torch.equal(picture, asked[0]) for picture in asked)


def test_a_trigger_as_wide_as_the_picture_moves_up_and_down(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)
    monkeypatch.setattr("pages._shared.cache.stamp", lambda sample, attacked: (0, 20, 32, 8))
    app = open_page("Try it")
    assert [slider.key for slider in app.slider] == ["try.top", "try.strength"]


def test_a_word_in_the_prompts_is_a_key_of_its_own(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path, trigger="text_only")
    app = open_page("Try it")
    assert "changes nothing in the picture" in page_text(app)
    assert not [s for s in app.slider if s.key == "try.strength"]
    with_word, charts = page_text(app).count("Without the trigger"), [c.proto.spec for c in app.get("plotly_chart")]
    assert with_word == 3
    assert "word=1" in app.code[0].value
    app.toggle(key="try.word").set_value(False).run()
    assert not app.exception
    assert "Without the trigger" not in page_text(app)
    assert [c.proto.spec for c in app.get("plotly_chart")] != charts
    linked = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    linked.run().switch_page("pages/7_Try_it.py")
    linked.query_params.update({"word": "0"})
    linked.run()
    assert linked.toggle(key="try.word").value is False


def test_a_broken_link_does_no_harm(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    app.run().switch_page("pages/7_Try_it.py")
    app.query_params.update(
        {"run": "../../etc", "sample": "-1", "left": "x", "top": "99999", "strength": "101", "own": "../x"}
    )
    app.run()
    assert not app.exception
    assert len(answers(app)) == 3


def test_own_picture(open_page: OpenPage, tmp_path: Path) -> None:
    first, _ = make_runs(tmp_path, trigger="blended")
    app = open_page("Try it")
    assert "has a strength and no place" in page_text(app)
    buffer = io.BytesIO()
    Image.fromarray(np.full((90, 120, 3), 200, np.uint8)).save(buffer, "PNG")
    app.file_uploader(key="upload").set_value(("mine.png", buffer.getvalue(), "image/png")).run()
    app.selectbox(key="view.sample.scenes").set_value(-1).run()
    assert not app.exception
    assert not app.code  # a link would not have the picture
    app.button(key="try.keep").click().run()
    link = parse_qs(app.code[0].value.partition("?")[2])
    assert derived.read_image(first, link["own"][0]) == buffer.getvalue()

    linked = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    linked.run().switch_page("pages/7_Try_it.py")
    linked.query_params.update({name: values[0] for name, values in link.items()})
    linked.run()
    assert not linked.exception
    assert linked.session_state["own_picture"][1] == buffer.getvalue()
    assert linked.selectbox(key="view.sample.scenes").value == -1
    assert answers(linked) == answers(app)

    app.session_state["own_picture"] = ("broken.png", b"no picture")
    app.run()
    assert "cannot be read as" in app.error[0].value
