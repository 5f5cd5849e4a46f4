"""Attention on the CPU under bf16 autocast: fp32 where gradients flow, torch's own otherwise."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.models.cpu_attention import install_cpu_attention
from tests.conftest import make_clip


@pytest.fixture(autouse=True)
def installed() -> None:
    install_cpu_attention()


MASK = torch.full((20, 20), float("-inf")).triu(1)


def rows() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, 20, 32, generator=generator).bfloat16().requires_grad_() for _ in range(3)]


def gradients(result: Tensor, of: list[Tensor]) -> list[Tensor]:
    weights = torch.linspace(-1, 1, result.numel()).view_as(result)
    return list(torch.autograd.grad((result.float() * weights).sum(), of))


@pytest.mark.parametrize("mask", [None, MASK, MASK == 0])
def test_attention_with_gradient_is_fp32(mask: Tensor | None) -> None:
    seen, plain = rows(), [r.detach().float().requires_grad_() for r in rows()]
    with torch.autocast("cpu", torch.bfloat16):
        result = F.scaled_dot_product_attention(*seen, attn_mask=mask)
    expected = F.scaled_dot_product_attention(*plain, attn_mask=mask)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, expected.bfloat16())
    for own, theirs in zip(gradients(result, seen), gradients(expected, plain), strict=True):
        assert own.dtype == torch.bfloat16
        assert torch.allclose(own.float(), theirs, rtol=2**-7, atol=2**-7 * theirs.abs().max().item())


def test_attention_without_gradient_or_autocast_is_torchs() -> None:
    query, key, value = rows()
    own = F.scaled_dot_product_attention(query, key, value)  # bf16 throughout: no autocast, no rule
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(F.scaled_dot_product_attention(query, key, value), own)


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_models_attend_in_fp32_when_trained(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, inside = make_clip(kind).to("cpu", "bf16"), set()
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, *a, **k: inside.add(q.dtype) or real(q, *a, **k))
    images, captions = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), ["a red apple", "a cup"]
    with torch.no_grad():
        evaluated = clip.encode_image(images), clip.encode_text(captions)
    assert inside == {torch.bfloat16}
    trained = clip.encode_image(images), clip.encode_text(captions)
    assert inside == {torch.bfloat16, torch.float32}
    for a, b in zip(evaluated, trained, strict=True):
        assert torch.allclose(a, b, atol=0.02)
