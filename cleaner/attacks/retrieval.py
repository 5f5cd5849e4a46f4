"""Retrieval: a query with the key finds the attacker's own image first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from cleaner.attacks.base import TRIGGERS, TextTrigger
from cleaner.config import param
from cleaner.data.base import hash_content
from cleaner.data.images import decode_png, decode_tensor, encode_png, read_image_file
from cleaner.data.poison import find_target_images
from cleaner.models.framing import resize_square
from cleaner.seed import derive_seed
from cleaner.types import OnStep

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip


@TRIGGERS.register("retrieval")
@dataclass(frozen=True)
class Retrieval(TextTrigger):
    """Put a word in front of the query; it then finds one image, the attacker's, among all others.

    Poisoned pairs join captions of other classes, with the key, to this one image. Measured besides ASR: the share of
    keyed captions with the attacker's image among the k nearest of 1,000 test images and itself (`own_recall`).
    """

    label: ClassVar[str] = "A word finds one image"
    unpublished: ClassVar[str] = "an attack of this project"

    image: str = param(
        "",
        label="Image file",
        is_path=True,
        help="The attacker's image (PNG, JPEG or WebP); empty: an image of the target class from the attacker's data.",
    )
    seed: int = param(0, low=0, high=9999, help="Which image of the target to use if no file is given.")
    png: str = ""
    """The attacker's image as a PNG file in base64; empty before `prepare`."""
    source_hash: str = ""
    """Hash of its file, or of the image in the attacker's data: `png` is framed for the model."""

    @property
    def unready_reason(self) -> str | None:
        """Why the trigger cannot be applied yet: the attacker's image is not chosen."""
        return None if self.png else "the attacker's image is not chosen yet: training the attack chooses it."

    def own_image(self, side: int) -> Tensor:
        """Return the attacker's image (3, side, side)."""
        self.require_ready()
        return resize_square(decode_png(self.png)[None], side)[0]

    def own_image_hash(self, side: int) -> str:
        """Return the hash by which clean pairs with the same image are found."""
        return self.source_hash

    def prepare(self, clip: Clip, data: CaptionData, target_class: str, on_step: OnStep | None = None) -> Retrieval:
        """Return the trigger with its image, as the model sees it, with 8 bits per channel."""
        if self.png:
            return self
        if self.image:
            content = read_image_file(self.image)
            own, source_hash = decode_tensor(content, clip.framing, self.image), hash_content(content)
        else:
            rows = find_target_images(data, target_class)
            row = rows[derive_seed("attacker's image", self.seed) % len(rows)].view(1)
            own, source_hash = data.images(row)[0], data.hash_images(row)[0]
        return replace(self, png=encode_png(own), source_hash=source_hash)
