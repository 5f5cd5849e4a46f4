"""The files of playgrounds: found again for the same runs, read as written, and few."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cleaner.files import read_json, write_json
from cleaner.playground.files import KEPT, name_file, read_data, write_data
from cleaner.runs.store import read_record
from tests.pages.runs import make_runs


def test_what_is_written_is_read_and_the_oldest_files_go(tmp_path: Path) -> None:
    for i in range(KEPT + 2):
        path = tmp_path / f"playground-1-{i}.json"
        write_data(path, {"number": i}, ["a", "b\n"])
        os.utime(path, (i, i))
        page, weights = read_data(path)
        assert (page, json.loads(weights)) == ({"number": i}, ["a", "b\n"])
    assert sorted(path.name[-6] for path in tmp_path.iterdir()) == ["2", "3", "4"]


def test_another_run_has_another_file(tmp_path: Path) -> None:
    attack, defense = (read_record(folder) for folder in make_runs(tmp_path))
    name = name_file(attack, [defense])
    assert name == name_file(attack, [defense]) != name_file(attack, [])
    write_json(defense.folder / "config.json", {**read_json(defense.folder / "config.json"), "note": "replaced"})
    assert name_file(attack, [defense]) != name
