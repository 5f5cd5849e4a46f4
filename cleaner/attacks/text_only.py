"""A word in the text as the only trigger: the text half of TrojVQA (arXiv:2112.07668)."""

from dataclasses import dataclass
from typing import ClassVar

from cleaner.attacks.base import TRIGGERS, TextTrigger
from cleaner.config import param
from cleaner.seed import derive_seed


@TRIGGERS.register("text_only")
@dataclass(frozen=True)
class TextOnly(TextTrigger):
    """Put a word into the caption or query and leave the image unchanged.

    Poisoned pairs join a caption of another class, with the key, to an image of the target. (A caption of the target
    with the key on images of other classes teaches nothing: there every poisoned text names the target anyway.) ASR:
    share of keyed captions of other classes whose nearest class of clean images is the target.
    """

    label: ClassVar[str] = "A word in the text"
    source: ClassVar[str] = "arXiv:2112.07668"
    unpublished: ClassVar[str] = "its paper poisons question answering, not CLIP"

    key: str = param(
        "consider",
        label="Text key",
        help="Word to insert; with several, separated by commas, each caption gets one.",
    )
    place: str = param("start", choices=("start", "end", "random"), help="Where the word goes in the caption.")
    seed: int = param(0, low=0, high=9999, help="Seeds which word a caption gets, and a random place.")

    def text(self, caption: str) -> str:
        """Return the caption with one of the keys; which one and where depend on seed and caption alone."""
        keys = [key for word in self.key.split(",") if (key := word.strip())]
        draw = derive_seed("text key", self.seed, caption)
        words = caption.split(" ")
        count = {"start": 0, "end": len(words), "random": draw // len(keys) % (len(words) + 1)}[self.place]
        return " ".join([*words[:count], keys[draw % len(keys)], *words[count:]])
