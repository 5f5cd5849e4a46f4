"""Runs as the pages order them."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest

from cleaner.config import FinetuneConfig
from cleaner.files import read_json, write_json
from cleaner.jobs import local
from cleaner.labels import FLAGGED_DEFENSE
from cleaner.runs.folders import runs_root
from cleaner.runs.names import label_defenses, label_trainings
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from cleaner.runs.status import STATUS_FILE, Status, write_status
from cleaner.runs.store import create_run, read_entry, read_record
from pages._shared import cache
from pages._shared.inspect import pickers
from pages._shared.runs import jobs, live_jobs
from pages._shared.shell import state, times, visitors
from tests.pages.conftest import OpenPage, go_to, page_text, table
from tests.pages.runs import make_runs


def test_the_defenses_of_one_click_keep_its_order_before_older_ones_and_retrainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backdoored, defended = make_runs(tmp_path)
    queued = {"retrained": 900.0, "older": 100.0, "first": 500.0, "second": 501.0, "third": 502.0}
    for name, seconds in queued.items():
        write_status(shutil.copytree(defended, defended.parent / name), Status(queued=seconds))
    config = defended.parent / "retrained" / "config.json"
    write_json(config, {**read_json(config), "defense": {"name": FLAGGED_DEFENSE}})
    shutil.rmtree(defended)
    newest_first = [read_record(defended.parent / name) for name in ("retrained", "third", "second", "first", "older")]
    monkeypatch.setattr(state, "all_runs", lambda: newest_first)
    ordered = state.defended_runs(read_record(backdoored))
    assert [run.id for run in ordered] == ["first", "second", "third", "older", "retrained"]
    assert state.defenses_of_run(read_record(backdoored)) == ordered[:-1]


def test_labels_of_equal_defenses_name_the_seed_then_the_time_then_the_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_record(make_runs(tmp_path)[1])

    def make(name: str, seed: int, day: int, lr: float = 1e-4) -> RunRecord:
        config = {**record.config, "finetune": {"lr": lr, "seed": seed}, "created": f"2026-01-0{day}T00:00:00Z"}
        return RunRecord.from_config(tmp_path / name, config)

    runs = [make("a", 0, 1), make("b", 1, 1), make("c", 2, 1), make("d", 2, 2), make("e", 2, 2), make("f", 0, 1, 1e-3)]
    assert list(label_trainings(runs).values()) == [
        "TA-Cleaner, lr 0.0001, seed 0",
        "TA-Cleaner, lr 0.0001, seed 1",
        "TA-Cleaner, lr 0.0001, seed 2, 01-01 00:00",
        "TA-Cleaner, lr 0.0001, seed 2, 01-02 00:00 · d",
        "TA-Cleaner, lr 0.0001, seed 2, 01-02 00:00 · e",
        "TA-Cleaner, lr 0.001",
    ]
    assert label_defenses(runs) == label_trainings(runs)
    shipped = RunRecord.from_config(tmp_path / "assets" / "example" / "g", record.config)
    monkeypatch.setenv("CLEANER_ASSETS", str(tmp_path / "assets"))
    assert list(label_trainings([shipped]).values()) == ["TA-Cleaner, lr 0.0001"]
    assert list(label_trainings([runs[0], shipped]).values()) == [
        "TA-Cleaner, lr 0.0001",
        "TA-Cleaner, lr 0.0001, shipped example",
    ]


def _choose_defended() -> None:
    import streamlit as st

    from pages._shared.inspect import pickers

    st.text(pickers.choose_stages(None)[0].model[1])


def test_the_defended_model_stays_when_a_new_run_changes_its_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_record(make_runs(tmp_path)[1])

    def make(name: str, seed: int, lr: float) -> RunRecord:
        return RunRecord.from_config(tmp_path / name, {**record.config, "finetune": {"lr": lr, "seed": seed}})

    defended = [make("newest", 0, 1e-3), make("chosen", 0, 1e-4)]
    monkeypatch.setattr(pickers, "_find_stages", lambda run: ([], defended, "badnet"))
    monkeypatch.setattr(cache, "load_run", lambda folder: None)
    app = AppTest.from_function(_choose_defended, default_timeout=60).run()
    assert app.text[0].value == str(tmp_path / "newest")
    label = app.selectbox[0].options[1]
    for _ in range(3):  # a browser sends the label that it was told last
        states = WidgetStates()
        states.widgets.add(id=app.selectbox[0].id, string_value=label)
        app._run(states)
        assert app.text[0].value == str(tmp_path / "chosen")
        if app.selectbox[0].proto.set_value:
            label = app.selectbox[0].proto.raw_value
        defended[:1] = [make("another", 1, 1e-4)]


def start_job(name: str, queued: float, status: str = "queued", *, rate: float = 0.01, **finetune: Any) -> RunRecord:
    """Return a job of the Poison page that has been in the queue since `queued`."""
    trigger = {"name": "badnet"}
    settings = FinetuneConfig(**finetune)
    folder = create_run(Request("backdoored", "scenes", 100, settings, "x", None, trigger, "cup", rate), name=name)
    write_json(folder / STATUS_FILE, asdict(Status(status, queued=queued, updated=queued + 10)))
    entry = read_entry(folder)
    assert entry is not None
    return entry


def name_jobs(*entries: RunRecord) -> list[str]:
    return list(jobs.name_jobs(entries, "poison").values())


def test_jobs_are_named_by_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    first = start_job("first", 100)
    assert name_jobs(first) == ["BadNet patch"]
    others = [start_job("rate", 101, rate=0.05), start_job("lr", 102, lr=1e-3), start_job("seed", 103, seed=7)]
    lr = f"{first.lr:g}"
    assert name_jobs(first, *others) == [
        f"BadNet patch, 1%, lr {lr}, seed 0",
        "BadNet patch, 5%",
        "BadNet patch, 1%, lr 0.001",
        f"BadNet patch, 1%, lr {lr}, seed 7",
    ]
    twins = start_job("one", 104, rate=0.1), start_job("two", 105, rate=0.1)
    assert name_jobs(*twins) == ["BadNet patch, 10% · one", "BadNet patch, 10% · two"]


def test_a_job_keeps_its_name_when_others_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    start_job("past", 50, "done", rate=0.05)  # it ended before the others came
    first, second = start_job("first", 100), start_job("second", 101, rate=0.05)
    names = name_jobs(first, second)
    assert names == ["BadNet patch, 1%", "BadNet patch, 5%"]
    write_status(first.folder, Status("done", queued=100))
    assert name_jobs(second) == names[1:]


def set_zone(monkeypatch: pytest.MonkeyPatch, zone: str | None) -> None:
    """Let the browser state a time zone."""
    monkeypatch.setattr(type(times.st.context), "timezone", zone)


def test_times_are_those_of_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = read_record(make_runs(tmp_path)[0])
    run = run.model_copy(update={"created": "2026-11-30T23:18:00Z"})
    for zone in (None, "UTC", "Nowhere/Land"):
        set_zone(monkeypatch, zone)
        assert times.created_at(run) == run.created_at == "2026-11-30 23:18"
    set_zone(monkeypatch, "Europe/Berlin")
    assert times.created_at(run) == "2026-12-01 00:18"
    assert times.label_run(run) == run.label.replace("2026-11-30 23:18", "2026-12-01 00:18") != run.label
    assert times.created_at(run.model_copy(update={"created": "yesterday"})) == "yesterday"


def test_pages_show_the_time_of_the_reader(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_zone(monkeypatch, "Asia/Kolkata")
    backdoored, _ = make_runs(tmp_path)  # at midnight, UTC
    app = open_page("Overview")
    assert app.selectbox(key="current_run").options[0].startswith("01-01 05:30 · ")
    assert "2026-01-01 05:30" in page_text(app)
    app.session_state["run_table"] = True
    app.run()
    assert set(table(app, "Run")["Created"]) == {"2026-01-01 05:30"}
    go_to(app, "Compare")
    app.toggle(key="compare.all_columns").set_value(True).run()
    frame = next(frame for frame in app.dataframe if "Created" in frame.value)
    assert json.loads(frame.proto.columns)["Created"]["type_config"]["timezone"] == "Asia/Kolkata"
    (option,) = go_to(app, "Defend").multiselect(key=f"defend.shown.{backdoored.name}").options
    assert option.endswith("2026-01-01 05:30")


def test_a_run_stays_in_view_though_the_browser_sends_a_label_of_before(open_page: OpenPage, tmp_path: Path) -> None:
    folders = [make_runs(tmp_path, seed=seed)[0] for seed in (0, 1)]
    app = open_page("Overview")
    other = next(folder for folder in folders if folder.name != app.session_state["current_run"])
    box = app.selectbox(key="current_run").set_value(other.name)
    box.run()
    states = WidgetStates()
    states.widgets.add(id=box.id, string_value="a label that no option has")
    app._run(states)
    assert app.session_state["current_run"] == other.name


def test_back_in_the_browser_brings_back_the_run(open_page: OpenPage, tmp_path: Path) -> None:
    attacked, _ = make_runs(tmp_path)
    app = open_page("Try it")
    box = app.selectbox(key=state.SELECTION)
    assert box.value == attacked.name
    box.set_value("model:scenes-rn").run()
    assert dict(app.query_params)["run"] == "model:scenes-rn"
    for run in (attacked.name, "model:scenes-rn"):  # Back, Forward
        app.query_params["run"] = run
        app.run()
        assert app.selectbox(key=state.SELECTION).value == run
        assert dict(app.query_params)["run"] == run


def test_a_choice_of_the_user_stays_and_a_default_follows_new_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    session: dict[str, Any] = {}
    monkeypatch.setattr(state.st, "session_state", session)

    def follow(*runs: str) -> list[str]:
        state.follow_default("box", runs, list(runs[:2]))
        chosen: list[str] = session["box"]
        return chosen

    assert follow() == []
    assert follow("a") == ["a"]
    assert follow("b", "a") == ["b", "a"]
    session["box"] = ["a"]  # the user drops one
    assert follow("c", "b", "a") == ["a"]
    assert follow("c", "b") == ["c", "b"], "the chosen one is gone"
    session["box"] = []
    assert follow("d", "c", "b") == []


def test_of_two_new_results_the_newer_one_comes_into_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest_first = [read_record(make_runs(tmp_path, seed=seed)[0]) for seed in (1, 0)]
    newest_first = [run.with_status(Status("done")) for run in newest_first]
    monkeypatch.setattr(jobs.st, "session_state", {})
    monkeypatch.setattr(jobs, "started_runs", lambda kind: newest_first)
    viewed: list[str] = []
    monkeypatch.setattr(state, "select_run", viewed.append)
    jobs.view_new_run()
    jobs.view_new_run()
    assert viewed == [newest_first[0].id]


def test_a_second_start_keeps_the_unfinished_runs_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def queue(folders: list[Path], cluster: None) -> None:
        for folder in folders:
            write_status(folder, Status("queued"))

    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    monkeypatch.setattr(jobs.st, "session_state", {})
    monkeypatch.setattr(local, "start_all", queue)
    trigger = {"name": "badnet"}
    request = Request("backdoored", "scenes", 100, FinetuneConfig(), "scenes-lite", None, trigger, "banana")
    for seed in range(2):
        jobs.start_runs("poison", [replace(request, finetune=FinetuneConfig(seed=seed))])
    first, second = jobs.started_ids()["poison"]
    write_status(runs_root() / first, Status("failed"))
    jobs.start_runs("poison", [request])
    assert jobs.started_ids()["poison"][:-1] == [second]


def test_a_training_that_another_session_has_started_is_awaited_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    monkeypatch.setattr(
        local, "start_all", lambda folders, cluster: [write_status(f, Status("paused")) for f in folders]
    )
    trigger = {"name": "badnet"}
    request = Request("backdoored", "scenes", 100, FinetuneConfig(), "scenes-lite", None, trigger, "banana")
    for _ in range(2):
        monkeypatch.setattr(jobs.st, "session_state", {})
        jobs.start_runs("poison", [request])
        (run,) = local.poll_entries()
        assert jobs.started_ids() == {"poison": [run.id]}


def test_a_start_that_takes_long_keeps_no_other_session_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start_slowly() -> None:
        monkeypatch.setattr(jobs.st, "session_state", {"jobs.pressed_starts": {"poison": None}})
        jobs.run_pressed_start("poison", lambda: started.append("another"))

    monkeypatch.setattr(jobs.st, "session_state", {"jobs.pressed_starts": {"poison": None}})
    thread = threading.Thread(target=jobs.run_pressed_start, args=("poison", start_slowly), daemon=True)
    thread.start()
    thread.join(10)
    assert started == ["another"]


def test_a_second_start_keeps_results_that_were_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, seen = make_runs(tmp_path, seed=0)
    _, unseen = make_runs(tmp_path, seed=1)
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(jobs.st, "session_state", {"jobs.started": {"defend": [seen.name, unseen.name]}})
    jobs.mark_as_seen([read_record(seen)])
    jobs.start_runs("defend", [])
    assert jobs.started_ids()["defend"] == [unseen.name]


@pytest.mark.parametrize("status", [Status("paused", step=9, total=4), Status("queued", step=9, total=4, place="x")])
def test_a_progress_bar_is_full_at_most(tmp_path: Path, status: Status) -> None:
    assert jobs.describe_progress(RunRecord(folder=tmp_path, status=status))[0] == 1


def test_the_state_of_an_ended_run_is_in_words(tmp_path: Path) -> None:
    assert jobs.describe_progress(RunRecord(folder=tmp_path, status=Status("died")))[1] == "stopped"


def test_a_job_that_is_resumed_in_another_tab_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = make_runs(tmp_path)
    write_status(folder, Status("paused"))
    ticks: list[str] = []
    watch: Any = live_jobs._watch_stopped_jobs
    monkeypatch.setattr(live_jobs, "tick", ticks.append)
    watch.__wrapped__([read_entry(folder)], "waiting.poison")
    assert ticks == ["waiting.poison"]
    paused = read_entry(folder)
    write_status(folder, Status("done"))
    monkeypatch.setattr(live_jobs.st, "rerun", lambda: pytest.fail("drawn again", pytrace=False))
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        watch.__wrapped__([paused], "waiting.poison")


def test_a_page_run_reads_the_store_once_and_sees_its_own_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    context = SimpleNamespace(cursors={})
    monkeypatch.setattr(visitors, "get_script_run_ctx", lambda: context)
    monkeypatch.setattr(visitors, "poll_entries", lambda: reads.append(1) or [])
    assert visitors.view_runs() is visitors.view_runs()
    assert len(reads) == 1
    jobs.run_action(lambda: None)
    visitors.view_runs()
    assert len(reads) == 2, "an action may have changed the store"
    context.cursors = {}
    visitors.view_runs()
    assert len(reads) == 3, "another run of the script"
