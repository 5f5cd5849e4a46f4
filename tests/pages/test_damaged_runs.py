"""Run folders that are incomplete, invalid or from a newer version: no page fails, and they can be deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cleaner.files import read_json
from pages._shared.frame import titles
from pages._shared.run_table import STATE_LABELS
from tests.pages.conftest import OpenPage, go_to, press, table
from tests.pages.runs import make_runs

DAMAGES = ("missing model.safetensors", "list metrics.json", "newer config.json")
INVALID = (
    ("config.json", {"trigger": "badnet"}),
    ("config.json", {"defense": ["ta_cleaner"]}),
    ("config.json", {"finetune": "x"}),
    ("config.json", {"finetune": {"lr": "x"}}),
    ("config.json", {"request": "x"}),
    ("config.json", {"schema": 99, "trigger": "badnet"}),
    ("config.json", {"pairs": "many"}),
    ("config.json", {"trigger": {"name": ["badnet"]}}),
    ("config.json", {"rebound": "x"}),
    ("status.json", {"state": "done", "updated": "y"}),
    ("status.json", {"state": "done", "verdict": ["took"]}),
    ("metrics.json", {"asr": "x"}),
    ("metrics.json", {"asr": {"1": "x"}}),
    ("metrics.json", {"ca_interval": {"1": 2}}),
    ("config.json", {"pairs": None}),
    ("config.json", {"finetune": {"lr": None}}),
    ("metrics.json", {"n": None}),
    ("notes.json", {"tags": 5}),
    ("config.json", {"variant": "x"}),
    ("config.json", {"variant": {"share": "x"}}),
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


@pytest.mark.parametrize(("name", "change"), INVALID, ids=str)
def test_invalid_runs_can_be_deleted(open_page: OpenPage, tmp_path: Path, name: str, change: dict[str, Any]) -> None:
    folder = make_runs(tmp_path)[1]
    path = folder / name
    path.write_text(json.dumps({**read_json(path), **change}))
    app = open_page("Overview")
    app.session_state["run_table"] = True
    app.run()
    assert not app.exception
    is_unreadable = name in ("config.json", "status.json")
    state = STATE_LABELS["unreadable" if is_unreadable else "done"]
    assert table(app, "Run").set_index("Run").loc[folder.name, "State"] == state
    for title in ("Poison", "Defend", "Compare"):
        go_to(app, title)
        assert not app.error
    go_to(app, "Overview")
    app.session_state["run_table"] = True
    app.run()
    row = table(app, "Run")["Run"].tolist().index(folder.name)
    app.session_state["run_table.table"] = {"selection": {"rows": [row], "columns": [], "cells": []}}
    captions = len(app.caption)
    app.run()
    assert len(app.caption) > captions or not is_unreadable  # the reason is shown
    press(app, f"run_table.{folder.name}.delete")
    assert not folder.exists()


@pytest.mark.parametrize("kind", DAMAGES)
def test_no_page_fails(open_page: OpenPage, tmp_path: Path, kind: str) -> None:
    for folder in make_runs(tmp_path):
        damage(folder, kind)
    app = open_page(titles()[0])
    for title in titles()[1:]:
        go_to(app, title)
