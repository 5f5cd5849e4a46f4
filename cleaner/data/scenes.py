"""Scenes: generated images of 32 nameable objects, with true captions and the facts behind them.

>>> data = load_data("scenes", split="train", size=6000)
>>> data.captions[0], data.scenes[0].objects[0].name, data.images([0]).shape

Nothing is downloaded. (split, seed, index) determines an image and its captions, so a data set is reproducible bit by
bit on any machine, and a longer one starts with the shorter one.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.data.base import DATASETS, CaptionData, Indices, to_rows, validate_choice
from cleaner.data.scenery.captions import CAPTION_MODES, make_caption
from cleaner.data.scenery.facts import OBJECT_NAMES, SCENES_VERSION, Scene, SceneObject, make_scene
from cleaner.data.scenery.render import render
from cleaner.data.scenery.store import RenderSpec, default_cache_dir, find_cached, load_images
from cleaner.data.scenery.words import COLORS
from cleaner.types import CleanerError, OnStep

__all__ = ["SCENES_VERSION", "SPLIT_SIZES", "Scene", "SceneObject", "Scenes", "make_scene", "render"]

SPLIT_SIZES = {"train": 100_000, "clean": 10_000, "validation": 11_000, "test": 9_000}
"""Splits and their default sizes. Splits share no image: the split's name is part of every image's seed."""
MAX_SINGLE_RENDERS = 128
"""Most images rendered one by one; past this limit the whole split is rendered and cached."""


@lru_cache(maxsize=1 << 15)
def _describe(split: str, seed: int, index: int, variant: str, mode: str) -> tuple[Scene, str]:
    """Return the facts and the caption of an image; kept, since a process loads the same pairs again and again."""
    scene = make_scene(split, seed, index, variant)
    return scene, make_caption(scene, split, seed, index, mode)


@DATASETS.register("scenes")
class Scenes(CaptionData):
    """Pairs of one split.

    Half of the images show one object, whose class is the label; the others show two and have label -1.
    `captions` is "mixed" (every granularity, half of them short; the default of "train") or "full" (objects,
    attributes, relation and ground; the default elsewhere); `clean_captions` is that of the split "clean", before it.
    `scenes[i]` holds the facts of image i.
    The first `MAX_SINGLE_RENDERS` images are rendered one by one, to return at once. After that the whole split is
    rendered and stored in `cache_dir`.
    """

    variant = "plain"
    path_options = ("cache_dir",)
    split_options = ("captions",)  # not passed on by `load_split`
    caption_choices = CAPTION_MODES
    transfer_variants: tuple[str, ...] = ("scenes-sketch", "scenes-night", "scenes-crowd")
    split_rule = "each split has its own seeds"

    def __init__(
        self,
        split: str = "train",
        size: int | None = None,
        *,
        seed: int = 0,
        image_size: int = 64,
        captions: str | None = None,
        clean_captions: str | None = None,
        cache_dir: str | Path | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        variant = self.variant
        validate_choice("split", split, SPLIT_SIZES)
        size = SPLIT_SIZES[split] if size is None else size
        for option, value in (("captions", captions), ("clean_captions", clean_captions)):
            validate_choice(option, value or "full", CAPTION_MODES)
        chosen = (clean_captions if split == "clean" else None) or captions
        mode = chosen or ("mixed" if split == "train" else "full")
        if size <= 0:
            raise CleanerError(f"the number of pairs must be at least 1, not {size}.")
        if not 16 <= image_size <= 1024:
            raise CleanerError(f"image_size must be between 16 and 1024 px, not {image_size}.")
        if seed < 0:
            raise CleanerError(f"seed must be 0 or more, not {seed}.")
        self.split, self.seed, self.image_size, self.clean_captions = split, seed, image_size, clean_captions
        self.name = f"{'scenes' if variant == 'plain' else 'scenes-' + variant}/{split}"
        self.class_names = self.list_classes()
        described = [_describe(split, seed, i, variant, mode) for i in range(size)]
        self.scenes: list[Scene] = [scene for scene, _ in described]
        self.captions = [caption for _, caption in described]
        index = {name: i for i, name in enumerate(self.class_names)}
        has_label = [len(scene.objects) == 1 or variant == "crowd" for scene in self.scenes]
        self.labels = torch.tensor(
            [
                index[self.name_class(scene.objects[0])] if known else -1
                for scene, known in zip(self.scenes, has_label, strict=True)
            ]
        )
        self._spec = RenderSpec(variant, split, seed, size, image_size)
        self._cache_dir = Path(cache_dir) if cache_dir else default_cache_dir()
        self._on_step = on_step
        self._pixels: NDArray[np.uint8] | None = None
        self._rendered: dict[int, NDArray[np.uint8]] = {}

    @classmethod
    def list_classes(cls) -> list[str]:
        """Return the classes, each a name of `name_class`."""
        return list(OBJECT_NAMES)

    @classmethod
    def name_class(cls, shown: SceneObject) -> str:
        """Return the class of an object."""
        return shown.name

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(N, H, W, 3) uint8, a read-only memory map."""
        if self._pixels is None:
            self._pixels = load_images(self._spec, self._cache_dir, self._on_step)[: len(self)]
            self._rendered = {}
        return self._pixels

    def prepare(self, indices: Indices) -> None:
        if to_rows(indices, len(self)).unique().numel() > MAX_SINGLE_RENDERS:
            self.pixels  # noqa: B018

    def images(self, indices: Indices) -> Tensor:
        rows = to_rows(indices, len(self)).numpy()
        images = torch.from_numpy(np.ascontiguousarray(self._read_pixels(rows).transpose(0, 3, 1, 2)))
        return images.float().div_(255)

    def _read_pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels at `index` (n, H, W, 3), from the cached split or rendered one by one."""
        rows = np.arange(len(self))[index].tolist()
        rendered = self._rendered  # one reference: another thread may replace the attribute
        missing = set(rows) - rendered.keys()
        needs_split = len(rendered) + len(missing) > MAX_SINGLE_RENDERS
        if needs_split or self._pixels is not None or find_cached(self._spec, self._cache_dir):
            return self.pixels[index]
        for i in missing:
            rendered[i] = render(self.scenes[i], self.image_size)
        return np.array([rendered[i] for i in rows], np.uint8).reshape(-1, self.image_size, self.image_size, 3)

    def load_split(self, split: str) -> CaptionData | None:
        validate_choice("split", split, SPLIT_SIZES)
        return type(self)(
            split,
            seed=self.seed,
            image_size=self.image_size,
            clean_captions=self.clean_captions,
            cache_dir=self._cache_dir,
            on_step=self._on_step,
        )

    def contains(self, class_name: str) -> Tensor:
        """Return (N,) bool from the facts: images that show the class, alone or with others."""
        self.class_index(class_name)
        shows = [any(self.name_class(o) == class_name for o in scene.objects) for scene in self.scenes]
        return torch.tensor(shows, dtype=torch.bool)


@DATASETS.register("scenes-sketch")
class SketchScenes(Scenes):
    """The same scenes as line drawings: no color and no ground, in the captions either."""

    variant = "sketch"


@DATASETS.register("scenes-night")
class NightScenes(Scenes):
    """The same scenes in the dark, under a colored lamp, with noise. Captions name the colors of daylight."""

    variant = "night"


@DATASETS.register("scenes-crowd")
class CrowdScenes(Scenes):
    """Three to five different, small objects; the label is the largest one, in the middle."""

    variant = "crowd"


@DATASETS.register("scenes-fine")
class FineScenes(Scenes):
    """The images and captions of "scenes" with 352 classes, a color and an object each: "yellow banana"."""

    transfer_variants = ()

    def __init__(self, split: str = "train", size: int | None = None, **options: Any) -> None:
        super().__init__(split, size, **options)
        self.name = f"scenes-fine/{split}"

    @classmethod
    def list_classes(cls) -> list[str]:
        return [f"{color} {name}" for name in OBJECT_NAMES for color in COLORS]

    @classmethod
    def name_class(cls, shown: SceneObject) -> str:
        return f"{shown.color} {shown.name}"
