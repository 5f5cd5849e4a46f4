"""Trigger search: scans the run or model in view, inverts its trigger with live pictures, and keeps the result."""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import cleaner.inspection.inversion
from cleaner.runs.inversion_result import MISS_NOTE, locate_inversion, read_inversion
from cleaner.types import CleanerError, OnStep, StepReport
from pages._shared import cache
from pages._shared.inspect.sample import DataKey
from tests.cli.test_invert import find_anything
from tests.pages.conftest import (
    OpenPage,
    chart,
    errors,
    finish_work,
    go_to,
    page_text,
    press,
    record_bars,
    table,
    widget_keys,
)
from tests.pages.runs import make_runs
from tests.waiting import wait_until


def search_trigger(open_page: OpenPage, attacked: Path) -> AppTest:
    """Invert the trigger of a run on the page, and return the page with the result."""
    app = open_page("Trigger search")
    app.segmented_control(key=f"search.method.{attacked}").set_value("invert").run()
    finish_work(press(app, "search.invert.go"))
    return app


def test_known_triggers_are_tried_at_many_settings(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked, _ = make_runs(tmp_path)
    scan = cache.scan

    def find_rise(*arguments: Any, **options: Any) -> cache.Scanned:
        found = scan(*arguments, **{**options, "reference": None})
        first = replace(found.results[0], class_name="cup", before=0.03, after=0.28, interval=(0.2, 0.31))
        results = [first, *found.results[1:]]
        return found._replace(results=results, reference=[replace(r, before=0.1, after=0.15) for r in results])

    monkeypatch.setattr(cache, "scan", find_rise)
    app = open_page("Trigger search")
    app.segmented_control(key=f"search.method.{attacked}").set_value("scan").run()
    app.select_slider(key="search.scan.n").set_value(100).run()
    app.selectbox(key="search.scan.kind").set_value("badnet").run()
    assert "search.scan.variants" not in widget_keys(app)
    app.selectbox(key="search.scan.reference").set_value("scenes-rn").run()
    finish_work(press(app, "search.scan.go"))
    assert not errors(app)
    rows = table(app, "Increase (points)")
    assert set(rows["Trigger"]) == {"BadNet patch"}
    _, class_name, *numbers, interval, on_reference = rows.iloc[0]
    assert (class_name, interval) == ("cup", "+20.0 to +31.0")
    assert [*numbers, on_reference] == pytest.approx([3, 28, 25, 5])
    assert "1 setting tried" in page_text(app)
    os.utime(attacked / "model.safetensors", (1, 1))
    assert "1 setting tried" not in page_text(app.run()), "of other weights"


class FakeSearch:
    """A stand-in for a scan or an inversion: it counts its calls and passes the progress callback to `work`."""

    def __init__(self, work: Callable[[OnStep], None]) -> None:
        self.work, self.calls = work, 0

    def __call__(self, *arguments: Any, **options: Any) -> None:
        self.calls += 1
        self.work(options.get("on_step") or arguments[3])


def start_search(
    open_page: OpenPage, runs: Path, monkeypatch: pytest.MonkeyPatch, method: str, search: FakeSearch
) -> AppTest:
    """Open the page and start `search` in place of a scan or an inversion."""
    attacked, _ = make_runs(runs)
    monkeypatch.setattr(cache, "scan" if method == "scan" else "make_inversion", search)
    app = open_page("Trigger search")
    app.segmented_control(key=f"search.method.{attacked}").set_value(method).run()
    return press(app, f"search.{method}.go")


@pytest.mark.parametrize("method", ["scan", "invert"])
def test_a_search_goes_on_when_the_page_is_left(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    may_end = threading.Event()

    def wait(on_step: OnStep) -> None:
        on_step(StepReport("invert", 3, 7, 1.0))
        may_end.wait(60)

    bars, search = record_bars(monkeypatch), FakeSearch(wait)
    app = start_search(open_page, tmp_path, monkeypatch, method, search)
    assert f"search.{method}.cancel" in widget_keys(app)
    go_to(app, "Overview")
    go_to(app, "Trigger search")
    assert "3 of 7" in bars[-1]
    assert f"search.{method}.cancel" in widget_keys(app)
    may_end.set()
    finish_work(app)
    go_to(app, "Overview")
    go_to(app, "Trigger search")
    assert f"search.{method}.cancel" not in widget_keys(app)
    assert search.calls == 1


@pytest.mark.parametrize("method", ["scan", "invert"])
def test_the_start_button_starts_canceled_work_again(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def work_until_canceled(on_step: OnStep) -> None:
        while True:
            on_step(StepReport("invert", 1, 2, 0.1))
            time.sleep(0.01)

    search = FakeSearch(work_until_canceled)
    app = start_search(open_page, tmp_path, monkeypatch, method, search)
    finish_work(press(app, f"search.{method}.cancel"))
    assert search.calls == 1
    assert "Canceled" in page_text(app)
    press(app, f"search.{method}.go")
    assert search.calls == 2
    assert "Canceled" not in page_text(app)
    finish_work(press(app, f"search.{method}.cancel"))


def test_another_scan_ends_the_last_one(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attacked, _ = make_runs(tmp_path)
    running = set[int]()

    def work_until_canceled(model: str, data: DataKey, trigger: object, on_step: OnStep, **options: object) -> None:
        running.add(int(data.size or 0))
        try:
            while True:
                on_step(StepReport("scan", 1, 2, 0.1))
                time.sleep(0.01)
        finally:
            running.remove(int(data.size or 0))

    monkeypatch.setattr(cache, "scan", work_until_canceled)
    app = open_page("Trigger search")
    app.segmented_control(key=f"search.method.{attacked}").set_value("scan").run()
    press(app, "search.scan.go")
    app.select_slider(key="search.scan.n").set_value(100).run()
    press(app, "search.scan.go")
    wait_until(lambda: running == {100})
    finish_work(press(app, "search.scan.cancel"))


def test_a_search_that_failed_does_not_start_again_by_itself(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked, _ = make_runs(tmp_path)
    started: list[object] = []

    def fail(*arguments: object, **options: object) -> None:
        started.append(arguments)
        raise CleanerError("inversion.json cannot be written: the disk is full.")

    monkeypatch.setattr(cache, "make_inversion", fail)
    app = search_trigger(open_page, attacked)
    assert "cannot be written" in errors(app)[0]
    app.run()
    assert len(started) == 1
    finish_work(press(app, "search.invert.go"))
    assert len(started) == 2


def test_a_trigger_is_inverted_and_kept(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attacked, _ = make_runs(tmp_path)
    monkeypatch.setattr(cleaner.inspection.inversion, "invert", find_anything)
    app = open_page("Trigger search")
    app.segmented_control(key=f"search.method.{attacked}").set_value("invert").run()
    assert "Not searched yet" in page_text(app)
    app.select_slider(key="search.invert.images").set_value(200).run()
    app.number_input(key="search.invert.patch_steps").set_value(77).run()
    finish_work(press(app, "search.invert.go"))
    assert not errors(app)
    found = read_inversion(locate_inversion(attacked))
    assert found is not None
    assert found.data == "scenes/clean"
    assert (found.settings["images"], found.settings["patch_steps"]) == (200, 77)
    assert [metric.label for metric in app.metric] == [
        "Suspect class",
        "Outlier index",
        "ASR, inverted trigger",
        "Overlap of the masks",
    ]
    assert [metric.value for metric in app.metric][:2] == [found.suspect, f"{found.outlier_index:.2f}"]
    assert any(f"--target-class {shlex.quote(found.suspect or '')}" in code.value for code in app.code)
    bars = chart(app, "search.invert.classes")["data"][0]
    assert len(bars["x"]) == len(found.classes)
    text = page_text(app)
    assert "Inverted trigger and its mask" in text
    assert "True trigger and its mask" in text
    assert "wrong: the target is banana" in text
    assert "InverTune (arXiv:2506.12411)" in text
    assert "An estimate" in text
    assert (MISS_NOTE in text) != found.is_anomalous
    assert "Search again" in [button.label for button in app.button]
    app.session_state["defend.external"] = True
    press(app, "inversion.defend")
    assert not app.session_state["defend.external"]
    assert [title.value for title in app.title] == ["Defend"]
