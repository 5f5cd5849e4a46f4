"""An external model on the Defend page: opened on request only, no attack success without a trigger, a scan."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from cleaner.config import FinetuneConfig
from cleaner.files import file_sha256, shipped_assets
from cleaner.jobs import local, sweep
from cleaner.models.clip import save_clip
from cleaner.runs.request import Request
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import create_run, list_runs, read_record
from pages._shared.runs import external_model
from tests.conftest import make_clip
from tests.pages.conftest import (
    OpenPage,
    choose_own_data,
    choose_own_model,
    errors,
    finish_work,
    go_to,
    page_text,
    press,
    table,
    wait_for_training,
    widget_keys,
)
from tests.pages.runs import make_metrics, make_runs
from tests.waiting import wait_until

UNKNOWN = "unknown"


@pytest.fixture
def page(open_page: OpenPage, tmp_path: Path) -> AppTest:
    clip = make_clip(seed=3)
    clip.name = "epoch_10"
    save_clip(clip, tmp_path / "epoch_10.safetensors")
    app = open_page("Defend")
    app.toggle(key="defend.external").set_value(True).run()
    return app


def choose(app: AppTest, path: Path) -> AppTest:
    return choose_own_model(app, "defend.external.model", path)


def choose_small_defense(app: AppTest, name: str) -> None:
    app.select_slider(key="defend.pairs").set_value(200)
    app.number_input(key="defend.train.epochs").set_value(1)
    app.multiselect(key="defend.which").set_value([name]).run()


def test_a_file_is_described_before_it_is_opened(page: AppTest, tmp_path: Path) -> None:
    assert "defend.external.open" not in widget_keys(page)
    choose(page, tmp_path / "epoch_10.safetensors")
    assert file_sha256(tmp_path / "epoch_10.safetensors") in page_text(page)
    assert not page.metric
    press(page, "defend.external.open")
    assert "million parameters" in page_text(page)
    assert [m.label for m in page.metric] == ["Clean accuracy"]
    assert "95% interval" in page_text(page)


def test_a_mistyped_path_is_no_model_to_download(page: AppTest, tmp_path: Path) -> None:
    (error,) = errors(choose(page, tmp_path / "epoch_11.safetensors"))
    assert "There is no file" in error
    assert "download" not in page_text(page)
    assert "defend.external.open" not in widget_keys(page)


def test_an_invalid_file_ends_in_one_message(page: AppTest, tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"PK nothing")
    press(choose(page, tmp_path / "broken.safetensors"), "defend.external.open")
    (error,) = errors(page)
    assert "broken" in error
    assert "cancel.go.open model" not in widget_keys(page)
    save_clip(make_clip(seed=3), tmp_path / "broken.safetensors")
    press(page, "defend.external.open")
    assert not errors(page), "a mended file opens with the same button"


def test_a_file_of_this_project_starts_with_the_rates_of_its_model(page: AppTest, tmp_path: Path) -> None:
    shutil.copy(shipped_assets() / "scenes-lite" / "model.safetensors", tmp_path / "cleaned.safetensors")
    for name, prefix in (("cleaned", "scenes-lite"), ("epoch_10", "pretrained")):
        choose(page, tmp_path / f"{name}.safetensors")
        kinds = {key.split(".")[1] for key in widget_keys(page) if key.endswith(".lr")}
        assert kinds == {prefix}


def test_a_double_click_opens_a_file_once(page: AppTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = st.button

    def click_twice(*options: Any, on_click: Any = None, **more: Any) -> bool:
        is_open = more.get("key") == "defend.external.open"
        return draw(*options, on_click=(lambda *a: [on_click(*a), on_click(*a)]) if is_open else on_click, **more)

    monkeypatch.setattr(st, "button", click_twice)
    (tmp_path / "broken.safetensors").write_bytes(b"PK nothing")
    press(choose(page, tmp_path / "broken.safetensors"), "defend.external.open")
    assert len(errors(page)) == 1
    assert not errors(page.run())
    assert "defend.external.open" in widget_keys(page)


def test_an_overlong_path_ends_in_one_message(page: AppTest, tmp_path: Path) -> None:
    choose(page, tmp_path / f"{'x' * 300}.pt")
    assert not page.exception, [e.message for e in page.exception]
    assert len(errors(page)) == 1


def test_a_model_that_cannot_be_read_hides_no_other_part(page: AppTest, tmp_path: Path) -> None:
    folder = tmp_path / "no weights"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text("{}")
    choose(page, folder)
    assert len(errors(page)) == 1
    assert "defend.audit" not in widget_keys(page)
    assert "defend.external.open" not in widget_keys(page)
    choose_own_model(go_to(page, "Poison"), "poison.model", folder)
    assert "poison.go" in widget_keys(page)
    assert "poison.device" in widget_keys(page), "the settings below stay"


def test_it_is_defended_without_an_attack_success(page: AppTest, tmp_path: Path) -> None:
    choose(page, tmp_path / "epoch_10.safetensors")
    choose_small_defense(page, "ta_cleaner")
    press(page, "defend.go")
    wait_for_training(page)
    (config,) = (run.config for run in list_runs())
    assert config["stage"] == "defended"
    assert config["parent"] is None
    results = table(page, "Attack success")
    assert results["Attack success"].tolist() == [UNKNOWN]
    numbers = results[["Learning rate", "Clean accuracy", "Fine detail"]].iloc[0].tolist()
    shares = (100 * (list_runs()[0].metric(name) or 0) for name in ("ca", "counterfactual_accuracy"))
    assert numbers == [list_runs()[0].lr, *shares]
    assert "Change" not in results
    assert "Measured on scenes/test, n = " in page_text(page)
    press(page, "defend.external.open")
    before, after = table(page, "Attack success").to_dict("records")
    assert before["Defense"] == "Not defended"
    assert before["n"] == after["n"]
    assert after["Change"].endswith("points"), "the same images"
    frame = next(frame for frame in page.dataframe if "Attack success" in frame.value)
    assert json.loads(frame.proto.columns)["Seconds"]["type_config"]["format"] == "%.0f"
    assert "jobs" not in page.run().query_params, "its result is seen"
    go_to(go_to(page, "Compare"), "Defend")
    assert page.text_input(key="defend.external.model.path").value == str(tmp_path / "epoch_10.safetensors")
    other = create_run(Request("defended", "scenes", 200, FinetuneConfig(), "scenes-rn", defense={"name": "finetune"}))
    write_status(other, Status("running", step=1, total=9, pid=1, host="elsewhere"))
    assert len(table(page.run(), "Attack success")) == 2, "also while others train"
    save_clip(make_clip(seed=4), tmp_path / "epoch_10.safetensors")
    page.run()
    assert "1 defense started from an earlier version of this file" in page_text(page)
    with pytest.raises(StopIteration):
        table(page, "Attack success")
    (tmp_path / "epoch_10.safetensors").unlink()
    assert len(table(page.run(), "Attack success")) == 1, "shown without the model"
    assert not page.exception


def test_a_change_in_accuracy_needs_the_same_images(tmp_path: Path) -> None:
    run, before = read_record(make_runs(tmp_path)[1]), make_metrics(0.1, ca=0.95)
    assert external_model._make_row(run, before)["Change"] == "-5.0 points"
    assert external_model._make_row(run, replace(before, n=50))["Change"] == "different test data"


def test_a_wrong_path_of_the_data_hides_no_other_part(page: AppTest, tmp_path: Path) -> None:
    choose(page, tmp_path / "epoch_10.safetensors")
    choose_own_data(page, "defend.external.data", tmp_path / "missing")
    assert len(errors(page)) == 1
    assert "defend.external.open" in widget_keys(page)


def test_it_can_be_swept(page: AppTest, tmp_path: Path) -> None:
    choose(page, tmp_path / "epoch_10.safetensors")
    choose_small_defense(page, "finetune")
    page.toggle(key="defend.sweep").set_value(True).run()
    page.number_input(key="defend.seeds").set_value(2).run()
    press(page, "defend.go")
    (name,) = sweep.list_sweep_ids(local.poll_entries())
    wait_until(lambda: not sweep.is_active(sweep.list_sweep_runs(name)))
    page.run()
    rows = table(page, "Progress")
    assert rows["State"].tolist() == ["done"] * 2
    assert rows["ASR@1"].isna().all()


def test_the_scan_has_rows_with_intervals_and_a_warning(page: AppTest, tmp_path: Path) -> None:
    choose(page, tmp_path / "epoch_10.safetensors")
    press(page, "defend.audit")
    assert [title.value for title in page.title] == ["Trigger search"]
    go_to(page, "Trigger search")  # a test's page follows the switch for one run only
    page.segmented_control(key=f"search.method.{tmp_path / 'epoch_10.safetensors'}").set_value("scan").run()
    page.selectbox(key="search.scan.kind").set_value("badnet")
    page.select_slider(key="search.scan.n").set_value(100)
    page.selectbox(key="search.scan.reference").set_value("scenes-rn").run()
    assert not page.warning
    finish_work(press(page, "search.scan.go"))
    rows = table(page, "Increase (points)")
    assert set(rows["Trigger"]) == {"BadNet patch"}
    assert rows["Increase (points)"].tolist() == pytest.approx((rows["With"] - rows["Without"]).tolist())
    assert all(" to " in value for value in rows["95% interval"])
    assert "Increase, scenes-rn" in rows.columns
    assert len(page.warning) == 1
    page.selectbox(key="search.scan.kind").set_value("patch_image").run()
    finish_work(press(page, "search.scan.go"))
    assert len(page.error) == 1  # no image file
