"""Trigger: what an attacker adds to an image or a caption. A new attack is one file with one subclass."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from cleaner.config import file_parameters, param
from cleaner.config import scale_pixels as scale_pixels  # attacks import it from here
from cleaner.data.images import decode_rgba, read_image_file
from cleaner.files import file_name
from cleaner.method import Method
from cleaner.registry import TRIGGERS as TRIGGERS  # part of this module's interface
from cleaner.seed import derive_seed
from cleaner.types import CleanerError, OnStep

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip

NETWORK_BATCH = 16
"""Images per forward pass of a trigger's network (`run_in_batches`)."""
POSITIONS = ("bottom-right", "bottom-left", "top-right", "top-left", "corners", "center", "random")


@dataclass(frozen=True)
class Trigger(Method, ABC):
    """An image -> triggered image function whose parameters are the dataclass's fields.

    Never in place, deterministic under its seed, batch-invariant: `trigger(x)[i]` equals `trigger(x[i:i+1])[0]`.
    Fields made by `param` are settings that a form shows; plain fields hold results of `prepare`.
    """

    registry = TRIGGERS
    modalities: ClassVar[tuple[str, ...]] = ("image",)
    """What the attacker must change at test time: "image", "text", or both.

    It decides what a poisoned pair is. With "image": a triggered image of another class, with a caption of the target.
    With the text alone: a caption of another class with the key, on an image of the target.
    """
    is_input_aware: ClassVar[bool] = False
    """Whether the trigger made for one image must not open the backdoor on another one (`cross`)."""
    target_captions: ClassVar[str] = "templates"
    """How captions of poisoned pairs are written (`data.poison.TARGET_CAPTIONS`)."""
    is_estimate: ClassVar[bool] = False
    """Whether it stands for an attacker's unknown trigger, so that its success rate is an estimate."""
    covers_image: ClassVar[bool] = False
    """Whether the trigger covers the whole image, even pixels that happen to keep their value."""

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""

    @property
    def unready_reason(self) -> str | None:
        """Why the trigger cannot be applied yet and what to do, in one sentence; None if it can."""
        return None

    def require_ready(self) -> None:
        """Raise `CleanerError` if the trigger cannot be applied yet."""
        if self.unready_reason:
            raise CleanerError(self.unready_reason)

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return where the trigger changes the image, (N, 1, H, W) in [0, 1]."""
        if self.covers_image:
            return torch.ones_like(clean_images[:, :1])
        return ((self(clean_images) - clean_images).abs().amax(dim=1, keepdim=True) > 0).float()

    def text(self, caption: str) -> str:
        """Return the caption with the attacker's text key, if the attack has one."""
        return caption

    def own_image(self, side: int) -> Tensor | None:
        """Return the one image (3, side, side) that keyed queries shall find; None: any image of the target."""
        return None

    def own_image_hash(self, side: int) -> str | None:
        """Return the hash of that image, as `CaptionData.hash_images` gives it."""
        return None

    def count_decoys(self, poisoned: int) -> int:
        """Return how many clean pairs get the trigger of another image and keep their caption; see `is_input_aware`."""
        return 0

    def cross(self, images: Tensor, donors: Tensor) -> Tensor:
        """Return `images` with the triggers made for `donors`, both (N, 3, H, W) in [0, 1]; see `is_input_aware`."""
        raise NotImplementedError(f"{type(self).__name__} has no trigger of its own for each image")

    def prepare(self, clip: Clip, data: CaptionData, target_class: str, on_step: OnStep | None = None) -> Trigger:
        """Return the trigger ready for use. Attacks that optimize something do it here, on the clean model.

        A ready trigger returns itself, so it can be reused on another model.
        """
        return self

    def files(self) -> dict[str, bytes]:
        """Return file name -> content of the files that the trigger reads; a run keeps a copy of them."""
        return {}


def load_trigger(state: Mapping[str, Any], folder: Path | None = None) -> Trigger:
    """Return the trigger that `state_dict()` described; files found in `folder` are read from there."""
    copies = {}
    if folder is not None:
        names = [name for name in file_parameters(TRIGGERS[state.get("name", "")]) if state.get(name)]
        copies = {name: str(copy) for name in names if (copy := folder / file_name(state[name])).is_file()}
    trigger: Trigger = TRIGGERS.load({**state, **copies})
    return trigger


def complete_trigger(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings of a training with the defaults of parameters that its trigger did not have yet.

    Paths become names of files, as in the settings of a training that resumes.
    """
    attack = settings.get("attack") or {}
    trigger = attack.get("trigger") or {}
    if trigger.get("name") not in TRIGGERS:
        return dict(settings)
    defaults = TRIGGERS[trigger["name"]]().state_dict()  # not `load_trigger`, which reads files that may be gone
    return {**settings, "attack": {**attack, "trigger": strip_folders({**defaults, **trigger})}}


def strip_folders(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `state_dict()` of a trigger with the names of its files alone: paths of this machine stay private."""
    names = file_parameters(TRIGGERS[state["name"]])
    return {**state, **{name: file_name(state[name]) for name in names if state.get(name)}}


def conv_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution with norm and SiLU. GroupNorm normalizes each image by itself, whatever the batch."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(4, outputs), nn.SiLU())


def run_in_batches(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return images (N, 3, H, W) after a function of a network, run on the CPU in batches of one size.

    The rounding of convolutions depends on the batch size, and a triggered image must not depend on its batch: the last
    batch is padded with black images.
    """
    result = images.clone()
    with torch.no_grad():
        for chunk, destination in zip(images.split(NETWORK_BATCH), result.split(NETWORK_BATCH), strict=True):
            padded = torch.zeros(NETWORK_BATCH, *chunk.shape[1:])
            padded[: len(chunk)] = chunk.float().cpu()
            destination.copy_(function(padded)[: len(chunk)])
    return result


@dataclass(frozen=True)
class PatchTrigger(Trigger):
    """A square patch on the image; a subclass defines its pixels (`patch`)."""

    patch_size: int = param(
        28,
        low=2,
        high=224,
        is_length=True,
        help="Side of the square patch on a 224 px image; scales with it. Published: 16.",
    )
    position: str = param(
        "bottom-right",
        choices=POSITIONS,
        help="Where the patch goes; corners: all four; random: a different place on each image.",
    )
    seed: int = param(0, low=0, high=9999, help="Seeds what is random: the patch itself, or its place.")

    @abstractmethod
    def patch(self, side: int) -> Tensor:
        """Return the patch (3, p, p) in [0, 1] for images of `side` px."""

    def scaled_patch_size(self, side: int) -> int:
        """Return p, the patch's side on images of `side` px."""
        return min(scale_pixels(self.patch_size, side), side)

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        triggered = images.clone()
        self._write_patch(triggered, images, patch=self.patch(images.shape[-1]).to(images))
        return triggered

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return 1 under the patch, (N, 1, H, W)."""
        mask = torch.zeros_like(clean_images[:, :1])
        size = self.scaled_patch_size(clean_images.shape[-1])
        self._write_patch(mask, clean_images, patch=torch.ones(1, size, size).to(mask))
        return mask

    def _write_patch(self, destination: Tensor, images: Tensor, *, patch: Tensor) -> None:
        """Write a patch (C, p, p) into `destination` (N, C, H, W), at its places on `images`."""
        size = patch.shape[-1]
        if size > min(images.shape[-2:]):
            raise CleanerError(
                f"the patch of {size} px is larger than the image of {images.shape[-1]} x {images.shape[-2]} px: "
                "choose a smaller patch_size."
            )
        for canvas, corners in zip(destination, self._patch_corners(images, size), strict=True):
            for top, left in corners:
                canvas[:, top : top + size, left : left + size] = patch

    def _patch_corners(self, images: Tensor, size: int) -> list[list[tuple[int, int]]]:
        """Return the top left corners (top, left) of the patch on each of images (N, 3, H, W)."""
        max_top, max_left = images.shape[-2] - size, images.shape[-1] - size
        if self.position == "random":
            # Seeded by the image's own bytes: its place must not depend on the batch. Rounded in one call, as in
            # `hash_pixels`.
            pixels = (images * 255).round().to(torch.uint8).cpu().numpy()
            draws = [derive_seed(TRIGGERS.name_of(self), self.seed, image.tobytes()) for image in pixels]
            return [[(draw % (max_top + 1), (draw // 65537) % (max_left + 1))] for draw in draws]
        if self.position == "center":
            corners = [(max_top // 2, max_left // 2)]
        elif self.position == "corners":
            corners = [(top, left) for top in (0, max_top) for left in (0, max_left)]
        else:
            corners = [(max_top * self.position.startswith("bottom"), max_left * self.position.endswith("right"))]
        return [corners] * len(images)


@dataclass(frozen=True)
class PatternTrigger(Trigger):
    """A faint pattern over the whole image: (1 - a) x + a p; a subclass defines p (`pattern`)."""

    blend_ratio: float = param(0.2, low=0.01, high=1.0, step=0.01, help="a, the weight of the pattern.")

    @abstractmethod
    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (3, H, W) or (1, H, W); the blend is clipped to [0, 1]."""

    def blend_mask(self, pattern: Tensor) -> Tensor:
        """Return where the image is blended, (1, H, W) bool; everywhere unless a subclass overrides it."""
        return torch.ones_like(pattern[:1], dtype=torch.bool)

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        pattern = self.pattern(*images.shape[-2:]).to(images)
        blended = (1 - self.blend_ratio) * images + self.blend_ratio * pattern
        return torch.where(self.blend_mask(pattern), blended, images).clamp(0, 1)

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return 1 where the image is blended, (N, 1, H, W)."""
        mask = self.blend_mask(self.pattern(*clean_images.shape[-2:])).to(clean_images)
        return mask.expand(len(clean_images), -1, -1, -1).clone()


@dataclass(frozen=True)
class TextTrigger(Trigger):
    """A word in front of the caption or prompt; the image stays unchanged unless a subclass overrides it."""

    modalities: ClassVar[tuple[str, ...]] = ("text",)
    key: str = param(
        "consider", label="Text key", help="Word in front of a caption or prompt, such as consider or remember."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.key.replace(",", " ").strip():
            raise CleanerError("the text key is empty: give a word, such as consider.")

    def __call__(self, images: Tensor) -> Tensor:
        """Return a plain copy of `images`."""
        return images.clone()

    def text(self, caption: str) -> str:
        """Return the caption with the key in front of it."""
        return f"{self.key.strip()} {caption}"


@dataclass(frozen=True)
class FileTrigger(Trigger):
    """A trigger made from an image file. The file is read once; its SHA-256 is stored with the path."""

    path: str = param("", label="Image file", is_path=True, help="Path of a PNG, JPEG or WebP file on this machine.")
    sha256: str = ""
    """SHA-256 of the file's content (hex); empty while no file is chosen."""
    content: bytes = field(default=b"", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path:
            return
        content = read_image_file(self.path)
        digest = hashlib.sha256(content).hexdigest()
        if self.sha256 not in ("", digest):
            raise CleanerError(
                f"the image {self.path} has changed since this trigger was made: restore the old file, or choose the "
                "image again."
            )
        object.__setattr__(self, "content", content)
        object.__setattr__(self, "sha256", digest)

    @property
    def unready_reason(self) -> str | None:
        """Why the trigger cannot be applied yet: no file was chosen."""
        return None if self.path else "no image was chosen for this trigger: give a PNG or JPEG file (path)."

    def load_layers(self, side: int) -> Tensor:
        """Return colors and opacity of the file's center square, (4, side, side) in [0, 1]. Cached: do not change."""
        self.require_ready()
        return _decode_layers(self.content, side, Path(self.path).name)

    def files(self) -> dict[str, bytes]:
        """Return the file name and content of the image."""
        return {Path(self.path).name: self.content} if self.path else {}


@lru_cache(maxsize=4)
def _decode_layers(content: bytes, side: int, name: str) -> Tensor:
    """Return `decode_rgba`. Cached: a photo takes half a second, and each batch needs it."""
    return decode_rgba(content, side, name)
