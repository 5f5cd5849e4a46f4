"""Clean a checkpoint of your own with your own images: `python examples/own_checkpoint.py model.pt pairs.csv`.

pairs.csv has the columns filepath, title and class. Without arguments, a built-in model is saved as open_clip saves
models and cleaned with generated images, so that the example runs anywhere. The trigger of such a model is unknown:
only clean accuracy can be measured.
"""

import sys
import tempfile
from pathlib import Path

from cleaner import DEFENSES, FinetuneConfig, configure_torch, defend, evaluate, load_clip, load_data, save_clip

with tempfile.TemporaryDirectory() as folder:
    model, source = sys.argv[1:] or (str(Path(folder, "model")), "scenes")
    if not sys.argv[1:]:
        save_clip(load_clip("scenes-lite"), Path(model))  # a folder with configuration and weights

    config = FinetuneConfig(lr=1e-5, epochs=1)  # a published CLIP forgets at higher rates
    configure_torch()
    clip = load_clip(model)
    test = load_data(source, split="test", size=400)
    defended = defend(clip, DEFENSES["cleanclip"](), load_data(source, split="clean", size=1000), config, test=test)
    print(f"clean accuracy before {evaluate(clip, test).ca[1]:.3f}, after {defended.metrics.ca[1]:.3f}")

    cleaned = save_clip(defended.clip, Path(folder, "cleaned.safetensors"))  # choose a folder that stays
    print(f"{cleaned.name}: {cleaned.stat().st_size / 1e6:.1f} MB")
