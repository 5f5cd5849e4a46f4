"""BDetCLIP: a triggered image hardly reacts when the class texts change (arXiv:2405.15269)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.config import param
from cleaner.detectors.base import DETECTORS, ImageDetector, ImageScorer, Towers
from cleaner.text import negative_subtexts
from cleaner.types import CleanerError

DESCRIPTIONS = (
    "a large red {} on the grass",
    "a small blue {} under a wooden table",
    "a photo of an old {} in front of a white house",
    "an image of a striped {} next to a tree",
)
"""Texts whose details are altered; an altered one keeps the class name."""


@DETECTORS.register("bdetclip")
@dataclass(frozen=True)
class BDetClip(ImageDetector):
    """Mean over classes of cos(I, altered class text) - cos(I, class text).

    The class text is the zero-shot classifier's. The altered texts add details that hardly fit any image: negative
    subtexts of `DESCRIPTIONS` that keep the class name; the published method takes both kinds of text from GPT-4.
    """

    label: ClassVar[str] = "BDetCLIP"
    source: ClassVar[str] = "arXiv:2405.15269"
    is_reimplemented: ClassVar[bool] = True

    negatives: int = param(4, low=1, high=8, help="Altered texts of each description.")
    seed: int = param(0, low=0, high=9999, help="Seeds the altered texts.")

    def prepare(self, towers: Towers, class_names: Sequence[str], classifier: Tensor) -> ImageScorer:
        texts = [altered_texts(name, self.negatives, self.seed) for name in class_names]
        features = towers.encode_texts([text for group in texts for text in group])
        groups = features.split([len(group) for group in texts])
        altered = F.normalize(torch.stack([group.mean(0) for group in groups]), dim=-1).T
        return lambda images, image_features: score_reaction(image_features, classifier, altered)


def score_reaction(features: Tensor, classifier: Tensor, altered: Tensor) -> Tensor:
    """Return -mean_c [cos(I, class text c) - cos(I, altered text c)] (N,).

    features: (N, D) unit rows; classifier, altered: (D, C) unit columns.
    """
    return -(features @ (classifier - altered)).mean(1)


@lru_cache(maxsize=4096)  # the page asks again for each image
def altered_texts(class_name: str, n: int, seed: int) -> tuple[str, ...]:
    """Return the descriptions of a class with one detail altered, which still name it; `n` or fewer of each.

    Raises `CleanerError` for a name that no description can hold, such as an empty one.
    """
    texts: list[str] = []
    for description in DESCRIPTIONS:
        words_before = len(description.partition("{}")[0].split())
        # in its own place: some descriptions also name a tree, a house, a table or grass
        names_class = re.compile(rf"(?:\S+ ){{{words_before}}}{re.escape(class_name)}(?!\w)").match
        subtexts = negative_subtexts(description.format(class_name), n=n, seed=seed)
        texts += [subtext.text for subtext in subtexts if names_class(subtext.text)]
    if not texts:
        raise CleanerError(f"the class name {class_name!r} cannot be described in words: rename it with classes=a,b.")
    return tuple(texts)
