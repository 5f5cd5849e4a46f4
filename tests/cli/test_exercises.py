"""The commands of a class: a course, an exercise from task to hints, a check of files, the quiz and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.__main__ import main
from cleaner.exercises import course, student
from cleaner.exercises.content import read_exercises
from cleaner.files import read_json


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a student in a course that the command made, without models."""
    monkeypatch.delenv(student.CLASS, raising=False)
    assert main(["class", "new", str(tmp_path / "course"), "--students", "2", "--no-train"]) == 0
    return tmp_path / "course" / "students" / "s01"


def exercise(own: Path, name: str, *arguments: str) -> int:
    student_id = read_json(own.parents[1] / course.KEY)["students"][own.name]["id"]
    return main(["exercise", name, "--student", student_id, "--folder", str(own.parent), *arguments])


def test_an_exercise_from_task_to_hints(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert exercise(own, "survive") == 0
    assert "Attack success %" not in capsys.readouterr().out
    assert exercise(own, "survive", "--answer", "best=1") == 2
    assert "not asked now: answer guess" in capsys.readouterr().err
    assert exercise(own, "survive", "--answer", "guess=2") == 0
    assert "Attack success %" in capsys.readouterr().out
    wrong = ["best=1", "left=0.1", "cost=-1", "overlap=1", "argument=It is good."]
    assert exercise(own, "survive", "--answer", *wrong) == 0
    assert "Argument: state at least two numbers" in capsys.readouterr().out
    for key in ([], ["--key", str(own.parents[1] / course.KEY)]):
        assert main(["check", str(own / student.ANSWERS), *key]) == 2
        assert "Argument: state at least two numbers" in capsys.readouterr().out


def test_the_quiz_and_its_report(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = read_exercises()["quiz"].fields
    capsys.readouterr()
    assert exercise(own, "quiz") == 0
    assert fields[0].label in capsys.readouterr().out
    assert exercise(own, "quiz", "--answer", "1=1") == 2
    assert exercise(own, "quiz", "--answer", *(f"{field.name}=4" for field in fields)) == 0
    assert exercise(own, "quiz", "--answer", *(f"{field.name}={field.right}" for field in fields)) == 0
    capsys.readouterr()
    assert main(["exercise", "report", "--folder", str(own.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()[2:8]
    assert [line.split() for line in lines[:5]] == [
        [str(i), "1", "0.00", "1.00", "1", "0", "None"] for i in range(1, 6)
    ]
    assert lines[5].split() == ["6", "1", "1.00", "1.00", "0", "0", "None"]


def test_unknown_students_and_files_are_refused(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exercise", "rate", "--student", "zoe", "--folder", str(own.parent)]) == 2
    assert "no student 'zoe'" in capsys.readouterr().err
    assert main(["check", str(own / "none.json")]) == 2
    assert "has no answers" in capsys.readouterr().err
