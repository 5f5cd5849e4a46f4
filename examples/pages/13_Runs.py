"""Runs: every training run on this machine."""

from __future__ import annotations

import streamlit as st

from pages._shared.shell import state
from pages._shared.shell.frame import page
from pages._shared.shell.wording import escape_markdown

with page("Runs", "Every training run on this machine, newest first."):
    for run in state.all_runs():
        st.markdown(f"{escape_markdown(run.label)} ({run.stage})")
