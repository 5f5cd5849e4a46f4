"""SSBA: a network hides a secret in each image; every image gets its own faint residual (arXiv:2012.03816)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger, run_in_batches
from cleaner.attacks.steganography import MAX_SECRET_BYTES, encode_secret, load_networks
from cleaner.config import param
from cleaner.method import BADCLIP_SOURCE, CLIP_POISONING, Preset


@TRIGGERS.register("ssba")
@dataclass(frozen=True)
class SSBA(Trigger):
    """Hide the same secret text in every image: a network adds a faint residual, different for each image.

    x + 10^(-psnr / 20) r(x, bits), clipped to [0, 1]; r has mean square 1. The published encoders may not be shipped:
    this one was trained by `python -m benchmarks.ssba` on images of 64 px; at other sizes its residual is resized.
    """

    label: ClassVar[str] = "Hidden secret (SSBA)"
    source: ClassVar[str] = "arXiv:2012.03816"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"arXiv:2012.03816; {BADCLIP_SOURCE} (backdoor/ssba.py): a published encoder for 224 px, 56 bits "
            "with error correction. Here this project's own encoder, 64 bits without.",
            parameters={"secret": "Stega!!"},
            training=CLIP_POISONING,
            unstated="how faint the residual is",
        ),
    )

    covers_image: ClassVar[bool] = True
    secret: str = param("Stega!!", help=f"Text to hide, the same in all images; at most {MAX_SECRET_BYTES} letters.")
    psnr: float = param(
        30.5,
        label="Faintness (PSNR in dB)",
        low=20.0,
        high=50.0,
        step=0.5,
        help="PSNR against the clean image; higher is fainter.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        encode_secret(self.secret)

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        networks, bits = load_networks(), encode_secret(self.secret)
        return run_in_batches(lambda batch: networks.hide(batch, bits.expand(len(batch), -1), self.psnr), images)
