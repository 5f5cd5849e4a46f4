"""The before/after slider: images and maps in shares of a square, one set of axes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cleaner.inspection import embedding_map
from cleaner.plots.features import PointGroup
from cleaner.plots.images import to_data_uri
from cleaner.plots.styles import Style, find_style
from pages._shared import cache
from pages._shared.inspect import before_after
from pages._shared.inspect.map_view import MapView, group_points
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.sample import DataKey
from tests.pages.conftest import OpenPage, chart_keys, page_text
from tests.pages.runs import make_runs
from tests.pages.test_embeddings import show as show_map


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, str], tuple[Style, Style], list[Any]]]:
    """Collect (labels, styles, panels) of each slider that a page draws."""
    found: list[tuple[tuple[str, str], tuple[Style, Style], list[Any]]] = []
    monkeypatch.setattr(
        before_after,
        "show",
        lambda key, labels, styles, panels, **options: found.append((labels, styles, list(panels))),
    )
    return found


def toggle(app: AppTest, key: str) -> None:
    app.toggle(key=key).set_value(True).run()
    assert not app.exception, [e.message for e in app.exception]


def test_maps_share_their_axes() -> None:
    corners = np.array([[0.0, 0.0], [4.0, 2.0]])
    groups = [PointGroup("a", "#123456", "circle", corners, ["x", "y"], ["", ""])]
    panel = before_after.map_panel(groups, groups, (corners[0], corners[1]), marks=(corners[:1], corners[1:]))
    points = np.array(panel["layers"][0]["groups"][0]["points"])
    assert points[0, 0] == pytest.approx(1 - points[1, 0])
    assert 0 < points[0, 0] < 0.1
    assert points[0, 1] - points[1, 1] == pytest.approx((points[1, 0] - points[0, 0]) / 2)  # up is smaller
    assert [layer["marks"] for layer in panel["layers"]] == [[points[0].tolist()], [points[1].tolist()]]
    assert panel["legend"] == [{"name": "a", "color": "#123456", "edge": groups[0].edge, "symbol": "circle"}]
    json.dumps(panel)


def test_attention_shows_images_and_the_map_under_one_slider(
    open_page: OpenPage,
    tmp_path: Path,
    drawn: list[tuple[tuple[str, str], tuple[Style, Style], list[Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, defended = make_runs(tmp_path)
    pairs: list[Any] = []
    load_pair = cache.image_pair_pixels

    def load(*arguments: Any) -> Any:
        pairs.append(load_pair(*arguments))
        return pairs[-1]

    monkeypatch.setattr(cache, "image_pair_pixels", load)
    app = open_page("Attention")
    toggle(app, "attention.by_hand")
    assert "attention.grid" not in chart_keys(app)
    labels, styles, panels = drawn[-1]
    assert labels == ("Backdoored", "Defended")
    assert styles == (find_style("backdoored"), find_style("ta_cleaner"))
    assert [panel["title"] for panel in panels] == ["Triggered image", "Clean image"]  # no map was made yet
    embedding_map.ensure_map(defended, with_umap=False)
    app.segmented_control(key="attention.pair").set_value("Clean | Backdoored").run()
    labels, _, panels = drawn[-1]
    assert labels == ("Clean", "Backdoored")
    assert [panel["kind"] for panel in panels] == ["image", "image", "map"]
    stacks = [layer["images"] for layer in panels[0]["layers"]]
    assert stacks[0][0] == stacks[1][0]  # the same image
    clean, triggered = (to_data_uri(enlarge(pixels)) for pixels in next(pair for pair in pairs if len(pair) == 2))
    assert [panel["layers"][0]["images"][0] for panel in panels[:2]] == [triggered, clean]
    assert stacks[0][1] != stacks[1][1]  # another attribution
    assert [len(layer["marks"]) for layer in panels[2]["layers"]] == [2, 2]  # the clean and the triggered image
    saved = embedding_map.read_map(defended)
    assert saved is not None
    changed = replace(saved, captions=["another caption", *saved.captions[1:]])
    embedding_map.write_map(changed, embedding_map.locate_map_file(defended))
    app.run()
    assert [layer["marks"] for layer in drawn[-1][2][2]["layers"]] == [[], []], "the data have other images now"


def test_embeddings_shows_two_maps_instead_of_arrows(
    open_page: OpenPage, tmp_path: Path, drawn: list[tuple[tuple[str, str], tuple[Style, Style], list[Any]]]
) -> None:
    _, defended = make_runs(tmp_path)
    app = open_page("Embeddings")
    assert app.toggle(key="embeddings.by_hand").disabled  # one model is shown
    show_map(app, "Clean → Backdoored")
    toggle(app, "embeddings.by_hand")
    show_map(app, "Backdoored")
    assert "Select points" in page_text(app)
    show_map(app, "Backdoored → Defended")
    (labels, styles, (panel,)) = drawn[-1]
    assert labels == ("Backdoored", "Defended")
    assert styles == (find_style("backdoored"), find_style("ta_cleaner"))
    before, after = (layer["groups"] for layer in panel["layers"])
    assert [group["color"] for group in before] == [group["color"] for group in after]
    assert before[0]["points"] != after[0]["points"]
    saved = embedding_map.read_map(defended)
    assert saved is not None
    view = MapView(saved, "pca", DataKey(saved.data, "test", 100), None)
    sides = (group_points(view, [stage], ["image"], "Kind") for stage in (1, 2))
    coordinates = saved.coordinates["pca"]
    expected = before_after.map_panel(*sides, (coordinates.min(0), coordinates.max(0)))
    assert [layers[0] for layers in (before, after)] == [layer["groups"][0] for layer in expected["layers"]]
    assert "embeddings.map" not in chart_keys(app)
