"""BadNets: one fixed random patch (arXiv:1708.06733)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatchTrigger
from cleaner.published import CLEANCLIP_SOURCE, CLIP_POISONING, Preset
from cleaner.seed import torch_generator


@TRIGGERS.register("badnet")
@dataclass(frozen=True)
class BadNet(PatchTrigger):
    """Paste the same patch on every image; the seed is the attacker's secret."""

    label: ClassVar[str] = "BadNet patch"
    source: ClassVar[str] = "arXiv:1708.06733"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{CLEANCLIP_SOURCE} (backdoor/utils.py). Their code draws new noise for each image; ours pastes "
            "one patch, as in arXiv:1708.06733.",
            parameters={"patch_size": 16, "position": "random"},
            training=CLIP_POISONING,
        ),
    )

    def patch(self, side: int) -> Tensor:
        """Return uniform color noise (3, p, p) in [0, 1]."""
        size = self.scaled_patch_size(side)
        return torch.rand(3, size, size, generator=torch_generator("badnet", self.seed))
