"""The recipes of CONTRIBUTING.md, run as they stand and held to the contracts that every part is held to."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.config import parameters
from cleaner.data.base import DATASETS, TensorData, load_data
from cleaner.defenses import DEFENSES
from cleaner.explain import EXPLAINERS
from cleaner.models.clip import Clip
from tests.attacks import test_contract as trigger_contract
from tests.defenses import test_contract as defense_contract
from tests.explain import test_contract as explainer_contract

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"<!-- recipe:(\w+) -->\n```python\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture
def recipe(request: pytest.FixtureRequest) -> Iterator[types.ModuleType]:
    """Run a code block as a module of its own; take what it registered out again."""
    registries: list[Any] = [TRIGGERS, DEFENSES, DATASETS, EXPLAINERS]
    before = [(len(registry), dict(registry._entries)) for registry in registries]  # len() finds all that are there
    module = types.ModuleType(f"recipe_{request.param}")
    sys.modules[module.__name__] = module
    exec(compile(RECIPES[request.param], f"CONTRIBUTING.md ({request.param})", "exec"), vars(module))
    yield module
    del sys.modules[module.__name__]
    for registry, (_, entries) in zip(registries, before, strict=True):
        registry._entries = entries


@pytest.mark.parametrize("recipe", ["attack"], indirect=True)
@pytest.mark.parametrize("side", [32, 64, 224])
def test_attack(recipe: types.ModuleType, side: int) -> None:
    trigger = TRIGGERS["checker"]()
    images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    checks = [value for name, value in vars(trigger_contract).items() if name.startswith("test_")]
    assert len(checks) >= 4
    for check in checks:
        check(trigger, images)
    assert [p.name for p in parameters(recipe.Checker)] == ["side", "height"]
    grey = trigger(torch.full((1, 3, 224, 224), 0.5))[0, 0]
    assert grey[0, 0].item() == pytest.approx(0.6)
    assert grey[0, 14].item() == pytest.approx(0.4)
    assert grey[14, 14].item() == pytest.approx(0.6)


@pytest.mark.parametrize("recipe", ["defence"], indirect=True)
def test_defence(recipe: types.ModuleType, tiny_clip: Clip, toy_data: TensorData) -> None:
    defense = DEFENSES["image_views"]()
    defense_contract.test_losses_are_named_finite_and_fall_and_the_input_model_stays(defense, tiny_clip, toy_data)
    defense_contract.test_state_dict_makes_the_same_defence_again(defense)


@pytest.mark.parametrize("recipe", ["explainer"], indirect=True)
def test_explainer(recipe: types.ModuleType, tiny_clip: Clip) -> None:
    explainer = EXPLAINERS["gradient"]()
    explainer_contract.test_returns_the_size_of_the_input_or_says_why_not(explainer, tiny_clip)
    explainer_contract.test_leaves_model_and_input_as_they_were(explainer, tiny_clip)
    explainer_contract.test_threads_that_share_a_model_do_not_disturb_one_another(explainer, tiny_clip)


@pytest.mark.parametrize("recipe", ["data"], indirect=True)
def test_data(recipe: types.ModuleType) -> None:
    data = load_data("plain", size=9)
    assert (len(data), data.labels.tolist()[:4]) == (9, [0, 1, 2, 0])
    assert data.images([0, 1]).shape == (2, 3, 64, 64)
    assert data.contains("red").sum() == 3


def test_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its menu needs the app around it, so the frame is left out here: the rest must draw what it promises."""
    testing = pytest.importorskip("streamlit.testing.v1")
    from pages._shared import frame

    @contextmanager
    def bare(title: str, lead: str) -> Iterator[None]:
        import streamlit as st

        st.title(title)
        st.markdown(lead)
        yield

    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    monkeypatch.setattr(frame, "page", bare)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"stage": "defended", "defense": {"name": "cleanclip"}}')
    app = testing.AppTest.from_string(RECIPES["page"], default_timeout=60).run()
    assert not app.exception, [e.message for e in app.exception]
    assert [t.value for t in app.title] == ["Runs"]
    assert "not measured" in app.markdown[1].value
