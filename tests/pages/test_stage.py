"""Stage mode: the address turns it on, it lasts across pages, and it shows the figures of the run in view."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cleaner.files import write_json
from pages._shared.runs.sources import OWN_DATA
from pages._shared.shell import stage_mode
from tests.pages.conftest import ROOT, OpenPage, chart_keys, go_to
from tests.pages.runs import make_metrics, make_runs, move_to_example


def test_the_address_turns_it_on_and_it_lasts(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Film")
    assert not app.metric
    app.query_params["stage"] = "1"
    app.run()
    figures = [(metric.label, metric.value) for metric in app.metric]
    assert figures == [
        ("Attack success", "95%"),
        ("Clean accuracy", "90%"),
        ("Attack success", "10%"),
        ("Clean accuracy", "90%"),
    ]
    go_to(app, "Embeddings")
    assert app.session_state["stage.on"]
    app.button(key="stage.exit").click().run()
    assert not app.session_state["stage.on"]
    assert "stage" not in app.query_params


def test_the_first_page_keeps_what_the_address_says(open_page: OpenPage) -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    app.query_params["stage"], app.query_params["lesson"] = "1", "3"
    app.run()
    assert not app.exception
    assert app.session_state["stage.on"]
    assert app.query_params["lesson"] == "3"


def test_the_figures_are_those_by_which_the_attack_is_judged(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = make_runs(tmp_path)
    weaker = shutil.copytree(defended, defended.with_name("weaker"))
    for folder, asr, own in ((backdoored, 0.7, 1.0), (defended, 0.8, 0.0), (weaker, 0.6, 0.4)):
        write_json(folder / "metrics.json", replace(make_metrics(asr), own_recall={1: own, 10: 1.0}).to_dict())
    app = open_page("Film")
    app.button(key="stage.start").click().run()
    assert [metric.value for metric in app.metric] == ["100%", "90%", "0%", "90%"]
    assert app.metric[0].label == "Attacker's image found"


def test_the_figures_are_those_of_the_best_model_that_kept_its_accuracy(open_page: OpenPage, tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    destroyed = shutil.copytree(defended, defended.with_name("destroyed"))
    write_json(destroyed / "metrics.json", make_metrics(0.0, ca=0.04).to_dict())
    app = open_page("Film")
    app.button(key="stage.start").click().run()
    assert [metric.value for metric in app.metric] == ["95%", "90%", "10%", "90%"]
    assert "points of accuracy" not in model_names(app)
    shutil.rmtree(defended)
    app.run()
    assert [metric.value for metric in app.metric] == ["95%", "90%", "0%", "4%"]
    assert "lost 86.0 points of accuracy" in model_names(app)


def model_names(app: AppTest) -> str:
    return "\n".join(html.proto.body for html in app.get("html") if "model-name" in html.proto.body)


def test_the_overview_has_one_picture(open_page: OpenPage, tmp_path: Path) -> None:
    example, _ = make_runs(tmp_path)
    move_to_example(tmp_path)
    own, _ = make_runs(tmp_path, seed=1)
    app = open_page("Overview")
    app.selectbox(key="current_run").set_value(own.name).run()
    assert sorted(chart_keys(app)) == [f"overview.{run.name}" for run in (example, own)]
    app.button(key="stage.start").click().run()
    assert chart_keys(app) == [f"overview.{own.name}"]
    app.selectbox(key="current_run").set_value(example.name).run()
    assert chart_keys(app) == [f"overview.{example.name}"]


@pytest.mark.parametrize(
    ("title", "choice"),
    [
        ("Trigger search", {}),
        ("Compare", {"compare.source": "benchmark"}),
        ("Defend", {"defend.external": True}),
        ("Poison", {"poison.data": OWN_DATA}),
    ],
)
def test_a_page_without_its_picture_says_why(
    open_page: OpenPage, tmp_path: Path, title: str, choice: dict[str, Any]
) -> None:
    make_runs(tmp_path)
    app = open_page(title)
    for key, value in {**choice, "stage.on": True}.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception
    assert stage_mode.ICON in [info.icon for info in app.info]


def test_a_page_shows_its_picture_alone_and_without_one_all_it_has(open_page: OpenPage) -> None:
    app = open_page("Film")
    app.button(key="stage.start").click().run()
    assert [".st-key-film-screen" in style for style in stage_styles(app)] == [True]
    code = "from pages._shared.shell import stage_mode\nstage_mode.show('Runs', '')"
    app = AppTest.from_string(code, default_timeout=60).run()
    assert not app.exception
    assert [header.value for header in app.header] == ["Runs"]
    assert stage_styles(app) == []


def stage_styles(app: AppTest) -> list[str]:
    return [html.proto.body for html in app.get("html") if "/* Stage mode; " in html.proto.body]
