"""A course: what students get, the teacher's key, and the statistics of the quiz."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cleaner.exercises import course, student
from cleaner.exercises.content import read_exercises
from cleaner.exercises.tasks import draw_tasks
from cleaner.files import read_json, write_json
from cleaner.types import CleanerError

RIGHT = {field.name: field.right for field in read_exercises()["quiz"].fields}
Key = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene_cache: Path) -> Path:
    """A course of two students without models."""
    monkeypatch.setenv("CLEANER_CACHE", str(scene_cache))
    course.create_course(tmp_path / "course", ["anna", "bert"], with_models=False)
    return tmp_path / "course"


def test_the_key_equals_what_the_code_computes(folder: Path) -> None:
    key = read_json(folder / course.KEY)
    assert list(key["students"]) == ["anna", "bert"]
    for own, line in key["students"].items():
        assert line == json.loads(json.dumps(course.describe_key(key["secret"], own)))
        assert line["tasks"] == json.loads(json.dumps(draw_tasks(key["secret"], own)))
        stored = read_json(folder / "students" / own / student.TASK)
        assert stored["tasks"] == {name: task for name, task in line["tasks"].items() if name != "trigger"}
        hidden = {name: str(value) for name, value in line["tasks"]["trigger"].items()}
        assert student.check("trigger", None, {"after": hidden}, stored) == []


def test_students_do_not_get_the_secret(folder: Path) -> None:
    secret = read_json(folder / course.KEY)["secret"]
    for path in (folder / "students").rglob("*.*"):
        assert secret not in path.read_text()


def test_an_id_opens_one_folder_and_cannot_be_guessed_from_a_name(folder: Path) -> None:
    key = read_json(folder / course.KEY)
    for name, line in key["students"].items():
        assert student.find_student(line["id"], folder / "students").name == name
    assert course.describe_key("another", "anna")["id"] != key["students"]["anna"]["id"]
    with pytest.raises(CleanerError, match="copy the whole ID"):
        student.find_student(key["students"]["anna"]["id"].replace("anna", "bert"), folder / "students")


def test_a_course_grows_and_keeps_its_secret(folder: Path) -> None:
    before = read_json(folder / course.KEY)
    own = next(iter(before["students"]))
    task = (folder / "students" / own / student.TASK).read_bytes()
    after = course.create_course(folder, ["carl", "anna"], with_models=False)
    assert after["secret"] == before["secret"]
    assert len(after["students"]) == 3
    assert (folder / "students" / own / student.TASK).read_bytes() == task


def test_models_are_trained_once_and_the_key_states_their_attack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []

    def train(path: Path, task: Any, on_step: Any) -> dict[str, float]:
        path.write_text("model")
        trained.append(task)
        return {"accuracy": 97.0, "success": 99.0}

    monkeypatch.setattr(course, "train_model", train)
    monkeypatch.setattr("cleaner.playground.export.write_playground", lambda runs, path: path.write_text("page"))
    for _ in range(2):
        key = course.create_course(folder, ["anna", "bert"])
    assert trained == [line["tasks"]["trigger"] for line in key["students"].values()]
    assert read_json(folder / course.KEY) == json.loads(json.dumps(key))
    assert [line["attack"]["success"] for line in key["students"].values()] == [99.0, 99.0]


def test_the_quiz_is_summarized(folder: Path) -> None:
    wrong = {name: answer % 4 + 1 for name, answer in RIGHT.items()}
    rounds = {"anna": (wrong, RIGHT), "bert": (wrong | {"1": RIGHT["1"]}, RIGHT | {"1": wrong["1"]})}
    for name, (before, after) in rounds.items():
        own = folder / "students" / name
        student.answer(own, "quiz", before)
        student.answer(own, "quiz", after)
    first, *others = course.summarize_quiz(folder / "students")
    assert list(first.values()) == [1, 2, 0.5, 0.5, 1, 1, None]
    assert all(list(row.values())[1:] == [2, 0, 1, 2, 0, None] for row in others)


def test_discrimination_is_the_correlation_with_the_other_items(tmp_path: Path) -> None:
    fields = read_exercises()["quiz"].fields
    for i, answers in enumerate(([1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0])):
        chosen = {f.name: f.choices[(f.right - ok) % 4] for f, ok in zip(fields, answers, strict=True)}
        write_json(tmp_path / f"{i}.json", {"student": str(i), "quiz": {"before": chosen, "after": chosen}})
    rows = course.summarize_quiz(tmp_path)
    assert rows[0]["discrimination"] == pytest.approx(2.3333 / (0.6667 * 12.6667) ** 0.5, abs=1e-3)
    (tmp_path / "0.json").unlink()
    assert course.summarize_quiz(tmp_path)[0]["discrimination"] is None
