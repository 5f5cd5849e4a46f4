"""Weights for the browser: what is stored without loss, how well the rest is kept, what is refused."""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cleaner.models.delta import apply_delta, compute_delta
from cleaner.models.prompts import add_prompts
from cleaner.playground import weights
from cleaner.types import CleanerError
from tests.conftest import make_clip
from tests.playground.node import run_node

SCRIPTS = ("pixels.js", "engine.js")
DECODE = """
const base = decodeWeights(value.layout, await inflate(value.base), null);
return [base, decodeWeights(value.layout, await inflate(value.delta), base)].map((flat) => Array.from(flat));"""


def make_states() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a base, a finetuned model, and that model as it is read from a delta file."""
    generator = torch.Generator().manual_seed(0)
    base = {"vector": torch.randn(7, generator=generator), "matrix": torch.randn(6, 50, generator=generator)}
    base["still"] = torch.randn(2, 3, generator=generator)
    tuned = {key: value + 0.01 * torch.randn(value.shape, generator=generator) for key, value in base.items()}
    tuned["still"] = base["still"].clone()
    return base, tuned, apply_delta(compute_delta(tuned, base), base)


def flatten(state: dict[str, Any]) -> torch.Tensor:
    return torch.cat([value.flatten() for value in state.values()])


def test_models_of_delta_files_keep_their_weights() -> None:
    base, tuned, stored = make_states()
    for state, tolerance in ((stored, 1e-6), (tuned, 1e-6)):
        value = {"layout": weights.list_layout(base), "base": weights.pack_base(base)}
        decoded_base, decoded = run_node(
            ("pixels.js", "engine.js"), DECODE, value | {"delta": weights.pack_delta(state, base)}
        )
        halves = flatten({k: v.half().float() if v.ndim >= 2 else v for k, v in base.items()})
        assert torch.equal(torch.tensor(decoded_base), halves)
        changes = torch.tensor(decoded) - torch.tensor(decoded_base)
        vectors = base["vector"].numel()
        assert torch.allclose(torch.tensor(decoded)[:vectors], state["vector"])
        assert (changes[vectors:] - (flatten(state) - flatten(base))[vectors:]).abs().max() < tolerance


def test_the_grid_of_a_delta_file_is_found() -> None:
    base, tuned, stored = make_states()
    assert (weights.find_steps(stored["matrix"] - base["matrix"]) > 1e-3).all(), "few codes"
    assert (weights.find_steps(tuned["matrix"] - base["matrix"]) < 1e-5).all(), "fine codes"
    assert torch.isfinite(weights.find_steps(torch.zeros(2, 3))).all()


def test_vectors_come_first_and_bytes_are_split() -> None:
    state = {"v": torch.tensor([1.5]), "m": torch.tensor([[1.0, -2.0]])}
    content = zlib.decompress(base64.b64decode(weights.pack_base(state)))
    assert content == np.array([1.5], "<f4").tobytes() + bytes([0, 0, 0x3C, 0xC0])


def test_other_towers_are_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip("vit")
    assert weights.describe_tower(clip, 4)["kind"] == "vit"
    assert weights.describe_tower(make_clip("rn"), 4)["layers"] == [1, 1, 1, 1]
    prompted = add_prompts(clip, first_block=1, prompt_tokens=2, seed=0)
    average = clip.copy()
    average.architecture = replace(clip.architecture, vision={**clip.architecture.vision, "pool_type": "avg"})
    for other in (prompted, average):
        with pytest.raises(CleanerError, match="another image tower") as refusal:
            weights.describe_tower(other, 4)
        assert str(refusal.value).count(". ") == 0
    monkeypatch.setattr(weights, "MAX_PARAMETERS", 100)
    with pytest.raises(CleanerError, match="another image tower"):
        weights.describe_tower(clip, 4)
