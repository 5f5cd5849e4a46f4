"""Charts of images: one scale, outlines around the trigger, literal text."""

from __future__ import annotations

import numpy as np
import pytest

from cleaner.plots import features, images
from cleaner.plots.charts import STAGE_COLORS

pytestmark = pytest.mark.quick

IMAGE = np.zeros((8, 8, 3), np.uint8)


def test_grid_has_one_scale_and_one_map_per_model() -> None:
    maps = [[np.full((4, 4), value, np.float32) for value in (0.5, -2.0)] for _ in range(2)]
    mask = np.zeros((4, 4), np.float32)
    mask[2:, 3] = 1
    columns = [("Clean", "clean"), ("Backdoored", "backdoored")]
    figure = images.attribution_grid(
        [IMAGE] * 2, maps, ["a", "b"], columns, is_signed=True, unit="x", masks=[None, mask]
    )
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-2.0, 2.0)
    assert [t.type for t in figure.data] == ["image", "heatmap"] * 2 + ["image", "heatmap", "scatter"] * 2
    titles = [annotation.text for annotation in figure.layout.annotations[:2]]
    assert [STAGE_COLORS[kind] in title for (_, kind), title in zip(columns, titles, strict=True)] == [True, True]
    assert [title.rpartition("> ")[2] for title in titles] == ["Clean", "Backdoored"]
    positive = images.attribution_grid([IMAGE], [[maps[0][0]]], ["a"], columns[:1], is_signed=False, unit="x")
    assert positive.layout.coloraxis.cmin == 0


def test_only_maps_that_depend_on_the_text_are_for_it() -> None:
    def title(**options: bool) -> str:
        figure = images.attribution_grid(
            [IMAGE], [[np.ones((4, 4), np.float32)]], ["a"], [("A", "clean")], is_signed=False, unit="x", **options
        )
        return str(figure.layout.coloraxis.colorbar.title.text)

    assert (title(), title(is_for_text=False)) == ("x, for the text", "x")


def test_single_pixels_do_not_end_the_scale_of_signed_maps() -> None:
    values = np.full((20, 20), 0.5, np.float32)
    values[3, 4] = -90.0
    assert images.find_scale_end([values, values / 2], is_signed=True) == pytest.approx(0.5)
    assert images.find_scale_end([values], is_signed=False) == 90.0
    spike = np.where(values < 0, values, 0)
    assert images.find_scale_end([spike], is_signed=True) == 90.0
    assert images.find_scale_end([0 * spike], is_signed=True) == 1.0


def test_outline_goes_around_each_part_of_the_mask() -> None:
    mask = np.zeros((4, 5), np.float32)
    mask[2:, 3] = mask[0, 0] = 1
    figure = images.attribution_grid(
        [IMAGE], [[mask]], ["a"], [("Clean", "clean")], is_signed=False, unit="x", masks=[mask]
    )
    line = list(zip(figure.data[-1].x, figure.data[-1].y, strict=True))
    assert {(*a, *b) for a, b in zip(line[::3], line[1::3], strict=True)} == {
        (2.5, 1.5, 2.5, 3.5),
        (3.5, 1.5, 3.5, 3.5),
        (2.5, 1.5, 3.5, 1.5),
        (2.5, 3.5, 3.5, 3.5),
        (-0.5, -0.5, -0.5, 0.5),
        (0.5, -0.5, 0.5, 0.5),
        (-0.5, -0.5, 0.5, -0.5),
        (-0.5, 0.5, 0.5, 0.5),
    }
    assert set(line[2::3]) == {(None, None)}


def test_distribution_and_words() -> None:
    values = {"Clean": ("clean", [0.1, 0.2], [0.3, 0.4]), "Defended": ("defended", [], [0.5])}
    figure = images.share_distribution(values, "Share", 0.02)
    assert [list(t.y) for t in figure.data] == [[0.1, 0.2], [0.3, 0.4], [0.5]]
    assert figure.layout.shapes[0].y0 == 0.02
    names = ["Clean<br>without trigger", "Clean<br>with trigger", "Defended<br>with trigger"]
    assert list(figure.layout.xaxis.categoryarray) == names
    assert [t.x[0] for t in figure.data] == names
    bars = images.word_bars(["<b>", "cup"], {"Clean": ("clean", [0.1, 0.2])})
    assert bars.layout.xaxis.ticktext == ("&lt;b>", "cup")


def test_class_bars_are_probabilities_and_mark_the_target() -> None:
    figure = images.class_bars([("cup", 0.7, 0.3), ("kite", 0.2, 0.1)], "clean", "kite")
    (bar,) = figure.data
    assert (bar.x, bar.text, bar.customdata) == ((0.7, 0.2), ("70%", "20%"), (0.3, 0.1))
    assert bar.marker.color == (STAGE_COLORS["clean"], STAGE_COLORS["trigger"])
    assert figure.layout.xaxis.range == (0, 1)
    assert figure.layout.minreducedwidth < 20
    assert figure.layout.margin.r >= 40, "the number next to the longest bar is outside the axes at any width"


def test_long_names_leave_room_for_class_bars() -> None:
    figure = images.class_bars([("soft-coated Wheaten Terrier", 0.7, 0.3), ("kite", 0.2, 0.1)], "clean", "kite")
    assert figure.layout.yaxis.ticktext == ("soft-coated<br>Wheaten Terrier", "<b>kite</b>")


def test_map_has_ids_and_bounds_and_draws_all_arrows_as_one_trace() -> None:
    coordinates = np.array([[0, 0], [1, 1]], np.float32)
    group = features.PointGroup("<i>a</i>", "#000000", "circle", coordinates, ["image:0", "image:1"], ["<b>", "y"])
    figure = features.embedding_map(
        [group],
        ("x", "y"),
        arrows=(coordinates, coordinates + 1),
        marked=coordinates[:1],
        bounds=(coordinates[0], coordinates[1]),
    )
    arrows, ring, points = figure.data
    assert list(points.customdata) == ["image:0", "image:1"]
    assert points.text[0] == "&lt;b>"
    assert points.name == "&lt;i>a&lt;/i>"
    assert arrows.x[:2].tolist() == [0, 1]
    assert np.isnan(arrows.x[[2, 6]]).all()
    left, tip, right = np.stack([arrows.x, arrows.y], 1)[3:6]
    assert tip.tolist() == [1, 1]
    np.testing.assert_allclose(left, right[::-1])  # symmetric to the shaft, which goes up and to the right
    assert left.sum() == pytest.approx(right.sum())
    assert left.sum() == pytest.approx(2 - 0.012 * 2**0.5)
    assert list(ring.x) == [0]
    assert list(figure.layout.xaxis.range) == pytest.approx([-0.05, 1.05])
    assert len({features.class_style(i) for i in range(56)}) == 56


def test_shift_histogram_shows_shares() -> None:
    figure = features.shift_histogram({"Captions": ("#000000", [0.0, 0.1, 0.1, 0.4])})
    (line,) = figure.data
    assert sum(line.y) == pytest.approx(1)
    assert "n = 4" in line.name


def test_a_histogram_draws_its_first_and_last_bin_whole() -> None:
    (line,) = features.histogram({"images": ("#000000", [0.0, 1.0, 1.0, 1.0])}, (0, 1), "Score", "images").data
    assert line.y[[0, 1, -2, -1]].tolist() == [0, 0.25, 0.75, 0]
    # Between two centers the line goes up or down in the middle.
    assert ((line.x[:-1] + line.x[1:]) / 2)[[0, -1]] == pytest.approx([0, 1])
    assert line.text[-2] == "0.975 to 1.000"


def test_an_overlay_has_the_colors_of_the_grid() -> None:
    values = np.array([[0.0, 2.0], [-2.0, 1.0]], np.float32)
    signed = images.draw_overlay(values, 2.0, is_signed=True, strength=0.5)
    assert signed[0, 0, 3] == 0  # nothing: transparent
    assert signed[0, 1].tolist() == [213, 60, 0, 128]
    assert signed[1, 0].tolist() == [0, 70, 178, 128]
    unsigned = images.draw_overlay(np.abs(values), 2.0, is_signed=False, strength=1.0)
    assert unsigned[0, 1].tolist() == unsigned[1, 0].tolist() == [213, 60, 0, 255]


def test_an_outline_is_the_edge_of_the_mask() -> None:
    mask = np.zeros((5, 5), np.float32)
    mask[1:4, 1:4] = 1
    outline = images.draw_outline(mask, 2)
    assert outline.shape == (10, 10, 4)
    assert (outline[..., 3] > 0).sum() == 6 * 4 - 4  # the edge of a square of 6 px
    assert outline[4, 4, 3] == 0
