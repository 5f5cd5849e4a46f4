"""benchmarks.tasks: every task is done once, also by several processes and after a crash."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from benchmarks import tasks
from benchmarks.tasks import TaskFile


def test_finished_tasks_are_not_repeated(tmp_path: Path) -> None:
    file = TaskFile(tmp_path / "a.jsonl", tmp_path / "locks")
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
    file = TaskFile(tmp_path / "a.jsonl", tmp_path / "locks")
    started, may_end = threading.Event(), threading.Event()

    def slow() -> dict[str, int]:
        started.set()
        assert may_end.wait(20)
        return {"by": 1}

    first = threading.Thread(target=lambda: TaskFile(file.path, file.locks).run_phase("p", {"slow": slow}))
    first.start()
    assert started.wait(20)

    def fast() -> dict[str, int]:
        may_end.set()
        return {"by": 2}

    file.run_phase("p", {"slow": lambda: {"by": 2}, "fast": fast})
    first.join()
    assert {row["key"]: row["by"] for row in file.rows("p")} == {"fast": 2, "slow": 1}


def test_tasks_whose_rows_do_not_count_are_run_again(tmp_path: Path) -> None:
    file = TaskFile(tmp_path / "a.jsonl", tmp_path / "locks")
    file.run_phase("p", {"x": lambda: {"model": "old"}})
    file.run_phase("p", {"x": lambda: {"model": "new"}}, lambda rows: [row for row in rows if row["model"] == "new"])
    assert [row["model"] for row in file.rows("p")] == ["old", "new"]
