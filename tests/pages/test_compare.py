"""Compare: all runs, filters, means over seeds, the project's benchmark."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cleaner.files import write_json
from cleaner.labels import NO_DEFENSE
from cleaner.plots.styles import find_style
from cleaner.runs.store import annotate
from cleaner.variant import Variant
from tests.pages.conftest import (
    OpenPage,
    chart,
    chart_keys,
    go_to,
    link_labels,
    page_text,
    table,
    widget_keys,
)
from tests.pages.runs import make_metrics, make_runs

NO_DEFENSE_LABEL = Variant().label


def test_without_runs_it_links_to_poison(open_page: OpenPage) -> None:
    app = open_page("Compare")
    assert "Go to Poison" in link_labels(app)
    assert not app.dataframe
    assert "compare.weights_of" not in widget_keys(app)


def test_table_filters_and_heatmap(open_page: OpenPage, tmp_path: Path) -> None:
    for trigger, seed in (("badnet", 0), ("badnet", 1), ("sig", 0)):
        make_runs(tmp_path, trigger=trigger, seed=seed)
    app = open_page("Compare")
    assert len(app.dataframe[0].value) == 6
    heat, text = chart(app, "compare.heatmap")["data"]
    assert heat["x"] == ["BadNet patch", "Sine wave<br>(SIG)"]
    assert heat["y"] == [NO_DEFENSE_LABEL, "TA-Cleaner"]
    assert heat["z"] == [pytest.approx([0.95, 0.95]), pytest.approx([0.15, 0.1])]
    cells = dict(zip(zip(text["x"], text["y"], strict=True), text["text"], strict=True))
    assert cells["BadNet patch", "TA-Cleaner"] == "15.0%<br>[10.0, 20.0]<br>2 seeds"
    app.multiselect(key="compare.attack").set_value(["sig"]).run()
    assert len(app.dataframe[0].value) == 2
    app.multiselect(key="compare.defense").set_value(["none"]).run()
    assert table(app, "CA")["Defense"].tolist() == [f"✖ {NO_DEFENSE_LABEL}"]
    assert len(app.warning) == 1  # the exported model is backdoored
    form = next(box for box in app.selectbox if str(box.key).startswith("compare.format."))
    assert form.options == ["safetensors"]
    assert not app.exception


def test_a_filter_keeps_its_values_while_another_one_leaves_no_run(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path, trigger="badnet", seed=0)
    make_runs(tmp_path, trigger="sig", seed=1)
    app = open_page("Compare")
    assert "of 4 runs" not in page_text(app)
    app.multiselect(key="compare.attack").set_value(["badnet"]).run()
    assert "2 of 4 runs" in page_text(app)
    app.multiselect(key="compare.seed").set_value(["1"]).run()
    assert not app.dataframe
    assert app.multiselect(key="compare.attack").value == ["badnet"]
    app.multiselect(key="compare.seed").set_value([]).run()
    assert "2 of 4 runs" in page_text(app)
    assert len(app.dataframe[0].value) == 2


def test_settings_of_a_defense_are_compared_at_equal_accuracy(open_page: OpenPage, tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    assert "compare.equal" not in chart_keys(open_page("Compare"))
    other = shutil.copytree(defended, defended.with_name("other"))
    config = json.loads((other / "config.json").read_text())
    config["finetune"]["lr"] = 1e-3
    (other / "config.json").write_text(json.dumps(config))
    metrics = json.loads((other / "metrics.json").read_text()) | {"ca": {"1": 0.88}, "asr": {"1": 0.02}}
    (other / "metrics.json").write_text(json.dumps(metrics))
    app = open_page("Compare")
    app.multiselect(key="compare.defense").set_value(["ta_cleaner"]).run()
    (line,) = (trace for trace in chart(app, "compare.equal")["data"] if trace.get("mode") == "lines")
    lowest = dict(zip(line["x"], line["y"], strict=True))
    assert (lowest[0.0], lowest[0.02]) == (0.1, 0.02), "the backdoored run is found although the filter hides it"


def test_the_table_has_ten_columns_and_all_of_them_on_demand(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Compare")
    assert "Dashed" not in page_text(app), "one defense has no line of best trade-offs"
    shown = list(app.dataframe[0].value)
    assert len(shown) == 10
    assert {"Defense", "ASR@1", "n (ASR)", "CA", "n (CA)", "Run"} < set(shown)
    counted = app.dataframe[0].value
    assert counted[["n (CA)", "n (ASR)"]].values.tolist() == [[100, 96]] * 2
    assert sorted(counted[["CA", "ASR@1"]].values.tolist()) == [[90, 10], [90, 95]]
    app.toggle(key="compare.all_columns").set_value(True).run()
    assert set(shown) < set(app.dataframe[0].value)
    assert {"ASR@3", "RA", "Floor", "Protocol", "n (CA)"} <= set(app.dataframe[0].value)
    assert set(app.dataframe[0].value["Defense"]) == {
        f"{find_style(name).sign} {Variant(defense).label}"
        for name, defense in (("ta_cleaner", "ta_cleaner"), ("backdoored", NO_DEFENSE))
    }


def test_runs_have_the_names_and_tags_that_users_give(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = make_runs(tmp_path)
    app = open_page("Compare")
    assert "Name" not in app.dataframe[0].value
    assert "compare.tag" not in widget_keys(app)
    for run, tags in ((backdoored, ["talk"]), (defended, ["talk", "weak"])):
        annotate(run, name="few pairs", note="a note", tags=tags)
    app = open_page("Compare")
    assert app.dataframe[0].value["Name"].tolist() == ["few pairs"] * 2
    for run in (backdoored, defended):  # both have one name: the box still tells them apart
        app.selectbox(key="compare.weights_of").set_value(run.name).run()
        assert app.selectbox(key="compare.weights_of").value == run.name
    app.toggle(key="compare.all_columns").set_value(True).run()
    app.multiselect(key="compare.tag").set_value(["weak"]).run()
    (row,) = app.dataframe[0].value.to_dict("records")
    assert (row["Tags"], row["Note"], row["Run"]) == ("talk, weak", "a note", defended.name)
    assert (row["Pairs"], row["Epochs"], row["Poison rate"]) == (500, 1, 2)


def test_the_run_to_export_survives_a_page_switch_and_yields_to_a_filter(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = make_runs(tmp_path)
    app = open_page("Compare")
    app.selectbox(key="compare.weights_of").set_value(defended.name).run()
    go_to(go_to(app, "Overview"), "Compare")
    assert app.selectbox(key="compare.weights_of").value == defended.name
    app.multiselect(key="compare.defense").set_value(["none"]).run()
    assert not app.exception
    assert app.selectbox(key="compare.weights_of").value == backdoored.name


def test_weights_that_still_have_the_backdoor_have_a_warning(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = make_runs(tmp_path)
    app = open_page("Compare")
    for run, asr, share in ((defended, 0.1, ""), (defended, 0.852, "85.2%"), (backdoored, 0.95, "95.0%")):
        write_json(run / "metrics.json", make_metrics(asr).to_dict())
        app.selectbox(key="compare.weights_of").set_value(run.name).run()
        assert [share in str(warning.value) for warning in app.warning] == ([True] if share else [])
    write_json(backdoored / "metrics.json", make_metrics(0.0).to_dict())
    assert "was trained on poisoned pairs (attack success 0.0%)" in page_text(app.run())


def test_runs_without_figures_are_listed(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    for metrics in (tmp_path / "runs").glob("*/metrics.json"):
        metrics.write_text("null")
    app = open_page("Compare")
    assert len(app.dataframe[0].value) == 2
    assert not chart_keys(app)
    assert not app.exception


def test_the_benchmark_of_the_project(open_page: OpenPage) -> None:
    app = open_page("Compare")
    app.segmented_control(key="compare.source").set_value("benchmark").run()
    assert not app.exception
    full = app.selectbox(key="benchmark.table").value
    assert full.startswith("Full schedule")
    labels = list(chart(app, "benchmark.heatmap")["data"][0]["y"])
    assert labels[0] == NO_DEFENSE_LABEL
    assert {"CleanCLIP", "PAR", Variant("ta_cleaner", {"share": 1.0, "formula": "reviewed"}).label} <= set(labels)
    table = app.dataframe[0].value
    assert any("†" in name for name in table["Defense"])
    app.segmented_control(key="benchmark.metric").set_value("ca").run()
    assert not app.exception
    app.selectbox(key="benchmark.table").set_value("Photos: photos-rn").run()
    assert not app.exception
    assert "CIFAR-10/test" in page_text(app)
