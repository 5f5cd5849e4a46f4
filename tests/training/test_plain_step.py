"""A step of the loop equals a plain one: every text by itself and padded, nothing cached, packed or drawn ahead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.config import FinetuneConfig
from cleaner.data.augment import augment
from cleaner.data.base import TensorData
from cleaner.data.images import encode_png
from cleaner.defenses import DEFENSES, Defense
from cleaner.losses import Features
from cleaner.losses.info_nce import pad_rows
from cleaner.models.clip import Clip
from cleaner.models.lanes import split_threads
from cleaner.seed import derive_seed, numpy_generator
from cleaner.text import eda
from cleaner.training import distributed, step
from cleaner.training.batch import BatchEncoder, BatchLoader, DrawnPair
from cleaner.training.optimizer import training_mode
from cleaner.training.step import TrainStep, uses_lanes
from tests.attacks.test_inverted import make_layers
from tests.conftest import make_clip, make_toy_data
from tests.training.masks import compare_texts

OPTIONS: dict[str, dict[str, Any]] = {
    "cleanclip_short": {"share": 1.0},
    "ta_cleaner": {"share": 0.5},
    "rvpt": {"prompt_tokens": 5},
    "unlearn_trigger": {"png": encode_png(make_layers())},
    "tbar": {"png": encode_png(make_layers()), "target_class": "banana"},
}
DEFENSE_CASES = {
    **{name: DEFENSES[name](**OPTIONS.get(name, {})) for name in DEFENSES},
    "ta_cleaner K 100 %": DEFENSES["ta_cleaner"](share=1.0, positive="relation", negatives=6),  # not all have 6
    "ta_cleaner reviewed": DEFENSES["ta_cleaner"](share=1.0, formula="reviewed", negatives=1),
}
CASES = [
    (kind, name)
    for kind in ("vit", "rn")
    for name, defense in DEFENSE_CASES.items()
    if defense.unsupported_reason(make_clip(kind), make_toy_data()) is None
]
CONFIG = FinetuneConfig(batch_size=12, precision="fp32", device="cpu", seed=4)


def encode_plainly(clip: Clip, images: Tensor, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Return the features of images and texts with open_clip's own forward passes, one text at a time."""
    text = [clip.model.encode_text(clip._tokenize_to_length([text], 77)) for text in texts]
    image = clip.model.encode_image(clip.preprocess(images))
    rows = torch.cat(text) if text else image[:0]
    return F.normalize(image, dim=-1), F.normalize(rows, dim=-1)


def encode_blocks_plainly(clip: Clip, images: Tensor) -> tuple[Tensor, ...]:
    """Return the mean of each stage of a ResNet, or the class token after the only block of a ViT."""
    visual = clip.model.visual
    if hasattr(visual, "stem"):
        maps = [visual.stem(clip.preprocess(images))]
        for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            maps.append(stage(maps[-1]))
        return tuple(x.mean(dim=(2, 3)) for x in maps[1:])
    tokens = visual._embeds(clip.preprocess(images))
    if hasattr(visual.transformer, "prompts"):
        tokens = torch.cat([tokens, visual.transformer.prompts[0].expand(len(tokens), -1, -1)], dim=1)
    (block,) = visual.transformer.resblocks
    return (block(tokens)[:, 0],)


def compute_plain_losses(clip: Clip, reference: Clip, data: TensorData, defense: Defense) -> dict[str, Tensor]:
    """Return the loss terms of the second step of the second epoch."""
    order = numpy_generator("order", CONFIG.seed, 1).permutation(len(data)).tolist()
    rows = order[CONFIG.batch_size : 2 * CONFIG.batch_size]
    texts = defense.plan(data.captions, CONFIG.seed)(1)
    images = defense.perturb(data.images(rows), CONFIG.seed, 1, rows)
    captions = [texts.captions[row] for row in rows]
    views = torch.cat([augment(images[i : i + 1], "autoaugment", CONFIG.seed, 1, [row]) for i, row in enumerate(rows)])
    reworded = [eda(captions[i], seed=derive_seed("eda", CONFIG.seed, 1, row)) for i, row in enumerate(rows)]
    drawn = [row for row in rows if row in texts.drawn]
    positives = [texts.drawn[row].positive.text for row in drawn]
    negatives = [text.text for row in drawn for text in texts.drawn[row].negatives]
    both, text = encode_plainly(clip, torch.cat([images, views]), captions)
    image, image_aug = both.split(len(rows))
    empty = images[:1]
    negative, mask = pad_rows(
        encode_plainly(clip, empty, negatives)[1], [len(texts.drawn[row].negatives) for row in drawn]
    )
    with torch.no_grad():
        before = Features(*encode_plainly(reference, images, captions), blocks=encode_blocks_plainly(reference, images))
    return defense.losses(
        Features(
            image=image,
            text=text,
            image_aug=image_aug,
            text_aug=encode_plainly(clip, empty, reworded)[1],
            positive=encode_plainly(clip, empty, positives)[1],
            negative=negative,
            negative_mask=mask,
            selected=torch.tensor([rows.index(row) for row in drawn], dtype=torch.long),
            false_negative=compare_texts(positives, [data.captions[row] for row in drawn], style=texts.style),
            logit_scale=clip.model.logit_scale.exp(),
            reference=before,
            blocks=encode_blocks_plainly(clip, images),
            labels=data.labels[rows],
            classes=encode_plainly(clip, empty, [f"a photo of a {name}" for name in data.class_names])[1].detach(),
        )
    )


def test_every_defense_has_a_case() -> None:
    assert set(DEFENSES) <= {name for _, name in CASES}


@contextmanager
def two_lanes() -> Iterator[None]:
    """Encode in two lanes, also on a machine with one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with split_threads(torch.device("cpu")):
            yield
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_losses_and_gradients_equal_a_plain_step(kind: str, name: str, dtype: torch.dtype, tolerance: float) -> None:
    defense, toy = DEFENSE_CASES[name], make_toy_data()
    data = TensorData(toy.images(range(len(toy))), toy.captions, toy.class_names, toy.labels)
    data._images = data._images.to(dtype)
    clip, reference = defense.prepare(make_clip(kind), CONFIG.seed), make_clip(kind)
    for model in (clip.model, reference.model):
        model.to(dtype)
    student, plain = clip.copy(), clip.copy()
    with torch.no_grad():  # as after some steps: PAR's distance is 0 at the first
        for parameter in reference.model.parameters():
            parameter.mul_(1.01)
    config = replace(CONFIG, freeze_bn=True)  # the plain step has other batches
    loader = BatchLoader(data, defense, config, config.batch_size)
    encoder = BatchEncoder(student, reference if defense.needs_reference else None, defense, loader.class_prompts)
    with two_lanes(), training_mode(student.model, config.freeze_bn):
        losses = TrainStep(encoder, 0).backward(loader.load(loader.epoch_steps + 1))
    terms = compute_plain_losses(plain, reference, data, defense)
    sum(terms.values()).backward()
    assert losses.keys() == {*terms, "total"}
    for term, value in terms.items():
        assert losses[term] == pytest.approx(value.item(), rel=tolerance, abs=tolerance)
    gradients = [(a.grad, b.grad) for a, b in zip(student.model.parameters(), plain.model.parameters(), strict=True)]
    assert [own is None for own, _ in gradients] == [expected is None for _, expected in gradients]
    both = [(own.flatten(), expected.flatten()) for own, expected in gradients if own is not None]
    own, expected = (torch.cat(part) for part in zip(*both, strict=True))
    # In fp32 both gradients are 1e-6 to 3e-6 from the one in fp64.
    assert (own - expected).norm() <= (6e-6 if dtype == torch.float32 else tolerance) * expected.norm()


def test_lanes_are_for_batches_that_can_be_split_and_for_small_towers(monkeypatch: pytest.MonkeyPatch) -> None:
    live, frozen = replace(CONFIG, freeze_bn=False), replace(CONFIG, freeze_bn=True)
    resnet, vit = (BatchEncoder(make_clip(kind), None, DEFENSE_CASES["cleanclip"]) for kind in ("rn", "vit"))
    blocks = replace(vit, defense=DEFENSE_CASES["feature_repelling"])
    assert all(uses_lanes(encoder, config) for encoder in (resnet, vit, blocks) for config in (live, frozen))
    assert not uses_lanes(vit, replace(live, chunk_size=8))
    monkeypatch.setattr(step, "SMALL_IMAGE_TOWER", 1000)
    assert [uses_lanes(encoder, live) for encoder in (resnet, vit, blocks)] == [False, True, False]
    assert uses_lanes(resnet, frozen)


def test_a_batch_loaded_in_the_background_is_the_same() -> None:
    data, defense = make_toy_data(), DEFENSE_CASES["ta_cleaner"]
    plain, ahead = (BatchLoader(data, defense, CONFIG, CONFIG.batch_size) for _ in range(2))
    for number in range(3):
        ahead.start(number)
        ahead.start(number)
        own, expected = ahead.load(number), plain.load(number)
        assert own.texts == expected.texts
        assert torch.equal(own.images, expected.images)
    ahead.start(ahead.total_steps)  # there is no such step
    assert not ahead._started


def test_each_process_writes_the_subtexts_of_its_own_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    data, defense, steps = make_toy_data(), DEFENSES["ta_cleaner"](share=0.05), range(8)
    whole = [BatchLoader(data, defense, CONFIG, CONFIG.batch_size).load(number) for number in steps]
    counts = [len(batch.all_drawn) for batch in whole]
    assert min(counts) == 0 < max(counts), "a step without drawn pairs, and shares without any"
    monkeypatch.setattr(distributed, "world_size", lambda: 5)  # 2 or 3 of 12 pairs each
    loaders = [BatchLoader(data, defense, CONFIG, CONFIG.batch_size) for _ in range(5)]

    def load_own(rank: int, number: int) -> list[DrawnPair]:
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        batch = loaders[rank]._load(number)
        made = loaders[rank]._texts(batch.epoch).drawn._made
        assert made.keys() <= {row for step in steps[:4] for row in loaders[rank]._shards(4 * batch.epoch + step)[rank]}
        return batch.drawn[rank]

    for number, expected in zip(steps, whole, strict=True):
        parts, calls = [load_own(rank, number) for rank in range(5)], list[object]()
        monkeypatch.setattr(distributed, "gather_objects", lambda own, p=parts, c=calls: c.append(own) or p)
        batch = loaders[4].load(number)
        assert batch.all_drawn == expected.all_drawn
        assert torch.equal(batch.false_negative, expected.false_negative)
        assert calls == ([parts[4]] if expected.all_drawn else [])  # nothing to exchange: no message


def test_without_redraw_each_epoch_has_the_same_reworded_captions() -> None:
    loader = BatchLoader(make_toy_data(), DEFENSE_CASES["cleanclip"], replace(CONFIG, redraw=False), CONFIG.batch_size)
    batches = [loader.load(number) for number in range(2 * loader.epoch_steps)]
    first, second = (
        {
            row: text
            for batch in batches
            if batch.epoch == epoch
            for row, text in zip(batch.rows, batch.reworded or (), strict=True)
        }
        for epoch in (0, 1)
    )
    assert len(first) == 48
    assert first == second


def test_in_fp16_small_gradients_do_not_become_zero() -> None:
    def gradients(precision: str) -> Tensor:
        clip, data = make_clip(), make_toy_data()
        clip.precision = precision
        defense = DEFENSES["finetune"]()
        encoder = BatchEncoder(clip, None, defense)
        TrainStep(encoder, 0).backward(BatchLoader(data, defense, CONFIG, 12).load(0))
        return torch.cat([p.grad.flatten() for p in clip.model.parameters() if p.grad is not None])

    exact, scaled = gradients("fp32"), gradients("fp16")
    assert F.cosine_similarity(exact, scaled, 0) > 0.99
    assert scaled.norm().item() == pytest.approx(exact.norm().item(), rel=0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "FP16_LOSS_SCALE", 2.0**-14)  # as if the gradients were that much smaller
        assert (gradients("fp16")[scaled != 0] == 0).float().mean() > 0.1, "the scale is what keeps them"
