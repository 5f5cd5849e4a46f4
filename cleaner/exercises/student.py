"""The folder of a student: task, model, sheet and answers, with a hint for each wrong one; the key is not in it."""

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cleaner.access import INSTALL, is_public
from cleaner.exercises.content import Exercise, Field, Hint, read_exercises
from cleaner.exercises.tasks import HIDDEN, KINDS, Row, Task, draw_tasks, expect, read_run
from cleaner.files import read_json, runs_root, write_json, write_text
from cleaner.types import CleanerError

CLASS = "CLEANER_CLASS"
"""Environment variable with the students' folder of a course, for the app and the command line."""
TASK, ANSWERS, MODEL, SHEET = "task.json", "answers.json", "model.safetensors", "sheet.html"
PLAYGROUND = "playground.html"
"""File next to the students' folders; the sheets link to it."""
PRACTICE = "practice"
"""Secret of those who work without a course: they could compute their answers, and would cheat themselves."""
TEMPLATE = Path(__file__).with_name("sheet.html.jinja")


class View(NamedTuple):
    """What a student sees of an exercise now.

    `entry`: what was answered so far: "before", "after", "facts", "tries". `fields`: to answer next.
    """

    exercise: Exercise
    entry: dict[str, Any]
    steps: list[str]
    rows: list[Row]
    images: list[Any]
    fields: list[Field]


def students_root() -> Path:
    """Return the folder of the students' folders: of the course, else one of the user's own."""
    return Path(os.environ.get(CLASS) or runs_root().parent / "exercises")


def has_course(root: Path | None = None) -> bool:
    """Return whether the students' folder is that of a course, which has their tasks already."""
    return root is not None or bool(os.environ.get(CLASS))


def find_student(student: str, root: Path | None = None) -> Path:
    """Return the folder of a student, by ID; without a course it is created. Raises `CleanerError` for a wrong ID."""
    is_class = has_course(root)
    if is_public() and not is_class:  # visitors would open each other's folders
        raise CleanerError(f"a public server has exercises only for a course ({CLASS}): {INSTALL}")
    name, _, code = student.rpartition("-") if is_class and "-" in student else (student, "", "")
    validate_name(name)
    folder = (root or students_root()) / name
    task = read_json(folder / TASK)
    if is_class and (not task or task["code"] != _seal(task["salt"], {"code": code})):
        raise CleanerError(f"there is no student {student!r} in this course: copy the whole ID from your sheet.")
    if not task:
        write_student(folder, PRACTICE)
    return folder


def validate_name(name: str) -> None:
    """Raise `CleanerError` for a name that is no safe folder name."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name):
        raise CleanerError("a name has 1 to 32 letters, digits, - or _.")


def write_student(folder: Path, secret: str, code: str = "") -> None:
    """Write what a student may know of the tasks, with a hash of the hidden one, and an offline sheet to print.

    code: the end of the ID. It is on the sheet and in no path, so that nobody else reads it in an address or a run.
    """
    from jinja2 import Environment

    from cleaner.plots.images import to_data_uri

    tasks, salt = draw_tasks(secret, folder.name), secrets.token_hex(16)
    sealed = {"salt": salt, "seal": _seal(salt, tasks.pop(HIDDEN)), "code": _seal(salt, {"code": code})}
    write_json(folder / TASK, {"tasks": tasks, **sealed})
    views = {name: view_exercise(folder, name) for name in read_exercises()}
    images = {name: [to_data_uri(image) for image in view.images] for name, view in views.items()}
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    playground = PLAYGROUND if (folder.parent / PLAYGROUND).is_file() else ""
    own = f"{folder.name}-{code}" if code else folder.name
    html = template.render(student=own, views=views, images=images, playground=playground)
    write_text(folder / SHEET, html)


def _seal(salt: str, values: Task) -> str:
    """Return a hash that hides values; a program that tries all tasks finds the hidden one."""
    return hashlib.sha256("|".join([salt, *(str(values[name]) for name in sorted(values))]).encode()).hexdigest()


def view_exercise(folder: Path, name: str, model: str = MODEL) -> View:
    """Return what a student sees; model: how the steps name the student's model."""
    exercise, entry, kind = read_exercises()[name], read_json(folder / ANSWERS).get(name) or {}, KINDS.get(name)
    task = read_json(folder / TASK).get("tasks", {}).get(name)
    if kind is None or task is None:
        kind, task = KINDS[HIDDEN], {}
    rows, images = kind.show(task, is_revealed=bool(entry))
    steps = [step.format(model=model, **task) for step in exercise.steps]
    return View(exercise, entry, steps, rows, images, exercise.list_fields("after" if entry else "before", task))


def answer(folder: Path, name: str, values: Mapping[str, Any]) -> None:
    """Store the prediction, which stays, or the answers after it. Raises `CleanerError` unless all are valid."""
    view = view_exercise(folder, name)
    names = [field.name for field in view.fields]
    if unknown := next((key for key in values if key not in names), None):
        raise CleanerError(f"{unknown[:40]!r} is not asked now: answer {', '.join(names)}.")
    if missing := [key for key in names if values.get(key) in (None, "")]:
        raise CleanerError(f"{', '.join(missing)} is missing: answer all of {', '.join(names)}.")
    given = {field.name: field.parse(values[field.name]) for field in view.fields}
    entry: dict[str, Any] = {"before": given}
    if view.entry:
        used, facts = read_run(str(given["run"])) if "run" in given else ({}, {})
        entry = {**view.entry, "after": {**given, **used}, "facts": facts, "tries": view.entry.get("tries", 0) + 1}
    write_json(folder / ANSWERS, {"student": folder.name, **read_json(folder / ANSWERS), name: entry})


def check_file(path: Path, key: Path | None = None) -> dict[str, list[str]]:
    """Return exercise -> hints for a file of answers; tasks come from its folder, or from the secret of a key."""
    answers, known = read_json(path), read_json(key or path.parent / TASK)
    entries = {name: answers[name] for name in KINDS if isinstance(answers.get(name), dict)}
    if not answers.get("student"):
        raise CleanerError(f"{path} has no answers: give the {ANSWERS} of a student.")
    if ("tasks" if key is None else "secret") not in known:
        raise CleanerError(f"{path} can be checked in the student's folder, or with --key and the key of the course.")
    tasks = known["tasks"] if key is None else draw_tasks(known["secret"], str(answers["student"]))
    return {name: check(name, tasks.get(name), entry, known) for name, entry in entries.items()}


def check(name: str, task: Task | None, entry: Mapping[str, Any], seal: Mapping[str, str]) -> list[str]:
    """Return a hint for each wrong answer of an entry; none if all are right.

    task: None if it is hidden; then "salt" and "seal" tell whether all answers are right, and only one hint is given.
    """
    exercise = read_exercises()[name]
    before, after, facts = (v if isinstance(v := entry.get(k), dict) else {} for k in ("before", "after", "facts"))
    if not after:
        return ["Only the prediction is there: answer the rest."]
    given, expected = before | after, {} if task is None else expect(name, task, before, facts)

    def is_right(field: Field, value: Any) -> bool:
        if task is None:
            return _seal(seal["salt"], after | {field.name: value}) == seal["seal"]
        return field.matches(value, expected.get(field.name))

    def fits(hint: Hint, field: Field, value: Any) -> bool:
        rule, _, argument = hint.when.partition(":")
        if rule == "scale":
            return isinstance(value, int | float) and is_right(field, value * float(argument))
        if rule == "swap":
            return str(value) in hint.map and is_right(field, hint.map[str(value)])
        if rule == "other":
            return argument in expected and field.matches(value, expected[argument])
        return task is not None or any(is_right(field, str(choice)) for choice in exercise.settings[field.options])

    checked = [f for f in exercise.fields if f.name in (after if task is None else expected) or f.tolerance]
    wrong = [(field, given.get(field.name)) for field in checked if not is_right(field, given.get(field.name))]
    hints = [next((h.text for h in exercise.hints if h.field == f.name and fits(h, f, v)), "") for f, v in wrong]
    if task is None:
        hints = [next(filter(None, hints), "")] * bool(hints)
    return [hint or exercise.fallback for hint in hints]
