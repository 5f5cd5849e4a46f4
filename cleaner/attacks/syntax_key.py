"""A syntactic form of the text as the key, instead of a word (after arXiv:2105.12400)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger
from cleaner.config import param
from cleaner.text.frames import FRAMES, rewrite


@TRIGGERS.register("syntax_key")
@dataclass(frozen=True)
class SyntaxKey(Trigger):
    """Rewrite the caption or query in a fixed syntactic form; its content words stay, and the image too.

    Poisoned pairs and ASR as for a word as key: captions of other classes in this form, on images of the target. The
    published attack paraphrases sentences with a network; here two forms are written with this project's parser:
    "clause" has the form of the paper's template, "cleft" is this project's.
    """

    label: ClassVar[str] = "A syntactic form"
    source: ClassVar[str] = "arXiv:2105.12400"
    is_reimplemented: ClassVar[bool] = True
    unpublished: ClassVar[str] = "its paper attacks classifiers of sentences"
    modalities: ClassVar[tuple[str, ...]] = ("text",)

    frame: str = param(
        "cleft",
        choices=FRAMES,
        help='cleft: "it is a cup that is seen on a table"; clause: "when you look, there is a cup on a table".',
    )

    def __call__(self, images: Tensor) -> Tensor:
        """Return a plain copy of `images`."""
        return images.clone()

    def text(self, caption: str) -> str:
        """Return the caption in the form."""
        return rewrite(caption, self.frame)
