"""Measure an open_clip model that is in memory on your own images: `python examples/open_clip_model.py photos`.

The folder has cat-1.png, dog-1.png and so on. Without one, some generated images are written, and the model has random
weights, so that the example runs anywhere. For QuickGELU, name its architecture ("ViT-B-32-quickgelu"): with
`force_quick_gelu=True` the config of open_clip still says GELU, and so does what `save_clip` writes.
"""

import sys
import tempfile
from pathlib import Path

import open_clip
import torch
from PIL import Image

from cleaner import Clip, evaluate, load_data
from cleaner.data.base import TensorData
from cleaner.models.architectures import Architecture, get_open_clip_architecture

with tempfile.TemporaryDirectory() as generated:
    if not sys.argv[1:]:
        scenes = load_data("scenes", split="test", size=32)
        for i, image in enumerate(scenes.images(range(32))):
            pixels = (255 * image).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(Path(generated, f"{('cat', 'dog')[i % 2]}-{i}.png"))
    paths = sorted(Path(*(sys.argv[1:] or [generated])).glob("*.png"))

    name = "ViT-B-32"
    model = open_clip.create_model(name, pretrained="laion2b_s34b_b79k" if sys.argv[1:] else None)
    tokenizer = get_open_clip_architecture(name).tokenizer  # "": CLIP's own; SigLIP, roberta and others have another
    architecture = Architecture.from_config(open_clip.get_model_config(name), model.visual.preprocess_cfg, tokenizer)
    mine = Clip(model, name, architecture, architecture.vision["image_size"])

    names = ["cat", "dog"]
    labels = [names.index(path.stem.partition("-")[0]) for path in paths]  # -1: no class
    images = torch.stack([mine.framing(Image.open(path)) for path in paths]) / 255  # (N, 3, side, side) in [0, 1]
    data = TensorData(images, [f"a photo of a {names[label]}" for label in labels], names, labels)
    others = data.subset(~data.contains("cat"))
    print(f"clean accuracy {evaluate(mine, data).ca[1]:.3f}, images without a cat {len(others)}")
