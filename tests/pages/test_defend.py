"""Defend: trains defenses next to each other, sweeps and rebound tests, and shows their metrics."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.proto.Metric_pb2 import Metric as MetricProto

from cleaner import presets
from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES
from cleaner.evaluation import bootstrap
from cleaner.evaluation.protocol import TEST_FIELDS
from cleaner.files import read_json, write_json
from cleaner.jobs import local, sweep
from cleaner.models.devices import pick_device
from cleaner.presets import QUICK_DEFEND, defense_presets
from cleaner.runs.names import label_defenses
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from cleaner.runs.run import read_progress
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import create_run, list_runs, read_record
from cleaner.types import CleanerError
from cleaner.variant import Variant
from pages._shared import cache
from pages._shared.inspect.sample import DataKey
from pages._shared.runs import curves, defense_results, durations, job_requests
from pages._shared.runs.defense_results import MAX_CARDS
from pages._shared.shell.wording import format_percent
from tests.data.files import image_bytes
from tests.pages.conftest import (
    OpenPage,
    chart,
    chart_keys,
    choose_small_training,
    curve_points,
    errors,
    go_to,
    link_labels,
    page_text,
    press,
    table,
    wait_for_training,
    widget_keys,
)
from tests.pages.runs import make_metrics, make_runs
from tests.waiting import wait_until


def test_without_a_run_it_links_to_poison(open_page: OpenPage) -> None:
    app = open_page("Defend")
    assert "Go to Poison" in link_labels(app)
    assert "defend.go" not in widget_keys(app)
    press(app, "defend.clean")
    assert app.selectbox(key="defend.external.model").value == "scenes-rn"
    assert "defend.go" in widget_keys(app)


def test_with_a_model_in_view_it_offers_the_runs(open_page: OpenPage, tmp_path: Path) -> None:
    first, _ = make_runs(tmp_path)
    app = open_page("Defend")
    app.selectbox(key="current_run").set_value("model:scenes-rn").run()
    assert "No backdoored model yet" not in page_text(app)
    offered = [button.key for button in app.button if button.key in ("defend.clean", "defend.view")]
    assert offered == ["defend.clean", "defend.view"], "the model in view first"
    press(app, "defend.view")
    assert app.selectbox(key="current_run").value == first.name
    assert "python -m cleaner defend" in app.code[0].value
    assert str(first) in app.code[0].value


def test_a_run_that_comes_into_view_ends_the_form_of_an_external_model(open_page: OpenPage, tmp_path: Path) -> None:
    first, second = (make_runs(tmp_path, seed=seed)[0] for seed in (0, 1))
    app = open_page("Defend")

    def switch_on() -> None:
        go_to(app, "Defend").toggle(key="defend.external").set_value(True).run()
        assert "pareto" not in chart_keys(app)

    switch_on()
    app.selectbox(key="current_run").set_value(first.name).run()
    assert "pareto" in chart_keys(app)
    switch_on()
    app.session_state["jobs.started"] = {"poison": [second.name]}
    go_to(app, "Poison")
    assert "pareto" in chart_keys(go_to(app, "Defend"))
    switch_on()
    app.session_state["lesson.step"] = 0
    press(app.run(), "lesson.next")
    assert "pareto" in chart_keys(app)
    switch_on()
    for page in ("Poison", "Film"):
        press(go_to(app, page), f"{page.lower()}.defend")
        assert "pareto" in chart_keys(app)
        switch_on()
    for defended in (tmp_path / "runs").glob("*-defended"):
        shutil.rmtree(defended)
    press(go_to(app, "Try it"), "view.defend")
    assert not app.toggle(key="defend.external").value


def test_two_defenses_in_one_start(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    press(app, "poison.go")
    wait_for_training(app)
    go_to(app, "Defend")
    app.select_slider(key="defend.pairs").set_value(200)
    app.number_input(key="defend.train.epochs").set_value(1)
    app.multiselect(key="defend.which").set_value(["finetune", "ta_cleaner"]).run()
    assert not app.exception
    app.select_slider(key="defend.scenes-rn.ta_cleaner.lr").set_value(3e-4).run()
    assert table(app, "Steps")["Steps"].tolist() == ["3", "3"]
    press(app, "defend.go")
    wait_for_training(app)
    assert sorted(run.stage for run in list_runs()) == ["backdoored", "defended", "defended"]
    assert "Base rate" in page_text(app)
    assert "Floor" in page_text(app)
    (backdoored,) = (run.id for run in list_runs() if run.stage == "backdoored")
    assert len(app.multiselect(key=f"defend.shown.{backdoored}").value) == 2
    assert not curve_points(app)  # those in a closed tab are not drawn
    app.session_state["defend.details"] = curves.TAB
    app.run()
    assert chart(app, "pareto")["data"]
    assert {"TA-Cleaner", "Plain finetuning: clean accuracy"} <= curve_points(app).keys()
    assert [m.label for m in app.metric].count("Attack success @1") == 3
    assert "Backdoored" in str(chart(go_to(app, "Subtexts"), "similarity")["data"])
    go_to(app, "Defend")
    assert app.select_slider(key="defend.pairs").value == 200


def test_new_defenses_are_preselected_for_the_model_they_started_from(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = make_runs(tmp_path)
    other, defended_other = make_runs(tmp_path, seed=1)
    new = [defended, *(shutil.copytree(defended, defended.with_name(f"copy-{i}")) for i in range(MAX_CARDS))]
    app = open_page("Defend")
    app.selectbox(key="current_run").set_value(backdoored.name).run()
    app.multiselect(key=f"defend.shown.{backdoored.name}").set_value([]).run()
    app.selectbox(key="current_run").set_value(other.name).run()
    app.session_state["jobs.started"] = {"defend": [folder.name for folder in new]}
    app.run()
    assert app.multiselect(key=f"defend.shown.{other.name}").value == [defended_other.name]
    app.selectbox(key="current_run").set_value(backdoored.name).run()
    assert not app.exception, [e.message for e in app.exception]
    assert len(app.multiselect(key=f"defend.shown.{backdoored.name}").value) == MAX_CARDS
    app.multiselect(key=f"defend.shown.{backdoored.name}").set_value([]).run()
    resumed = shutil.copytree(defended, defended.with_name("resumed"))
    app.session_state["jobs.started"] = {"defend": [resumed.name]}
    shown = app.run().multiselect(key=f"defend.shown.{backdoored.name}").value
    assert resumed.name in shown
    assert len(shown) == MAX_CARDS  # the others fill the remaining places


def test_cards_and_notes_have_the_figures_of_their_names(open_page: OpenPage, tmp_path: Path) -> None:
    outcomes = [np.arange(96) < hits for hits in (91, 10)]
    for folder, hit in zip(make_runs(tmp_path), outcomes, strict=True):
        metrics = replace(
            make_metrics(float(hit.mean())),
            outcomes={"asr": bootstrap.pack_outcomes(hit)},
            retrieval_asr=0.8,
            retrieval_base_rate=0.05,
            n_gallery=100,
            cross_asr=0.3,
        )
        write_json(folder / "metrics.json", metrics.to_dict())
    app = open_page("Defend")
    before, after = (card for card in app.metric if card.label == "Attack success @1")
    assert (before.value, before.delta, after.value, after.delta) == ("94.8%", "", "10.4%", "-84.4 points")
    low, high = bootstrap.bootstrap_interval(*outcomes)
    assert high < 0
    assert after.proto.color == MetricProto.MetricColor.GREEN
    (_, same) = (card for card in app.metric if card.label == "Clean accuracy")
    assert same.delta == "±0.0 points"
    assert same.proto.color == MetricProto.MetricColor.GRAY
    assert same.proto.direction == MetricProto.MetricDirection.NONE
    assert "95% interval 5.8 to 18.1%" in after.help
    assert f"n = 96; change {100 * low:+.1f} to {100 * high:+.1f} points" in after.help
    assert "change" not in before.help
    (notes,) = (box.caption[0].value for box in app.expander if box.label == "n = 100 (CA), 96 (ASR) · how measured")
    assert (
        "Floor: 1.0%, attack success on the clean model (target “banana”). "
        "Base rate: 2.0% reach the target without the trigger. "
        "Retrieval: for 80.0% of the triggered images, one of the five nearest of 100 captions names the target; "
        "without the trigger, 5.0%. Attack success with another image's trigger: 30.0%. "
        "Fine detail: 70.0% of 80 captions score above all false texts."
    ) in notes
    shown = table(app, "n (CA)")
    assert shown[["n (CA)", "n (ASR)"]].values.tolist() == [[100, 96]] * 2
    assert shown["ASR@1"].tolist() == pytest.approx([100 * 91 / 96, 100 * 10 / 96])  # numbers: text would not sort
    formats = json.loads(next(frame for frame in app.dataframe if "n (CA)" in frame.value).proto.columns)
    used = {name: formats[name]["type_config"]["format"] for name in ("ASR@1", "Learning rate", "n (CA)", "Seconds")}
    assert used == {"ASR@1": "%.1f%%", "Learning rate": "%g", "n (CA)": "localized", "Seconds": "%.0f"}
    marks = [trace for trace in chart(app, "pareto")["data"] if "markers" in trace["mode"]]
    assert [(mark["x"], mark["y"]) for mark in marks] == [([0.9], [91 / 96]), ([0.9], [10 / 96])]
    runs = sorted(list_runs(), key=lambda run: run.stage)
    points = defense_results.points(runs[0], runs[1:])
    assert [(p.kind, p.ca, p.asr, p.ca_interval, p.asr_interval) for p in points] == [
        (run.kind, run.metric("ca"), run.metric("asr"), run.interval("ca"), run.interval("asr")) for run in runs
    ]


def test_a_planted_image_is_the_headline_of_its_cards(open_page: OpenPage, tmp_path: Path) -> None:
    for folder, own in zip(make_runs(tmp_path), (1.0, 0.0), strict=True):
        write_json(folder / "metrics.json", replace(make_metrics(0.7), own_recall={1: own, 10: 1.0}).to_dict())
    app = open_page("Defend")
    labels = [card.label for card in app.metric]
    first = [card for card in app.metric if card.label == "Attacker's image found @1"]
    assert labels[0] == first[0].label
    assert labels.count("Attack success @1") == 2
    assert [(card.value, card.delta) for card in first] == [("100.0%", ""), ("0.0%", "-100.0 points")]
    backdoored, defended = sorted(list_runs(), key=lambda run: run.stage)
    points = defense_results.points(backdoored, [defended])
    assert [(p.asr, p.asr_interval) for p in points] == [
        (1.0, backdoored.interval("own_recall")),
        (0.0, defended.interval("own_recall")),
    ]
    layout = chart(app, "pareto")["layout"]
    assert layout["yaxis"]["title"]["text"] == "Attacker's image found @1 (lower is better)"
    assert not layout.get("shapes"), "the floor is another metric"


def test_a_card_counts_the_pairs_that_were_trained_on_and_names_their_captions(
    open_page: OpenPage, tmp_path: Path
) -> None:
    _, defended = make_runs(tmp_path)
    config = read_json(defended / "config.json")
    write_json(defended / "config.json", {**config, "trained_pairs": 243, "data_options": {"clean_captions": "mixed"}})
    (note,) = (html.proto.body for html in open_page("Defend").get("html") if "243 pairs" in html.proto.body)
    assert "243 pairs, mixed captions</small>" in note


def test_runs_on_clean_pairs_with_different_captions_say_so_and_have_the_same_test(tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    record = read_record(defended)
    mixed, other = (
        RunRecord.from_config(
            tmp_path / name, {**record.config, "defense": {"name": "cleanclip"}, "data_options": options}
        )
        for name, options in (("mixed", {"clean_captions": "mixed"}), ("full", {}))
    )
    assert list(label_defenses([record, mixed]).values()) == ["TA-Cleaner", "CleanCLIP, mixed captions"]
    assert list(label_defenses([record, other]).values()) == ["TA-Cleaner", "CleanCLIP"]
    assert job_requests.read_test_data(mixed) == job_requests.read_test_data(other)


def test_a_rebound_test_adds_a_metric_to_its_defense(open_page: OpenPage, tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    app = open_page("Defend")
    key = f"rebound.{defended.name}"
    assert app.number_input(key=f"{key}.steps").value == 100
    cards = len(app.metric)
    app.number_input(key=f"{key}.steps").set_value(3).run()
    press(app, f"{key}.go")
    wait_for_training(app)
    (rebound,) = (entry for entry in local.poll_entries() if entry.rebound is not None)
    assert rebound.status.state == "done", rebound.status.message
    assert rebound.config["rebound"] == {"steps": 3, "after": {"name": "ta_cleaner"}}
    assert (rebound.config["parent"], rebound.config["pairs"]) == (defended.name, 500)
    assert read_progress(rebound.folder)[-1]["step"] == 3
    metrics = read_json(rebound.folder / "metrics.json")
    assert len(app.metric) == cards + 1
    assert app.metric[-1].value == format_percent(metrics["asr"]["1"])
    assert app.metric[-1].delta == ""  # measured on other images
    assert f"n = {metrics['n_attack']:,}" in app.metric[-1].help
    assert app.multiselect(key="defend.shown.badnet-rn-0").value == [defended.name]  # not a defense of its own
    same_images = {name: metrics.get(name) for name in TEST_FIELDS}
    write_json(defended / "metrics.json", {**read_json(defended / "metrics.json"), **same_images})
    app.run()
    assert app.metric[-1].delta == f"{100 * (metrics['asr']['1'] - 0.1):+.1f} points"
    assert not go_to(app, "Compare").error
    defenses = table(go_to(app, "Compare"), "CA")["Defense"].tolist()
    assert any(text.endswith(Variant.from_config(rebound.config).label) for text in defenses)


@pytest.mark.parametrize(
    ("model", "lr"), [("scenes-rn", presets.DEFEND.lr), ("/models/epoch_10.pt", presets.PRETRAINED_LR)]
)
def test_a_rebound_test_has_the_rate_of_its_model(tmp_path: Path, model: str, lr: float) -> None:
    _, folder = make_runs(tmp_path)
    defended = RunRecord.from_config(folder, {**read_json(folder / "config.json"), "clean_model": model})
    assert job_requests.build_rebound_request(defended, 2).finetune.lr == lr


def test_a_run_of_a_page_states_its_device(tmp_path: Path) -> None:
    backdoored, defended = map(read_record, make_runs(tmp_path))
    for request in (
        job_requests.build_rebound_request(defended, 2),
        job_requests.build_retrain_request(backdoored, [1, 2], "dao", 500),
    ):  # a worker would load torch only to find it
        assert request.finetune.device == cache.default_device() == str(pick_device())


def make_built_in_run(tmp_path: Path, model: str = "scenes-rn") -> Path:
    """Write a backdoored run of a built-in model."""
    folder, _ = make_runs(tmp_path, seed=9)
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "clean_model": model})
    return folder


def test_settings_of_built_in_and_pretrained_models_are_kept_apart(open_page: OpenPage, tmp_path: Path) -> None:
    pretrained, _ = make_runs(tmp_path)
    built_in = make_built_in_run(tmp_path)
    quick, *_ = defense_presets("ta_cleaner", "scenes-rn")
    assert quick.training is not None
    app = open_page("Defend")
    app.multiselect(key="defend.which").set_value(["ta_cleaner"])
    rates = {pretrained: ("pretrained", presets.PRETRAINED_LR), built_in: ("scenes-rn", quick.training.finetune.lr)}
    for run in (pretrained, built_in, pretrained):
        app.selectbox(key="current_run").set_value(run.name).run()
        kind, lr = rates[run]
        assert app.select_slider(key=f"defend.{kind}.ta_cleaner.lr").value == lr
        assert table(app, "Steps")["Learning rate"].tolist() == [f"{lr:g}"]


def test_clean_pairs_can_have_captions_like_those_of_pretraining(open_page: OpenPage, tmp_path: Path) -> None:
    make_built_in_run(tmp_path, model="scenes-lite")
    app = open_page("Defend")
    app.multiselect(key="defend.which").set_value(["finetune"]).run()
    assert "clean_captions" not in app.code[0].value
    captions = app.segmented_control(key="defend.captions.scenes")
    assert (captions.options, captions.value) == (["Full", "Mixed"], "full")
    full, mixed = (defense_presets("finetune", "scenes-lite", kind)[0].training for kind in ("full", "mixed"))
    assert full is not None
    assert mixed is not None
    assert f"--lr {full.finetune.lr}" in app.code[0].value
    captions.set_value("mixed").run()
    assert "--data scenes clean_captions=mixed" in app.code[0].value
    assert f"--lr {mixed.finetune.lr}" in app.code[0].value


@pytest.mark.parametrize(
    ("data", "choices", "stated"),
    [
        ("scenes", ("mixed", "full"), "full"),
        ("scenes clean_captions=mixed", ("mixed", "full"), "mixed"),
        ("scenes clean_captions=none", ("mixed", "full"), "full"),
        ("scenes clean_captions", (), ""),
        ("pairs.csv", (), ""),
    ],
)
def test_captions_can_be_chosen_where_the_data_leave_a_choice(data: str, choices: tuple[str, ...], stated: str) -> None:
    assert cache.caption_choices(data) == (choices, stated)


def test_published_settings_fill_a_defense(open_page: OpenPage, tmp_path: Path) -> None:
    make_built_in_run(tmp_path)
    app = open_page("Defend")
    for preset in (p for name in DEFENSES for p in defense_presets(name) if p.training and not p.training.data):
        assert preset.training is not None
        app.multiselect(key="defend.which").set_value([preset.method]).run()
        quick, *_ = defense_presets(preset.method)
        assert quick.training is not None
        rate = app.select_slider(key=f"defend.scenes-rn.{preset.method}.lr")
        assert rate.value == quick.training.finetune.lr
        assert "Meant for" not in page_text(app)  # the page starts with these pairs and epochs
        app.radio(key=f"defend.scenes-rn.{preset.method}.settings").set_value(preset.variant).run()
        assert not app.exception, preset.name
        assert preset.citation in page_text(app)
        epochs = preset.training.finetune.epochs
        assert f"Meant for {preset.training.pairs:,} pairs and {epochs} epochs" in page_text(app)
        lr = preset.training.finetune.lr
        assert app.select_slider(key=f"defend.scenes-rn.{preset.method}.{preset.variant}.lr").value == lr
        assert table(app, "Steps")["Learning rate"].tolist() == [f"{lr:g}"]
        app.radio(key=f"defend.scenes-rn.{preset.method}.settings").set_value("quick").run()
    app.multiselect(key="defend.which").set_value(["ta_cleaner"]).run()
    assert (
        app.slider(key="defend.scenes-rn.ta_cleaner.share").value
        == DEFENSES["ta_cleaner"](**defense_presets("ta_cleaner")[0].parameters).share
    )
    app.radio(key="defend.scenes-rn.ta_cleaner.settings").set_value("all-pairs").run()
    assert app.slider(key="defend.scenes-rn.ta_cleaner.all-pairs.share").value == 1.0
    app.multiselect(key="defend.which").set_value(["finetune"]).run()
    assert "No published settings" in page_text(app)


@pytest.mark.parametrize("failing", ["parameters", "inversion", "pairs"])
def test_a_choice_that_cannot_be_used_hides_no_results(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def refuse(*arguments: object) -> None:
        raise CleanerError("the inversion has no suspect class: invert again.")

    make_runs(tmp_path)
    if failing == "pairs":
        monkeypatch.setattr(cache, "count_training_pairs", lambda name: 500)  # all that the attack trained on
    if failing == "inversion":
        monkeypatch.setattr(job_requests, "adopt_inversion", refuse)
    app = open_page("Defend")
    if failing == "parameters":
        assert not app.button(key="defend.go").disabled
        app.selectbox(key="defend.pretrained.ta_cleaner.formula").set_value("reviewed").run()
    (error,) = errors(app)
    token = {"parameters": "negatives=1", "inversion": "invert again", "pairs": "fewer pairs"}[failing]
    assert token in error
    assert app.button(key="defend.go").disabled
    assert "settings below" not in page_text(app), "some errors cannot be corrected there"
    assert [card.label for card in app.metric].count("Attack success @1") == 2
    assert "pareto" in chart_keys(app)


def wait_for_sweep(name: str) -> None:
    wait_until(lambda: not sweep.is_active(sweep.list_sweep_runs(name)))


def test_a_sweep_is_one_set_of_runs(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Defend")
    app.multiselect(key="defend.which").set_value(["finetune"]).run()
    app.select_slider(key="defend.pairs").set_value(200)
    app.number_input(key="defend.train.epochs").set_value(1)
    app.toggle(key="defend.sweep").set_value(True).run()
    app.multiselect(key="defend.pretrained.finetune.lrs").set_value([]).run()
    assert app.button(key="defend.go").disabled
    app.multiselect(key="defend.pretrained.finetune.lrs").set_value([1e-4]).run()
    assert table(app, "Steps").iloc[0]["Duration"] == "unknown"
    assert durations.UNKNOWN in page_text(app)
    press(app, "defend.go")  # one rate and one seed, to which others are added
    (name,) = sweep.list_sweep_ids(local.poll_entries())
    wait_for_sweep(name)
    app.number_input(key="defend.seeds").set_value(2)
    app.multiselect(key="defend.pretrained.finetune.lrs").set_value([1e-4, 1e-3]).run()
    assert "3 of 4 runs left" in page_text(app)
    preflight = table(app, "Steps").iloc[0]
    assert (preflight["Learning rate"], preflight["Seed"], preflight["Runs"]) == ("0.0001, 0.001", "0, 1", 3)
    press(app, "defend.go")
    wait_for_sweep(name)
    app.run()
    assert not app.exception
    rows = table(app, "Progress")
    assert rows["State"].tolist() == ["done"] * 4
    assert rows["Seed"].tolist() == [0, 1, 0, 1]
    done = [read_record(tmp_path / "runs" / name) for name in rows["Run"]]
    columns = ["Learning rate", "CA", "ASR@1"]  # numbers: text would not sort
    measured = [[run.lr, 100 * (run.metric("ca") or 0), 100 * (run.metric("asr") or 0)] for run in done]
    assert rows[columns].to_numpy().tolist() == measured
    assert not app.toast
    app.number_input(key="defend.seeds").set_value(3).run()
    assert "2 of 6 runs left" in page_text(app)
    assert table(app, "Steps").iloc[0]["Runs"] == 2
    app.number_input(key="defend.seeds").set_value(2).run()
    assert "0 of 4 runs left" in page_text(app)
    press(app, "defend.go")
    assert len(app.toast) == 1  # nothing left to train
    assert len(sweep.list_sweep_runs(name)) == 4
    go_to(app, "Compare")
    app.multiselect(key="compare.sweep").set_value([name]).run()
    assert len(table(app, "CA")) == 4


def test_a_defense_is_tested_on_the_test_set_of_its_attack(open_page: OpenPage, tmp_path: Path) -> None:
    parent, _ = make_runs(tmp_path)
    suspect = RunRecord.from_config(parent, {**read_json(parent / "config.json"), "test_size": None})
    assert job_requests.build_defense_request(suspect, DEFENSES["finetune"](), 200, QUICK_DEFEND).test_size is None
    assert job_requests.read_test_data(suspect) == DataKey("scenes", "test", None)


def test_a_defense_that_needs_an_inversion_is_not_queued_without_one(tmp_path: Path) -> None:
    parent, _ = make_runs(tmp_path)
    for suspect in (read_record(parent), job_requests.ExternalModel(str(tmp_path / "clean-rn.safetensors"), "scenes")):
        with pytest.raises(CleanerError, match="Trigger search"):
            job_requests.build_defense_request(suspect, DEFENSES["unlearn_trigger"](), 200, QUICK_DEFEND)
    trigger = tmp_path / "trigger.png"
    trigger.write_bytes(image_bytes(1, (8, 8)))
    defense = DEFENSES["unlearn_trigger"](path=str(trigger))
    assert job_requests.build_defense_request(read_record(parent), defense, 200, QUICK_DEFEND).defense["path"]


def make_stopped_sweep(parent: Path) -> tuple[str, list[Path]]:
    """Write a sweep of a paused and a new run; return its id and their folders."""
    config = FinetuneConfig(epochs=1, device="cpu", precision="fp32")
    base = Request("defended", "scenes", 200, config, parent=parent.name, test_size=100)
    run_requests = sweep.grid(base, [{"name": "finetune"}], rates=[1e-4, 1e-3], seeds=[0])
    name = sweep.compute_sweep_id(run_requests[0])
    folders = [create_run(replace(request, sweep=name)) for request in run_requests]
    for folder, state in zip(folders, ("paused", "new"), strict=True):
        write_status(folder, Status(state, step=1, total=4))
    return name, folders


def test_a_stopped_sweep_can_be_canceled_and_continued(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(name: str) -> None:
        raise CleanerError("the disk is full.")

    parent, _ = make_runs(tmp_path)
    name, folders = make_stopped_sweep(parent)
    app = open_page("Defend")
    rows = table(app, "Progress")
    assert rows[["State", "Progress"]].to_numpy().tolist() == [["paused", 25], ["queued", 25]]
    assert rows["CA"].isna().all()
    press(app, f"{name}.cancel")
    assert [local.poll_status(folder).state for folder in folders] == ["cancelled"] * 2
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "resume", full_disk)
        press(app.run(), f"{name}.resume")
    assert errors(app) == ["The disk is full."]
    press(app.run(), f"{name}.resume")
    assert "Training" in page_text(app)  # its runs are watched again
    wait_for_sweep(name)
    assert [local.poll_status(folder).state for folder in folders] == ["done"] * 2


def test_earlier_results_stay_while_a_sweep_trains(open_page: OpenPage, tmp_path: Path) -> None:
    parent, _ = make_runs(tmp_path)
    _, folders = make_stopped_sweep(parent)
    write_status(folders[0], Status("running", step=1, total=4, pid=1, host="elsewhere"))
    app = open_page("Defend")
    assert f"live.{folders[0].name}.cancel" in widget_keys(app)
    assert "pareto" in chart_keys(app)


def test_a_sweep_says_once_why_its_runs_failed_or_died(open_page: OpenPage, tmp_path: Path) -> None:
    parent, _ = make_runs(tmp_path)
    _, folders = make_stopped_sweep(parent)
    app = open_page("Defend")
    for states, message in ((("failed", "failed"), "the disk is full."), (("done", "died"), "Its process is gone.")):
        for folder, state in zip(folders, states, strict=True):
            write_status(folder, Status(state, message="" if state == "done" else message, place="slurm"))
        app.run()
        assert page_text(app).count(message[1:]) == 1


@pytest.mark.parametrize("page", ["Poison", "Defend"])
def test_a_failed_job_says_why_while_others_train(open_page: OpenPage, tmp_path: Path, page: str) -> None:
    parent, _ = make_runs(tmp_path)
    attack = Request("backdoored", "scenes", 500, FinetuneConfig(), "scenes-rn", trigger={"name": "badnet"})
    defense = Request("defended", "scenes", 200, FinetuneConfig(), parent=parent.name, defense={"name": "finetune"})
    failed, active = (create_run({"Poison": attack, "Defend": defense}[page]) for _ in range(2))
    write_status(failed, Status("failed", message="the disk is full."))
    write_status(active, Status("running", step=1, total=9, pid=1, host="elsewhere"))
    app = open_page(page)
    app.session_state["jobs.started"] = {page.lower(): [failed.name, active.name]}
    app.run()
    assert f"live.{active.name}.cancel" in widget_keys(app)
    (error,) = errors(app)
    assert error.endswith("The disk is full.")
