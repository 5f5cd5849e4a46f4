"""Runs as the reports and exports see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pages._shared.cache.background import import_library

if TYPE_CHECKING:
    from cleaner.reports.html import RunRecord


def read_entries(folders: list[Path]) -> list[RunRecord]:
    """Return the records of some runs."""
    from cleaner.reports.html import read_record

    return [read_record(folder) for folder in folders]


@st.cache_data(show_spinner=False, max_entries=64)
def weight_formats(folder: Path) -> tuple[str, ...]:
    """Return the file suffixes in which a run's weights can be exported."""
    import_library()
    from cleaner.reports.html import list_weight_suffixes

    return list_weight_suffixes(folder)


def report_html(folders: list[Path]) -> str:
    """Return the HTML report of some runs."""
    from cleaner.reports.html import render_html

    return render_html(read_entries(folders), "from the Compare page")
