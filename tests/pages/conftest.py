"""The app under test: a tiny untrained model instead of the shipped weights; runs and pictures in a temporary place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import streamlit as st
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Selectbox

from cleaner.jobs import local, locks, process, worker
from cleaner.runs.store import ACTIVE
from pages._shared import cache
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
OpenPage = Callable[[str], AppTest]


@pytest.fixture(scope="session")
def scene_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scene_cache: Path) -> OpenPage:
    """Return page title -> the running app at that page, with nothing on disk yet."""
    import cleaner.models.checkpoints
    from cleaner.models.clip import save_clip
    from tests.conftest import make_clip

    clip = make_clip()
    clip.name = "scenes-rn"
    save_clip(clip, tmp_path / "assets" / "scenes-rn" / "model.safetensors", metadata={"stage": "clean"})
    monkeypatch.setattr(cleaner.models.checkpoints, "ASSETS", tmp_path / "assets")
    monkeypatch.setenv("CLEANER_ASSETS", str(tmp_path / "assets"))
    run_workers_in_threads(monkeypatch)
    monkeypatch.setattr(cache, "warm_images", lambda sample, trigger_run: True)  # would outlive the test
    monkeypatch.setattr(Selectbox, "_widget_state", property(_typed_state))
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_CACHE", str(scene_cache))
    st.cache_resource.clear()
    st.cache_data.clear()

    def opened(title: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300).run()
        return go_to(app, title)

    return opened


def _typed_state(box: Selectbox[str]) -> WidgetState:
    """Send a select box's value as a browser does; AppTest alone cannot send one that is not in the list."""
    state = WidgetState(id=box.id)
    if box.value is not None and box.options:
        shown = box.format_func(box.value)
        state.string_value = shown if shown in box.options else str(box.value)
    return state


def go_to(app: AppTest, title: str) -> AppTest:
    """Go to a page; fail on any exception box."""
    found = next((ROOT / "pages").glob(f"*_{title.replace(' ', '_')}.py"))
    app.switch_page(f"pages/{found.name}").run()
    assert not app.exception, [e.message for e in app.exception]
    assert [t.value for t in app.title] == [title]
    return app


def page_text(app: AppTest) -> str:
    """Return all text of a page in one string."""
    kinds = (app.markdown, app.caption, app.info, app.error, app.warning, app.success, app.subheader)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def choose_small_training(app: AppTest) -> AppTest:
    """Choose the smallest training on the Poison page."""
    app.select_slider(key="poison.pairs").set_value(500)
    app.select_slider(key="poison.tests").set_value(100)
    app.number_input(key="poison.train.epochs").set_value(1)
    return app.run()


def wait_for_training(app: AppTest) -> AppTest:
    """Wait until nothing is at work any more, then look again."""
    wait_until(lambda: all(entry.status.state not in ACTIVE for entry in local.poll_entries()), 600)
    app.run()
    assert not app.exception, [e.message for e in app.exception]
    return app


def run_workers_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers be threads of this process, which has loaded torch already; real ones: test_jobs.py, browser/."""

    def launch(folder: Path) -> None:
        def work() -> None:
            with locks.try_lock(folder):
                worker.run_job(worker.RunSession(folder))

        threading.Thread(target=work, name=f"worker-{folder.name}", daemon=True).start()

    monkeypatch.setattr(local, "launch", launch)
    monkeypatch.setattr(worker, "draw_map", lambda folder: None)  # compiles for a minute; real: test_jobs.py
    monkeypatch.setattr(process, "find_process", lambda folder, status: psutil.Process())
    monkeypatch.setattr(process, "kill", lambda worker: None)
