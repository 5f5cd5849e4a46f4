"""Ask where a backdoored model looks: the share of attribution inside the trigger, before and after a defense.

Reads the example run that ships with the package, so nothing is trained.
"""

import torch

from cleaner import EXPLAINERS, load_data, load_run
from cleaner.files import assets
from cleaner.inspection.attribution import measure_trigger_attribution

EXAMPLE = assets() / "example"
backdoored = load_run(EXAMPLE / "example-badnet")
trigger, target = backdoored.trigger, backdoored.target_class
test = load_data("scenes", split="test", size=200)
explainer = EXPLAINERS["occlusion"]()

print(f"{trigger}, target {target!r}")
for folder in sorted(EXAMPLE.glob("example-badnet*")):
    found = measure_trigger_attribution(
        load_run(folder).clip, explainer, test, trigger, target, text=f"a photo of a {target}", n=16
    )
    shares = [
        torch.tensor(values).nanmean().item() for values in (found.clean, found.triggered)
    ]  # NaN: nothing is for it
    print(f"{folder.name:33}  without trigger {shares[0]:.3f}  with {shares[1]:.3f}  area {found.area:.3f}")
