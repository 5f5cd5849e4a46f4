"""The points of an embedding map: styles, groups by color, and the ids of selected points."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cleaner.inspection import embedding_map
from cleaner.plots import features
from cleaner.plots.styles import STAGE_COLORS, find_style
from pages._shared import cache
from pages._shared.inspect import pickers
from pages._shared.inspect.sample import DataKey, Sample


class PointStyle(NamedTuple):
    """How one group of points looks."""

    label: str
    color: str
    symbol: str
    is_faint: bool = False


KIND_STYLES = {
    "image": PointStyle("Clean images", "#56B4E9", "circle"),
    "triggered": PointStyle("Triggered images", "#CC79A7", "diamond"),
    "caption": PointStyle("Captions", "#E69F00", "square"),
    "prompt": PointStyle("Class prompts", "#7F8894", "star"),
}
AXES = {
    "pca": ("Principal component 1 (cosine space)", "Principal component 2"),
    "umap": ("UMAP 1 (no unit)", "UMAP 2 (no unit)"),
}
"""Projection -> titles of its axes."""
COLORINGS = ("Kind", "Class", "Model", "Trigger success")
PointId = tuple[str, int]
"""Kind and row of a point; "kind:row" in the chart."""


@dataclass(frozen=True)
class MapView:
    """An embedding map under one projection, with the run whose trigger is on its images."""

    map: embedding_map.EmbeddingMap
    method: str
    data: DataKey
    trigger_run: Path | None
    defense: str = ""
    """Of the defended model."""

    @cached_property
    def stage_labels(self) -> list[str]:
        return [stage.capitalize() for stage in self.map.stages]

    def kind_of(self, stage: int) -> str:
        """Return what decides the color of a model (`plots.styles`): the defense, else the stage."""
        name = self.map.stages[stage]
        return self.defense or name if name == "defended" else name

    def coordinates(self, stage: int, kind: str) -> Any:
        """Return the coordinates of one kind in one model, (n, 2)."""
        return self.map.get_coordinates(self.method, stage, kind)

    def class_of(self, kind: str, row: int) -> str:
        """Return the class of a point."""
        return self.map.class_names[self._class_index(kind, row)]

    def text_of(self, kind: str, row: int) -> str:
        """Return the text of a point: the caption of an image, the class of a prompt."""
        return self.class_of(kind, row) if kind == "prompt" else self.map.captions[row]

    def sample(self, row: int) -> Sample:
        """Return the image of a row."""
        return Sample(self.data, self.map.rows[row], model=pickers.selected_model_key())

    def matches_data(self) -> bool:
        """Return whether the data still have the map's images in their rows: a user can edit a table later."""
        captions = cache.load_data(self.data).captions
        return all(
            row < len(captions) and captions[row] == caption
            for row, caption in zip(self.map.rows, self.map.captions, strict=True)
        )

    def parse_ids(self, ids: Iterable[str]) -> list[PointId]:
        """Parse "kind:row" ids; drop those that the map does not have."""
        pairs = [(kind, int(row)) for kind, _, row in (text.partition(":") for text in ids)]
        return [(kind, row) for kind, row in pairs if row < self.map.counts.get(kind, 0)]

    def style_of(self, stage: int, kind: str, row: int, coloring: str) -> PointStyle:
        """Return the look of a point under one of `COLORINGS`."""
        style = KIND_STYLES[kind]
        if coloring == "Class":
            return PointStyle(self.class_of(kind, row), *features.class_style(self._class_index(kind, row)))
        if coloring == "Model":
            label = f"{self.stage_labels[stage]}: {style.label.lower()}"
            return PointStyle(label, find_style(self.kind_of(stage)).color, style.symbol)
        if coloring == "Trigger success":
            return self._success_style(stage, kind, row)
        if kind == "prompt" and self.map.prompts[row] == self.map.target:
            label = f"Target prompt: {self.class_of(kind, row)}"
            return PointStyle(label, STAGE_COLORS["trigger"], style.symbol)
        return style

    def _success_style(self, stage: int, kind: str, row: int) -> PointStyle:
        """Return the look of a point by attack success; images of the target class do not count."""
        style, gray = KIND_STYLES[kind], KIND_STYLES["prompt"].color
        if kind != "triggered":
            return PointStyle(style.label, gray, style.symbol, is_faint=True)
        if self.map.labels[row] == self.map.target:
            return PointStyle(f"{style.label}, target class", gray, style.symbol, is_faint=True)
        if self.map.attack_success[stage][row]:
            return PointStyle("Classified as target", STAGE_COLORS["backdoored"], style.symbol)
        return PointStyle("Not classified as target", STAGE_COLORS["defended"], style.symbol)

    def _class_index(self, kind: str, row: int) -> int:
        return self.map.prompts[row] if kind == "prompt" else self.map.labels[row]


def group_points(
    view: MapView, stages: Sequence[int], kinds: Sequence[str], coloring: str
) -> list[features.PointGroup]:
    """Return the points of some models and kinds, grouped by their look."""
    points: dict[PointStyle, list[tuple[Any, str, str]]] = {}
    for stage, kind in product(stages, kinds):
        for row, coordinates in enumerate(view.coordinates(stage, kind)):
            model = f"{view.stage_labels[stage]} · " if len(stages) > 1 else ""
            hover_text = f"{model}{KIND_STYLES[kind].label}: {view.text_of(kind, row)}"
            style = view.style_of(stage, kind, row, coloring)
            points.setdefault(style, []).append((coordinates, f"{kind}:{row}", hover_text))
    return [
        features.PointGroup(
            name=style.label,
            color=style.color,
            symbol=style.symbol,
            coordinates=np.array([coordinates for coordinates, _, _ in group]),
            ids=[point_id for _, point_id, _ in group],
            texts=[text for _, _, text in group],
            is_faint=style.is_faint,
        )
        for style, group in points.items()
    ]
