"""Warming: the inspection pages of the run in view are prepared once, in the background, if its models are small."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from cleaner.explain.occlusion import Occlusion
from cleaner.text import Vocabulary
from pages._shared import cache
from pages._shared.cache import background, warming
from pages._shared.shell import warm
from tests.pages.conftest import OpenPage, go_to
from tests.pages.runs import make_runs
from tests.waiting import wait_until


def test_the_run_in_view_is_prepared(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attacked, defended = make_runs(tmp_path)
    found: list[Any] = []
    monkeypatch.setattr(cache, "warm_inspection", found.append)
    app = open_page("Overview")
    view = found[-1]
    assert (view.run, view.target) == (attacked, "banana")
    assert view.models == (("clean", str(attacked)), ("run", str(attacked)), ("run", str(defended)))
    assert (view.test.split, view.clean.split, view.clean.name) == ("test", "clean", "scenes")
    count = len(found)
    app.selectbox(key="current_run").set_value("model:scenes-rn").run()
    monkeypatch.setattr(warm, "MAX_WARMED_BYTES", 10)
    app.selectbox(key="current_run").set_value(attacked.name).run()
    assert len(found) == count


@pytest.mark.parametrize("has_clean_model", [True, False])
def test_the_pages_find_what_was_prepared(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_clean_model: bool
) -> None:
    make_runs(tmp_path)
    if not has_clean_model:
        (tmp_path / "clean-rn.safetensors").unlink()
    monkeypatch.setattr(cache, "warm_inspection", warming.warm_inspection)
    monkeypatch.setattr(warming, "run_later", lambda load: load())
    app = open_page("Overview")
    computed: list[str] = []
    attribute = Occlusion.attribute

    def record(explainer: Occlusion, *arguments: Any) -> Any:
        computed.append("occlusion")
        return attribute(explainer, *arguments)

    monkeypatch.setattr(Occlusion, "attribute", record)
    monkeypatch.setattr(Vocabulary, "from_captions", lambda captions: computed.append("vocabulary"))
    go_to(app, "Attention")
    go_to(app, "Subtexts")
    assert not app.error
    assert computed == []


def test_work_in_the_background_goes_on_after_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(background, "PAINT_SECONDS", 0.0)
    done: list[int] = []
    background.run_later(lambda: done.append(1))
    background.run_later(lambda: done.append(1 // 0))
    background.run_later(lambda: done.append(2))
    wait_until(lambda: len(done) == 2, 20)
    assert done == [1, 2]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_loaded_libraries_are_left_out_of_garbage_collections() -> None:
    kept = [[] for _ in range(1000)]
    try:
        background._load_all()
        assert gc.get_freeze_count() >= len(kept)
        assert not any(entry is kept for entry in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.freeze()  # as before the test, see tests/conftest.py
