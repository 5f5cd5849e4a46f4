"""pretrain(): from a table of images to weights and a model card."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cleaner import pretrain as module
from cleaner.__main__ import main
from cleaner.config import FinetuneConfig
from cleaner.data.augment import augment
from cleaner.data.base import load_data
from cleaner.files import write_json
from cleaner.models.clip import BUILT_IN, load_clip, new_clip, save_clip
from cleaner.types import CleanerError, DivergedError
from tests.conftest import TINY
from tests.data.files import write_table

CONFIG = FinetuneConfig(
    lr=1e-3, epochs=2, batch_size=16, warmup_steps=2, precision="fp32", device="cpu", augmentation="crops"
)


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table with 60 training and 20 test images of two colors, and a built-in model that trains in a second."""
    monkeypatch.setitem(BUILT_IN, "scenes-vit", TINY["vit"])
    rng = np.random.default_rng(0)
    with (tmp_path / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filepath", "title", "class", "split"])
        for i in range(80):
            name, channel = [("fire", 0), ("water", 2)][i % 2]
            pixels = rng.integers(0, 80, (24, 24, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(tmp_path / f"{i}.png")
            table.writerow([f"{i}.png", f"a picture of {name}", name, "train" if i < 60 else "test"])
    return tmp_path / "pairs.csv"


def test_pretrain_on_a_table_of_images(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data: Any = load_data(str(pairs))
    broken = data.table.keys[data.rows[0]]
    (tmp_path / broken).write_bytes(b"no image")
    words = ["pretrain", "--model", "scenes-vit", "--image-size", "16", "--epochs", "2", "--batch-size", "16"]
    words += ["--augmentation", "crops", "--data", str(pairs), "classes=fire,water", "--out", str(tmp_path / "own")]
    assert main(words) == 0
    card = json.loads(capsys.readouterr().out)
    assert card == json.loads((tmp_path / "own" / "card.json").read_text())
    assert card["heldout_by"].startswith("test: defined by the data; validation: 5% of the other pairs, by a hash")
    assert card["pairs"] == len(load_data(str(pairs))) < 60  # not the default of 100,000
    assert (card["model"], card["architecture"], card["image_size"], card["n"]) == ("own", "scenes-vit", 16, 20)
    assert f"{broken} cannot be read" in card["left_out"]
    assert "image_to_text_recall_of_1000" not in card  # of 20
    assert 0 < card["n_counterfactual"] <= 20  # every metric has its n
    assert card["finetune"]["augmentation"] == "crops"
    clip = load_clip(str(tmp_path / "own" / "model.safetensors"))
    assert (clip.name, clip.image_size, clip.sha256()) == ("own", 16, card["sha256"])
    assert not list((tmp_path / "own").glob("*.ckpt"))


@pytest.mark.parametrize(
    ("file", "what"),
    [("card.json", "model trained on scenes/train"), ("config.json", "model or a run"), ("model.safetensors", "model")],
)
def test_a_model_is_not_overwritten(pairs: Path, tmp_path: Path, file: str, what: str) -> None:
    write_json(tmp_path / "own" / file, {"data": "scenes/train"})
    with pytest.raises(CleanerError, match=f"holds a {what}.*: choose another folder"):
        module.pretrain(
            "scenes-vit", pairs=60, data_name=str(pairs), image_size=16, config=CONFIG, out=tmp_path / "own"
        )
    assert [path.name for path in (tmp_path / "own").iterdir()] == [file]


def test_resumed_pretraining_equals_an_uninterrupted_one(pairs: Path, tmp_path: Path) -> None:
    def run(name: str, on_step: Any = None) -> str:
        out = tmp_path / name / "own"
        options = {"pairs": 60, "data_name": str(pairs), "image_size": 16, "config": CONFIG}
        return str(module.pretrain("scenes-vit", **options, out=out, on_step=on_step)["sha256"])

    def stop(report: Any) -> None:
        if report.stage == "pretrain" and report.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("stopped", stop)
    assert run("stopped") == run("whole")


def test_a_diverged_distillation_keeps_its_last_good_checkpoint(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILT_IN, "scenes-rn", TINY["rn"])
    student, teacher = new_clip("scenes-vit", 0), new_clip("scenes-rn", 7)
    teacher.model.visual.attnpool.c_proj.bias.data.fill_(math.nan)
    with pytest.raises(DivergedError, match="lower the learning rate"):
        module.distill(student, teacher, load_data(str(pairs), size=60), CONFIG, tmp_path / "distill.ckpt")
    assert not (tmp_path / "distill.ckpt").exists()


def test_distillation_resumes_only_with_equal_settings(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILT_IN, "scenes-rn", TINY["rn"])
    teacher = str(save_clip(new_clip("scenes-rn", 7), tmp_path / "teacher.safetensors"))
    out = tmp_path / "own"

    def run(place: Path = out, config: FinetuneConfig = CONFIG, on_step: Any = None) -> str:
        options = {"pairs": 60, "data_name": str(pairs), "config": config, "teacher": teacher, "distill_epochs": 2}
        card = module.pretrain("scenes-vit", **options, out=place, on_step=on_step)
        return str(card["sha256"])

    def stop(report: Any) -> None:
        if report.stage == "distill" and report.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_step=stop)
    kept = (out / "distill.ckpt").read_bytes()
    for other in (replace(CONFIG, lr=1e-2), replace(CONFIG, seed=1)):
        with pytest.raises(CleanerError, match=r"distill.ckpt belongs to a run with other settings"):
            run(config=other)
    (out / "distill.ckpt").write_bytes(kept[: len(kept) // 2])
    with pytest.raises(CleanerError, match=r"distill.ckpt cannot be read: delete it"):
        run()
    (out / "distill.ckpt").write_bytes(kept)
    state = torch.load(out / "distill.ckpt", weights_only=True)
    torch.save({name: value for name, value in state.items() if name != "epochs"}, out / "distill.ckpt")
    with pytest.raises(CleanerError, match=r"distill.ckpt cannot be read: delete it"):
        run()
    (out / "distill.ckpt").write_bytes(kept)
    assert run() == run(tmp_path / "whole" / "own")


def test_a_missing_teacher_is_reported_before_the_data_are_loaded(tmp_path: Path) -> None:
    with pytest.raises(CleanerError, match="no model 'scenes-xl'"):
        module.pretrain("scenes-vit", data_name="missing.csv", teacher="scenes-xl", out=tmp_path)


def test_the_command_names_teacher_and_epochs_of_the_distillation(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(module, "pretrain", lambda model, **options: given.update(options) or {})
    assert main(["pretrain", "--teacher", "scenes-lite", "--distill-epochs", "3"]) == 0
    assert (given["teacher"], given["distill_epochs"]) == ("scenes-lite", 3)


def test_distillation_of_less_than_a_batch(pairs: Path, tmp_path: Path) -> None:
    student, teacher = new_clip("scenes-vit", 0), new_clip("scenes-vit", 1)
    data = load_data(str(pairs), size=10).with_transform(student.framing)
    distilled, *_ = module.distill(student, teacher, data, CONFIG, tmp_path / "distill.ckpt")
    assert distilled.sha256() != student.sha256()
    stored = torch.load(tmp_path / "distill.ckpt", weights_only=True)
    _, *times = module.distill(student, teacher, data, CONFIG, tmp_path / "distill.ckpt")
    assert all(resumed > stored[name] > 0 for name, resumed in zip(("seconds", "cpu_seconds"), times, strict=True))


def test_both_times_of_the_card_include_the_distillation(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "copy_text_tower", lambda *_: None)
    monkeypatch.setattr(module, "distill", lambda student, *_, **__: (student, 6000.0, 3000.0))
    options = {"pairs": 60, "data_name": str(pairs), "config": CONFIG, "image_size": 16}
    card = module.pretrain("scenes-vit", **options, teacher="scenes-lite", out=tmp_path / "own")
    assert 6000 <= card["seconds"] < 6600
    assert 3000 <= card["cpu_seconds"] < 3600


def test_distillation_in_fp16_scales_its_loss(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scaled: list[str] = []
    monkeypatch.setattr(module, "backward", lambda student, loss: (scaled.append(student.precision), loss.backward()))
    student, teacher = new_clip("scenes-vit", 0), new_clip("scenes-vit", 1)
    data = load_data(str(pairs), size=10).with_transform(student.framing)
    module.distill(student, teacher, data, replace(CONFIG, precision="fp16"), tmp_path / "distill.ckpt")
    assert set(scaled) == {"fp16"}


@pytest.mark.parametrize("tower", ["wider", "renamed"])
def test_a_teacher_of_another_text_tower_is_refused(tower: str) -> None:
    teacher = new_clip("scenes-vit", 1)
    if tower == "wider":
        teacher.model.text_projection = torch.nn.Parameter(torch.zeros(32, 48))
    else:  # as in open_clip's CustomTextCLIP
        teacher.model.text = teacher.model.transformer
        del teacher.model.transformer
    with pytest.raises(CleanerError, match="cannot copy the text tower"):
        module.copy_text_tower(new_clip("scenes-vit", 0), teacher)


def test_image_size_must_fit_the_architecture() -> None:
    assert new_clip("scenes-rn", 0, 32).image_size == 32
    for name, step in (("scenes-rn", 32), ("scenes-vit", 8)):
        with pytest.raises(CleanerError, match=f"multiple of {step} px.*not 36"):
            new_clip(name, 0, 36)


def test_crops_are_shifts_and_flips_by_seed_epoch_and_index() -> None:
    images = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    views = augment(images, "crops", 0, 1, range(40))
    assert torch.equal(views[7:9], augment(images[7:9], "crops", 0, 1, [7, 8]))
    assert not torch.equal(views, augment(images, "crops", 0, 2, range(40)))
    flipped, moves = 0, set()
    for image, view in zip(images, views, strict=True):
        padded = torch.nn.functional.pad(image[None], (4,) * 4, mode="reflect")[0]
        matches = [
            (top, left, flip)
            for top in range(9)
            for left in range(9)
            for flip in (False, True)
            if torch.equal(padded[:, top : top + 32, left : left + 32], view.flip(-1) if flip else view)
        ]
        assert len(matches) == 1
        flipped += matches[0][2]
        moves.add(matches[0][:2])
    assert 8 < flipped < 32
    assert len(moves) > 20


def test_a_sigmoid_loss_takes_no_class_share() -> None:
    with pytest.raises(CleanerError, match="--class-share 0"):
        module.pretrain("scenes-siglip", pairs=50, class_share=0.5, config=CONFIG)


def test_data_without_labeled_test_images_fail_before_the_training(tmp_path: Path) -> None:
    path, steps = write_table(tmp_path, 60), []
    with pytest.raises(CleanerError, match="class"):
        module.pretrain(
            "scenes-vit", data_name=str(path), image_size=16, config=CONFIG, out=tmp_path / "own", on_step=steps.append
        )
    assert not [report for report in steps if report.stage == "pretrain"]
