"""Reasons not to build an architecture that a file describes: code, other files, network, unbounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import open_clip

if TYPE_CHECKING:
    from cleaner.models.architectures import Architecture

_MAX_SIZES = {
    "embed_dim": 8192,
    "width": 8192,
    "layers": 256,
    "heads": 512,
    "head_width": 8192,
    "dim_head": 8192,
    "patch_size": 1024,
    "image_size": 4096,
    "context_length": 4096,
    "vocab_size": 4_000_000,
    "mlp_ratio": 64,
    "n_queries": 4096,
    "attn_pooler_queries": 4096,
    "attn_pooler_heads": 512,
    "first_block": 256,
    "prompt_tokens": 4096,
}
"""Upper bounds of sizes, a few times those of the largest model that open_clip lists."""
_TOKENIZER_OPTIONS = {"clean": str, "strip_sep_token": bool}
"""Tokenizer options in open_clip's own configurations; others reach transformers, which some make run code."""


def find_faults(architecture: Architecture) -> Iterator[str]:
    """Yield each reason not to build an architecture that anyone may have written."""
    vision, text, extra = architecture.vision, architecture.text, architecture.extra
    if not all(isinstance(part, dict) for part in (vision, text, extra)):
        yield "vision, text and extra, which must be objects"
        return
    yield from _find_invalid_sizes(
        {"embed_dim": architecture.embed_dim, "vision": vision, "text": text, "extra": extra}
    )
    for kind, part in ((open_clip.CLIPVisionCfg, vision), (open_clip.CLIPTextCfg, text)):
        unknown = [str(key)[:40] for key in part if key not in kind.__dataclass_fields__]
        if unknown:
            yield f"{unknown[0]!r}, which open_clip does not know"
    for name, values in (("mean", architecture.mean), ("std", architecture.std)):
        # NaN fails too: it compares false.
        if len(values) != 3 or not all(type(v) in (int, float) and abs(v) < 1e6 for v in values):
            yield f"{name}, which must be three numbers"
        elif name == "std" and min(values) <= 0:
            yield "std, which must be above 0"
    if not all(isinstance(name, str) for name in (architecture.resize_mode, architecture.interpolation)):
        yield "resize_mode and interpolation, which must be strings"
    # Other kinds are computed while building, at any size; no published model has them.
    if vision.get("pos_embed_type") not in (None, "learnable"):
        yield "pos_embed_type, which must be learnable"
    yield from find_tokenizer_faults(text)
    for key in ("hf_tokenizer_name", "timm_model_name"):
        name = str((text | vision).get(key) or "")
        if re.match(r"[./~]|.*[:\\]", name):
            yield f"{key} {name[:80]!r}, which is not a plain name"
    # The configuration of such a tower is downloaded, so only those that open_clip itself lists.
    tower = str(text.get("hf_model_name") or "")
    if tower and tower not in {
        open_clip.get_model_config(name)["text_cfg"].get("hf_model_name") for name in open_clip.list_models()
    }:
        yield f"hf_model_name {tower[:80]!r}, which is not open_clip's"


def find_tokenizer_faults(text: Mapping[str, Any]) -> Iterator[str]:
    """Yield each option of a tokenizer that open_clip's own configurations do not use."""
    options = text.get("tokenizer_kwargs") or {}
    for key, value in options.items() if isinstance(options, dict) else [("tokenizer_kwargs", options)]:
        if not isinstance(value, _TOKENIZER_OPTIONS.get(key, ())):
            yield f"the tokenizer option {str(key)[:40]}={str(value)[:40]}"


def _find_invalid_sizes(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _find_invalid_sizes(value)
        elif key in _MAX_SIZES and value is not None:
            for size in value if isinstance(value, (list, tuple)) else (value,):
                kind = (int, float) if key == "mlp_ratio" else (int,)
                if type(size) not in kind or not 0 < size <= _MAX_SIZES[key]:
                    yield f"{key} {str(size)[:40]}, which must be a number from 1 to {_MAX_SIZES[key]:,}"
