"""Charts of images: attribution, its distribution, predictions."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image
from plotly.subplots import make_subplots

from cleaner.plots.charts import GRAY, HATCHES, HATCHING, apply_layout, escape_html, wrap_label
from cleaner.plots.styles import STAGE_COLORS, find_line_styles, find_style

Array = NDArray[np.float32]
PixelArray = NDArray[np.uint8]


def to_data_uri(pixels: PixelArray) -> str:
    """Return an image (H, W, 3) as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


OVERLAY_COLORS = ((0.0, (240, 228, 66, 0.0)), (0.4, (240, 200, 66, 0.55)), (1.0, (213, 60, 0, 1.0)))
SIGNED_OVERLAY_COLORS = (
    (0.0, (0, 70, 178, 1.0)),
    (0.3, (86, 180, 233, 0.55)),
    (0.5, (240, 240, 240, 0.0)),
    (0.7, (240, 200, 66, 0.55)),
    (1.0, (213, 60, 0, 1.0)),
)
"""(value 0..1, (red, green, blue, opacity)): transparent where the attribution is small."""
SCALE_PERCENTILE = 99


def find_scale_end(maps: Sequence[Array], *, is_signed: bool) -> float:
    """Return the end of the color scale of maps (H, W); signed ones have outliers, so a percentile."""
    ends = [np.percentile(np.abs(m), SCALE_PERCENTILE if is_signed else 100) for m in maps]
    return float(max(ends)) or max(float(np.abs(m).max()) for m in maps) or 1.0


def draw_overlay(values: Array, largest: float, *, is_signed: bool, strength: float) -> PixelArray:
    """Return an attribution (H, W) in the colors of `attribution_grid`, (H, W, 4) uint8; `largest` ends the scale."""
    colors = SIGNED_OVERLAY_COLORS if is_signed else OVERLAY_COLORS
    share = values / (largest or 1.0)
    share = (share + 1) / 2 if is_signed else share
    at = [value for value, _ in colors]
    channels = [np.interp(share, at, [color[i] for _, color in colors]) for i in range(4)]
    channels[3] = channels[3] * strength * 255
    return np.stack(channels, -1).round().astype(np.uint8)


def draw_outline(mask: Array, factor: int) -> PixelArray:
    """Return the edge of a mask (H, W) as a transparent image (factor H, factor W, 4) uint8."""
    inside = np.pad((mask > 0).repeat(factor, 0).repeat(factor, 1), 1)
    center = inside[1:-1, 1:-1]
    neighbors = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    color = [int(STAGE_COLORS["trigger"][i : i + 2], 16) for i in (1, 3, 5)]
    return np.where((center & ~neighbors)[..., None], [*color, 255], 0).astype(np.uint8)


def attribution_grid(
    images: Sequence[PixelArray],
    maps: Sequence[Sequence[Array]],
    rows: Sequence[str],
    columns: Sequence[tuple[str, str]],
    *,
    is_signed: bool,
    unit: str,
    is_for_text: bool = True,
    strength: float = 0.85,
    masks: Sequence[Array | None] = (),
) -> go.Figure:
    """Return images (rows) under the attribution of each model (columns), all on one color scale.

    maps[row][column]: (H, W) in `unit`; columns: (label, stage or defense); is_for_text: whether the maps depend on the
    text; masks: per row (H, W) to outline, or None.
    """
    figure = make_subplots(
        len(rows),
        len(columns),
        # Only the mark is colored: as letters, some colors are too dark for a dark page.
        column_titles=[
            f'<span style="color:{find_style(kind).color}">{find_style(kind).sign}</span> {escape_html(label)}'
            for label, kind in columns
        ],
        row_titles=list(rows),
        horizontal_spacing=0.015,
        vertical_spacing=0.03,
    )
    largest = find_scale_end([m for row in maps for m in row], is_signed=is_signed)
    for r, image in enumerate(images, start=1):
        for c, values in enumerate(maps[r - 1], start=1):
            _add_overlay(figure, image, values, row=r, column=c)
            mask = masks[r - 1] if masks else None
            if mask is not None:
                _outline(figure, mask, row=r, column=c)
    height, width = maps[-1][0].shape
    figure.update_xaxes(visible=False, range=[-0.5, width - 0.5], constrain="domain")
    figure.update_yaxes(visible=False, range=[height - 0.5, -0.5], constrain="domain")
    # Tie each y axis to the x axis below it, for square cells.
    for axis in figure.select_yaxes():
        axis.scaleanchor = axis.anchor
    colors = SIGNED_OVERLAY_COLORS if is_signed else OVERLAY_COLORS
    title = f"{unit}: for (+) or against (−) the text" if is_signed else unit + ", for the text" * is_for_text
    figure.update_layout(
        coloraxis={
            "colorscale": [(v, f"rgba({r},{g},{b},{strength * opacity})") for v, (r, g, b, opacity) in colors],
            "cmin": -largest if is_signed else 0.0,
            "cmax": largest,
            "colorbar": {
                "title": {"text": title, "side": "top"},
                "orientation": "h",
                "thickness": 10,
                "y": -0.02,
                "yanchor": "top",
                "len": 0.6,
                "nticks": 5,
            },
        },
        height=110 + 235 * len(rows),
        margin={"l": 8, "r": 28, "t": 34, "b": 70},
        uirevision="keep",
    )
    for annotation in figure.layout.annotations[: len(columns)]:
        annotation.font.size = 15
    return figure


def _add_overlay(figure: go.Figure, image: PixelArray, values: Array, *, row: int, column: int) -> None:
    """Draw an image, stretched to the size of `values` (H, W), and the attribution on top."""
    height, width = values.shape
    figure.add_image(
        source=to_data_uri(image),
        dx=width / image.shape[1],
        dy=height / image.shape[0],
        x0=-0.5 + width / image.shape[1] / 2,
        y0=-0.5 + height / image.shape[0] / 2,
        hoverinfo="skip",
        row=row,
        col=column,
    )
    figure.add_heatmap(z=values, coloraxis="coloraxis", row=row, col=column, hovertemplate="%{z:.3g}<extra></extra>")


def _outline(figure: go.Figure, mask: Array, *, row: int, column: int) -> None:
    """Draw lines along the edges of a mask (H, W), which may have several parts."""
    inside = np.pad(mask > 0, 1)
    x: list[float | None] = []
    y: list[float | None] = []
    for is_horizontal in (False, True):
        cells = inside if is_horizontal else inside.T
        for line, edge in enumerate(cells[1:] != cells[:-1]):
            ends = np.flatnonzero(np.diff(np.pad(edge, 1).astype(np.int8)))  # start and end of each run of edges
            for begin, end in ends.reshape(-1, 2) - 1.5:
                along, across = [begin, end, None], [line - 0.5, line - 0.5, None]
                x += along if is_horizontal else across
                y += across if is_horizontal else along
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        row=row,
        col=column,
        line={"color": STAGE_COLORS["trigger"], "width": 2.5, "dash": "dot"},
    )


def share_distribution(
    values: Mapping[str, tuple[str, Sequence[float], Sequence[float]]],
    axis_title: str,
    baseline: float | None = None,
    *,
    tick_format: str = ".0%",
) -> go.Figure:
    """Return boxes: label -> (stage or defense, values without, with trigger); `baseline`: a uniform map's."""
    figure = go.Figure()
    words = ("without trigger", "with trigger")
    is_split = all(any(len(both[column]) for _, *both in values.values()) for column in range(2))

    def name_box(label: str, word: str) -> str:
        return f"{escape_html(label)}<br>{word}" if is_split else escape_html(label)

    for column, (word, shape) in enumerate(zip(words, ("circle-open", "circle"), strict=True)):
        for label, (kind, *both) in values.items():
            if len(both[column]):
                figure.add_box(
                    y=both[column],
                    x=[name_box(label, word)] * len(both[column]),
                    name=word,
                    showlegend=False,
                    marker={"color": find_style(kind).color, "symbol": shape, "size": 3},
                    boxpoints="all",
                    jitter=0.6,
                    pointpos=0,
                    line={"width": 1.6},
                    fillcolor="rgba(0,0,0,0)",
                    hoverinfo="y",
                )
    order = [name_box(label, words[i]) for label, (_, *both) in values.items() for i in range(2) if len(both[i])]
    if baseline is not None:
        figure.add_hline(
            y=baseline,
            line={"color": GRAY, "dash": "dot"},
            annotation_text="uniform map",
            annotation_position="top right",
        )
    room = 0 if baseline is None else 0.15 * len(order)  # for the name of the line, to the right of the boxes
    figure.update_xaxes(categoryorder="array", categoryarray=order, range=[-0.5, max(len(order), 1) - 0.5 + room])
    figure.update_yaxes(title=axis_title, tickformat=tick_format, rangemode="tozero", automargin=True)
    return figure.update_layout(height=360, margin={"l": 8, "r": 8, "t": 24, "b": 8})


def word_bars(words: Sequence[str], values: Mapping[str, tuple[str, Sequence[float]]]) -> go.Figure:
    """Return bars of what each word adds to the similarity: label -> (stage or defense, values)."""
    figure = go.Figure()
    positions = list(range(len(words)))
    styles = find_line_styles(kind for kind, _ in values.values())
    for (label, (_, added)), style in zip(values.items(), styles, strict=True):
        figure.add_bar(
            x=positions,
            y=list(added),
            name=escape_html(label),
            marker={"color": style.color, "pattern": {"shape": HATCHES[style.dash], **HATCHING}},
            hovertemplate="%{y:+.3f}<extra>" + escape_html(label) + "</extra>",
        )
    figure.update_xaxes(tickvals=positions, ticktext=[escape_html(word) for word in words])
    apply_layout(figure, 300, y_title="Added to the cosine", show_legend=len(values) > 1)
    figure.update_yaxes(zeroline=True, zerolinecolor=GRAY)
    return figure.update_layout(barmode="group", bargap=0.3)


def class_bars(rows: Sequence[tuple[str, float, float]], kind: str, target_class: str | None) -> go.Figure:
    """Return bars of (class, probability, cosine), best on top; the target has the trigger's color."""
    names, color = [name for name, _, _ in rows], find_style(kind).color
    figure = go.Figure()
    figure.add_bar(
        y=list(range(len(rows))),
        x=[p for _, p, _ in rows],
        orientation="h",
        text=[f"{p:.0%}" for _, p, _ in rows],
        textposition="outside",
        cliponaxis=False,
        customdata=[c for _, _, c in rows],
        hovertemplate="%{x:.1%}, cosine %{customdata:.3f}<extra></extra>",
        marker={"color": [STAGE_COLORS["trigger"] if name == target_class else color for name in names]},
    )
    figure.update_xaxes(range=[0, 1], visible=False)
    labels = [wrap_label(name, 16, max_lines=2) for name in names]
    ticks = [f"<b>{label}</b>" if name == target_class else label for name, label in zip(names, labels, strict=True)]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=ticks, autorange="reversed", automargin=True)
    # On the right, room for "100%": as a share of the axis, it would vanish in a narrow window. The bars may get narrow
    # instead: by default Plotly keeps 64 px of them.
    margin = {"l": 8, "r": 40, "t": 8, "b": 8}
    return figure.update_layout(height=220, margin=margin, minreducedwidth=10, showlegend=False)
