"""Each page works for each built-in model and for an external one, before and after its first run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cleaner.config import FinetuneConfig
from cleaner.files import shipped_assets
from cleaner.inspection import embedding_map
from cleaner.models.clip import save_clip
from cleaner.runs import names
from cleaner.runs.names import number_equal_beginnings
from cleaner.runs.request import Request
from cleaner.runs.store import create_run, list_runs
from pages._shared import cache
from pages._shared.inspect import pickers
from pages._shared.runs.job_requests import ExternalModel
from pages._shared.shell import state
from pages._shared.shell.menu import titles
from tests.conftest import make_clip
from tests.data.files import write_class_folder, write_table
from tests.pages.conftest import OpenPage, choose_own_data, choose_own_model, go_to, page_text, press, widget_keys
from tests.pages.runs import make_metrics, make_runs

INSPECTION_PAGES = ("Embeddings", "Attention", "Subtexts", "Try it")


def select(app: AppTest, value: str) -> AppTest:
    """Put a run or model in view."""
    app.selectbox(key="current_run").set_value(value).run()
    assert not app.exception, [e.message for e in app.exception]
    assert not app.error, [e.value for e in app.error]
    return app


def has_trigger(app: AppTest) -> bool:
    """Return whether the menu shows a run, which has a trigger."""
    return not any("known trigger" in str(caption.value) for caption in app.sidebar.caption)


@pytest.mark.slow
def test_each_page_for_runs_of_a_transformer(open_page: OpenPage, tmp_path: Path) -> None:
    """`test_failed_attack` opens each page on runs of a ResNet."""
    first, _ = make_runs(tmp_path, "vit")
    app = open_page(titles()[0])
    for title in titles():
        select(go_to(app, title), first.name)
        assert has_trigger(app), title


def test_other_networks_in_assets_are_no_models(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "assets" / "ssba").mkdir()
    shutil.copy(shipped_assets() / "ssba" / "model.safetensors", tmp_path / "assets" / "ssba")
    app = open_page("Overview")
    assert app.selectbox(key="current_run").options == ["scenes-rn · clean"]


def test_beginnings_of_labels_differ(open_page: OpenPage, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        make_runs(tmp_path, seed=seed)
    options = open_page("Overview").selectbox(key="current_run").options
    assert len(options) == 4
    assert len({option[: names.VISIBLE] for option in options}) == 4
    assert all(option.startswith(f"{number} · 01-01 00:00") for number, option in zip((3, 2, 1), options, strict=False))
    assert number_equal_beginnings({"a": "one", "b": "two"}) == {"a": "one", "b": "two"}


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A checkpoint of unknown origin."""
    clip = make_clip("vit", 7)
    clip.name = "epoch_10"
    return save_clip(clip, tmp_path / "epoch_10.safetensors")


def defend(external: Path) -> Path:
    """Defend the checkpoint in this process; return the run."""
    from cleaner.defenses import DEFENSES
    from cleaner.jobs import worker

    config = FinetuneConfig(epochs=1, batch_size=32, device="cpu")
    request = Request(
        "defended", "scenes", 64, config, str(external), defense=DEFENSES["finetune"]().state_dict(), test_size=100
    )
    folder = create_run(request)
    worker.run_job(worker.RunSession(folder))
    return folder


def test_a_checkpoint_of_unknown_origin(open_page: OpenPage, external: Path) -> None:
    app = open_page("Defend")
    assert len(app.selectbox(key="current_run").options) == 1
    app.toggle(key="defend.external").set_value(True).run()
    choose_own_model(app, "defend.external.model", external)
    app.button(key="defend.external.open").click().run()
    app.run()
    for title in titles():
        select(go_to(app, title), f"model:{external}")
        assert any("trigger unknown" in option for option in app.selectbox(key="current_run").options)
        assert not has_trigger(app)
        if title in INSPECTION_PAGES:
            names = [element.proto.body for element in app.get("html")]
            assert "Suspect" in page_text(app) + str([names, *(d.value for d in app.dataframe)])


def test_an_opened_checkpoint_keeps_the_data_that_it_was_last_shown_with(
    open_page: OpenPage, external: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "inspect_model", lambda *work: ([], make_metrics(0.5)))
    write_class_folder(tmp_path / "photos", 60)
    app = open_page("Defend")
    app.toggle(key="defend.external").set_value(True).run()
    choose_own_data(app, "defend.external.data", tmp_path / "photos")
    press(choose_own_model(app, "defend.external.model", external), "defend.external.open")
    app.session_state["poison.pairs"], app.session_state["poison.tests"] = 500, 100
    press(choose_own_model(go_to(app, "Poison"), "poison.model", external), "poison.external.open")

    def find_data() -> str:
        opened = app.session_state[state.OPENED_MODELS]
        session = {state.SELECTION: f"model:{external}", state.OPENED_MODELS: opened}
        with monkeypatch.context() as patch:
            patch.setattr(pickers.st, "session_state", session)
            return pickers.find_test_data(None).name

    assert find_data() == "scenes"
    go_to(app, "Defend")
    assert find_data() == str(tmp_path / "photos")


def test_the_model_in_view_is_cleaned_with_its_data(open_page: OpenPage, external: Path, tmp_path: Path) -> None:
    data = f"{write_table(tmp_path, 60)} classes=red,green,blue"
    app = open_page("Overview")
    app.session_state[state.OPENED_MODELS] = {ExternalModel(str(external), data): None}
    select(go_to(app, "Defend"), f"model:{external}")
    press(app, "defend.clean")
    assert app.text_input(key="defend.external.model.path").value == str(external)
    assert app.text_input(key="defend.external.data.path").value == data
    assert not app.error
    assert "defend.go" in widget_keys(app)


def test_a_reload_says_that_a_model_is_no_longer_open(open_page: OpenPage) -> None:
    app = open_page("Overview")
    assert not app.toast
    app.session_state["address.is_read"] = False
    app.query_params["run"] = "model:/data/epoch_10.pt"
    app.run()
    assert "epoch_10.pt is no longer open" in app.toast[0].value.replace("\\", "")


def test_a_model_whose_last_defense_is_deleted_leaves_the_view(open_page: OpenPage, external: Path) -> None:
    app = open_page("Overview")
    defend(external)
    select(app.run(), f"model:{external}")
    for record in list_runs():
        shutil.rmtree(record.folder)
    app.run()
    assert not app.exception
    assert app.toast[0].value.replace("\\", "") == f"{external.name} has no defenses left: showing another."


def test_a_replaced_checkpoint_is_read_again(open_page: OpenPage, external: Path) -> None:
    app = open_page("Overview")
    defend(external)
    select(go_to(app.run(), "Try it"), f"model:{external}")
    before = [chart.proto.spec for chart in app.get("plotly_chart")]
    save_clip(make_clip("vit", 8), external)
    os.utime(external, (1, 1))
    app.run()
    after = [chart.proto.spec for chart in app.get("plotly_chart")]
    assert (len(before), len(after)) == (2, 1)
    assert before[0] != after[0]
    assert "1 defense started from an earlier version of this file" in page_text(app)


def test_a_defended_checkpoint(open_page: OpenPage, external: Path) -> None:
    app = open_page("Overview")
    folder = defend(external)
    app.run()
    for title in titles():
        select(go_to(app, title), f"model:{external}")
    go_to(app, "Embeddings")
    saved = embedding_map.read_map(folder)
    assert saved is not None
    assert saved.stages == ("suspect", "defended")
    assert saved.counts["triggered"] == 0
    assert np.isfinite(saved.coordinates["pca"]).all()
