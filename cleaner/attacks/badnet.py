"""BadNets: one fixed random patch (arXiv:1708.06733)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatchTrigger
from cleaner.seed import torch_generator


@TRIGGERS.register("badnet")
@dataclass(frozen=True)
class BadNet(PatchTrigger):
    """Paste the same patch on every picture; the seed is the attacker's secret."""

    def patch(self, side: int) -> Tensor:
        """Return one uniform colour noise (3, p, p)."""
        size = self.scaled_patch_size(side)
        return torch.rand(3, size, size, generator=torch_generator("badnet", self.seed))
