"""Run folders that are incomplete, invalid or from a newer version: no page fails, and they can be deleted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cleaner.files import read_json
from cleaner.jobs import local
from pages._shared.runs.defense_results import MAX_CARDS
from pages._shared.shell.menu import titles
from tests.pages.conftest import OpenPage, chart, go_to, page_text, press, select_run_row, table
from tests.pages.runs import make_runs

DAMAGES = ("missing model.safetensors", "list metrics.json", "newer config.json")
INVALID = (
    ("config.json", {"trigger": "badnet"}),
    ("status.json", {"state": "done", "verdict": ["took"]}),
    ("metrics.json", {"asr": "x"}),
    ("metrics.json", {"asr": {"1": "x"}}),
    ("metrics.json", {"ca_interval": {"1": 2}}),
    ("metrics.json", {"n": None}),
    ("notes.json", {"tags": 5}),
)


def damage(folder: Path, kind: str) -> None:
    how, _, name = kind.partition(" ")
    path = folder / name
    text = path.read_bytes()
    path.unlink()
    if how == "list":
        path.write_text("[1, 2]")
    elif how == "newer":
        path.write_text(json.dumps({**json.loads(text), "schema": 99}))


@pytest.fixture
def invalid_runs(tmp_path: Path) -> dict[Path, str]:
    """Defenses of one model, each with one invalid file -> the name of that file."""
    valid = make_runs(tmp_path)[1]
    folders = {}
    for i, (name, change) in enumerate(INVALID):
        folder = valid.with_name(f"invalid-{i:02}")
        shutil.copytree(valid, folder)
        path = folder / name
        path.write_text(json.dumps({**read_json(path), **change}))
        folders[folder] = name
    shutil.rmtree(valid)
    return folders


def show_run_table(app: AppTest) -> list[str]:
    """Draw the table of runs on the Overview page; return the runs of its rows."""
    app.session_state["run_table"] = True
    app.run()
    assert not app.exception
    return list(table(app, "Run")["Run"])


def test_invalid_runs_can_be_deleted(open_page: OpenPage, invalid_runs: dict[Path, str]) -> None:
    app = open_page("Overview")
    show_run_table(app)
    states = table(app, "Run").set_index("Run")["State"]
    captions = len(app.caption)
    for folder, name in invalid_runs.items():
        is_unreadable = name in ("config.json", "status.json")
        assert states[folder.name] == ("unreadable" if is_unreadable else "done"), folder.name
        select_run_row(app, folder.name)
        assert len(app.caption) > captions or not is_unreadable, folder.name  # the reason is shown
        press(app, f"run_table.{folder.name}.delete")
        assert not folder.exists()


def test_invalid_runs_stop_no_page(open_page: OpenPage, invalid_runs: dict[Path, str]) -> None:
    app = open_page("Defend")
    assert not app.error
    choice = app.multiselect(key="defend.shown.badnet-rn-0")
    states = {entry.id: entry.status.state for entry in local.poll_entries()}
    readable = [folder.name for folder in invalid_runs if states[folder.name] != "unreadable"]
    assert len(choice.options) == len(readable)
    for i in range(0, len(readable), MAX_CARDS):
        app.multiselect(key="defend.shown.badnet-rn-0").set_value(readable[i : i + MAX_CARDS]).run()
        assert not app.exception, readable[i : i + MAX_CARDS]
        assert not app.error
    for title in ("Poison", "Compare"):
        assert not go_to(app, title).error, title


@pytest.mark.parametrize("title", ["Attention", "Subtexts", "Try it"])
def test_a_missing_clean_model_is_named_and_left_out(open_page: OpenPage, tmp_path: Path, title: str) -> None:
    make_runs(tmp_path)
    (tmp_path / "clean-rn.safetensors").unlink()
    app = open_page(title)
    assert not app.error
    assert page_text(app).count("The clean model ") == 1
    assert f"{tmp_path}/clean-rn.safetensors is not on this machine" in page_text(app)
    shown = page_text(app).rpartition("Models: ")[2] if title != "Subtexts" else str(chart(app, "similarity")["data"])
    assert "backdoored" in shown.lower()
    assert "clean = " not in shown.lower()
    assert "'clean'" not in shown.lower()


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in DAMAGES[1:]] + [DAMAGES[0]])
def test_no_page_fails(open_page: OpenPage, tmp_path: Path, kind: str) -> None:
    for folder in make_runs(tmp_path):
        damage(folder, kind)
    app = open_page(titles()[0])
    for title in titles()[1:]:
        go_to(app, title)
