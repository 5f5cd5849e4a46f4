"""Two states side by side under one slider, as a component: images, attributions and maps, with a shared zoom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from cleaner.plots.component import read_component, read_style
from cleaner.plots.features import PointGroup
from cleaner.plots.images import to_data_uri
from cleaner.plots.styles import Style

_FOLDER = Path(__file__).parent
_component = st.components.v2.component(
    "before_after",
    html='<div class="before-after"></div>',
    js=read_component(_FOLDER / "before_after.js"),
    css=read_style(_FOLDER / "before_after.css"),
)
Panel = dict[str, Any]
"""One square: two layers, before and after."""
MARGIN = 0.04
"""Empty share of a map on each side."""


def image_panel(before: Sequence[Any], after: Sequence[Any], title: str = "") -> Panel:
    """Return a panel of two stacks of images, each (H, W, 3) or (H, W, 4) uint8 and drawn over those before it."""
    layers = [{"images": [to_data_uri(image) for image in stack]} for stack in (before, after)]
    return {"kind": "image", "title": title, "layers": layers}


def map_panel(
    before: Sequence[PointGroup],
    after: Sequence[PointGroup],
    bounds: tuple[Any, Any],
    title: str = "",
    marks: tuple[Any, Any] | None = None,
) -> Panel:
    """Return a panel of two maps in the same axes; bounds: lower and upper corner; marks: points to ring, (n, 2)."""
    center, side = (bounds[0] + bounds[1]) / 2, float((bounds[1] - bounds[0]).max()) * (1 + 2 * MARGIN) or 1.0

    def place(coordinates: Any) -> Any:
        shares = (np.asarray(coordinates, np.float64) - center) / side * [1, -1] + 0.5
        return shares.round(4).tolist()

    layers = []
    for number, groups in enumerate((before, after)):
        drawn = [{"points": place(g.coordinates), "is_faint": g.is_faint, **_describe_look(g)} for g in groups]
        layers.append({"groups": drawn, "marks": [] if marks is None else place(marks[number])})
    looks = {group.name: _describe_look(group) for group in (*before, *after)}
    legend = [{"name": name, **look} for name, look in looks.items()]
    return {"kind": "map", "title": title, "layers": layers, "legend": legend}


def _describe_look(group: PointGroup) -> dict[str, str]:
    return {"color": group.color, "edge": group.edge, "symbol": group.symbol}


def show(
    key: str,
    labels: tuple[str, str],
    styles: tuple[Style, Style],
    panels: Sequence[Panel],
    *,
    start: float = 0.5,
) -> None:
    """Draw panels under a slider that keeps its place; start: share of the width with the state before."""
    data = {
        "key": key,
        "labels": labels,
        "colors": [style.color for style in styles],
        "signs": [style.sign for style in styles],
        "panels": list(panels),
        "start": start,
    }
    _component(key=key, data=data)
