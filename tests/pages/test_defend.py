"""Defend: says what to do without a run; trains defences side by side; shows figures with what they stand on."""

import json
import time
from dataclasses import replace
from pathlib import Path

from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES
from cleaner.files import read_json, write_json
from cleaner.jobs import local, sweep
from cleaner.presets import DEMO_DEFEND, PUBLISHED_DEFENSES
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from cleaner.runs.store import Status, create_run, list_runs, read_progress, write_status
from pages._shared import requests
from tests.pages.conftest import OpenPage, choose_small_training, go_to, page_text, wait_for_training
from tests.pages.runs import make_runs


def test_without_a_run_it_says_what_to_do(open_page: OpenPage) -> None:
    app = open_page("Defend")
    assert "no backdoored model yet" in page_text(app)


def test_two_defences_side_by_side(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.button(key="poison.go").click().run()
    wait_for_training(app)
    go_to(app, "Defend")
    app.select_slider(key="defend.pairs").set_value(200)
    app.number_input(key="defend.train.epochs").set_value(1)
    app.multiselect(key="defend.which").set_value(["finetune", "ta_cleaner"]).run()
    assert not app.exception
    app.select_slider(key="defend.ta_cleaner.lr").set_value(3e-4).run()
    assert app.dataframe[0].value["Steps"].tolist() == ["3", "3"]
    app.button(key="defend.go").click().run()
    wait_for_training(app)
    stages = [run.stage for run in list_runs()]
    assert sorted(stages) == ["backdoored", "defended", "defended"]
    assert "Is the backdoor gone" in page_text(app)
    assert "Base rate" in page_text(app)
    assert "Floor" in page_text(app)
    charts = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    assert any("lower is better" in str(chart["layout"]["yaxis"]["title"]) for chart in charts)
    assert [m.label for m in app.metric].count("Attack success @1") == 3
    go_to(app, "Subtexts")
    assert "Backdoored" in page_text(app)
    go_to(app, "Defend")
    assert app.select_slider(key="defend.pairs").value == 200


def test_a_rebound_test_is_one_more_line_of_its_defence(open_page: OpenPage, tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    app = open_page("Defend")
    key = f"rebound.{defended.name}"
    assert app.number_input(key=f"{key}.steps").value == 100
    app.number_input(key=f"{key}.steps").set_value(3).run()
    app.button(key=f"{key}.go").click().run()
    assert not app.exception
    wait_for_training(app)
    (again,) = (entry for entry in local.poll_entries() if entry.rebound)
    assert again.status.state == "done", again.status.message
    assert again.config["rebound"] == {"steps": 3, "after": {"name": "ta_cleaner"}}
    assert (again.config["parent"], again.config["pairs"]) == (defended.name, 500)
    assert read_progress(again.folder)[-1]["step"] == 3
    line = next(m for m in app.metric if m.label == "Attack success @1 after 3 harmless steps")
    after = read_json(again.folder / "metrics.json")
    assert line.value == f"{100 * after['asr']['1']:.1f} %"
    assert f"n = {after['n_attack']:,}" in page_text(app)
    assert app.multiselect(key="defend.shown.badnet-rn-0").value == [defended.name]  # it is no defence of its own
    same = {name: after[name] for name in ("n", "n_attack", "data")}
    write_json(defended / "metrics.json", {**read_json(defended / "metrics.json"), **same})
    app.run()
    line = next(m for m in app.metric if "harmless" in m.label)
    assert line.delta == f"{100 * (after['asr']['1'] - 0.1):+.1f} points"
    assert not go_to(app, "Compare").error
    assert "TA-Cleaner, then rebound (3 steps)" in app.dataframe[0].value["Defence"].tolist()


def test_a_rebound_test_can_be_paused_and_go_on(open_page: OpenPage, tmp_path: Path) -> None:
    _, folder = make_runs(tmp_path)
    app = open_page("Defend")
    defended = RunRecord.from_config(folder, read_json(folder / "config.json"))
    stopped = create_run(requests.build_rebound_request(defended, 2))
    write_status(stopped, Status("paused", step=1, total=2))
    app.run()
    assert "TA-Cleaner, then rebound (2 steps)" in page_text(app).replace("\\", "")
    app.button(key=f"waiting.{stopped.name}.resume").click().run()
    wait_for_training(app)
    assert local.poll_status(stopped).state == "done"
    assert any(m.label == "Attack success @1 after 2 harmless steps" for m in app.metric)


def test_published_settings_fill_a_defence(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Defend")
    for preset in PUBLISHED_DEFENSES:
        assert preset.training is not None
        app.multiselect(key="defend.which").set_value([preset.method]).run()
        assert app.select_slider(key=f"defend.{preset.method}.lr").value == DEMO_DEFEND.lr
        app.radio(key=f"defend.{preset.method}.settings").set_value(preset.variant).run()
        assert not app.exception, preset.name
        assert preset.citation in page_text(app).replace("\\", "")
        lr = preset.training.finetune.lr
        assert app.select_slider(key=f"defend.{preset.name.replace('-', '.')}.lr").value == lr
        assert app.dataframe[0].value["Learning rate"].tolist() == [f"{lr:g}"]
        app.radio(key=f"defend.{preset.method}.settings").set_value("scenes").run()
    app.multiselect(key="defend.which").set_value(["ta_cleaner"]).run()
    assert app.slider(key="defend.ta_cleaner.share").value == DEFENSES["ta_cleaner"]().share
    app.radio(key="defend.ta_cleaner.settings").set_value("all-pairs").run()
    assert app.slider(key="defend.ta_cleaner.all-pairs.share").value == 1.0
    app.multiselect(key="defend.which").set_value(["finetune"]).run()
    assert "Published settings: not stated" in page_text(app).replace("\\", "")


def test_a_sweep_is_one_set_of_runs(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Defend")
    app.multiselect(key="defend.which").set_value(["finetune"]).run()
    app.select_slider(key="defend.pairs").set_value(200)
    app.number_input(key="defend.train.epochs").set_value(1)
    app.toggle(key="defend.sweep").set_value(True).run()
    app.number_input(key="defend.seeds").set_value(2)
    app.multiselect(key="defend.finetune.lrs").set_value([]).run()
    assert app.button(key="defend.go").disabled
    app.multiselect(key="defend.finetune.lrs").set_value([1e-4, 1e-3]).run()
    before = app.dataframe[0].value.iloc[0]
    assert (before["Learning rate"], before["Seed"], before["Runs"]) == ("0.0001, 0.001", "0, 1", 4)
    assert "4 runs, about" in page_text(app)
    app.button(key="defend.go").click().run()
    (name,) = sweep.list_sweep_ids(local.poll_entries())
    while sweep.is_active(sweep.list_sweep_runs(name)):
        time.sleep(0.05)
    app.run()
    assert not app.exception
    shown = next(d.value for d in app.dataframe if "Progress" in d.value)
    assert shown["State"].tolist() == ["done"] * 4
    assert shown["Seed"].tolist() == [0, 1, 0, 1]
    assert all("%" in figure for figure in shown["ASR@1"])
    assert "Test figures of finished runs only" in page_text(app)
    assert not app.toast
    app.button(key="defend.go").click().run()
    assert "All runs of this sweep are done" in app.toast[0].value
    assert len(sweep.list_sweep_runs(name)) == 4
    go_to(app, "Compare")
    app.multiselect(key="compare.Sweep").set_value([name]).run()
    assert len(app.dataframe[0].value) == 4


def test_a_defence_is_tested_on_all_pictures_where_its_attack_was(open_page: OpenPage, tmp_path: Path) -> None:
    parent, _ = make_runs(tmp_path)
    suspect = RunRecord.from_config(parent, {**read_json(parent / "config.json"), "test_size": None})
    assert requests.build_defense_request(suspect, DEFENSES["finetune"](), 200, DEMO_DEFEND).test_size is None


def test_a_sweep_that_stands_still_can_go_on_or_be_cancelled(open_page: OpenPage, tmp_path: Path) -> None:
    parent, _ = make_runs(tmp_path)
    config = FinetuneConfig(epochs=1, device="cpu", precision="fp32")
    base = Request("defended", "scenes", 200, config, parent=parent.name, test_size=100)
    requests = sweep.grid(base, [{"name": "finetune"}], rates=[1e-4, 1e-3], seeds=[0])
    name = sweep.compute_sweep_id(requests[0])
    folders = [create_run(replace(request, sweep=name)) for request in requests]
    for folder, state in zip(folders, ("paused", "new"), strict=True):
        write_status(folder, Status(state, step=1, total=4))
    app = open_page("Defend")
    shown = next(d.value for d in app.dataframe if "Progress" in d.value)
    assert shown[["State", "Progress", "CA"]].to_numpy().tolist() == [
        ["paused", 25, "–"],
        ["waits", 25, "–"],
    ]
    app.button(key=f"{name}.cancel").click().run()
    assert [local.poll_status(folder).state for folder in folders] == ["cancelled"] * 2
    app.button(key=f"{name}.resume").click().run()
    while sweep.is_active(sweep.list_sweep_runs(name)):
        time.sleep(0.05)
    assert [local.poll_status(folder).state for folder in folders] == ["done"] * 2
