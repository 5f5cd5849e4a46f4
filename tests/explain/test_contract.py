"""What every explainer must do; a new one is picked up through the registry."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from cleaner.explain import EXPLAINERS
from cleaner.models.clip import Clip, new_clip
from cleaner.types import CleanerError
from tests.conftest import make_clip

CAPTIONS = ["a small yellow banana on the grass", "a red cup"]


@pytest.fixture(params=list(EXPLAINERS))
def explainer(request: pytest.FixtureRequest) -> Any:
    return EXPLAINERS[request.param]()


@pytest.fixture(params=["vit", "rn"])
def clip(request: pytest.FixtureRequest) -> Clip:
    return make_clip(request.param)


def inputs(explainer: Any, side: int = 32) -> Any:
    if explainer.input_kind == "captions":
        return CAPTIONS
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))


def target() -> torch.Tensor:
    return torch.randn(32, generator=torch.Generator().manual_seed(3))


def test_returns_the_size_of_the_input_or_says_why_not(explainer: Any, clip: Clip) -> None:
    reason = explainer.unsupported_reason(clip)
    given = inputs(explainer)
    if reason is not None:
        assert "choose" in reason
        with pytest.raises(CleanerError, match="choose"):
            explainer.attribute(clip, given, target())
        return
    found = explainer.attribute(clip, given, target())
    size = clip.tokenize(CAPTIONS).shape if explainer.input_kind == "captions" else (2, 32, 32)
    assert found.shape == size
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert explainer.is_signed or found.min() >= 0
    assert found.abs().max() > 0
    assert torch.allclose(found[:1], explainer.attribute(clip, given[:1], target())[:1, : found.shape[1]], atol=1e-4)
    if explainer.input_kind == "pictures":
        for height, width in ((40, 40), (16, 64), (64, 16)):
            other = torch.rand(2, 3, height, width)
            assert explainer.attribute(clip, other, target()).shape == (2, height, width)


def test_leaves_model_and_input_as_they_were(explainer: Any, clip: Clip) -> None:
    if explainer.unsupported_reason(clip):
        pytest.skip("not for this model")
    given, before = inputs(explainer), clip.sha256()
    same = given.clone() if isinstance(given, torch.Tensor) else list(given)
    wanted = clip.encode_image(torch.zeros(1, 3, 32, 32))
    with torch.inference_mode():  # a page may stand inside it
        explainer.attribute(clip, given, target())
    assert clip.sha256() == before
    assert all(p.grad is None for p in clip.model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in clip.model.modules())
    assert torch.equal(clip.encode_image(torch.zeros(1, 3, 32, 32)), wanted)
    assert torch.equal(given, same) if isinstance(given, torch.Tensor) else given == same


def test_threads_that_share_a_model_do_not_disturb_one_another(explainer: Any, clip: Clip) -> None:
    if explainer.unsupported_reason(clip):
        pytest.skip("not for this model")
    targets = [torch.randn(32, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    given = inputs(explainer)
    alone = [explainer.attribute(clip, given, t) for t in targets]
    together: dict[int, torch.Tensor] = {}

    def work(i: int) -> None:
        together[i] = explainer.attribute(clip, given, targets[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.allclose(alone[i], together[i], atol=1e-6) for i in range(4))


def test_state_dict_makes_the_same_explainer_again(explainer: Any) -> None:
    state = explainer.state_dict()
    assert EXPLAINERS[state.pop("name")](**state) == explainer


@pytest.mark.parametrize("name", ["scenes-rn", "scenes-vit"])
def test_every_built_in_model_has_ways_to_be_looked_into(name: str) -> None:
    clip = new_clip(name)
    fit = [e for e in EXPLAINERS if EXPLAINERS[e]().unsupported_reason(clip) is None]
    assert {"integrated_gradients", "occlusion", "token_gradients"} < set(fit)
    for entry in fit:
        explainer = EXPLAINERS[entry]()
        assert explainer.attribute(clip, inputs(explainer, 64), torch.ones(128)).isfinite().all()
        assert explainer.input_kind == "captions" or explainer.grid_size(clip) in (0, 8)
