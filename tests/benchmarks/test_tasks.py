"""Every task is done once, also by several processes and after a crash, and none replaces the rows of another."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rows, tasks
from benchmarks.json_lines import read_json_lines
from benchmarks.rows import add_row, read_rows
from benchmarks.tasks import TaskFile, append_row, claimed
from cleaner.files import read_json

WRITER = """
import sys
from pathlib import Path
from benchmarks.tasks import append_row
for i in range(40):
    append_row(Path(sys.argv[1]), {"writer": sys.argv[2], "i": i, "text": "x" * 20000})
"""
HOLDER = """
import sys, time
from pathlib import Path
from benchmarks.tasks import claimed
with claimed(Path(sys.argv[1]), "a") as is_mine:
    print(is_mine, flush=True)
    time.sleep(60)
"""


def test_finished_tasks_are_not_repeated(tmp_path: Path) -> None:
    file = TaskFile(tmp_path / "a.jsonl")
    file.run_phase("one", {"x %": lambda: {"value": 1}})
    file.run_phase("two", {"x %": lambda: {"value": 2}})
    with file.path.open("a") as lines:
        lines.write('{"phase": "one", "key": "cut o')  # the process ended here
    done: list[str] = []

    def task(name: str) -> dict[str, int]:
        done.append(name)
        return {"value": len(name)}

    file.run_phase("one", {"x %": lambda: task("x %"), "cut off": lambda: task("cut off")})
    assert done == ["cut off"]
    assert [(row["key"], row["value"]) for row in file.rows("one")] == [("x %", 1), ("cut off", 7)]


def test_a_task_of_another_process_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "WAIT_SECONDS", 0.01)
    file = TaskFile(tmp_path / "a.jsonl")
    started, may_end = threading.Event(), threading.Event()

    def slow() -> dict[str, int]:
        started.set()
        assert may_end.wait(20)
        return {"by": 1}

    first = threading.Thread(target=lambda: TaskFile(file.path).run_phase("p", {"slow": slow}))
    first.start()
    assert started.wait(20)

    def fast() -> dict[str, int]:
        may_end.set()
        return {"by": 2}

    file.run_phase("p", {"slow": lambda: {"by": 2}, "fast": fast})
    first.join()
    assert {row["key"]: row["by"] for row in file.rows("p")} == {"fast": 2, "slow": 1}


def test_tasks_whose_rows_do_not_count_are_run_again(tmp_path: Path) -> None:
    file = TaskFile(tmp_path / "a.jsonl")
    file.run_phase("p", {"x": lambda: {"model": "old"}})
    file.run_phase("p", {"x": lambda: {"model": "new"}}, lambda rows: [row for row in rows if row["model"] == "new"])
    assert [row["model"] for row in file.rows("p")] == ["old", "new"]


def test_tasks_that_a_result_makes_needless_are_not_run(tmp_path: Path) -> None:
    file = TaskFile(tmp_path / "a.jsonl")
    sizes = {"large": 3, "medium": 2, "small": 1}

    def smaller_than_the_smallest_that_fits(rows: list[dict[str, int]]) -> set[str]:
        fitting = [row["size"] for row in rows if row["size"] <= 2]
        return {key for key, size in sizes.items() if fitting and size < max(fitting)}

    runs = {key: partial(dict, size=size) for key, size in sizes.items()}
    file.run_phase("p", runs, needless=smaller_than_the_smallest_that_fits)
    assert [row["key"] for row in file.rows("p")] == ["large", "medium"]
    file.run_phase("p", runs)  # the rest
    assert [row["key"] for row in file.rows("p")] == ["large", "medium", "small"]


def test_two_processes_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "ab"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    rows = read_json_lines(path)
    for name in "ab":
        assert [row["i"] for row in rows if row["writer"] == name] == list(range(40))


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_row(path, {"i": 1})
    with path.open("a") as file:
        file.write('{"i": 2, "cut')
    assert read_json_lines(path) == [{"i": 1}]
    append_row(path, {"i": 3})
    assert read_json_lines(path) == [{"i": 1}, {"i": 3}]
    assert read_json_lines(tmp_path / "missing.jsonl") == []


def test_a_claim_excludes_others_until_its_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "True"
    with claimed(path, "a") as is_mine, claimed(path, "b") as is_free:
        assert (is_mine, is_free) == (False, True)
    holder.kill()
    holder.wait(timeout=30)
    with claimed(path, "a") as is_mine:
        assert is_mine


def test_rows_that_are_added_at_the_same_time_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_slowly(path: Path) -> list[dict[str, Any]]:
        found = read_rows(path)
        time.sleep(0.1)
        return found

    monkeypatch.setattr(rows, "read_rows", read_slowly)
    path, seeds = tmp_path / "rows.json", (5, 3, 4)
    threads = [threading.Thread(target=add_row, args=(path, {"seed": n}, lambda row: row["seed"])) for n in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_rows(path) == [{"seed": 3}, {"seed": 4}, {"seed": 5}]
    assert read_json(path)["seeds"] == [3, 4, 5]
