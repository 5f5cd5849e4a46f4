"""How models look: one color and one mark for each stage and each defense, the same in all charts and cards.

A color has one meaning everywhere. Stages have colors of the Okabe-Ito palette (https://jfly.uni-koeln.de/color/). The
colors of the defenses differ from them and from each other, for color-blind readers too (tests/plots/test_styles.py).
Marks and words repeat what a color says.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from cleaner.labels import read_labels

STAGE_COLORS = {
    "clean": "#0072B2",
    "backdoored": "#D55E00",
    "defended": "#009E73",
    "trigger": "#CC79A7",
    "floor": "#7F8894",
    "suspect": "#D99600",
}
"""Stage -> color. A suspect is a model that may or may not be backdoored; its orange is darker than the palette's,
which is too pale on white. defended: by an unknown defense.
"""
STAGE_MARKS = {"clean": "circle-open", "backdoored": "x", "defended": "diamond-wide", "suspect": "x"}
DEFENSE_ORDER = (
    *("cleanclip", "cleanclip_short", "feature_repelling", "finetune"),
    *("par", "rvpt", "ta_cleaner", "unlearn_trigger"),
)
"""Defenses in the order of their colors and marks; others follow in the order of their names."""
DEFENSE_COLORS = ("#BF9A44", "#3AA9D8", "#99A568", "#525A65", "#8C4719", "#725548", "#6C5CE7", "#9982F2")
"""Colors of the defenses; a ninth one has the first color again, with another mark."""
DEFENSE_MARKS = (
    "square",
    "diamond",
    "triangle-down",
    "triangle-up",
    "circle",
    "cross",
    "star",
    "triangle-left",
    "triangle-right",
    "hourglass",
    "bowtie",
    "pentagon",
)
"""Marks of the defenses as Plotly names them."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
FILLS = ("", "-open", "-dot", "-open-dot")
"""Endings of the marks of several models with one defense."""
SIGNS = {
    "square": "■",
    "diamond": "◆",
    "triangle-down": "▼",
    "triangle-up": "▲",
    "circle": "●",
    "cross": "✚",
    "star": "★",
    "triangle-left": "◀",
    "triangle-right": "▶",
    "hourglass": "⧗",
    "bowtie": "⧓",
    "pentagon": "⬟",
    "circle-open": "○",
    "x": "✖",
    "diamond-wide": "◈",
}
"""Mark -> character for texts."""


class Style(NamedTuple):
    """Color, mark as Plotly names it, and dash of a line."""

    color: str
    mark: str
    dash: str = "solid"

    @property
    def sign(self) -> str:
        """The mark as a character."""
        return SIGNS[next(mark for mark in map(self.mark.removesuffix, FILLS) if mark in SIGNS)]


def find_style(kind: str) -> Style:
    """Return the style of a model: `kind` is the registered name of its defense, else its stage."""
    registered = read_labels()["cleaner.defenses"]
    if kind in registered:
        number = [*DEFENSE_ORDER, *(other for other in registered if other not in DEFENSE_ORDER)].index(kind)
        return Style(DEFENSE_COLORS[number % len(DEFENSE_COLORS)], DEFENSE_MARKS[number % len(DEFENSE_MARKS)])
    stage = kind if kind in STAGE_MARKS else "defended"
    return Style(STAGE_COLORS[stage], STAGE_MARKS[stage])


def find_styles(kinds: Iterable[str]) -> list[Style]:
    """Return the style of each of several models in one chart: those of one defense differ in fill and dash."""
    seen: Counter[Style] = Counter()
    styles = []
    for kind in kinds:
        style = find_style(kind)
        number, base = seen[style], style.mark.removesuffix("-open")
        seen[style] += 1
        mark = style.mark if number == 0 else base + FILLS[number % len(FILLS)]
        styles.append(Style(style.color, mark, DASHES[number % len(DASHES)]))
    return styles


def find_line_styles(kinds: Iterable[str]) -> list[Style]:
    """Return the style of each of several lines or bars without marks; its dash or hatching repeats its color."""
    return [style._replace(dash=DASHES[i % len(DASHES)]) for i, style in enumerate(find_styles(kinds))]
