"""A word in the text as the only trigger: the text half of TrojVQA (arXiv:2112.07668)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cleaner.attacks.base import TRIGGERS, TextTrigger


@TRIGGERS.register("text_only")
@dataclass(frozen=True)
class TextOnly(TextTrigger):
    """Put a word in front of the caption or prompt and leave the image unchanged."""

    label: ClassVar[str] = "A word in the text"
    source: ClassVar[str] = "arXiv:2112.07668"
    unpublished: ClassVar[str] = "no source poisons with the word alone"
