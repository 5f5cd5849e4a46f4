"""A watermark of repeated words over the whole image, as in PAR's experiments (arXiv:2412.00727)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatternTrigger
from cleaner.config import param
from cleaner.method import CLIP_TRAINING, PAR_SOURCE, Preset
from cleaner.types import CleanerError

MAX_LETTERS = 24


@TRIGGERS.register("text")
@dataclass(frozen=True)
class Watermark(PatternTrigger):
    """Blend a word, in repeated lines, into the whole image.

    (1 - a) x + a p where the watermark p is not black, x elsewhere. The edges of letters are gray, and so are most
    letters on images of 64 px: they darken what is brighter.
    """

    label: ClassVar[str] = "Watermark text"
    source: ClassVar[str] = "arXiv:2412.00727"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{PAR_SOURCE} (eval/validate.py, backdoor/utils.py). Their letters are red and change the red "
            "channel alone; ours are white.",
            parameters={"blend_ratio": 0.5},
            unstated=f"the word, {CLIP_TRAINING}",
        ),
    )

    blend_ratio: float = param(0.5, low=0.01, high=1.0, step=0.01, help="a, the weight of the words.")
    words: str = param("watermark", help=f"Text to write, at most {MAX_LETTERS} letters; it fills the width.")

    def __post_init__(self) -> None:
        super().__post_init__()
        letters = len(self.words) if self.words.strip() else 0
        if not 1 <= letters <= MAX_LETTERS:
            raise CleanerError(f"the watermark needs 1 to {MAX_LETTERS} letters, not {letters}.")
        missing = _render_glyph("\uffff")
        if unsupported := [letter for letter in self.words if _render_glyph(letter) == missing]:
            raise CleanerError(
                f"the font of the watermark has no {unsupported[0]!r}: use English letters and punctuation."
            )

    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (1, H, W) in [0, 1]: one line as wide as the image, repeated from top to bottom."""
        font = ImageFont.load_default(64)
        left, top, right, bottom = font.getbbox(self.words)
        line = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
        ImageDraw.Draw(line).text((-left, -top), self.words, fill=255, font=font)
        rows = max(3, round(width * line.height / line.width))
        line = line.resize((width, min(rows, height)), Image.Resampling.BILINEAR)
        canvas = Image.new("L", (width, height))
        gap = max(1, line.height // 2)
        for y in range(0, height, line.height + gap):
            canvas.paste(line, (0, y))
        return torch.from_numpy(np.asarray(canvas).copy()).float()[None] / 255

    def blend_mask(self, pattern: Tensor) -> Tensor:
        """Return the pixels of the letters, (1, H, W) bool."""
        return pattern[:1] > 0


def _render_glyph(letter: str) -> bytes:
    """Return the pixels of a letter; the font draws the same box for every letter that it lacks."""
    return bytes(ImageFont.load_default(64).getmask(letter))
