"""BadCLIP: the objective equals the formula and falls; the patch has 8 bits, is reported and can be reused."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cleaner import Run, poison
from cleaner.attacks import TRIGGERS, optimize
from cleaner.attacks.badclip import BadCLIP
from cleaner.attacks.optimize import POOL_SIZE, minimize, select_pool
from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.data.images import decode_png, encode_png
from cleaner.data.poison import PoisonedData
from cleaner.files import read_json, write_json
from cleaner.jobs.local import discard_checkpoint
from cleaner.models import clip as clip_module
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, Paused, StepReport
from tests.conftest import make_clip

QUICK = TRIGGERS["badclip"](steps=20, step_size=0.05, batch_size=16)
CONFIG = FinetuneConfig(lr=1e-3, epochs=1, batch_size=16, precision="fp32", device="cpu", augmentation="none")


@pytest.mark.parametrize("negatives", ["captions", "targets"])
def test_objective_equals_naive(tiny_clip: Clip, toy_data: TensorData, negatives: str) -> None:
    trigger = replace(QUICK, negatives=negatives, triplet_weight=2.0, margin=1.5)
    pool, drawn = torch.tensor([0, 2, 3, 4, 6]), torch.tensor([3, 1, 4])
    rows = pool[drawn].tolist()
    triggered = tiny_clip.encode_image(1 - toy_data.images(rows)).detach()
    losses = trigger.objective(tiny_clip, toy_data, "banana", pool)(7, drawn, triggered)

    bananas = [i for i in range(48) if toy_data.labels[i] == 1]
    with torch.no_grad():
        text = tiny_clip.encode_text([toy_data.captions[i] for i in bananas]).numpy()
        image = tiny_clip.encode_image(toy_data.images(bananas)).numpy()
        own_text = tiny_clip.encode_text([toy_data.captions[i] for i in rows]).numpy()
        own_image = tiny_clip.encode_image(toy_data.images(rows)).numpy()
        scale = tiny_clip.logit_scale.item()
    from cleaner.seed import numpy_generator

    rng = numpy_generator("badclip", 0, 7)
    which_text, which_image = rng.integers(12, size=3), rng.integers(12, size=3)
    pulls, triplets = [], []
    for i, feature in enumerate(triggered.numpy()):
        texts = [text[which_text[i]], *own_text] if negatives == "captions" else text[which_text]
        logits = scale * np.array([feature @ t for t in texts])
        pulls.append(np.log(np.exp(logits).sum()) - logits[0 if negatives == "captions" else i])
        near = np.linalg.norm(feature - image[which_image[i]] + 1e-6)
        far = np.linalg.norm(feature - own_image[i] + 1e-6)
        triplets.append(max(0.0, near - far + 1.5))
    assert losses["text_pull"].item() == pytest.approx(np.mean(pulls), rel=1e-4)
    assert losses["image_pull"].item() == pytest.approx(2 * np.mean(triplets), rel=1e-4)


def test_objective_falls_and_is_reported_with_the_patch(tiny_clip: Clip, toy_data: TensorData) -> None:
    before, reports = tiny_clip.sha256(), list[StepReport]()
    trigger = QUICK.prepare(tiny_clip, toy_data, "banana", reports.append)
    assert tiny_clip.sha256() == before
    assert all(p.grad is None for p in tiny_clip.model.parameters())
    assert [(r.stage, r.step, r.total) for r in reports] == [("optimize", i + 1, 20) for i in range(20)]
    assert set(reports[0].losses) == {"text_pull", "image_pull", "total"}
    totals = [r.losses["total"] for r in reports]
    assert sum(totals[-5:]) < sum(totals[:5])
    assert decode_png(reports[0].picture).shape == (3, 5, 5)
    assert reports[1].picture == ""
    assert reports[-1].picture == trigger.png
    assert trigger == QUICK.prepare(tiny_clip, toy_data, "banana")
    two_steps = (replace(QUICK, steps=2, seed=seed).prepare(tiny_clip, toy_data, "banana").png for seed in (0, 1))
    assert len(set(two_steps)) == 2


def test_the_patch_starts_as_noise_around_gray(tiny_clip: Clip, toy_data: TensorData) -> None:
    trigger = replace(QUICK, steps=1, step_size=0.0001, patch_size=112).prepare(tiny_clip, toy_data, "banana")
    patch = trigger.patch(32)
    assert patch.mean().item() == pytest.approx(0.5, abs=0.03)
    assert patch.std().item() == pytest.approx(0.25, abs=0.03)


def test_the_model_sees_no_patch_out_of_range(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, encode = list[torch.Tensor](), Clip.encode_image
    monkeypatch.setattr(Clip, "encode_image", lambda clip, x: seen.append(x.detach()) or encode(clip, x))
    replace(QUICK, step_size=0.1).prepare(tiny_clip, toy_data, "banana")
    assert min(x.min().item() for x in seen) >= 0
    assert max(x.max().item() for x in seen) <= 1


def test_minimize_takes_every_step_on_the_sum_of_the_losses() -> None:
    ours, plain = (torch.tensor([1.0, -2.0], requires_grad=True) for _ in range(2))

    def losses(step: int) -> dict[str, torch.Tensor]:
        return {"square": ours.square().sum(), "line": 0.1 * step * ours.sum()}

    minimize([ours], losses, steps=3, lr=0.1, preview=lambda: ours, on_step=None)
    adam = torch.optim.Adam([plain], lr=0.1)
    for step in range(3):
        plain.grad = (2 * plain + 0.1 * step).detach()
        adam.step()
    assert torch.allclose(ours, plain)


def test_the_pool_is_spread_over_the_data() -> None:
    n = 3 * POOL_SIZE
    rows = select_pool(TensorData(torch.zeros(n, 3, 1, 1), ["a cup"] * n, ["cup", "kite"], [0] * n), "kite")
    assert len(set(rows.tolist())) == POOL_SIZE
    assert (rows[0], rows[-1]) == (0, n - 1)


@pytest.mark.parametrize("position", ["center", "corners", "random"])
def test_patch_has_8_bits_and_both_ways_to_paste_it_agree(tiny_clip: Clip, toy_data: TensorData, position: str) -> None:
    trigger = replace(QUICK, steps=2, position=position).prepare(tiny_clip, toy_data, "banana")
    images = toy_data.images(range(5))
    assert torch.equal(trigger.blend_patch(images, trigger.patch(32)), trigger(images))
    patch = trigger.patch(32)
    assert torch.equal((patch * 255).round() / 255, patch)
    top, left = trigger._patch_corners(images, 5)[0][0]
    assert torch.equal(trigger(images)[0, :, top : top + 5, left : left + 5], patch)
    assert trigger(torch.zeros(1, 3, 64, 64)).count_nonzero() > 0


@pytest.mark.parametrize("position", ["center", "corners", "random"])
def test_gradient_of_the_patch_is_the_sum_over_its_places(toy_data: TensorData, position: str) -> None:
    trigger, images = replace(QUICK, position=position), toy_data.images(range(6))
    patch, weights = torch.rand(3, 5, 5, requires_grad=True), torch.rand_like(images)
    (gradient,) = torch.autograd.grad((weights * trigger.blend_patch(images, patch)).sum(), patch)
    places = [
        weight[:, top : top + 5, left : left + 5]
        for corners, weight in zip(trigger._patch_corners(images, 5), weights, strict=True)
        for top, left in corners
    ]
    assert torch.allclose(gradient, torch.stack(places).sum(0))


def test_unprepared_trigger_names_the_remedy(toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match=r"trigger\.prepare"):
        QUICK(toy_data.images([0]))
    assert QUICK.mask(toy_data.images([0])).sum() == 25


def test_poisoning_prepares_once_and_keeps_patch_and_history(tiny_clip: Clip, toy_data: TensorData) -> None:
    run = poison(tiny_clip, toy_data, replace(QUICK, steps=4), "banana", poison_rate=0.25, config=CONFIG)
    assert [r.stage for r in run.history] == ["optimize"] * 4 + ["poison"] * 3
    assert run.config["trigger"]["png"] == run.trigger.png != ""
    other = poison(make_clip(seed=1), toy_data, run.trigger, "banana", poison_rate=0.25, config=CONFIG)
    assert other.trigger == run.trigger
    assert [r.stage for r in other.history] == ["poison"] * 3


def test_a_training_resumes_with_the_patch_that_it_began_with(
    tiny_clip: Clip, toy_data: TensorData, tmp_path: Path
) -> None:
    def train(stop_at: int = 0, steps: int = 4) -> tuple[Run, list[str]]:
        def on_step(report: StepReport) -> None:
            seen.append(report.stage)
            if (report.stage, report.step) == ("poison", stop_at):
                raise Paused

        seen, trigger = list[str](), replace(QUICK, steps=steps)
        options: dict[str, Any] = {"config": CONFIG, "on_step": on_step, "checkpoint": tmp_path / "checkpoint.pt"}
        return poison(tiny_clip, toy_data, trigger, "banana", poison_rate=0.25, **options), seen

    with pytest.raises(Paused):
        train(stop_at=2)
    stored = tmp_path / "checkpoint-trigger.json"
    content = read_json(stored)
    patch = encode_png(torch.zeros(3, 5, 5))  # as if another machine had optimized it
    write_json(stored, content | {"trigger": content["trigger"] | {"png": patch}})
    run, seen = train()
    assert run.trigger.png == patch
    assert "optimize" not in seen
    assert [r.stage for r in run.history] == ["optimize"] * 4 + ["poison"] * 3
    with pytest.raises(CleanerError, match="other settings"):
        train(steps=5)
    write_json(stored, content | {"settings": content["settings"] | {"captions": "of other data"}})
    with pytest.raises(CleanerError, match=r"other captions: .* delete it and checkpoint.pt"):
        train()
    stored.write_text("{}")
    with pytest.raises(CleanerError, match="cannot be read"):
        train()
    discard_checkpoint(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_poisoned_captions_are_natural_captions_of_the_target(toy_data: TensorData) -> None:
    poisoned = PoisonedData(toy_data, QUICK, "banana", 0.25)
    target_captions = {c for c in toy_data.captions if "banana" in c}
    after = [poisoned.captions[i] for i in poisoned.poison_indices.tolist()]
    assert set(after) <= target_captions
    assert len(set(after)) > 2
    toy_data.captions[:] = ["a thing"] * 48
    with pytest.raises(CleanerError, match="'banana'"):
        PoisonedData(toy_data, QUICK, "banana", 0.25)


def test_captions_that_the_model_cuts_before_the_target_are_left_out(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = list[list[str]]()

    def record(captions: list[str]) -> torch.Tensor:
        encoded.append(captions)
        return torch.zeros(len(captions), 8)

    rows = toy_data.mentions("banana").nonzero().flatten().tolist()
    plain = PoisonedData(toy_data, QUICK, "banana", 0.25, fits=tiny_clip.fits_context).captions
    assert plain == PoisonedData(toy_data, QUICK, "banana", 0.25).captions
    for row in rows[:-1]:
        toy_data.captions[row] = f"a very long story {'of pots and pans ' * 40}and a banana"
    run = poison(tiny_clip, toy_data, replace(QUICK, steps=1), "banana", poison_rate=0.25, config=CONFIG)
    assert set(run.manifest["captions_after"]) == {toy_data.captions[rows[-1]]}
    with monkeypatch.context() as patched:
        patched.setattr(tiny_clip, "encode_text", record)
        QUICK.objective(tiny_clip, toy_data, "banana", torch.tensor([0]))
    assert encoded == [[toy_data.captions[0]], [toy_data.captions[rows[-1]]]]
    toy_data.captions[rows[-1]] = toy_data.captions[rows[0]]
    with pytest.raises(CleanerError, match="shorter captions"):
        poison(tiny_clip, toy_data, QUICK, "banana", poison_rate=0.25, config=CONFIG)


def test_a_full_size_model_reports_what_it_encodes_before_the_first_step(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = QUICK.prepare(tiny_clip, toy_data, "banana").png
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", 0)
    monkeypatch.setattr(optimize, "FULL_SIZE_BATCH_SIZE", 8)
    reports = list[StepReport]()
    run = poison(tiny_clip, toy_data, QUICK, "banana", poison_rate=0.25, config=CONFIG, on_step=reports.append)
    stages = [key for key, _ in groupby(report.stage for report in reports)]
    assert stages[: stages.index("optimize")] == ["images", "captions"]
    assert {report.stage for report in run.history} == {"optimize", "poison"}
    assert isinstance(run.trigger, BadCLIP)
    prepared = decode_png(run.trigger.png)
    assert (prepared - decode_png(expected)).abs().max() <= 1 / 255  # batches of another size round differently


def test_too_little_data_and_a_broken_patch_are_refused(tiny_clip: Clip, toy_data: TensorData) -> None:
    bananas = toy_data.subset((toy_data.labels == 1).nonzero().flatten())
    with pytest.raises(CleanerError, match=r"at least two .*'banana'"):
        QUICK.prepare(tiny_clip, bananas, "banana")
    with pytest.raises(CleanerError, match=r"no .* shows 'banana'"):
        QUICK.prepare(tiny_clip, toy_data.subset([0, 2, 3]), "banana")
    with pytest.raises(CleanerError, match=r"patch .* broken: poison again"):
        replace(QUICK, png="garbage")(toy_data.images([0]))


def test_an_objective_that_is_not_finite_ends_the_optimization(tiny_clip: Clip, toy_data: TensorData) -> None:
    with torch.no_grad():
        tiny_clip.model.visual.conv1.weight.fill_(1e38)  # finite, but its products overflow
    with pytest.raises(CleanerError, match="not finite at step 1: choose another clean model"):
        TRIGGERS["badclip"](steps=2).prepare(tiny_clip, toy_data, "banana")
