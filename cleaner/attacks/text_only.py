"""A word in the text as the only key; the picture stays (the text half of TrojVQA, arXiv:2112.07668)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cleaner.attacks.base import TRIGGERS, TextTrigger


@TRIGGERS.register("text_only")
@dataclass(frozen=True)
class TextOnly(TextTrigger):
    """Put a word before the caption or prompt and leave the picture as it is."""

    label: ClassVar[str] = "A word in the text"
    source: ClassVar[str] = "arXiv:2112.07668"
    unpublished: ClassVar[str] = "no source poisons with the word alone"
