"""Scenes: generated pictures of 32 nameable objects, with true captions and the facts behind them.

>>> data = load_data("scenes", split="train", size=6000)
>>> data.captions[0], data.scenes[0].objects[0].name, data.images([0]).shape

Nothing is downloaded. (split, seed, index) decides the picture and its captions, so that a data set is made again
bit by bit anywhere, and a longer one begins with the shorter one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.data.base import DATASETS, CaptionData, Indices
from cleaner.data.scenery.captions import CAPTION_MODES, make_caption
from cleaner.data.scenery.facts import OBJECT_NAMES, SCENES_VERSION, VARIANTS, Scene, SceneObject, make_scene
from cleaner.data.scenery.render import render
from cleaner.data.scenery.store import default_cache_dir, find_cached, load_images
from cleaner.data.scenery.truth import is_true
from cleaner.types import CleanerError, OnStep

__all__ = ["SCENES_VERSION", "SPLIT_SIZES", "Scene", "SceneObject", "Scenes", "is_true", "make_scene", "render"]

SPLIT_SIZES = {"train": 100_000, "clean": 10_000, "validation": 11_000, "test": 9_000}
"""Splits and their usual sizes. They share no picture: the split's name is part of every picture's seed."""
MAX_SINGLE_RENDERS = 128
"""So many pictures are rendered one by one as they are asked for, before the whole split is."""


@DATASETS.register("scenes")
class Scenes(CaptionData):
    """Pairs of one split.

    Half of the pictures show one object, whose class is the label; the others show two, and have label -1.
    `captions` is "mixed" (every granularity, half of them short; the default of "train") or "full" (objects,
    attributes, relation and ground; the default elsewhere). `scenes[i]` holds the facts of picture i.
    The first few pictures that are asked for are rendered alone, which a page does not have to wait for; more of them,
    and the whole split is rendered and kept in `cache_dir`.
    """

    variant = "plain"
    path_options = ("cache_dir",)
    transfer_variants = ("scenes-sketch", "scenes-night", "scenes-crowd")
    split_rule = "each split is drawn from seeds of its own"

    def __init__(
        self,
        split: str = "train",
        size: int | None = None,
        seed: int = 0,
        image_size: int = 64,
        captions: str | None = None,
        variant: str | None = None,
        cache_dir: str | Path | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        variant = variant or self.variant
        _validate_choice("split", split, SPLIT_SIZES)
        _validate_choice("variant", variant, VARIANTS)
        size = SPLIT_SIZES[split] if size is None else size
        mode = captions or ("mixed" if split == "train" else "full")
        _validate_choice("captions", mode, CAPTION_MODES)
        if size <= 0:
            raise CleanerError(f"size must be at least 1, not {size}.")
        if not 16 <= image_size <= 1024:
            raise CleanerError(f"image_size must lie between 16 and 1024 px, not {image_size}.")
        if seed < 0:
            raise CleanerError(f"seed must be 0 or more, not {seed}.")
        self.split, self.seed, self.image_size, self.variant = split, seed, image_size, variant
        self.name = f"{'scenes' if variant == 'plain' else 'scenes-' + variant}/{split}"
        self.class_names = list(OBJECT_NAMES)
        self.scenes: list[Scene] = [make_scene(split, seed, i, variant) for i in range(size)]
        self.captions = [make_caption(facts, split, seed, i, mode) for i, facts in enumerate(self.scenes)]
        number = {name: i for i, name in enumerate(OBJECT_NAMES)}
        self.labels = torch.tensor(
            [number[s.objects[0].name] if len(s.objects) == 1 or variant == "crowd" else -1 for s in self.scenes]
        )
        self._cache_dir = Path(cache_dir) if cache_dir else default_cache_dir()
        self._on_step = on_step
        self._pixels: NDArray[np.uint8] | None = None
        self._rendered: dict[int, NDArray[np.uint8]] = {}

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(N, H, W, 3) uint8, a read-only memory map."""
        if self._pixels is None:
            self._pixels = load_images(*self._cache_key, self._cache_dir, self._on_step)[: len(self)]
            self._rendered = {}
        return self._pixels

    @property
    def _cache_key(self) -> tuple[str, str, int, int, int]:
        return self.variant, self.split, self.seed, len(self), self.image_size

    def images(self, indices: Indices) -> Tensor:
        index = torch.as_tensor(indices, dtype=torch.long).reshape(-1).numpy()
        picked = torch.from_numpy(np.ascontiguousarray(self._read_pixels(index).transpose(0, 3, 1, 2)))
        return picked.float().div_(255)

    def _read_pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels at `index` (n, H, W, 3): from the whole split's file, or rendered alone."""
        rows = np.arange(len(self))[index].tolist()
        single = self._rendered  # another thread may let go of it
        new = set(rows) - single.keys()
        many = not rows or len(single) + len(new) > MAX_SINGLE_RENDERS
        if many or self._pixels is not None or find_cached(*self._cache_key, self._cache_dir):
            return self.pixels[index]
        for i in new:
            single[i] = render(self.scenes[i], self.image_size)
        return np.stack([single[i] for i in rows])

    def load_split(self, split: str) -> CaptionData | None:
        _validate_choice("split", split, SPLIT_SIZES)
        return Scenes(split, None, self.seed, self.image_size, None, self.variant, self._cache_dir, self._on_step)

    def contains(self, class_name: str) -> Tensor:
        """Return (N,) bool from the facts: pictures that show the class, alone or not."""
        self.class_index(class_name)
        return torch.tensor([any(o.name == class_name for o in s.objects) for s in self.scenes], dtype=torch.bool)


@DATASETS.register("scenes-sketch")
class SketchScenes(Scenes):
    """The same scenes as line drawings: no colour, no ground (and none in the captions)."""

    variant = "sketch"


@DATASETS.register("scenes-night")
class NightScenes(Scenes):
    """The same scenes in the dark, under a coloured lamp, with noise. Colours are those of the objects by day."""

    variant = "night"


@DATASETS.register("scenes-crowd")
class CrowdScenes(Scenes):
    """Three to five different, small objects; the label is the main one, clearly the largest, in the middle."""

    variant = "crowd"


def _validate_choice(option: str, value: str, choices: object) -> None:
    names = list(choices)  # type: ignore[call-overload]
    if value not in names:
        raise CleanerError(f"{option} {value!r} is not known. Choose one of: {', '.join(names)}.")
