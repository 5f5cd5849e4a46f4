"""The app under test: a tiny untrained model instead of the shipped weights; runs and images in a temporary folder."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.delta_generator import DeltaGenerator
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Selectbox

from cleaner.jobs import calibration, local, locks, process, worker
from cleaner.runs.status import ACTIVE
from pages._shared import cache
from pages._shared.cache import works
from pages._shared.runs import sources
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
OpenPage = Callable[[str], AppTest]
WIDGETS = (
    "button",
    "multiselect",
    "number_input",
    "radio",
    "select_slider",
    "selectbox",
    "slider",
    "text_input",
    "toggle",
)


@pytest.fixture(scope="session")
def builtin_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tiny model under the name of a built-in one."""
    from cleaner.models.clip import save_clip
    from tests.conftest import make_clip

    clip = make_clip()
    clip.name = "scenes-rn"
    return save_clip(clip, tmp_path_factory.mktemp("model") / "model.safetensors", metadata={"stage": "clean"})


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scene_cache: Path, builtin_model: Path) -> OpenPage:
    """Return page title -> the running app at that page, with no runs on disk yet.

    Streamlit's caches stay: they are keyed by run folder and by file time, so no test sees another's runs or models.
    """
    shutil.copytree(builtin_model.parent, tmp_path / "assets" / "scenes-rn")
    # The app has no components; to look for some, each AppTest would read the metadata of all installed packages.
    monkeypatch.setattr(BidiComponentManager, "discover_and_register_components", lambda manager, **options: None)
    monkeypatch.setenv("CLEANER_ASSETS", str(tmp_path / "assets"))
    run_workers_in_threads(monkeypatch)
    for name in ("warm_images", "warm_inspection"):  # their threads would outlive the test
        monkeypatch.setattr(cache, name, lambda *keys: True)
    monkeypatch.setattr(cache, "find_playground", lambda *runs: None)
    monkeypatch.setattr(Selectbox, "_widget_state", property(_typed_state))
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_CACHE", str(scene_cache))

    def open_app(title: str) -> AppTest:
        return go_to(AppTest.from_file(str(ROOT / "app.py"), default_timeout=300), title)

    return open_app


def _typed_state(box: Selectbox[str]) -> WidgetState:
    """Send the value of a select box as a browser does; AppTest cannot send one that is not an option."""
    state = WidgetState(id=box.id)
    if box.value is not None and box.options:
        shown = box.format_func(box.value)
        state.string_value = shown if shown in box.options else str(box.value)
    return state


def go_to(app: AppTest, title: str) -> AppTest:
    """Go to a page; fail on any exception box."""
    file = next((ROOT / "pages").glob(f"*_{title.replace(' ', '_')}.py"))
    app.switch_page(f"pages/{file.name}").run()
    assert not app.exception, [e.message for e in app.exception]
    assert [t.value for t in app.title] == [title]
    return app


def page_text(app: AppTest) -> str:
    """Return all text of a page, without the escapes of Markdown."""
    kinds = (app.markdown, app.caption, app.info, app.error, app.warning, app.success, app.header)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def hover_text(app: AppTest) -> str:
    """Return what a page shows where the mouse is over a caption or a metric."""
    return "\n".join(element.help or "" for kind in (app.caption, app.metric) for element in kind)


def errors(app: AppTest) -> list[str]:
    """Return the error messages of a page, without the escapes of Markdown."""
    return [str(error.value).replace("\\", "") for error in app.error]


def widget_keys(app: AppTest) -> set[str]:
    """Return the keys of all widgets of a page."""
    return {element.key for kind in WIDGETS for element in app.get(kind) if element.key}


def link_labels(app: AppTest) -> list[str]:
    """Return the labels of all links to pages."""
    return [link.proto.label for link in app.get("page_link")]


def chart(app: AppTest, key: str) -> dict[str, Any]:
    """Return the Plotly specification of a chart."""
    return dict(json.loads(next(c for c in app.get("plotly_chart") if c.proto.id.endswith(f"-{key}")).proto.spec))


def chart_keys(app: AppTest) -> list[str]:
    """Return the keys of all charts of a page."""
    return [c.proto.id.split("-", 2)[2] for c in app.get("plotly_chart")]


def read_curves(app: AppTest) -> list[dict[str, Any]]:
    """Return what the browser receives of each run in the training curves of a page."""
    protos = [e.proto for e in app.get("bidi_component") if e.proto.component_name == "live_charts"]
    return [run for proto in protos for run in json.loads(proto.json or proto.mixed.json)["runs"]]


def curve_points(app: AppTest) -> dict[str, list[list[float]]]:
    """Return the lines of all training curves of a page: name -> points."""
    return {line["name"]: line["points"] for run in read_curves(app) for line in run["lines"]}


def table(app: AppTest, column: str) -> pd.DataFrame:
    """Return the first table with this column."""
    return next(frame.value for frame in app.dataframe if column in frame.value)


def record_bars(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which every progress bar of a page adds its text: the bars vanish before the page is done."""
    texts: list[str] = []
    draw = DeltaGenerator.progress

    def record(place: DeltaGenerator, value: float, text: str) -> DeltaGenerator:
        texts.append(text)
        return draw(place, value, text)

    monkeypatch.setattr(DeltaGenerator, "progress", record)
    return texts


class AllWork(set[tuple[str, ...]]):
    """Stands for all work of a page, as the works that were canceled."""

    def __contains__(self, work: object) -> bool:
        return True


def select_run_row(app: AppTest, run: str) -> AppTest:
    """Select a run in the table of the Overview page, which must be unfolded."""
    frame = next(frame for frame in app.dataframe if "Run" in frame.value)
    row = frame.value["Run"].tolist().index(run)
    app.session_state[frame.proto.id.split("-", 2)[2]] = {"selection": {"rows": [row], "columns": [], "cells": []}}
    return app.run()


def press(app: AppTest, end: str) -> AppTest:
    """Press the button whose key ends like this."""
    next(button for button in app.button if (button.key or "").endswith(end)).click().run()
    assert not app.exception, [e.message for e in app.exception]
    return app


def choose_own_model(app: AppTest, key: str, path: object) -> AppTest:
    """Put a path into the field of a model."""
    app.selectbox(key=key).set_value(sources.OWN_MODEL).run()
    return app.text_input(key=f"{key}.path").set_value(str(path)).run()


def choose_own_data(app: AppTest, key: str, path: object) -> AppTest:
    """Put a path into the field of data."""
    app.selectbox(key=key).set_value(sources.OWN_DATA).run()
    return app.text_input(key=f"{key}.path").set_value(str(path)).run()


def choose_small_training(app: AppTest) -> AppTest:
    """Choose the smallest training on the Poison page."""
    app.select_slider(key="poison.pairs").set_value(500)
    app.select_slider(key="poison.tests").set_value(100)
    app.number_input(key="poison.train.epochs").set_value(1)
    return app.run()


def wait_for_training(app: AppTest) -> AppTest:
    """Wait until no job is active, then rerun the page."""
    wait_until(lambda: all(entry.status.state not in ACTIVE for entry in local.poll_entries()), 600)
    app.run()
    assert not app.exception, [e.message for e in app.exception]
    return app


def finish_work(app: AppTest) -> AppTest:
    """Wait until no background work is running, then draw the page again, as the browser asks for it."""
    wait_until(lambda: not any(thread.name == works.THREAD for thread in threading.enumerate()))
    app.run()
    assert not app.exception, [e.message for e in app.exception]
    return app


def run_workers_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run workers as threads of this process, which has torch loaded; tests/jobs and tests/browser run real ones."""

    def launch(folder: Path) -> None:
        def work() -> None:
            with locks.try_lock(folder):
                worker.run_job(worker.RunSession(folder))

        threading.Thread(target=work, name=f"worker-{folder.name}", daemon=True).start()

    monkeypatch.setattr(local, "launch", launch)
    monkeypatch.setattr(worker, "draw_map", lambda folder: None)  # compiles for a minute; tests/jobs runs it
    monkeypatch.setattr(calibration, "read", lambda: None)
    monkeypatch.setattr(process, "find_process", lambda folder, status: psutil.Process())
    monkeypatch.setattr(process, "kill", lambda worker: None)
