"""A defense of your own in ten lines, measured against every attack that poisons training images.

Your file in cleaner/defenses/ looks like the class below and then appears on the pages, too. The sizes are far too
small for a verdict: they show that everything runs. `cleaner.presets` has the settings of the published tables.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from cleaner import DEFENSES, TRIGGERS, FinetuneConfig, configure_torch, defend, load_clip, load_data, poison
from cleaner.config import param
from cleaner.defenses.base import Defense
from cleaner.losses import Features, clip_loss


@DEFENSES.register("cooler")
@dataclass(frozen=True)
class Cooler(Defense):
    """CLIP's loss at a higher temperature, which weakens pairs that the model is too sure of."""

    factor: float = param(0.5, low=0.1, high=1.0, help="Factor of the logit scale.")

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": clip_loss(replace(f, logit_scale=f.logit_scale * self.factor))}


config = FinetuneConfig(lr=1e-3, epochs=1)
configure_torch()
clip = load_clip("scenes-lite")
data, pairs, test = (load_data("scenes", split=split, size=200) for split in ("train", "clean", "test"))
print("attack success at k = 1: backdoored, defended; clean accuracy of the defended model")
for name in TRIGGERS:
    trigger = TRIGGERS[name](steps=2) if hasattr(TRIGGERS[name], "steps") else TRIGGERS[name]()
    if "image" in trigger.modalities and getattr(trigger, "path", None) != "":  # "": needs a file of yours
        run = poison(clip, data, trigger, "banana", poison_rate=0.1, config=config, test=test)
        after = defend(run, Cooler(), pairs, config, test=test).metrics
        print(f"{name:15}  {run.metrics.asr[1]:.3f}  {after.asr[1]:.3f}  {after.ca[1]:.3f}")
