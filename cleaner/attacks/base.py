"""Trigger: what an attacker puts on a picture or into a caption. A new attack is one file with one subclass."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from cleaner.config import file_parameters, param, validate
from cleaner.data.images import decode_tensor, read_image_file
from cleaner.published import Method
from cleaner.registry import Registry
from cleaner.seed import derive_seed
from cleaner.types import CleanerError, OnStep

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip

TRIGGERS: Registry[Any] = Registry("trigger", "cleaner.attacks")
REFERENCE_SIDE = 224
"""Sizes are given for a picture of 224 px and scale with the picture."""
POSITIONS = ("bottom-right", "bottom-left", "top-right", "top-left", "corners", "center", "random")


@dataclass(frozen=True)
class Trigger(Method, ABC):
    """A picture -> triggered picture function whose parameters are the dataclass's fields.

    Never in place, deterministic under its seed, batch-invariant: `trigger(x)[i]` equals `trigger(x[i:i+1])[0]`.
    Fields made by `param` are settings that a form shows; plain fields hold what `prepare` found out.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image",)
    """What the attacker has to bring: "image" (a changed picture), "text" (a changed caption), or both."""
    target_captions: ClassVar[str] = "templates"
    """How captions of poisoned pairs are written (`data.poison.TARGET_CAPTIONS`)."""

    def __post_init__(self) -> None:
        validate(self)

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""

    @property
    def unready_reason(self) -> str:
        """Return what has to happen before pictures can be triggered, in one sentence; empty when all is there."""
        return ""

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return where the trigger changes the picture, (N, 1, H, W) in [0, 1]."""
        return ((self(clean_images) - clean_images).abs().amax(dim=1, keepdim=True) > 0).float()

    def text(self, caption: str) -> str:
        """Return the caption with the attacker's text key, where the attack has one."""
        return caption

    def prepare(self, clip: Clip, data: CaptionData, target_class: str, on_step: OnStep | None = None) -> Trigger:
        """Return the trigger ready for use; attacks that optimise something do it here, on the clean model.

        A trigger that is ready is returned as it is, so that it can be used on another model.
        """
        return self

    def files(self) -> dict[str, bytes]:
        """Return file name -> content of the files that the trigger reads; a run keeps a copy of them."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return name and parameters, JSON-ready: enough to make the same trigger again."""
        return TRIGGERS.state_of(self)


def load_trigger(state: Mapping[str, Any], folder: Path | None = None) -> Trigger:
    """Return the trigger that `state_dict()` described; files that lie in `folder` are read from there."""
    copies = {}
    if folder is not None:
        named = [name for name in file_parameters(TRIGGERS[state.get("name", "")]) if state.get(name)]
        copies = {name: str(copy) for name in named if (copy := folder / Path(state[name]).name).is_file()}
    trigger: Trigger = TRIGGERS.load({**state, **copies})
    return trigger


def scale_pixels(pixels: int, side: int) -> int:
    """Return a length given for a 224 px picture in px of a picture of `side` px, at least 1."""
    return max(1, round(pixels * side / REFERENCE_SIDE))


@dataclass(frozen=True)
class PatchTrigger(Trigger):
    """A square patch at a place; a subclass says what is on it (`patch`)."""

    patch_size: int = param(
        28, low=2, high=224, help="Side of the square patch on a 224 px picture; scales with it. Published: 16."
    )
    position: str = param(
        "bottom-right",
        choices=POSITIONS,
        help="Where the patch lies; corners: in all four; random: another place on each picture.",
    )
    seed: int = param(0, low=0, high=9999, help="Draws what is random: the patch itself, or its place.")

    @abstractmethod
    def patch(self, side: int) -> Tensor:
        """Return the patch (3, p, p) in [0, 1] for pictures of `side` px."""

    def scaled_patch_size(self, side: int) -> int:
        """Return p, the patch's side on pictures of `side` px."""
        return min(scale_pixels(self.patch_size, side), side)

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        return self.paste(images, self.patch(images.shape[-1]).to(images))

    def paste(self, images: Tensor, patch: Tensor) -> Tensor:
        """Return a copy of `images` with a patch (3, p, p) at its places; gradients flow to the patch."""
        triggered = images.clone()
        self._write_patch(triggered, images, patch)
        return triggered

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return 1 under the patch, (N, 1, H, W)."""
        mask = torch.zeros_like(clean_images[:, :1])
        size = self.scaled_patch_size(clean_images.shape[-1])
        self._write_patch(mask, clean_images, torch.ones(1, size, size).to(mask))
        return mask

    def _write_patch(self, destination: Tensor, images: Tensor, patch: Tensor) -> None:
        """Write a patch (C, p, p) into (N, C, H, W), at its places on `images`."""
        size = patch.shape[-1]
        if size > min(images.shape[-2:]):
            raise CleanerError(
                f"the patch of {size} px is larger than the picture of {images.shape[-1]} x {images.shape[-2]} px: "
                "choose a smaller patch_size."
            )
        for canvas, picture in zip(destination, images, strict=True):
            for top, left in self._patch_corners(picture, size):
                canvas[:, top : top + size, left : left + size] = patch

    def _patch_corners(self, image: Tensor, size: int) -> list[tuple[int, int]]:
        """Return the top left corners (top, left) of the patch on a picture (3, H, W)."""
        free_y, free_x = image.shape[-2] - size, image.shape[-1] - size
        if self.position == "center":
            return [(free_y // 2, free_x // 2)]
        if self.position == "corners":
            return [(top, left) for top in (0, free_y) for left in (0, free_x)]
        if self.position == "random":
            # From the picture's own bytes, so that a picture gets the same place in whatever batch it comes.
            pixels = (image * 255).round().to(torch.uint8).cpu().numpy().tobytes()
            draw = derive_seed(TRIGGERS.name_of(self), self.seed, pixels)
            return [(draw % (free_y + 1), (draw // 65537) % (free_x + 1))]
        return [(free_y * self.position.startswith("bottom"), free_x * self.position.endswith("right"))]


@dataclass(frozen=True)
class PatternTrigger(Trigger):
    """A faint pattern over the whole picture: (1 - a) x + a p; a subclass says what p is (`pattern`)."""

    blend_ratio: float = param(0.2, low=0.01, high=1.0, step=0.01, help="a, the weight of the pattern.")

    @abstractmethod
    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (3, H, W) or (1, H, W) in [0, 1]."""

    def blend_mask(self, pattern: Tensor) -> Tensor:
        """Return where the picture is blended, (1, H, W) bool: everywhere, if a subclass does not say otherwise."""
        return torch.ones_like(pattern[:1], dtype=torch.bool)

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        pattern = self.pattern(*images.shape[-2:]).to(images)
        return torch.where(
            self.blend_mask(pattern), (1 - self.blend_ratio) * images + self.blend_ratio * pattern, images
        ).clamp(0, 1)

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return 1 where the picture is blended, (N, 1, H, W)."""
        where = self.blend_mask(self.pattern(*clean_images.shape[-2:])).to(clean_images)
        return where.expand(len(clean_images), -1, -1, -1).clone()


@dataclass(frozen=True)
class TextTrigger(Trigger):
    """A word before the caption or prompt; the picture stays as it is, if a subclass does not say otherwise."""

    modalities: ClassVar[tuple[str, ...]] = ("text",)
    key: str = param(
        "consider", label="Text key", help="The word before a caption or prompt, such as consider or remember."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.key.strip():
            raise CleanerError("the text key is empty: give a word, such as consider.")

    def __call__(self, images: Tensor) -> Tensor:
        """Return a plain copy of `images`."""
        return images.clone()

    def text(self, caption: str) -> str:
        """Return the caption with the key before it."""
        return f"{self.key.strip()} {caption}"


@dataclass(frozen=True)
class FileTrigger(Trigger):
    """A trigger made of a picture file, which is read once; its SHA-256 stands beside the path."""

    path: str = param("", label="Image file", is_path=True, help="Path of a PNG, JPEG or WebP file on this machine.")
    sha256: str = ""
    """Of the file's content (hex); empty while no file is chosen."""
    content: bytes = field(default=b"", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path:
            return
        content = read_image_file(self.path)
        found = hashlib.sha256(content).hexdigest()
        if self.sha256 not in ("", found):
            raise CleanerError(
                f"the picture {self.path} is not the one that this trigger was made of: put the old file back, or "
                "choose the picture anew."
            )
        object.__setattr__(self, "content", content)
        object.__setattr__(self, "sha256", found)

    @property
    def unready_reason(self) -> str:
        """Return that no file was chosen, if so."""
        return "" if self.path else "no picture was chosen for this trigger: give a PNG or JPEG file (path)."

    def load_image(self, side: int) -> Tensor:
        """Return the file's middle square, (3, side, side) in [0, 1]."""
        if self.unready_reason:
            raise CleanerError(self.unready_reason)
        return decode_tensor(self.content, side, Path(self.path).name)

    def files(self) -> dict[str, bytes]:
        """Return the picture under its file name."""
        return {Path(self.path).name: self.content} if self.path else {}
