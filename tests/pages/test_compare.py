"""Compare: all runs, filters, means over seeds, exports that hold what the table holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.pages.conftest import OpenPage, page_text
from tests.pages.runs import make_runs


def test_without_runs_it_says_what_to_do(open_page: OpenPage) -> None:
    assert "There are no runs yet" in page_text(open_page("Compare"))


def test_table_filters_and_heatmap(open_page: OpenPage, tmp_path: Path) -> None:
    for trigger, seed in (("badnet", 0), ("badnet", 1), ("sig", 0)):
        make_runs(tmp_path, trigger=trigger, seed=seed)
    app = open_page("Compare")
    assert len(app.dataframe[0].value) == 6
    charts = {c.proto.id.rpartition("-")[2]: json.loads(c.proto.spec) for c in app.get("plotly_chart")}
    heat, text = next(c for name, c in charts.items() if "heatmap" in name)["data"]
    assert heat["x"] == ["BadNet patch", "Sine wave<br>(SIG)"]
    assert heat["y"] == ["No defense", "TA-Cleaner"]
    cells = dict(zip(zip(text["x"], text["y"], strict=True), text["text"], strict=True))
    assert cells["BadNet patch", "TA-Cleaner"] == "15.0%<br>[10.0%, 20.0%]<br>2 seeds"
    app.multiselect(key="compare.Attack").set_value(["sig"]).run()
    assert len(app.dataframe[0].value) == 2
    app.multiselect(key="compare.Defence").set_value(["none"]).run()
    assert app.dataframe[0].value["Defence"].tolist() == ["No defense"]
    assert "This model is backdoored" in page_text(app)
    assert next(box for box in app.selectbox if box.label == "Form").options == ["safetensors"]
    assert not app.exception


def test_it_is_said_where_classes_are_too_few(open_page: OpenPage, tmp_path: Path) -> None:
    said = "With fewer than ten classes ASR@3 says little."
    _, defended = make_runs(tmp_path)
    assert said not in page_text(open_page("Compare"))
    file = defended / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"classes": 9}))
    assert said in page_text(open_page("Compare"))
    assert "n = 96; the best 3 of 9 classes say little" in page_text(open_page("Defend"))


def test_a_rebound_test_has_a_name_of_its_own(open_page: OpenPage, tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    config = json.loads((defended / "config.json").read_text())
    again = {**config, "defense": {"name": "finetune"}, "suspect": config}
    again["rebound"] = {"steps": 186, "after": config["defense"]}
    shutil.copytree(defended, defended.with_name("again"))
    (defended.with_name("again") / "config.json").write_text(json.dumps(again))
    app = open_page("Compare")
    named = "TA-Cleaner, then rebound (186 steps)"
    assert sorted(app.dataframe[0].value["Defence"]) == ["No defense", "TA-Cleaner", named]
    assert named in app.multiselect(key="compare.Defence").options
    assert not any("Plain finetuning" in chart.proto.spec for chart in app.get("plotly_chart"))


def test_runs_without_figures_are_listed(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    for metrics in (tmp_path / "runs").glob("*/metrics.json"):
        metrics.write_text("null")
    app = open_page("Compare")
    assert len(app.dataframe[0].value) == 2
    assert "None of these runs has figures" in page_text(app)


def test_the_projects_own_figures_are_shown(open_page: OpenPage) -> None:
    app = open_page("Compare")
    app.segmented_control(key="compare.source").set_value("measured").run()
    assert not app.exception

    def defenses() -> list[str]:
        specs = [json.loads(c.proto.spec) for c in app.get("plotly_chart") if "measured.heatmap" in c.proto.id]
        return list(specs[0]["data"][0]["y"])

    first = defenses()
    assert first[0] == "No defense"
    assert {"CleanCLIP", "TA-Cleaner", "PAR"} <= set(first)
    assert not any(" at " in name or "only" in name for name in first)
    assert "Measured on scenes/test" in page_text(app)
    table = app.dataframe[0].value
    app.segmented_control(key="measured.attack").set_value("sig").run()
    assert not app.exception
    assert not app.dataframe[0].value.equals(table)
    app.selectbox(key="measured.part").set_value("ablations").run()
    assert not app.exception
    assert {"No defense", "TA-Cleaner", "TA-Cleaner, K 50 %"} <= set(defenses())
    assert "CleanCLIP" not in defenses()
    app.selectbox(key="measured.model").set_value("scenes-vit").run()
    assert not app.exception, "a model without ablations"
    assert "CleanCLIP" in defenses()
