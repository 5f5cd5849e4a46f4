"""Times in the time zone of the reader's browser, else UTC. Files, exports and reports have UTC."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from cleaner.runs import names
from cleaner.runs.record import RunRecord


def reader_zone() -> tzinfo:
    """Return the time zone of the reader."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):  # this machine may have an older list of zones than the browser
        return UTC


def created_at(run: RunRecord) -> str:
    """Return day and time of a run's creation, to the minute."""
    try:
        return f"{datetime.fromisoformat(run.created).astimezone(reader_zone()):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError):  # not written by this project
        return run.created_at


def label_run(run: RunRecord) -> str:
    """Return one line that tells a run from others in a list."""
    return names.label_run(run, created_at)
