"""RVPT, Repulsive Visual Prompt Tuning: learn prompt tokens, leave the model as it is (arXiv:2412.20392).

Reimplemented from the public description.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from cleaner.config import FinetuneConfig, param
from cleaner.data.base import CaptionData
from cleaner.defenses.base import DEFENSES, RepellingDefense
from cleaner.losses import Features, class_loss
from cleaner.losses.feature_repelling import skipped_blocks
from cleaner.method import RVPT_SOURCE, Preset, Training
from cleaner.models.blocks import find_blocks
from cleaner.models.clip import Clip
from cleaner.models.prompts import add_prompts, unpromptable_reason


@DEFENSES.register("rvpt")
@dataclass(frozen=True)
class RVPT(RepellingDefense):
    """Freeze a ViT and learn prompt tokens in its later blocks; needs class labels, not captions alone.

    class_loss + repelling_weight * FR. Each of the blocks D + 1 .. L sees `prompt_tokens` learned tokens of its own.
    class_loss is the cross-entropy of the image against "a photo of a <class>" for every class, at the model's
    temperature; FR is the mean cosine between class tokens with prompts and those of the model without, over the same
    blocks. Pairs that do not have exactly one class are skipped. The prompts are part of the defended model and are
    saved with it.
    """

    label: ClassVar[str] = "RVPT (needs labels)"
    source: ClassVar[str] = "arXiv:2412.20392"
    is_reimplemented: ClassVar[bool] = True
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{RVPT_SOURCE}: ViT-B/32, D 3 of 12 blocks, b 50, alpha 2.",
            parameters={"repelling_weight": 2.0, "skip_share": 0.25, "prompt_tokens": 50, "optimizer": "sgd"},
            training=Training(
                source=f"{RVPT_SOURCE}: 16 labeled images of each of ImageNet's 1,000 classes; SGD, cosine schedule",
                pairs=16_000,
                finetune=FinetuneConfig(
                    lr=0.002, epochs=50, batch_size=32, warmup_steps=0, weight_decay=0.0, augmentation="none"
                ),
            ),
            unstated="scale of new prompts (ours: 0.02), momentum, weight decay and warm-up",
        ),
    )

    is_model_frozen: ClassVar[bool] = True
    class_prompt: ClassVar[str] = "a photo of a {}"
    prompt_tokens: int = param(50, label="Prompt tokens (b)", low=1, high=1000, help="Learned tokens in each block.")
    optimizer: str = param(
        "adamw",
        choices=("adamw", "sgd"),
        help="sgd: as published, with beta 1 as the momentum, which the paper does not state; adamw: as in all other "
        "methods here.",
    )

    def unsupported_reason(self, clip: Clip, data: CaptionData) -> str | None:
        if reason := unpromptable_reason(clip):
            return f"rvpt learns visual prompts, and {reason}"
        if not data.class_names or not (data.labels >= 0).any():
            return (
                f"rvpt needs class labels, and {data.name or 'these pairs'} have none: add classes=FILE or "
                "classes=a,b,c, or choose feature_repelling, which needs captions alone."
            )
        return None

    def select(self, data: CaptionData) -> CaptionData:
        labeled = data.labels >= 0
        return data if labeled.all() else data.subset(labeled.nonzero().flatten())

    def prepare(self, clip: Clip, seed: int) -> Clip:
        first_block = skipped_blocks(self.skip_share, len(find_blocks(clip))) + 1
        return add_prompts(clip, first_block=first_block, prompt_tokens=self.prompt_tokens, seed=seed)

    def build_optimizer(self, model: nn.Module, config: FinetuneConfig) -> torch.optim.Optimizer | None:
        if self.optimizer == "adamw":
            return None
        prompts = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # Not the decay of the config, which is AdamW's: SGD adds it to the gradient, and momentum multiplies it.
        return torch.optim.SGD(prompts, config.lr, momentum=config.beta1)

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"class_loss": class_loss(f), "repelling_loss": self.repelling_loss(f)}
