"""Exports of runs: the HTML report and weights."""

from pathlib import Path

import streamlit as st

from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from pages._shared.cache.background import import_library


@st.cache_data(show_spinner=False, max_entries=64)
def weight_formats(folder: Path) -> tuple[str, ...]:
    """Return the file suffixes in which a run's weights can be exported."""
    import_library()
    from cleaner.models.saving import export_suffixes

    return export_suffixes(folder / "model.safetensors")


def format_command(request: Request) -> str:
    """Return the command line that makes the run of a request."""
    import_library()
    from cleaner.cli.command import format_command

    return format_command(request)


def report_html(runs: list[RunRecord]) -> str:
    """Return the HTML report of some runs."""
    from cleaner.reports.html import render_html

    return render_html(runs, "from the Compare page")
