"""Attention on a processor: trained in fp32 under bf16 autocast, since torch's bf16 kernel is slow on the way back."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor


def _autocast_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """torch's `scaled_dot_product_attention` for autocast, (N, heads, T, D): queries and result in autocast's dtype.

    With gradient it is computed in fp32: for the 20 tokens of a caption forward and backward take a quarter of the
    time of bf16, for the 65 of a small ViT two fifths, for 257 four fifths (one thread with AVX512-BF16).
    """
    outside = torch.get_autocast_dtype("cpu")
    inside = torch.float32 if torch.is_grad_enabled() else outside
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.to(inside)
    with torch.autocast("cpu", enabled=False):
        rows = (query.to(inside), key.to(inside), value.to(inside))
        result = F.scaled_dot_product_attention(
            *rows, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
        return result.to(outside)


# In place of autocast's own rule, which is to compute in bf16; nothing else of torch changes.
_ATEN_LIBRARY = torch.library.Library("aten", "IMPL")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that a rule is replaced
    _ATEN_LIBRARY.impl("scaled_dot_product_attention", _autocast_attention, "AutocastCPU")
