"""unlearn_trigger: some images carry the inverted trigger, captions stay, and the run needs no file any more."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.data.images import encode_png
from cleaner.defenses import DEFENSES, load_defense
from cleaner.models.clip import Clip
from cleaner.runs.inversion_result import FOLDER, Inversion, adopt_inversion, write_inversion
from cleaner.training.loop import finetune
from cleaner.types import CleanerError
from tests.attacks.test_inverted import make_layers, write_trigger

IMAGES = torch.rand(200, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_share_of_the_images_carries_the_trigger(tmp_path: Path) -> None:
    path = write_trigger(tmp_path)
    defense = DEFENSES["unlearn_trigger"](path=path, triggered_share=0.3)
    rows = list(range(200))
    seen = defense.perturb(IMAGES, 0, 0, rows)
    triggered = TRIGGERS["inverted"](path=path)(IMAGES)
    changed = (seen != IMAGES).flatten(1).any(dim=1)
    assert 35 < changed.sum() < 85
    assert torch.equal(seen[changed], triggered[changed])
    assert torch.equal(seen[~changed], IMAGES[~changed])
    # A function of seed, epoch and index, whatever the batch.
    assert torch.equal(defense.perturb(IMAGES[50:60], 0, 0, rows[50:60]), seen[50:60])
    for seed, epoch in ((0, 1), (1, 0)):
        assert not torch.equal(defense.perturb(IMAGES, seed, epoch, rows), seen)
    everywhere = replace(defense, triggered_share=1.0).perturb(IMAGES, 0, 0, rows)
    assert torch.equal(everywhere, triggered)


def test_without_a_trigger_it_says_how_to_get_one(tiny_clip: Clip, toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match="cleaner invert"):
        finetune(tiny_clip, toy_data, DEFENSES["unlearn_trigger"](), FinetuneConfig())
    with pytest.raises(CleanerError, match=r"nowhere\.png"):
        DEFENSES["unlearn_trigger"](path="nowhere.png")


def test_the_state_holds_the_trigger_itself(tmp_path: Path) -> None:
    path = write_trigger(tmp_path)
    defense = DEFENSES["unlearn_trigger"](path=path)
    Path(path).unlink()
    restored = load_defense(defense.state_dict())
    assert restored == defense
    assert torch.equal(restored.perturb(IMAGES, 0, 0, range(200)), defense.perturb(IMAGES, 0, 0, range(200)))
    other = tmp_path / "other"
    other.mkdir()
    layers = make_layers()
    layers[:3] = 0
    (other / "black.png").write_bytes(base64.b64decode(encode_png(layers)))
    for changed in (
        replace(defense, path=str(other / "black.png")),
        load_defense({**defense.state_dict(), "path": str(other / "black.png")}),
    ):
        assert changed.png == encode_png(layers)
    before_png_path = {name: value for name, value in defense.state_dict().items() if name != "png_path"}
    assert load_defense(before_png_path).png == defense.png, "the file is gone"
    broken = load_defense({**defense.state_dict(), "png": "not base64!"})
    with pytest.raises(CleanerError, match="broken"):
        broken.perturb(IMAGES, 0, 0, range(200))


def test_a_run_of_a_relative_path_keeps_its_trigger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path(write_trigger(tmp_path)).name
    old = {"name": "unlearn_trigger", "path": name, "png": encode_png(make_layers() / 2), "png_path": name}
    assert load_defense(old).state_dict()["png"] == old["png"], "the file has changed since"
    assert DEFENSES["unlearn_trigger"](path=name).path == str(tmp_path / name)


def test_it_takes_the_inversion_of_its_suspect(tmp_path: Path) -> None:
    defense = DEFENSES["unlearn_trigger"]()
    assert adopt_inversion(defense, tmp_path) is defense
    assert adopt_inversion(DEFENSES["finetune"](), tmp_path) == DEFENSES["finetune"]()
    values = {"a": 1.0, "b": 2.0}
    write_inversion(
        Inversion(
            model="m", data="d", classes=values, suspect="a", settings={}, seconds=0.0, png=encode_png(make_layers())
        ),
        tmp_path / FOLDER,
    )
    assert adopt_inversion(defense, tmp_path).path == str(tmp_path / FOLDER / "trigger.png")
    chosen = DEFENSES["unlearn_trigger"](path=write_trigger(tmp_path))
    assert adopt_inversion(chosen, tmp_path) is chosen
    write_inversion(
        Inversion(model="m", data="d", classes=values, suspect=None, settings={}, seconds=0.0), tmp_path / FOLDER
    )
    with pytest.raises(CleanerError, match="no class"):
        adopt_inversion(defense, tmp_path)
