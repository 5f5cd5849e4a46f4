"""Run folders that are half deleted, broken or from a newer version: every page says what it can, and none fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cleaner.files import read_json
from tests.pages.conftest import ROOT, OpenPage, go_to, page_text
from tests.pages.runs import make_runs

PAGES = sorted(path.stem.partition("_")[2].replace("_", " ") for path in (ROOT / "pages").glob("*_*.py"))
DAMAGES = ("gone model.safetensors", "list metrics.json", "newer config.json")
ODD = (
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


@pytest.mark.parametrize(("name", "change"), ODD, ids=str)
def test_runs_edited_by_hand_can_be_deleted(
    open_page: OpenPage, tmp_path: Path, name: str, change: dict[str, Any]
) -> None:
    folder = make_runs(tmp_path)[1]
    path = folder / name
    path.write_text(json.dumps({**read_json(path), **change}))
    app = open_page("Overview")
    app.session_state["shelf"] = True
    app.run()
    assert not app.exception
    table = app.dataframe[0].value.set_index("Run")
    unread = name in ("config.json", "status.json")
    assert table.loc[folder.name, "State"] == ("cannot be read" if unread else "done")
    for title in ("Poison", "Defend", "Compare"):
        go_to(app, title)
        assert not app.error
    go_to(app, "Overview")
    app.session_state["shelf"] = True
    app.run()
    row = app.dataframe[0].value["Run"].tolist().index(folder.name)
    app.session_state["shelf.table"] = {"selection": {"rows": [row], "columns": [], "cells": []}}
    app.run()
    assert "has an invalid" in page_text(app) or not unread or change.get("schema")
    app.button(key=f"shelf.{folder.name}.delete").click().run()
    assert not folder.exists()


@pytest.mark.parametrize("kind", DAMAGES)
def test_no_page_fails(open_page: OpenPage, tmp_path: Path, kind: str) -> None:
    for folder in make_runs(tmp_path):
        damage(folder, kind)
    app = open_page(PAGES[0])
    for title in PAGES[1:]:
        go_to(app, title)
