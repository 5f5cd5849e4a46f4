"""Defend: says what to do without a run; trains defences side by side; shows figures with what they stand on."""

import json

from cleaner.runs import list_runs
from tests.pages.conftest import Open, at, make_small, texts, trained


def test_without_a_run_it_says_what_to_do(open_page: Open) -> None:
    app = open_page("Defend")
    assert "no backdoored model yet" in texts(app)


def test_two_defences_side_by_side(open_page: Open) -> None:
    app = make_small(open_page("Poison"))
    app.button(key="poison.go").click().run()
    trained(app)
    at(app, "Defend")
    app.select_slider(key="defend.pairs").set_value(200)
    app.number_input(key="defend.train.epochs").set_value(1)
    app.multiselect(key="defend.which").set_value(["finetune", "ta_cleaner"]).run()
    assert not app.exception
    app.select_slider(key="defend.ta_cleaner.lr").set_value(3e-4).run()
    assert app.dataframe[0].value["Steps"].tolist() == ["3", "3"]
    app.button(key="defend.go").click().run()
    trained(app)
    stages = [config["stage"] for _, config in list_runs()]
    assert sorted(stages) == ["backdoored", "defended", "defended"]
    assert "Is the backdoor gone" in texts(app)
    assert "Base rate" in texts(app)
    assert "Floor" in texts(app)
    charts = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    assert any("lower is better" in str(chart["layout"]["yaxis"]["title"]) for chart in charts)
    assert [m.label for m in app.metric].count("Attack success @1") == 3
    at(app, "Subtexts")
    assert "Backdoored" in texts(app)
    at(app, "Defend")
    assert app.select_slider(key="defend.pairs").value == 200
