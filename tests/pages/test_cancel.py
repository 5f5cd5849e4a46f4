"""Canceled work stays canceled until its user starts it again."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.pages.conftest import press


def _page() -> None:
    import streamlit as st

    from pages._shared import cancel

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
