"""A model of one's own on the Defend page: nothing is opened unasked, no attack success is made up, a scan warns."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cleaner.jobs import local, sweep
from cleaner.models.clip import save_clip
from cleaner.models.weights import file_sha256
from cleaner.runs.store import list_runs
from tests.conftest import make_clip
from tests.pages.conftest import OpenPage, go_to, page_text, wait_for_training


@pytest.fixture
def page(open_page: OpenPage, tmp_path: Path) -> AppTest:
    clip = make_clip(seed=3)
    clip.name = "epoch_10"
    save_clip(clip, tmp_path / "epoch_10.safetensors")
    app = open_page("Defend")
    app.toggle(key="defend.own").set_value(True).run()
    return app


def bring(app: AppTest, path: Path) -> AppTest:
    app.selectbox(key="defend.own.model").set_value(str(path)).run()
    return app


def test_a_file_is_described_before_it_is_opened(page: AppTest, tmp_path: Path) -> None:
    assert "Type the path of your checkpoint" in page_text(page)
    bring(page, tmp_path / "epoch_10.safetensors")
    assert file_sha256(tmp_path / "epoch_10.safetensors") in page_text(page)
    assert not page.metric
    page.button(key="defend.own.open").click().run()
    assert not page.exception
    assert "million parameters" in page_text(page)
    assert [m.label for m in page.metric] == ["Clean accuracy before anything is done"]
    assert "Attack success: not known" in page_text(page)


def test_a_file_that_is_no_model_ends_in_one_sentence(page: AppTest, tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    bring(page, tmp_path / "broken.safetensors").button(key="defend.own.open").click().run()
    assert not page.exception
    assert len(page.error) == 1
    assert "broken" in page.error[0].value


def test_it_is_cleaned_without_an_attack_success(page: AppTest, tmp_path: Path) -> None:
    bring(page, tmp_path / "epoch_10.safetensors")
    page.select_slider(key="defend.pairs").set_value(200)
    page.number_input(key="defend.train.epochs").set_value(1)
    page.multiselect(key="defend.which").set_value(["ta_cleaner"]).run()
    page.button(key="defend.go").click().run()
    wait_for_training(page)
    config = list_runs()[0].config
    assert config["stage"] == "defended"
    assert config["parent"] is None
    assert "What did the cure cost?" in page_text(page)
    assert "not known" in page.dataframe[-1].value["Attack success"].tolist()
    go_to(go_to(page, "Compare"), "Defend")
    assert page.selectbox(key="defend.own.model").value == str(tmp_path / "epoch_10.safetensors")


def test_it_is_swept(page: AppTest, tmp_path: Path) -> None:
    bring(page, tmp_path / "epoch_10.safetensors")
    page.select_slider(key="defend.pairs").set_value(200)
    page.number_input(key="defend.train.epochs").set_value(1)
    page.multiselect(key="defend.which").set_value(["finetune"]).run()
    page.toggle(key="defend.sweep").set_value(True).run()
    page.number_input(key="defend.seeds").set_value(2).run()
    page.button(key="defend.go").click().run()
    (name,) = sweep.list_sweep_ids(local.poll_entries())
    while sweep.is_active(sweep.list_sweep_runs(name)):
        time.sleep(0.05)
    page.run()
    shown = next(d.value for d in page.dataframe if "Progress" in d.value)
    assert shown["State"].tolist() == ["done", "done"]
    assert shown["ASR@1"].tolist() == ["not known", "not known"]


def test_the_scan_shows_lines_with_intervals_and_its_warning(page: AppTest, tmp_path: Path) -> None:
    bring(page, tmp_path / "epoch_10.safetensors")
    page.selectbox(key="defend.hunt.kind").set_value("badnet")
    page.select_slider(key="defend.hunt.n").set_value(100)
    page.selectbox(key="defend.hunt.reference").set_value("scenes-rn").run()
    assert not page.warning
    page.button(key="defend.hunt.go").click().run()
    assert not page.exception
    shown = page.dataframe[-1].value
    assert set(shown["Trigger"]) == {"BadNet patch"}
    assert "Rise of scenes-rn (points)" in shown.columns
    assert "proves nothing" in page.warning[0].value
    page.selectbox(key="defend.hunt.kind").set_value("patch_image").run()
    page.button(key="defend.hunt.go").click().run()
    assert "no picture was chosen" in page.error[-1].value.lower()
