"""Contract of every explainer; a new one is picked up through the registry."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from cleaner.explain import EXPLAINERS
from cleaner.explain.base import FORWARD_BATCH, GRADIENT_BATCH, Explainer
from cleaner.models import clip as clip_module
from cleaner.models.clip import Clip, new_clip
from cleaner.types import CleanerError, StepReport
from tests.conftest import make_clip

CAPTIONS = ["a small yellow banana on the grass", "a red cup"]


@pytest.fixture(params=list(EXPLAINERS))
def explainer(request: pytest.FixtureRequest) -> Any:
    return EXPLAINERS[request.param]()


@pytest.fixture(params=["vit", "rn"])
def clip(request: pytest.FixtureRequest) -> Clip:
    return make_clip(request.param)


def make_inputs(explainer: Any, side: int = 32) -> Any:
    if explainer.input_kind == "captions":
        return CAPTIONS
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))


def make_target() -> torch.Tensor:
    return torch.randn(32, generator=torch.Generator().manual_seed(3))


def test_returns_the_size_of_the_input_or_a_reason(explainer: Any, clip: Clip) -> None:
    reason = explainer.unsupported_reason(clip)
    inputs = make_inputs(explainer)
    if reason is not None:
        assert "choose" in reason
        with pytest.raises(CleanerError, match="choose"):
            explainer.attribute(clip, inputs, make_target())
        return
    attribution = explainer.attribute(clip, inputs, make_target())
    size = clip.tokenize(CAPTIONS).shape if explainer.input_kind == "captions" else (2, 32, 32)
    assert attribution.shape == size
    assert attribution.dtype == torch.float32
    assert attribution.isfinite().all()
    assert explainer.is_signed or attribution.min() >= 0
    assert attribution.abs().max() > 0
    assert torch.allclose(
        attribution[:1], explainer.attribute(clip, inputs[:1], make_target())[:1, : attribution.shape[1]], atol=1e-4
    )
    if explainer.input_kind == "images":
        for height, width in ((40, 40), (16, 64), (64, 16)):
            images = torch.rand(2, 3, height, width)
            assert explainer.attribute(clip, images, make_target()).shape == (2, height, width)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("occlusion", {"square": 14, "step": 7}),
        ("occlusion", {"square": 21, "step": 14}),
        ("integrated_gradients", {"steps": 104}),
        ("token_gradients", {}),
    ],
)
def test_the_slow_ones_report_each_pass(name: str, settings: dict[str, int], clip: Clip) -> None:
    explainer = EXPLAINERS[name](**settings)
    inputs, reports = make_inputs(explainer), list[StepReport]()
    attribution = explainer.attribute(clip, inputs, make_target(), reports.append)
    total = explainer.count_passes(clip, inputs)
    assert total > 2
    assert [(report.step, report.total) for report in reports] == [(step, total) for step in range(1, total + 1)]
    assert {report.stage for report in reports} == {"attribution"}
    assert torch.equal(attribution, explainer.attribute(clip, inputs, make_target()))


@pytest.mark.parametrize(
    ("name", "method", "batch"),
    [
        ("occlusion", "encode_image", FORWARD_BATCH),
        ("integrated_gradients", "encode_image", GRADIENT_BATCH),
        ("token_gradients", "encode_tokens", GRADIENT_BATCH),
    ],
)
def test_a_full_size_model_gets_smaller_passes(
    name: str, method: str, batch: int, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = EXPLAINERS[name]()
    inputs, sizes, encode = make_inputs(explainer), list[int](), getattr(Clip, method)
    expected = explainer.attribute(clip, inputs, make_target())

    def record(model: Clip, batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        encoded: torch.Tensor = encode(model, batch)
        return encoded

    monkeypatch.setattr(Clip, method, record)
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", 1)
    assert torch.allclose(explainer.attribute(clip, inputs, make_target()), expected, atol=1e-5)
    assert len(sizes) == explainer.count_passes(clip, inputs) > 2
    assert max(sizes) == batch // 8


def test_only_some_depend_on_the_target(explainer: Any, clip: Clip) -> None:
    if explainer.unsupported_reason(clip):
        pytest.skip("does not support this model")
    inputs, target = make_inputs(explainer), make_target()
    maps = [explainer.attribute(clip, inputs, each) for each in (target, target.flip(0))]
    assert torch.equal(*maps) is not explainer.uses_target


def test_changes_neither_model_nor_input(explainer: Any, clip: Clip) -> None:
    if explainer.unsupported_reason(clip):
        pytest.skip("does not support this model")
    inputs, before = make_inputs(explainer), clip.sha256()
    copy = inputs.clone() if isinstance(inputs, torch.Tensor) else list(inputs)
    feature = clip.encode_image(torch.zeros(1, 3, 32, 32))
    with torch.inference_mode():  # pages may call from inside it
        explainer.attribute(clip, inputs, make_target())
    assert clip.sha256() == before
    assert all(p.grad is None for p in clip.model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in clip.model.modules())
    assert torch.equal(clip.encode_image(torch.zeros(1, 3, 32, 32)), feature)
    assert torch.equal(inputs, copy) if isinstance(inputs, torch.Tensor) else inputs == copy


def test_a_model_in_train_mode_with_frozen_weights_is_explained_in_eval_mode(explainer: Any, clip: Clip) -> None:
    if explainer.unsupported_reason(clip):
        pytest.skip("does not support this model")
    inputs, before = make_inputs(explainer), {name: t.clone() for name, t in clip.model.state_dict().items()}
    expected = explainer.attribute(clip, inputs, make_target())
    clip.model.train().requires_grad_(False)
    assert torch.equal(explainer.attribute(clip, inputs, make_target()), expected)
    assert clip.model.training
    assert not any(p.requires_grad for p in clip.model.parameters())
    assert all(torch.equal(t, before[name]) for name, t in clip.model.state_dict().items())


@dataclass(frozen=True)
class Backward(Explainer[torch.Tensor]):
    def _attribute(self, clip: Clip, images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        (clip.encode_image(images) * target).sum().backward()
        assert images.grad is not None
        assert all(p.grad is None for p in clip.model.parameters()), "gradients of weights take memory"
        return images.grad.sum(dim=1)


def test_gradients_of_an_explainer_stay_in_its_copy(clip: Clip) -> None:
    assert Backward().attribute(clip, torch.rand(2, 3, 32, 32), make_target()).abs().max() > 0
    assert all(p.grad is None for p in clip.model.parameters())


def test_threads_can_share_a_model(explainer: Any, clip: Clip) -> None:
    if explainer.unsupported_reason(clip):
        pytest.skip("does not support this model")
    targets = [torch.randn(32, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    inputs = make_inputs(explainer)
    sequential = [explainer.attribute(clip, inputs, t) for t in targets]
    concurrent: dict[int, torch.Tensor] = {}

    def attribute(i: int) -> None:
        concurrent[i] = explainer.attribute(clip, inputs, targets[i])

    threads = [threading.Thread(target=attribute, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.allclose(sequential[i], concurrent[i], atol=1e-6) for i in range(4))


def test_state_dict_restores_the_explainer(explainer: Any) -> None:
    state = explainer.state_dict()
    assert EXPLAINERS[state.pop("name")](**state) == explainer


@pytest.mark.parametrize("name", ["scenes-rn", "scenes-vit"])
def test_every_built_in_model_has_explainers(name: str) -> None:
    clip = new_clip(name)
    supported = [e for e in EXPLAINERS if EXPLAINERS[e]().unsupported_reason(clip) is None]
    assert {"integrated_gradients", "occlusion", "token_gradients"} < set(supported)
    for entry in supported:
        explainer = EXPLAINERS[entry]()
        assert explainer.attribute(clip, make_inputs(explainer, 64), torch.ones(128)).isfinite().all()
        assert explainer.input_kind == "captions" or explainer.grid_size(clip) in (0, 8)
