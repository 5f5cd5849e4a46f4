"""BadNets with a striped patch, as in PAR's experiments (arXiv:2412.00727)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatchTrigger
from cleaner.published import CLIP_TRAINING, PAR_SOURCE, Preset
from cleaner.seed import torch_generator


@TRIGGERS.register("badnet_stripes")
@dataclass(frozen=True)
class BadNetStripes(PatchTrigger):
    """Paste the same patch of vertical colored stripes, one pixel wide, on every image."""

    label: ClassVar[str] = "BadNet patch, stripes"
    source: ClassVar[str] = "arXiv:2412.00727"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{PAR_SOURCE} (trigger.sh, backdoor/utils.py). Their code draws new stripes for each image; "
            "ours pastes one patch.",
            parameters={"patch_size": 16, "position": "random"},
            unstated=CLIP_TRAINING,
        ),
    )

    def patch(self, side: int) -> Tensor:
        """Return a random sign for each channel and column, clipped to [0, 1], (3, p, p)."""
        size = self.scaled_patch_size(side)
        ones = torch.randint(2, (3, 1, size), generator=torch_generator("badnet_stripes", self.seed))
        return ones.float().repeat(1, size, 1)
