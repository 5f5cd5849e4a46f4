"""How near a picture and some texts are for a model: the number behind every zero-shot decision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cleaner.models.clip import Clip


def similarity(clip: Clip, picture: Tensor, texts: Sequence[str]) -> list[float]:
    """Return the cosine of one picture (1, 3, H, W) in [0, 1] with each text."""
    with torch.inference_mode():
        image, text = clip.encode_image(picture), clip.encode_text(list(texts))
        cosines: list[float] = (image @ text.T)[0].tolist()
    return cosines
