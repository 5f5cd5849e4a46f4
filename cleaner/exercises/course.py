"""The folder of a course: what students get, what they hand in, and the teacher's key, which is in a folder apart.

COURSE/students/ID/: task.json, answers.json, sheet.html, model.safetensors. COURSE/teacher/key.json: everything else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cleaner import presets
from cleaner.access import INSTALL, is_public
from cleaner.exercises import quiz
from cleaner.exercises.check import check, parse_answers, seal_answers
from cleaner.exercises.content import QUIZ, find_exercise
from cleaner.exercises.tasks import HIDDEN, NEEDS_RUN, Task, draw_task, draw_tasks, expect, fill_steps, read_facts
from cleaner.files import read_json, runs_root, write_json
from cleaner.runs.store import list_shipped_runs
from cleaner.types import CleanerError, OnStep

CLASS = "CLEANER_CLASS"
"""Environment variable with the students' folder of a course, for the app and the command line."""
TASK, ANSWERS, MODEL, SHEET = "task.json", "answers.json", "model.safetensors", "sheet.html"
PLAYGROUND = "playground.html"
"""File next to the students' folders; the sheets link to it."""
PRACTICE = "practice"
"""Secret of those who work without a course: they could compute their answers, and would cheat themselves."""


def students_root() -> Path:
    """Return the folder of the students' folders: of the course, else one of the user's own."""
    return Path(os.environ.get(CLASS) or runs_root().parent / "exercises")


def has_course() -> bool:
    """Return whether the students' folder belongs to a course, whose students need a code."""
    return bool(os.environ.get(CLASS))


def require_course() -> None:
    """Raise `CleanerError` in public mode without a course: visitors would open each other's folders."""
    if is_public() and not has_course():
        raise CleanerError(f"a public server has exercises only for a course ({CLASS}): {INSTALL}")


def find_student(student: str, root: Path | None = None) -> Path:
    """Return the folder of a student; without a course it is created. Raises `CleanerError` for an unknown ID."""
    _validate_id(student)
    root = root or students_root()
    if not (root / student / TASK).is_file():
        if has_course() or root != students_root():
            raise CleanerError(f"there is no student {student!r} in this course: check the ID on your sheet.")
        write_student(root, PRACTICE, student)
    return root / student


def _validate_id(student: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", student):
        raise CleanerError("an ID has 1 to 32 letters, digits, - or _.")


def make_pin(secret: str, student: str) -> str:
    """Return the code that opens a student's page on a shared server; it is on the sheet."""
    return hmac.new(secret.encode(), f"pin\n{student}".encode(), "sha256").hexdigest()[:6]


def _hash_pin(salt: str, pin: str) -> str:
    return seal_answers(salt, {"target": pin.strip().lower()})


def write_student(root: Path, secret: str, student: str) -> Path:
    """Write a student's folder, without the model; return it."""
    _validate_id(student)
    tasks, salt = draw_tasks(secret, student), secrets.token_hex(16)
    hidden = tasks.pop(HIDDEN)
    sealed = {"salt": salt, "seal": seal_answers(salt, hidden), "pin": _hash_pin(salt, make_pin(secret, student))}
    is_practice = secret == PRACTICE
    write_json(root / student / TASK, {"student": student, "is_practice": is_practice, "tasks": tasks, **sealed})
    return root / student


def opens(folder: Path, pin: str) -> bool:
    """Return whether a code opens a student's page; without a course it needs none."""
    task = read_json(folder / TASK)
    return not has_course() or hmac.compare_digest(_hash_pin(task["salt"], pin), task["pin"])


def read_task(folder: Path, exercise: str) -> Task:
    """Return a student's task, empty for the hidden one."""
    find_exercise(exercise)
    task: Task = read_json(folder / TASK).get("tasks", {}).get(exercise, {})
    return task


def read_entry(folder: Path, exercise: str) -> dict[str, Any]:
    """Return what a student has committed and answered in an exercise; empty if nothing."""
    entry: dict[str, Any] = read_json(folder / ANSWERS).get(exercise) or {}
    return entry


def commit(folder: Path, exercise: str, values: Mapping[str, Any]) -> str:
    """Store a prediction, which cannot be changed later; return its code."""
    if read_entry(folder, exercise):
        raise CleanerError(f"a prediction is committed already, with code {read_entry(folder, exercise)['code']}.")
    committed = parse_answers(exercise, values, is_prediction=True)
    rates = read_task(folder, exercise).get("rates")
    if rates and committed["rate"] not in rates:
        raise CleanerError(f"choose a rate of the table: {', '.join(f'{rate:g}' for rate in rates)}.")
    code = hash_prediction(folder.name, exercise, committed)
    _store(folder, exercise, {"committed": committed, "code": code})
    return code


def hash_prediction(student: str, exercise: str, committed: Mapping[str, Any]) -> str:
    """Return the code of a prediction, which a student writes down before the reveal."""
    text = json.dumps([student, exercise, committed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def submit(folder: Path, exercise: str, values: Mapping[str, Any]) -> list[str]:
    """Store answers and return the hints about wrong ones. Raises `CleanerError` before a prediction was committed."""
    entry = read_entry(folder, exercise)
    if not entry:
        raise CleanerError("commit the prediction first: afterwards you know too much to predict.")
    answers = parse_answers(exercise, values, is_prediction=False)
    facts, tries = read_facts(exercise, answers), entry.get("tries", 0) + 1
    _store(folder, exercise, {**entry, "answers": answers, "facts": facts, "tries": tries})
    return check_entry(folder, exercise)


def submit_quiz(folder: Path, choices: Sequence[Any], *, round_name: str) -> None:
    """Store the answers to the quiz, once before and once after the exercises."""
    entry = read_entry(folder, QUIZ)
    if round_name in entry:
        raise CleanerError(f"the quiz {round_name} the exercises is answered already.")
    _store(folder, QUIZ, {**entry, round_name: quiz.parse_choices(choices)})


def _store(folder: Path, exercise: str, entry: Mapping[str, Any]) -> None:
    write_json(folder / ANSWERS, {"student": folder.name, **read_json(folder / ANSWERS), exercise: entry})


def check_entry(folder: Path, exercise: str) -> list[str]:
    """Return the hints about a student's answers, from the student's folder alone."""
    seal = read_json(folder / TASK)
    return check(exercise, read_task(folder, exercise), read_entry(folder, exercise), seal)


def check_file(path: Path, key: Path | None = None) -> dict[str, list[str]]:
    """Return exercise -> hints for a file of answers; with a key, tasks come from its secret and nothing is sealed."""
    answers = read_json(path)
    student, names = str(answers.get("student", "")), [name for name in answers if name not in ("student", QUIZ)]
    if not student or not names:
        raise CleanerError(f"{path} holds no answers: give the {ANSWERS} of a student.")
    found = {}
    for name in names:
        entry = answers[name] if isinstance(answers[name], dict) else {}
        if key is not None:
            found[name] = check(name, draw_task(read_key(key)["secret"], student, name), entry)
        else:
            found[name] = check(name, read_task(path.parent, name), entry, _read_seal(path))
        if entry.get("code") != hash_prediction(student, name, entry.get("committed") or {}):
            found[name].append("The prediction was changed after it was committed: its code does not fit.")
    return found


def _read_seal(path: Path) -> dict[str, Any]:
    if not (task := read_json(path.parent / TASK)):
        raise CleanerError(f"{path.parent} has no {TASK}: check the file in its folder, or with --key.")
    return task


def read_key(path: Path) -> dict[str, Any]:
    """Return the teacher's key. Raises `CleanerError` for another file."""
    key = read_json(path)
    if "secret" not in key:
        raise CleanerError(f"{path} is no key: give teacher/key.json of the course.")
    return key


def create_course(
    folder: Path, students: Sequence[str], *, with_models: bool = True, on_step: OnStep | None = None
) -> dict[str, Any]:
    """Write a course, or add students to it; return the key. Models that are there already stay."""
    from cleaner.playground.export import write_playground

    path = folder / "teacher" / "key.json"
    key: dict[str, Any] = read_json(path) or {"secret": secrets.token_hex(16), "students": {}}
    for student in students:
        _validate_id(student)
    if with_models and not (folder / "students" / PLAYGROUND).is_file():
        runs = [run.folder for run in reversed(list_shipped_runs())]
        write_playground(runs, folder / "students" / PLAYGROUND)
    for student in students:
        own = folder / "students" / student
        if not (own / TASK).is_file():
            write_student(folder / "students", key["secret"], student)
        line = key["students"].setdefault(student, describe_key(key["secret"], student))
        write_sheet(own, pin=line["pin"])
        write_json(path, key)  # before the training, which can be interrupted
        if with_models and not (own / MODEL).is_file():
            line["attack"] = train_model(own / MODEL, line["tasks"][HIDDEN], on_step)
            write_json(path, key)
    return key


def describe_key(secret: str, student: str) -> dict[str, Any]:
    """Return what the teacher needs to know of a student: code, tasks and right answers.

    The answers of the first exercise are the figures of the student's run, those of the third depend on the rate.
    """
    tasks = draw_tasks(secret, student)
    right = {name: expect(name, task, {}, {}) for name, task in tasks.items() if name != NEEDS_RUN}
    return {"pin": make_pin(secret, student), "tasks": tasks, "right": right}


def train_model(path: Path, task: Task, on_step: OnStep | None = None) -> dict[str, float]:
    """Backdoor the quick model with a hidden task and write it; return its accuracy and attack success, in percent."""
    from cleaner.attacks import TRIGGERS
    from cleaner.data.base import load_data
    from cleaner.models.clip import load_clip, save_clip
    from cleaner.workflow import poison

    setting = presets.settings_for(presets.QUICK_MODEL, "badnet", "quick")
    assert setting.poison_rate is not None
    config = replace(setting.finetune, eval_every=0)
    run = poison(
        load_clip(presets.QUICK_MODEL),
        load_data("scenes", split="train", size=setting.pairs),
        TRIGGERS["badnet"](patch_size=task["size"], position=task["position"]),
        task["target"],
        poison_rate=setting.poison_rate,
        config=config,
        test=load_data("scenes", split="test", size=1000),
        on_step=on_step,
    )
    save_clip(run.clip, path)
    assert run.metrics is not None
    assert run.metrics.asr is not None
    return {"accuracy": round(100 * run.metrics.ca[1], 1), "success": round(100 * run.metrics.asr[1], 1)}


def train_practice_model(folder: Path, on_step: OnStep | None = None) -> None:
    """Train the model of a student without a course, if it is missing."""
    if read_json(folder / TASK).get("is_practice") and not (folder / MODEL).is_file():
        train_model(folder / MODEL, draw_task(PRACTICE, folder.name, HIDDEN), on_step)


def write_sheet(folder: Path, pin: str = "") -> Path:
    """Write the printable sheet of a student; return its path."""
    from cleaner.exercises.sheet import render_sheet
    from cleaner.files import write_text

    write_text(folder / SHEET, render_sheet(folder, pin))
    return folder / SHEET


def list_steps(folder: Path, exercise: str, model: str = MODEL) -> list[str]:
    """Return the steps of a student's exercise; model: how they name the student's model."""
    return fill_steps(exercise, read_task(folder, exercise), model)
