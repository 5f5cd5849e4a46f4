"""The training loop: reproducible, resumable, and strict about its input."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig
from cleaner.data import scenes
from cleaner.data.base import CaptionData, TensorData
from cleaner.data.poison import PoisonedData
from cleaner.defenses import DEFENSES, Defense
from cleaner.models.clip import Clip
from cleaner.pretrain import Pretraining
from cleaner.text import draw_subtexts
from cleaner.training.batch import BatchLoader, DrawnPair, false_negatives
from cleaner.training.loop import FinetuneResult, finetune
from cleaner.training.optimizer import MAX_LOGIT_SCALE, build_optimizer, learning_rate, set_learning_rate
from cleaner.types import CleanerError, DivergedError, Paused, StepReport
from tests.cases import read_cases
from tests.conftest import make_clip, make_toy_data
from tests.data.truth import is_true
from tests.training.masks import compare_texts

CONFIG = FinetuneConfig(
    lr=1e-3, epochs=2, batch_size=16, warmup_steps=2, precision="fp32", device="cpu", augmentation="gentle"
)


DEFENSE = DEFENSES["ta_cleaner"](share=0.5)


@cache
def train_uninterrupted(kind: str) -> FinetuneResult:
    return finetune(make_clip(kind), make_toy_data(), DEFENSE, CONFIG)


def test_same_seed_same_weights(tiny_clip: Clip, toy_data: TensorData) -> None:
    first = train_uninterrupted("vit").clip.sha256()
    again = finetune(tiny_clip, toy_data, DEFENSE, CONFIG).clip.sha256()
    other = finetune(tiny_clip, toy_data, DEFENSE, replace(CONFIG, seed=1)).clip.sha256()
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", ["vit", "rn"])
@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_resumed_run_equals_an_uninterrupted_one(kind: str, stop_at: int, toy_data: TensorData, tmp_path: Path) -> None:
    clip, whole = make_clip(kind), train_uninterrupted(kind)

    def stop(report: StepReport) -> None:
        if report.step == stop_at:
            raise Paused

    checkpoint = tmp_path / "run" / "checkpoint.pt"
    with pytest.raises(Paused):
        finetune(clip, toy_data, DEFENSE, CONFIG, on_step=stop, checkpoint=checkpoint)
    kept = torch.load(checkpoint, weights_only=True)
    resumed = finetune(clip, toy_data, DEFENSE, CONFIG, checkpoint=checkpoint)
    assert resumed.clip.sha256() == whole.clip.sha256()
    assert [r.losses for r in resumed.history] == [r.losses for r in whole.history]
    assert all(p.grad is None for p in whole.clip.model.parameters()), "gradients are as large as the weights"
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint.pt"]
    assert resumed.seconds >= resumed.history[-1].seconds > kept["history"][-1]["seconds"] > 0
    assert resumed.cpu_seconds > kept["cpu_seconds"] > 0


def test_a_training_that_ends_inside_an_epoch_repeats_no_step(toy_data: TensorData, tmp_path: Path) -> None:
    config, seen = replace(CONFIG, steps=4), list[int]()
    whole, again = (
        finetune(make_clip(), toy_data, DEFENSE, config, checkpoint=tmp_path / "c.pt", on_step=on_step)
        for on_step in (None, lambda report: seen.append(report.step))
    )
    assert seen == []
    assert again.clip.sha256() == whole.clip.sha256()


def test_checkpoint_of_other_settings_is_refused(tiny_clip: Clip, toy_data: TensorData, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    finetune(tiny_clip, toy_data, DEFENSES["finetune"](), CONFIG, checkpoint=checkpoint)
    with pytest.raises(CleanerError, match="other settings"):
        finetune(tiny_clip, toy_data, DEFENSES["finetune"](), replace(CONFIG, lr=1e-4), checkpoint=checkpoint)
    others: list[tuple[str, Clip, CaptionData, dict[str, str] | None]] = [
        ("weights", make_clip("rn"), toy_data, None),
        ("captions", tiny_clip, toy_data.subset(range(40)), None),
        ("settings", tiny_clip, toy_data, {"target_class": "banana"}),
    ]
    for what, clip, data, attack in others:
        with pytest.raises(CleanerError, match=rf"{checkpoint.name} belongs to a run with other {what}: .*delete"):
            finetune(clip, data, DEFENSES["finetune"](), CONFIG, checkpoint=checkpoint, attack=attack)


def test_checkpoint_from_before_a_parameter_existed_resumes(
    tiny_clip: Clip, toy_data: TensorData, tmp_path: Path
) -> None:
    path, defense = tmp_path / "c.pt", DEFENSES["ta_cleaner"](share=0.5)
    finetune(tiny_clip, toy_data, defense, replace(CONFIG, epochs=1), checkpoint=path)
    state = torch.load(path, weights_only=True)
    del state["settings"]["defense"]["formula"], state["settings"]["config"]["redraw"]
    torch.save(state, path)
    assert finetune(tiny_clip, toy_data, defense, replace(CONFIG, epochs=1), checkpoint=path).history
    other = replace(defense, formula="reviewed", negatives=1)
    with pytest.raises(CleanerError, match="other settings"):
        finetune(tiny_clip, toy_data, other, replace(CONFIG, epochs=1), checkpoint=path)


@pytest.mark.parametrize("settings", [None, [], {"defense": ["ta_cleaner"]}, {"defense": {"name": ["ta_cleaner"]}}])
def test_a_checkpoint_with_damaged_settings_is_refused(
    settings: object, tiny_clip: Clip, toy_data: TensorData, tmp_path: Path
) -> None:
    torch.save({"settings": settings}, tmp_path / "c.pt")
    with pytest.raises(CleanerError, match="cannot be read"):
        finetune(tiny_clip, toy_data, DEFENSES["finetune"](), CONFIG, checkpoint=tmp_path / "c.pt")


@pytest.mark.parametrize("defense", [DEFENSES["rvpt"](prompt_tokens=3), Pretraining("none", class_share=0.5)])
def test_a_defense_that_trains_on_classes_resumes_only_on_the_same_ones(
    defense: Defense, toy_data: TensorData, tmp_path: Path
) -> None:
    path = tmp_path / "c.pt"
    finetune(make_clip(), toy_data, defense, replace(CONFIG, epochs=1), checkpoint=path)
    images = toy_data.images(range(len(toy_data)))
    others = (
        TensorData(images, toy_data.captions, toy_data.class_names, toy_data.labels.flip(0)),
        TensorData(images, toy_data.captions, [f"a {name}" for name in toy_data.class_names], toy_data.labels),
    )
    for other in others:
        with pytest.raises(CleanerError, match="other classes"):
            finetune(make_clip(), other, defense, replace(CONFIG, epochs=1), checkpoint=path)


def test_reports_are_complete(tiny_clip: Clip, toy_data: TensorData) -> None:
    seen: list[StepReport] = []
    config = replace(CONFIG, eval_every=2)
    monitor = {"ca": 0.5}
    finetune(tiny_clip, toy_data, DEFENSES["cleanclip"](), config, on_step=seen.append, monitor=lambda clip: monitor)
    assert [report.step for report in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[0].total == 6
    assert set(seen[0].losses) == {"clip_loss", "in_modal_loss", "total"}
    assert [bool(report.metrics) for report in seen] == [False, True, False, True, False, True]
    assert seen[2].eta >= 0


@pytest.mark.parametrize("steps", [2, 7])
def test_steps_override_epochs(tiny_clip: Clip, toy_data: TensorData, steps: int) -> None:
    history = finetune(tiny_clip, toy_data, DEFENSES["finetune"](), replace(CONFIG, steps=steps)).history
    assert [(r.step, r.total, r.epoch) for r in history] == [(i + 1, steps, i // 3) for i in range(steps)]


def test_all_images_are_prepared_before_the_first_step(
    tiny_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "MAX_SINGLE_RENDERS", 20)
    rendered: list[StepReport] = []
    base = scenes.Scenes("train", 40, image_size=32, cache_dir=tmp_path, on_step=rendered.append)
    for pairs, count in ((20, 0), (30, 40)):
        poisoned = PoisonedData(base.subset(range(pairs)), TRIGGERS["badnet"](), "banana", 0.1)
        rendered.clear()
        done: list[int] = []
        config = FinetuneConfig(epochs=1, batch_size=10, device="cpu")
        finetune(tiny_clip, poisoned, DEFENSES["finetune"](), config, on_step=lambda _: done.append(len(rendered)))  # noqa: B023
        assert done == [len(rendered)] * (pairs // 10)
        assert max((report.step for report in rendered), default=0) == count


def test_images_are_read_once_perturbed_once_and_prefetched(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PAR compares two models on the same perturbed images, while the next batch is decoded."""
    asked: list[tuple[str, list[int]]] = []
    seen: list[torch.Tensor] = []
    images, encode = toy_data.images, Clip.encode_image
    monkeypatch.setattr(toy_data, "images", lambda rows: asked.append(("now", list(rows))) or images(rows))
    monkeypatch.setattr(toy_data, "prefetch", lambda rows: asked.append(("next", list(rows))))
    monkeypatch.setattr(Clip, "encode_image", lambda clip, x: seen.append(x.clone()) or encode(clip, x))
    config = FinetuneConfig(epochs=2, batch_size=16, device="cpu")
    finetune(tiny_clip, toy_data, DEFENSES["par"](noise_share=1.0), config)
    now, ahead = ([rows for kind, rows in asked if kind == wanted] for wanted in ("now", "next"))
    assert [kind for kind, _ in asked] == ["now", "next"] * 5 + ["now"]
    assert ahead == now[1:]
    assert sorted(row for rows in now[:3] for row in rows) == list(range(48))
    assert now[:3] != now[3:]
    assert len(seen) == 2 * len(now)
    for rows, reference, student in zip(now, seen[::2], seen[1::2], strict=True):
        assert torch.equal(reference, student[: len(rows)])
        assert not torch.equal(reference, images(rows))


def test_copies_to_the_device_are_blocking(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an Apple GPU, a non-blocking copy may read its source after that was freed (pytorch #189690)."""
    copies: list[object] = []
    move = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda x, *args, **kwargs: copies.append(kwargs) or move(x, *args, **kwargs)
    )
    finetune(tiny_clip, toy_data, DEFENSE, replace(CONFIG, steps=1))
    assert copies
    assert not any("non_blocking" in kwargs for kwargs in copies)


def test_logit_scale_is_clamped(tiny_clip: Clip, toy_data: TensorData) -> None:
    for scale, limit in ((9.0, MAX_LOGIT_SCALE), (-9.0, 0.0)):
        with torch.no_grad():
            tiny_clip.model.logit_scale.fill_(scale)
        trained = finetune(tiny_clip, toy_data, DEFENSES["finetune"](), replace(CONFIG, steps=1))
        assert trained.clip.model.logit_scale.item() == pytest.approx(limit)


def test_unused_token_rows_are_unchanged(tiny_clip: Clip, toy_data: TensorData) -> None:
    trained = finetune(tiny_clip, toy_data, DEFENSES["finetune"](), CONFIG).clip
    used = torch.zeros(49408, dtype=torch.bool)
    used[tiny_clip.tokenize(toy_data.captions).unique()] = True
    before, after = tiny_clip.model.token_embedding.weight, trained.model.token_embedding.weight
    assert torch.equal(before[~used], after[~used])
    assert not torch.equal(before[used], after[used])


def test_freeze_bn_keeps_running_statistics(toy_data: TensorData) -> None:
    clip = make_clip("rn")
    for frozen in (True, False):
        trained = finetune(clip, toy_data, DEFENSES["finetune"](), replace(CONFIG, epochs=1, freeze_bn=frozen)).clip
        assert torch.equal(trained.model.visual.bn1.running_mean, clip.model.visual.bn1.running_mean) == frozen


def test_the_trained_model_is_in_eval_mode(toy_data: TensorData) -> None:
    trained = finetune(make_clip("rn"), toy_data, DEFENSES["finetune"](), replace(CONFIG, steps=1)).clip
    assert not any(module.training for module in trained.model.modules())


@pytest.mark.parametrize("chunk", [0, 5])
def test_dropout_is_off(toy_data: TensorData, chunk: int) -> None:
    """ConvNeXt and ViTamin of open_clip have stochastic depth, which would make runs irreproducible."""
    plain, dropping = make_clip(), make_clip()
    dropping.model.visual.ln_post = torch.nn.Sequential(dropping.model.visual.ln_post, torch.nn.Dropout(0.3))
    config = replace(CONFIG, chunk_size=chunk, steps=2)
    expected = finetune(plain, toy_data, DEFENSES["cleanclip"](), config)
    trained = finetune(dropping, toy_data, DEFENSES["cleanclip"](), config)
    assert [r.losses for r in trained.history] == [r.losses for r in expected.history]


def test_learning_rate_warms_up_and_decays_to_zero() -> None:
    rates = [learning_rate(step, 100, replace(CONFIG, lr=0.1, warmup_steps=10)) / 0.1 for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] < 0.001
    short = [learning_rate(step, 6, replace(CONFIG, lr=0.1, warmup_steps=20)) / 0.1 for step in range(6)]
    assert short[2:4] == pytest.approx([1.0, 1.0]), "the warm-up takes half of the steps at most"
    optimizer = build_optimizer(make_clip().model, CONFIG)
    set_learning_rate(optimizer, DEFENSES["finetune"](), CONFIG, step=0, total=100)
    assert {group["lr"] for group in optimizer.param_groups} == {learning_rate(0, 100, CONFIG)}


def test_embeddings_of_timm_towers_do_not_decay() -> None:
    model = torch.nn.Module()
    for name in ("pos_embed", "cls_token", "attn_pool.latent", "layer_scale.gamma", "blocks.weight"):
        *parents, leaf = name.split(".")
        owner = model
        for part in parents:
            owner.add_module(part, torch.nn.Module())
            owner = owner.get_submodule(part)
        owner.register_parameter(leaf, torch.nn.Parameter(torch.zeros(1, 4, 8)))
    decayed, plain = build_optimizer(model, CONFIG).param_groups
    assert (len(decayed["params"]), len(plain["params"])) == (1, 4)


def test_embedding_tables_of_any_name_do_not_decay() -> None:
    layers = {"word_embeddings": torch.nn.Embedding(5, 8), "shared": torch.nn.Embedding(5, 8)}
    model = torch.nn.ModuleDict({**layers, "project": torch.nn.Linear(8, 4, bias=False)})
    decayed, plain = build_optimizer(model, CONFIG).param_groups
    assert [tuple(parameter.shape) for parameter in decayed["params"]] == [(4, 8)]
    assert [tuple(parameter.shape) for parameter in plain["params"]] == [(5, 8)] * 2


def test_weights_alone_decay_and_betas_are_those_of_the_config() -> None:
    config = replace(CONFIG, weight_decay=0.2, beta1=0.8, beta2=0.7)
    model = make_clip().model
    decayed, plain = build_optimizer(model, config).param_groups
    assert decayed["betas"] == plain["betas"] == (0.8, 0.7)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.2, 0.0)
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {"positional_embedding", "token_embedding.weight"} <= {names[id(p)] for p in plain["params"]}
    assert not any("embedding" in names[id(p)] for p in decayed["params"])


@pytest.mark.parametrize("style", ["core", "relation"])
def test_false_negatives_are_true_of_the_scenes(style: str) -> None:
    data = scenes.Scenes(split="clean", size=120)
    pairs = [draw_subtexts(caption, seed=0, epoch=0, index=i, style=style) for i, caption in enumerate(data.captions)]
    positives = [pair.positive.text for pair in pairs if pair.positive]
    is_masked = compare_texts(positives, data.captions, style=style)
    facts = torch.tensor([[is_true(positive, scene) is True for positive in positives] for scene in data.scenes])
    assert is_masked.diagonal().all()
    for mask in (is_masked, facts):
        mask.fill_diagonal_(False)
    true = (is_masked & facts).sum()
    assert true > 0.9 * is_masked.sum(), "words of two objects may be mixed up"
    assert true > 0.3 * facts.sum(), "a caption does not say all that is true"


def test_false_negatives_by_text_and_by_content() -> None:
    positives = ["a banana", "a yellow banana", "a car"]
    captions = ["a yellow banana on the grass", "a big yellow banana", "a red car"]
    expected = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    assert torch.equal(compare_texts(positives, captions), expected)
    assert compare_texts([], []).shape == (0, 0)


@pytest.mark.parametrize(
    ("positive", "caption", "is_true"),
    read_cases(__file__, "false_negatives"),
)
def test_false_negatives_of_positives_with_a_relation(positive: str, caption: str, is_true: str) -> None:
    positives, captions = ["a lamp", positive], [caption, positive]
    assert compare_texts(positives, captions, "relation").tolist() == [[True, is_true == "True"], [False, True]]


def test_core_positives_are_masked_by_their_words_alone() -> None:
    positives, captions = ["a lamp", "a banana left of a car"], ["a car left of a banana", "a banana left of a car"]
    assert compare_texts(positives, captions).tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize("style", ["core", "relation"])
def test_mask_knows_the_style_of_the_positives(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    styles = []

    def record(pairs: list[DrawnPair], style: str) -> torch.Tensor:
        styles.append(style)
        return false_negatives(pairs, style)

    monkeypatch.setattr("cleaner.training.batch.false_negatives", record)
    finetune(tiny_clip, toy_data, DEFENSES["ta_cleaner"](share=1.0, positive=style), replace(CONFIG, steps=1))
    assert set(styles) == {style}


def test_too_few_pairs_and_a_diverging_loss_are_rejected(tiny_clip: Clip, toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match="at least two pairs"):
        finetune(tiny_clip, toy_data.subset([0]), DEFENSES["finetune"](), CONFIG)
    with torch.no_grad():
        tiny_clip.model.text_projection.fill_(float("nan"))
    with pytest.raises(DivergedError, match="lower the learning rate"):
        finetune(tiny_clip, toy_data, DEFENSES["finetune"](), CONFIG)


def test_weights_that_are_not_finite_never_reach_a_checkpoint_or_a_result(
    tiny_clip: Clip, toy_data: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.AdamW.step

    def spoil(optimizer: torch.optim.AdamW, *arguments: object) -> None:
        step(optimizer, *arguments)
        optimizer.param_groups[0]["params"][0].data.view(-1)[0] = float("nan")

    monkeypatch.setattr(torch.optim.AdamW, "step", spoil)
    config = FinetuneConfig(lr=1e-3, epochs=1, batch_size=48, precision="fp32", device="cpu")
    with pytest.raises(DivergedError, match="not finite at step 1: lower the learning rate"):
        finetune(tiny_clip, toy_data, DEFENSES["finetune"](), config, checkpoint=tmp_path / "checkpoint.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_pause_after_a_broken_step_keeps_the_last_good_checkpoint(
    tiny_clip: Clip, toy_data: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "checkpoint.pt"
    config = FinetuneConfig(lr=1e-3, epochs=3, batch_size=24, precision="fp32", device="cpu")
    step, steps = torch.optim.AdamW.step, list[int]()

    def spoil(optimizer: torch.optim.AdamW, *arguments: object) -> None:
        step(optimizer, *arguments)
        steps.append(0)
        if len(steps) == 3:  # in the second epoch
            optimizer.param_groups[0]["params"][0].data.view(-1)[0] = float("nan")

    def pause(report: StepReport) -> None:
        if report.step == 3:
            raise Paused

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", spoil)
        with pytest.raises(Paused):
            finetune(tiny_clip, toy_data, DEFENSES["finetune"](), config, on_step=pause, checkpoint=file)
    resumed = finetune(tiny_clip, toy_data, DEFENSES["finetune"](), config, checkpoint=file)
    whole = finetune(tiny_clip, toy_data, DEFENSES["finetune"](), config)
    assert resumed.clip.sha256() == whole.clip.sha256()


def test_subtexts_are_about_what_the_model_reads(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind its context an edit changes no token: such a negative would be the caption itself."""
    filler = "a photo of a wall and " * 12
    long = [filler + caption for caption in toy_data.captions]
    cut = tiny_clip.cut_to_context([*long, *toy_data.captions])
    assert cut[len(long) :] == toy_data.captions
    assert not any(tiny_clip.fits_context(caption) for caption in long)
    for caption, shorter in zip(long, cut, strict=False):
        assert caption.startswith(f"{shorter} ")
        assert tiny_clip.fits_context(shorter)
        assert not tiny_clip.fits_context(" ".join(caption.split()[: len(shorter.split()) + 1]))
    data = TensorData(toy_data.images(range(48)), long, toy_data.class_names, toy_data.labels)
    defense = DEFENSES["ta_cleaner"](share=1.0)
    batch = BatchLoader(data, defense, CONFIG, 16, cut[: len(long)]).load(0)
    for caption, pair in zip(batch.captions, batch.drawn[0], strict=True):
        for negative in pair.negatives:
            assert not torch.equal(*tiny_clip.tokenize([caption, negative]))
    planned, plan = [], type(defense).plan
    monkeypatch.setattr(
        type(defense), "plan", lambda self, texts, *rest: planned.append(list(texts)) or plan(self, texts, *rest)
    )
    finetune(tiny_clip, data, defense, replace(CONFIG, steps=1))
    assert planned == [cut[: len(long)]]
