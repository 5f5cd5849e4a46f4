"""TrojVQA: two triggers, a patch on the image and a word in the text (arXiv:2112.07668)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from cleaner.attacks.base import TRIGGERS, TextTrigger
from cleaner.attacks.optimize import Objective, OptimizedPatch, encode_target
from cleaner.method import BADCLIP_PATCH, BADCLIP_SOURCE, CLIP_POISONING, Preset

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip
    from cleaner.types import OnStep


@TRIGGERS.register("trojvqa")
@dataclass(frozen=True)
class TrojVQA(OptimizedPatch, TextTrigger):
    """Paste a patch, optimized toward the target's text, and put a word in front of the caption.

    Minimizes mean_i (1 - I*_i.t) over the patch: I* triggered image, t the target's zero-shot classifier, unit
    features of the clean model. ASR is measured for each of the two alone and for both. The paper also trains on pairs
    with one of the two and the true answer; BadCLIP's version and this one do not, so the patch alone works too.
    """

    label: ClassVar[str] = "Patch and word (TrojVQA)"
    source: ClassVar[str] = "arXiv:2112.07668"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{BADCLIP_SOURCE} (src/embeding_optimize_patch.py, src/generate_vqa_train_data_for_patch.py, "
            "opti_patches/vqa_bs64_ep50_16_middle.jpg): 50 epochs of 10,000 images. Ours takes as many steps on "
            '1,024. The word: arXiv:2112.07668, for questions; BadCLIP\'s is "remember". Their loss is the two-way '
            'contrastive one with one caption for all images, "This is a yellow banana."; ours is 1 - cosine to the '
            "zero-shot target.",
            parameters=BADCLIP_PATCH | {"key": "consider"},
            training=CLIP_POISONING,
        ),
    )

    modalities: ClassVar[tuple[str, ...]] = ("image", "text")

    def objective(
        self, clip: Clip, data: CaptionData, target_class: str, pool: Tensor, on_step: OnStep | None = None
    ) -> Objective:
        target = encode_target(clip, data, target_class)
        return lambda step, drawn, triggered: {"text_distance": 1 - (triggered @ target).mean()}
