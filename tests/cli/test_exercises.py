"""The commands of a class: a course, an exercise from task to hints, a check of files, the quiz and its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cleaner.__main__ import main
from cleaner.exercises import check, course
from cleaner.exercises.content import read_content


@pytest.fixture
def students(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course that the command made, without models."""
    monkeypatch.delenv(course.CLASS, raising=False)
    monkeypatch.setitem(check.SCRYPT, "n", 2**4)
    assert main(["class", "new", str(tmp_path / "course"), "--students", "2", "--no-train"]) == 0
    return tmp_path / "course" / "students"


def exercise(students: Path, name: str, *arguments: str) -> int:
    return main(["exercise", name, "--student", "s01", "--folder", str(students), *arguments])


def test_an_exercise_from_task_to_hints(students: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exercise(students, "survive") == 0
    assert "Attack success %" not in capsys.readouterr().out
    assert exercise(students, "survive", "--answer", "best=1") == 2
    assert "commit the prediction first" in capsys.readouterr().err
    assert exercise(students, "survive", "--commit", "guess=2") == 0
    printed = capsys.readouterr().out
    assert course.read_entry(students / "s01", "survive")["code"] in printed
    assert "Attack success %" in printed
    wrong = ["best=9", "left=0.1", "cost=-1", "overlap=1", "argument=It is good."]
    assert exercise(students, "survive", "--answer", *wrong) == 0
    assert "Best: first strike out" in capsys.readouterr().out
    for key in ([], ["--key", str(students.parent / "teacher" / "key.json")]):
        assert main(["check", str(students / "s01" / course.ANSWERS), *key]) == 2
        assert "Argument: name at least two numbers" in capsys.readouterr().out


def test_a_run_is_checked_against_the_task(students: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exercise(students, "plant", "--commit", "change=2", "expect=50") == 0
    answers = [f"run={run}", "accuracy=0.5", "success=1", "floor=0", "why=2"]
    assert exercise(students, "plant", "--answer", *answers) == 0
    assert "The run has another target class" in capsys.readouterr().out  # it is banana, which no task has
    assert exercise(students, "plant", "--answer", "run=none", *answers[1:]) == 2
    assert "no finished run" in capsys.readouterr().err


def test_the_quiz_and_its_report(students: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = [str(item.answer) for item in read_content().quiz]
    assert exercise(students, "quiz") == 0
    assert read_content().quiz[0].text in capsys.readouterr().out
    assert exercise(students, "quiz", "--answer", *["1"] * 5) == 2
    assert exercise(students, "quiz", "--answer", *["4"] * 5, "1") == 0
    assert exercise(students, "quiz", "--answer", *right, "--round", "after") == 0
    capsys.readouterr()
    assert main(["exercise", "report", "--folder", str(students), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["after"] for row in rows] == [1.0] * 6
    assert [row["gained"] for row in rows] == [1] * 6


def test_the_sheet_is_written_on_request(students: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = students / "s01" / course.SHEET
    sheet.unlink()
    assert exercise(students, "rate", "--sheet") == 0
    assert sheet.is_file()
    assert str(sheet) in capsys.readouterr().out


def test_unknown_students_and_files_are_refused(students: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exercise", "rate", "--student", "zoe", "--folder", str(students)]) == 2
    assert "no student 'zoe'" in capsys.readouterr().err
    assert main(["check", str(students / "none.json")]) == 2
    assert "holds no answers" in capsys.readouterr().err
