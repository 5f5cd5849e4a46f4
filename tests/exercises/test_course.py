"""The folder of a course: what students get, commit and hand in; the key stays in the teacher's folder."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

from cleaner.exercises import check, course, quiz
from cleaner.exercises.content import read_content
from cleaner.exercises.tasks import draw_task
from cleaner.files import read_json, write_json
from cleaner.types import CleanerError

RIGHT = [item.answer for item in read_content().quiz]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene_cache: Path) -> Path:
    """A course of two students without models; the environment names it."""
    monkeypatch.setitem(check.SCRYPT, "n", 2**4)
    monkeypatch.setenv("CLEANER_CACHE", str(scene_cache))
    monkeypatch.setenv(course.CLASS, str(tmp_path / "course" / "students"))
    course.create_course(tmp_path / "course", ["anna", "bert"], with_models=False)
    return tmp_path / "course"


def test_the_key_equals_what_the_code_computes(folder: Path) -> None:
    key = course.read_key(folder / "teacher" / "key.json")
    for student, line in key["students"].items():
        assert line == json.loads(json.dumps(course.describe_key(key["secret"], student)))
        hidden = line["tasks"]["trigger"]
        seal = read_json(folder / "students" / student / course.TASK)
        assert check.seal_answers(seal["salt"], hidden) == seal["seal"]
        assert draw_task(key["secret"], student, "trigger") == hidden


def test_students_get_neither_secret_nor_hidden_task(folder: Path) -> None:
    key = course.read_key(folder / "teacher" / "key.json")
    for student, line in key["students"].items():
        own = folder / "students" / student
        assert "trigger" not in read_json(own / course.TASK)["tasks"]
        for path in own.iterdir():
            text = path.read_text()
            assert key["secret"] not in text
            assert line["right"]["texts"]["sort"] not in text
            assert path.name == course.SHEET or line["pin"] not in text
            assert str(folder) not in text


def test_a_prediction_comes_first_and_stays(folder: Path) -> None:
    own = course.find_student("anna")
    rate = course.read_task(own, "rate")["rates"][0]
    with pytest.raises(CleanerError, match="commit the prediction first"):
        course.submit(own, "rate", {"left": 1, "aware": rate})
    with pytest.raises(CleanerError, match="choose a rate of the table"):
        course.commit(own, "rate", {"rate": 0.123})
    code = course.commit(own, "rate", {"rate": rate})
    with pytest.raises(CleanerError, match=code):
        course.commit(own, "rate", {"rate": rate})
    assert course.submit(own, "rate", {"left": 1, "aware": 1})
    assert course.read_entry(own, "rate")["tries"] == 1
    answers = read_json(own / course.ANSWERS)
    answers["rate"]["committed"]["rate"] = 1.0
    write_json(own / course.ANSWERS, answers)
    assert any("changed after" in hint for hint in course.check_file(own / course.ANSWERS)["rate"])


def test_a_file_is_checked_with_the_key_as_in_its_folder(folder: Path, tmp_path: Path) -> None:
    own, key = course.find_student("anna"), folder / "teacher" / "key.json"
    hidden = course.read_key(key)["students"]["anna"]["tasks"]["trigger"]
    course.commit(own, "trigger", {"visible": "no"})
    assert course.submit(own, "trigger", hidden) == []
    collected = tmp_path / "collected.json"
    collected.write_bytes((own / course.ANSWERS).read_bytes())
    assert course.check_file(own / course.ANSWERS) == course.check_file(collected, key) == {"trigger": []}
    with pytest.raises(CleanerError, match=r"has no task\.json"):
        course.check_file(collected)
    course.submit(own, "trigger", {**hidden, "size": 35 if hidden["size"] == 28 else 28})
    assert all(
        course.check_file(path, k)["trigger"] for path, k in ((own / course.ANSWERS, key), (own / course.ANSWERS, None))
    )


def test_a_code_opens_one_student(folder: Path) -> None:
    pins = {name: line["pin"] for name, line in course.read_key(folder / "teacher" / "key.json")["students"].items()}
    anna, bert = course.find_student("anna"), course.find_student("bert")
    assert course.opens(anna, pins["anna"])
    assert course.opens(bert, pins["bert"].upper() + " ")
    assert not course.opens(anna, pins["bert"])
    assert not course.opens(anna, "")


@pytest.mark.parametrize("student", ["", "../anna", "a b", "x" * 33, "carl"])
def test_unknown_ids_are_refused(folder: Path, student: str) -> None:
    with pytest.raises(CleanerError):
        course.find_student(student)
    assert sorted(path.name for path in (folder / "students").iterdir()) == ["anna", "bert"]


def test_a_course_grows_and_keeps_its_secret(folder: Path) -> None:
    before = course.read_key(folder / "teacher" / "key.json")
    own = (folder / "students" / "anna" / course.TASK).read_bytes()
    after = course.create_course(folder, ["carl"], with_models=False)
    assert after["secret"] == before["secret"]
    assert set(after["students"]) == {"anna", "bert", "carl"}
    assert (folder / "students" / "anna" / course.TASK).read_bytes() == own


def test_without_a_course_a_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(course.CLASS, raising=False)
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    own = course.find_student("me")
    assert own.is_relative_to(tmp_path)
    assert course.opens(own, "")
    monkeypatch.setenv("CLEANER_PUBLIC", "1")
    with pytest.raises(CleanerError, match="only for a course"):
        course.require_course()


def test_the_sheet_is_one_offline_page(folder: Path) -> None:
    html = (folder / "students" / "anna" / course.SHEET).read_text()
    assert not re.findall(r"https?://|<script|url\(", html)
    assert len(re.findall(r"<section>", html)) == len(read_content().exercises) + 1
    assert html.count("data:image/png") == 4
    assert all(item.text in unescape(html) for item in read_content().quiz)
    assert 'href="../playground.html"' in html


def test_the_quiz_is_taken_twice_and_summarized(folder: Path) -> None:
    wrong = [answer % 4 + 1 for answer in RIGHT]
    rounds = {"anna": (wrong, RIGHT), "bert": ([RIGHT[0], *wrong[1:]], [wrong[0], *RIGHT[1:]])}
    for student, (before, after) in rounds.items():
        own = course.find_student(student)
        course.submit_quiz(own, before, round_name="before")
        with pytest.raises(CleanerError, match="answered already"):
            course.submit_quiz(own, before, round_name="before")
        course.submit_quiz(own, after, round_name="after")
    first, *others = quiz.summarize(quiz.collect(folder / "students"))
    assert (first.n, first.before, first.after, first.gained, first.lost) == (2, 0.5, 0.5, 1, 1)
    assert all((row.before, row.after, row.gained, row.lost) == (0, 1, 2, 0) for row in others)


def test_discrimination_is_the_correlation_with_the_other_items() -> None:
    rounds = [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    chosen = [[r if ok else r % 4 + 1 for r, ok in zip(RIGHT, row, strict=True)] for row in rounds]
    answers = [{"quiz": {"before": row, "after": row}} for row in chosen]
    assert quiz.summarize(answers)[0].discrimination == pytest.approx(2.3333 / (0.6667 * 12.6667) ** 0.5, abs=1e-3)
    assert quiz.summarize(answers[:1])[0].discrimination is None


@pytest.mark.parametrize("choices", [[], ["1"] * 5, ["5"] * 6, ["x"] * 6, [""] * 6])
def test_an_incomplete_quiz_is_refused(choices: list[str]) -> None:
    with pytest.raises(CleanerError, match="needs 6 numbers"):
        quiz.parse_choices(choices)
