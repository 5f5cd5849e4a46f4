"""Access to the app: CLEANER_PASSWORD protects it; without one, public mode admits all, else this machine only."""

import hmac
import os
import time

import streamlit as st

from cleaner.access import MIN_PASSWORD_LENGTH, PASSWORD, is_loopback, is_public
from pages._shared.shell.wording import escape_markdown

ADMITTED = "access.admitted"
"""Session key: whether this session has given the password."""
DELAY_SECONDS = 1.0
"""Pause of a session after a wrong password. It does not slow down many sessions: the length of the password does."""


def admit() -> None:
    """Admit the session, or draw the password form or the reason for the refusal, and end the page run."""
    password = os.environ.get(PASSWORD, "")
    if not password and (is_public() or is_loopback(st.get_option("server.address") or "0.0.0.0")):
        return
    if len(password) < MIN_PASSWORD_LENGTH:
        problem = "The password is too short." if password else "This server accepts connections from other machines."
        st.error(
            f"{problem} Stop the server, set {PASSWORD} to at least {MIN_PASSWORD_LENGTH} characters, and start it "
            "again; or listen on 127.0.0.1 without a password.",
            icon=":material/lock:",
        )
        st.stop()
    if st.session_state.get(ADMITTED) is not True:
        _ask(password)


def _ask(password: str) -> None:
    """Draw the password form; end the page run unless the password is right."""
    with st.container(horizontal_alignment="center"), st.form("access", width=420):
        st.markdown("# :material/cleaning_services: TA-Cleaner Lab")
        given = st.text_input("Password", type="password", key="access.password")
        is_sent = st.form_submit_button("Open", type="primary", icon=":material/lock_open:", width="stretch")
        st.caption(f"The person who started this server chose it ({escape_markdown(PASSWORD)}).")
        if is_sent and hmac.compare_digest(given.encode(), password.encode()):
            st.session_state[ADMITTED] = True
            st.rerun()
        if is_sent:
            time.sleep(DELAY_SECONDS)
            st.error("Wrong password.", icon=":material/lock:")
    st.stop()
