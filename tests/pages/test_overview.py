"""Overview: opens without runs, shows only measured values, edits and deletes runs."""

import json
import os
import re
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import TextInput

from cleaner.files import read_json, write_json
from cleaner.jobs import local
from cleaner.runs.request import load_request
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import annotate, read_record
from cleaner.types import CleanerError
from pages._shared.runs import jobs, ticker
from tests.pages.conftest import (
    OpenPage,
    chart,
    chart_keys,
    errors,
    go_to,
    link_labels,
    page_text,
    press,
    select_run_row,
    table,
    widget_keys,
)
from tests.pages.runs import make_metrics, make_runs
from tests.pages.test_lesson import make_active


def test_without_runs_it_shows_no_numbers(open_page: OpenPage) -> None:
    app = open_page("Overview")
    assert not chart_keys(app)
    assert not app.metric
    assert "python -m cleaner poison" in app.info[0].value  # the demo stores no run
    assert len(app.info) == 1


def test_unknown_run_files_are_ignored(open_page: OpenPage, tmp_path: Path) -> None:
    for name, content in (("a", "{}"), ("b", "not json"), ("c", json.dumps({"stage": "backdoored"}))):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text(content)
    app: AppTest = open_page("Overview")
    assert not app.exception


def test_the_bars_show_the_measured_shares(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, _ = make_runs(tmp_path)
    app = open_page("Overview")
    assert "## Before and after" in [text.value for text in app.markdown]  # not "your": others may have trained it
    bars = chart(app, f"overview.{backdoored.name}")["data"]
    assert {bar["name"]: bar["y"] for bar in bars} == {"attack success": [0.95, 0.1], "clean accuracy": [0.9, 0.9]}
    assert re.search(r"Attack trained on [\d,]+ pairs, .* steps\. Defenses trained on [\d,]+ pairs, ", page_text(app))
    app.session_state["run_table"] = True
    app.run()
    rows = table(app, "Run").set_index("Run")
    assert rows.loc[backdoored.name, ["CA", "ASR@1"]].tolist() == pytest.approx(
        [90, 95]
    )  # numbers: text would not sort


def test_a_few_poisoned_pairs_are_not_none(open_page: OpenPage, tmp_path: Path) -> None:
    folder, _ = make_runs(tmp_path)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "pairs": 8000, "poison_rate": 3 / 8000})
    app = open_page("Overview")
    assert r"**Poison** BadNet patch, 0\.0375%" in link_labels(app)
    assert "0.0375% of 8,000 pairs" in page_text(app)


def test_the_pipeline_names_the_lowest_success_at_a_kept_accuracy(open_page: OpenPage, tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    destroyed = shutil.copytree(defended, defended.with_name("destroyed"))
    write_json(destroyed / "metrics.json", make_metrics(0.0, ca=0.04).to_dict())
    app = open_page("Overview")
    assert "**Compare** attack left: 10%" in link_labels(app)
    shutil.rmtree(defended)
    assert "**Compare** attack 0%, CA −86" in link_labels(app.run())


def test_a_defense_that_was_measured_on_another_test_is_named_and_not_the_best(
    open_page: OpenPage, tmp_path: Path
) -> None:
    backdoored, defended = make_runs(tmp_path)
    other = shutil.copytree(defended, defended.with_name("other"))
    write_json(other / "metrics.json", replace(make_metrics(0.0), n=4516, n_attack=4400).to_dict())
    app = open_page("Overview")
    assert "**Compare** attack left: 10%" in link_labels(app)
    (warning,) = [each.value for each in app.warning]
    for test in ("n = 100", "n = 4,516"):
        assert test in warning
    shutil.rmtree(defended)
    assert "**Compare** tests differ" in link_labels(app.run())
    few = replace(make_metrics(0.0), n=10, n_attack=9).to_dict()
    for folder in (backdoored, other):
        write_json(folder / "metrics.json", few)
    app.run()
    assert "**Compare** too few images" in link_labels(app)
    assert not app.warning


def test_a_training_in_progress_is_running_and_not_done(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, _ = make_runs(tmp_path)
    make_active("backdoored")
    make_active("defended", backdoored.name)
    icons = {link.proto.label: link.proto.icon for link in open_page("Overview").get("page_link")}
    assert icons["**Attack success** 95%"] == ":material/check_circle:"
    assert icons["**Poison** training …"] == icons["**Defend** training …"] == ":material/hourglass_top:"


def test_the_pipeline_watches_trainings_of_other_pages(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)
    ticks: list[str] = []
    monkeypatch.setattr(ticker, "tick", ticks.append)
    app = open_page("Overview")
    assert not ticks
    training = make_active("backdoored")
    app.run()
    assert ticks == ["pipeline.tick"]
    go_to(app, "Poison")
    assert ticks == ["pipeline.tick"], "that page watches its own jobs"
    write_status(training, Status("done"))
    assert "**Poison** training …" not in link_labels(go_to(app, "Overview"))


def test_the_same_training_is_not_started_twice(open_page: OpenPage, tmp_path: Path) -> None:
    folder = make_active("backdoored")
    request = load_request(read_json(folder / "config.json"))
    other = replace(request, poison_rate=0.2)
    assert jobs.split_open([request, other]) == ([other], [folder.name])
    write_status(folder, Status("paused"))
    assert jobs.split_open([request]) == ([], [folder.name])
    damaged = make_active("backdoored")
    write_json(damaged / "config.json", {**read_json(damaged / "config.json"), "request": {"stage": "defended"}})
    write_status(damaged, Status("paused"))
    assert jobs.split_open([request, other])[0] == [other], "a run whose request cannot be read is no other one"
    write_status(folder, Status("done"))
    assert jobs.split_open([request]) == ([request], [])


def test_the_run_table_names_tags_and_deletes_runs(open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page("Overview")
    for name in ("first", "second"):
        write_json(tmp_path / "runs" / name / "config.json", {"stage": "backdoored", "trigger": {"name": "badnet"}})
    app.session_state["run_table"] = True
    app.run()
    assert sorted(table(app, "Run")["Run"]) == ["first", "second"]
    select_run_row(app, "first")
    field(app, "name").set_value("Monday")
    field(app, "tags").set_value("odd, lecture")
    press(app, ".save")
    row = table(app, "Run").set_index("Run").loc["first"]
    assert (row["Name"], row["Tags"]) == ("Monday", "lecture, odd")
    assert any("Monday" in option for option in app.selectbox(key="current_run").options)
    press(app, "run_table.first.delete")
    assert table(app, "Run")["Run"].tolist() == ["second"]
    assert not edited_runs(app)


def test_deleting_a_run_warns_of_the_trainings_that_need_it(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, _ = make_runs(tmp_path)
    make_active("defended", backdoored.name)
    write_status(make_active("defended", backdoored.name), Status("paused"))
    app = open_page("Overview")
    app.session_state["run_table"] = True
    app.run()
    assert table(app, "Run").query("State == 'paused'")["Model"].tolist() == [read_record(backdoored).model]
    select_run_row(app, backdoored.name)
    text = page_text(app)
    assert "1 run that started from it will stay. **2 unfinished trainings started from it and will fail.**" in text


def test_a_deleted_run_does_not_leave_the_view_silently(open_page: OpenPage, tmp_path: Path) -> None:
    (other, _), (newest, _) = make_runs(tmp_path), make_runs(tmp_path, seed=1)
    app = open_page("Overview")
    assert not app.toast
    shutil.rmtree(newest)  # in another tab
    app.run()
    assert app.selectbox(key="current_run").value == other.name
    assert app.toast[0].value.replace("\\", "") == f"{newest.name} is gone: showing another."
    assert not app.run().toast


def field(app: AppTest, name: str) -> TextInput:
    """Return a text field of the selected run."""
    (found,) = (box for box in app.text_input if str(box.key).startswith("run_table.") and str(box.key).endswith(name))
    return found


def test_two_tabs_save_the_notes_of_one_run(open_page: OpenPage, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "first"
    write_json(folder / "config.json", {"stage": "backdoored", "trigger": {"name": "badnet"}})
    app = open_page("Overview")
    app.session_state["run_table"] = True
    app.run()
    select_run_row(app, "first")
    annotate(folder, note="worth a look", tags=["odd"])  # in another tab
    field(app, "name").set_value("Monday")
    press(app, ".save")
    assert read_json(folder / "notes.json") == {"name": "Monday", "note": "worth a look", "tags": ["odd"]}
    annotate(folder, name="Tuesday")
    app.run()
    assert [field(app, name).value for name in ("name", "note", "tags")] == ["Tuesday", "", ""]


def edited_runs(app: AppTest) -> list[str]:
    """Return the runs whose name can be edited: the selected one."""
    keys = [key for key in widget_keys(app) if key.startswith("run_table.") and key.endswith(".name")]
    return [key.split(".")[1] for key in keys]


def test_a_selection_ends_when_the_rows_change(open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page("Overview")
    for i, name in enumerate(("old", "new")):
        write_json(tmp_path / "runs" / name / "config.json", {"stage": "backdoored", "trigger": {"name": "badnet"}})
        os.utime(tmp_path / "runs" / name / "config.json", (i, i))
    app.session_state["run_table"] = True
    app.run()
    select_run_row(app, "new")
    assert edited_runs(app.run()) == ["new"]
    os.utime(tmp_path / "runs" / "old" / "config.json")
    app.run()
    assert table(app, "Run")["Run"].tolist() == ["old", "new"]
    assert not edited_runs(app)


@pytest.mark.parametrize("fails", [False, True])
def test_a_start_requested_on_the_previous_page_runs_once(open_page: OpenPage, fails: bool) -> None:
    app = open_page("Overview")
    calls = []

    def start() -> None:
        calls.append(1)
        if fails:
            raise CleanerError("the disk is full.")

    app.session_state["jobs.pressed_starts"] = {"poison": start}
    assert errors(app.run()) == (["The disk is full."] if fails else [])  # on the page in view
    assert errors(app.run()) == []
    assert calls == [1]
    assert not app.exception


def _start_page() -> None:
    from functools import partial

    from pages._shared.runs import jobs, live_jobs

    live_jobs.show_start_button("Start", "poison", False, partial(jobs.start_runs, "poison", [None]))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_start_that_is_interrupted_happens_once(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    app = AppTest.from_function(_start_page, default_timeout=60)
    read_started, events = jobs.started_ids, []

    def interrupt(now: str) -> None:
        if now == moment and "interrupted" not in events:
            events.append("interrupted")
            context = get_script_run_ctx()
            assert context is not None
            assert context.script_requests is not None
            context.script_requests.request_stop()  # as a click on the menu does

    def access_session() -> dict[str, list[str]]:
        interrupt("before")
        return read_started()

    def start_all(folders: list[Path], cluster: None) -> None:
        interrupt("after")
        events.append("started")

    monkeypatch.setattr(jobs, "started_ids", access_session)
    monkeypatch.setattr(jobs, "create_run", lambda request, name: Path("run"))
    monkeypatch.setattr(local, "start_all", start_all)
    app.run()
    app.button(key="poison.go").click().run()
    app.run()
    app.run()
    assert events == ["interrupted", "started"]
    assert app.session_state["jobs.started"] == {"poison": ["run"]}


def test_two_page_runs_of_a_session_start_a_pressed_job_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def start() -> None:
        time.sleep(0.1)
        calls.append(1)

    pressed = {"poison": start}
    monkeypatch.setattr(jobs, "pressed_starts", lambda: pressed)
    threads = [threading.Thread(target=jobs.run_pressed_start, args=("poison", start)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert not pressed
