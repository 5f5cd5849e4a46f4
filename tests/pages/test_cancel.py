"""Canceled work stays canceled until its user starts it again."""

from __future__ import annotations

import threading

import pytest
from streamlit.testing.v1 import AppTest

from cleaner.types import OnStep, StepReport
from pages._shared.cache import works
from tests.pages.conftest import press


def test_a_work_that_is_started_again_waits_for_the_canceled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works, "_works", {})
    report, go_on, events = StepReport("invert", 1, 9, 0.0), threading.Event(), list[str]()

    def compute(on_step: OnStep) -> None:
        assert go_on.wait(30)
        events.append("first")
        on_step(report)

    works.start_work(("inversion", "x"), compute)
    first = works.find_work(("inversion", "x"))
    assert first is not None
    first.cancel()
    works.start_work(("inversion", "x"), lambda on_step: events.append("second"))
    go_on.set()
    second = works.find_work(("inversion", "x"))
    assert second is not None
    second.join(30)
    assert events == ["first", "second"]
    assert (first.is_canceled, second.is_canceled) == (True, False)


def test_a_work_ends_once_no_session_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works, "_works", {})
    go_on = threading.Event()
    work = works.start_work(("scan", "x"), lambda on_step: go_on.wait(30), "one")
    assert works.start_work(("scan", "x"), lambda on_step: None, "two") is work
    work.leave("one")
    assert (work.is_awaited_by("one"), work.is_awaited_by("two"), work.is_stopping) == (False, True, False)
    work.leave("two")
    assert work.is_stopping
    go_on.set()
    work.join(30)


def _page() -> None:
    import streamlit as st

    from pages._shared.runs import cancel

    for work in (("first", "x"), ("second", "x")):
        st.button("Cancel", key=f"{work[0]}.cancel", on_click=cancel._remember, args=(work,))
        if not cancel.is_canceled(work):
            st.text(work[0])


def test_each_canceled_work_is_restarted_on_its_own() -> None:
    app = AppTest.from_function(_page, default_timeout=60).run()
    for button, running in (
        ("first.cancel", ["second"]),
        ("second.cancel", []),
        ("cancel.restart.first", ["first"]),
        ("cancel.restart.second", ["first", "second"]),
    ):
        press(app, button)
        assert [text.value for text in app.text] == running
