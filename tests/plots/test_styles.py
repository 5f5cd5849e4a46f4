"""Styles: one color and mark for each stage and defense, which color-blind readers can tell apart too."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from cleaner.defenses import DEFENSES
from cleaner.plots import styles
from cleaner.plots.charts import CATEGORY_COLORS
from cleaner.plots.features import PointGroup, embedding_map
from cleaner.plots.styles import (
    DEFENSE_COLORS,
    DEFENSE_MARKS,
    DEFENSE_ORDER,
    FILLS,
    SIGNS,
    STAGE_COLORS,
    STAGE_MARKS,
    find_style,
    find_styles,
)
from pages._shared.inspect.map_view import KIND_STYLES

pytestmark = pytest.mark.quick

# Matrices of Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
MIN_DIFFERENCE = 15.0
"""CIE76; 2.3 is just noticeable side by side."""
MIN_CONTRAST = 2.5
"""Of a mark and its background (WCAG's ratio). At 3 on light and dark, the eight colors would differ less."""
COMPARED = [STAGE_COLORS["clean"], STAGE_COLORS["backdoored"], *DEFENSE_COLORS]


def to_linear(color: str) -> np.ndarray:
    values = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(color: str, other: str) -> float:
    """Return the contrast ratio of two colors (WCAG 2)."""
    light, dark = sorted((float(to_linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (color, other)), reverse=True)
    return light / dark


def to_lab(linear: np.ndarray) -> np.ndarray:
    """Return CIELAB of linear RGB."""
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    x, y, z = matrix @ linear.clip(0, 1) / np.array([0.95047, 1.0, 1.08883])
    fx, fy, fz = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


@pytest.mark.parametrize("vision", VISIONS)
def test_colors_differ_for_color_blind_readers(vision: str) -> None:
    seen = {color: to_lab(VISIONS[vision] @ to_linear(color)) for color in COMPARED}
    closest = min(combinations(seen, 2), key=lambda pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])))
    assert np.linalg.norm(seen[closest[0]] - seen[closest[1]]) > MIN_DIFFERENCE, closest


@pytest.mark.parametrize("background", ["#ffffff", "#11161d"])
def test_marks_stand_out_from_both_backgrounds(background: str) -> None:
    for color in (*DEFENSE_COLORS, *STAGE_COLORS.values()):
        assert contrast(color, background) > MIN_CONTRAST, color


@pytest.mark.parametrize("background", ["#ffffff", "#11161d"])
def test_points_of_a_map_or_their_edges_stand_out_from_both_backgrounds(background: str) -> None:
    colors = [*CATEGORY_COLORS, *(style.color for style in KIND_STYLES.values())]
    groups = [PointGroup(color, color, "circle", np.zeros((1, 2), np.float32), ["image:0"], [""]) for color in colors]
    for trace in embedding_map(groups, ("x", "y")).data:
        seen = (trace.marker.color, trace.marker.line.color)
        assert max(contrast(color, background) for color in seen) > MIN_CONTRAST, seen


def test_each_defense_has_a_style_of_its_own() -> None:
    looks = [find_style(name) for name in DEFENSES]
    assert len({style.mark for style in looks}) == len(DEFENSES)
    assert set(DEFENSE_ORDER) <= set(DEFENSES)
    assert len({find_style(name).color for name in DEFENSE_ORDER}) == len(DEFENSE_ORDER) == len(DEFENSE_COLORS)
    assert not {style.color for style in looks} & set(STAGE_COLORS.values())
    assert not {style.mark for style in looks} & set(STAGE_MARKS.values())


def test_a_new_defense_changes_the_style_of_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [find_style(name) for name in DEFENSE_ORDER]
    labels = {"cleaner.defenses": dict.fromkeys(["a_new_one", *DEFENSES], "")}
    monkeypatch.setattr(styles, "read_labels", lambda: labels)
    assert [find_style(name) for name in DEFENSE_ORDER] == before
    assert find_style("a_new_one").mark not in {style.mark for style in before}


def test_unknown_defenses_have_a_style() -> None:
    assert find_style("of another project").color == STAGE_COLORS["defended"]
    assert find_style("backdoored").color == STAGE_COLORS["backdoored"]


def test_models_of_one_defense_differ_in_fill_and_dash() -> None:
    looks = find_styles(["ta_cleaner", "cleanclip", "ta_cleaner", "ta_cleaner"])
    assert len({style.color for style in looks}) == 2
    assert len({style.mark for style in looks}) == len(looks)
    assert len({style.dash for style in looks}) == 3


def test_every_mark_has_a_sign() -> None:
    for mark in (*DEFENSE_MARKS, *STAGE_MARKS.values()):
        assert mark in SIGNS
    for kind in (*DEFENSES, *STAGE_MARKS):
        signs = {style.sign for style in find_styles([kind] * len(FILLS))}
        assert SIGNS[find_style(kind).mark] in signs <= set(SIGNS.values())
