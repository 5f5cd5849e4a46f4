"""Warming: the inspection pages of the run in view are prepared once, in the background, if its models are small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pages._shared import cache, warm
from pages._shared.cache import warming
from pages._shared.sample import DataKey
from tests.pages.conftest import OpenPage
from tests.pages.runs import make_runs


def test_the_run_in_view_is_prepared(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attacked, defended = make_runs(tmp_path)
    found: list[Any] = []
    monkeypatch.setattr(cache, "warm_inspection", lambda *keys: found.append(keys))
    app = open_page("Overview")
    models, test, clean = found[-1]
    assert models == (("clean", str(attacked)), ("run", str(attacked)), ("run", str(defended)))
    assert (test.split, clean.split, clean.name) == ("test", "clean", "scenes")
    count = len(found)
    app.selectbox(key="current_run").set_value("model:scenes-rn").run()
    monkeypatch.setattr(warm, "MAX_BYTES", 10)
    app.selectbox(key="current_run").set_value(attacked.name).run()
    assert len(found) == count


def test_it_loads_models_images_and_words_once(
    tmp_path: Path, scene_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(scene_cache))
    attacked, defended = make_runs(tmp_path)
    loaded: list[Any] = []
    load_model, warm_vocabulary = warming.load_model, warming.warm_vocabulary
    monkeypatch.setattr(warming, "run_later", lambda load: load())
    monkeypatch.setattr(warming, "load_model", lambda key: loaded.append(key) or load_model(key))
    monkeypatch.setattr(warming, "warm_vocabulary", lambda key: loaded.append(key) or warm_vocabulary(key))
    models = (("clean", str(attacked)), ("run", str(attacked)), ("run", str(defended)))
    test, clean = DataKey("scenes", "test", 20), DataKey("scenes", "clean", 30)
    for _ in range(2):
        cache.warm_inspection(models, test, clean)
    assert loaded == [*models, clean]
