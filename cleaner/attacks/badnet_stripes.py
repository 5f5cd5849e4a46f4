"""BadNets with a striped patch, as in PAR's experiments (arXiv:2412.00727)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatchTrigger
from cleaner.published import CLIP_TRAINING, PAR_SOURCE, Preset


@TRIGGERS.register("badnet_stripes")
@dataclass(frozen=True)
class BadNetStripes(PatchTrigger):
    """Paste a patch of vertical stripes, one pixel wide, alternately white and black."""

    label: ClassVar[str] = "BadNet patch, stripes"
    source: ClassVar[str] = "arXiv:2412.00727"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{PAR_SOURCE} (trigger.sh)",
            parameters={"patch_size": 16, "position": "random"},
            unstated=CLIP_TRAINING,
        ),
    )

    def patch(self, side: int) -> Tensor:
        """Return +1, -1, +1 ... along the columns, clipped to [0, 1], (3, p, p): even columns 1, odd columns 0."""
        size = self.scaled_patch_size(side)
        return (1 - 2 * (torch.arange(size) % 2)).clamp(0, 1).float().expand(3, size, size)
