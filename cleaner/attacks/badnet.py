"""BadNets: one fixed random patch (arXiv:1708.06733), of noise or, as PAR has it, of stripes (arXiv:2412.00727)."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatchTrigger
from cleaner.config import param
from cleaner.method import CLEANCLIP_SOURCE, CLIP_POISONING, CLIP_TRAINING, PAR_SOURCE, Preset
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

    texture: str = param("noise", choices=("noise", "stripes"), help="Color noise, or stripes one pixel wide.")

    def patch(self, side: int) -> Tensor:
        """Return uniform color noise, or a 0 or 1 for each channel and column: (3, p, p) in [0, 1]."""
        size = self.scaled_patch_size(side)
        if self.texture == "stripes":
            ones = torch.randint(2, (3, 1, size), generator=torch_generator("badnet_stripes", self.seed))
            return ones.float().repeat(1, size, 1)
        return torch.rand(3, size, size, generator=torch_generator("badnet", self.seed))


@TRIGGERS.register("badnet_stripes")
@dataclass(frozen=True)
class BadNetStripes(BadNet):
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

    texture: str = field(default="stripes", init=False)
