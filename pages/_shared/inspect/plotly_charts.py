"""Options of Plotly charts and what the user selected on them."""

from typing import Any

import streamlit as st

NO_MODE_BAR: dict[str, Any] = {"displayModeBar": False}
"""`config` of charts without Plotly's toolbar."""


def read_selected_ids(key: str) -> list[str]:
    """Return the distinct `customdata` of the points selected on chart `key`, in order of selection."""
    ids = [point["customdata"] for point in st.session_state[key]["selection"]["points"] if "customdata" in point]
    # Streamlit passes one value per point as "x", ["x"] or {"0": "x"}, depending on the kind of trace.
    return list(dict.fromkeys(i["0"] if isinstance(i, dict) else i[0] if isinstance(i, list) else i for i in ids))
