"""Exercises: predict, measure, answer, and see hints; the quiz before and after. Answers go to the student's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from cleaner.exercises import course
from cleaner.exercises.content import QUIZ, ROUNDS, Exercise, Field, read_content
from cleaner.exercises.tasks import HIDDEN, find_images, show_table
from cleaner.presets import QUICK_MODEL, home_data
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.runs.job_requests import ExternalModel
from pages._shared.shell import state
from pages._shared.shell.frame import link, page, show_error
from pages._shared.shell.wording import escape_markdown

LEAD = "**Predict first, then measure.** Each exercise takes ten minutes and checks itself."
STUDENT = "exercises.student"
"""Session key of the ID that was opened; it is never part of the address."""
LINKS = {"plant": "Poison", "trigger": "Trigger search", "rate": "Defend", "texts": "Subtexts", "survive": "Compare"}
"""Exercise -> page to work on."""


def open_folder() -> Path | None:
    """Return the folder of the student who signed in; else draw the form and return None."""
    course.require_course()
    if student := st.session_state.get(STUDENT):
        return course.find_student(student)
    with st.form("exercises.sign_in", width=420):
        student = st.text_input("ID", help="From your sheet; without a course, any name.").strip()
        pin = st.text_input("Code", type="password", help="From your sheet.") if course.has_course() else ""
        is_sent = st.form_submit_button("Sign in", type="primary")
    if is_sent:
        if not course.opens(course.find_student(student), pin):
            raise CleanerError("this code does not open this ID: check both on your sheet.")
        st.session_state[STUDENT] = student
        st.rerun()
    return None


def show_fields(name: str, fields: list[Field], entry: dict[str, Any], label: str) -> dict[str, Any] | None:
    """Draw a form with the answers given so far; return the new ones once they are sent."""
    given, values = entry.get("answers") or {}, {}
    with st.form(f"exercises.{name}.{label}"):
        for field in fields:
            key, old = f"exercises.{name}.{field.name}", given.get(field.name)
            if field.kind == "choice":
                index = field.choices.index(old) if old in field.choices else None
                values[field.name] = st.selectbox(field.label, field.choices, index=index, key=key)
            elif field.kind == "argument":
                values[field.name] = st.text_area(field.label, str(old or ""), key=key)
            else:
                shown = f"{old:g}" if isinstance(old, float) else str(old or "")
                values[field.name] = st.text_input(field.label, shown, key=key)
        is_sent = st.form_submit_button(label, type="primary")
    return values if is_sent else None


def show_exercise(folder: Path, name: str, exercise: Exercise) -> None:
    """Draw the task on the left, what to fill on the right."""
    task, entry = course.read_task(folder, name), course.read_entry(folder, name)
    left, right = st.columns([3, 2], gap="large")
    with right:
        if not entry:
            fields = exercise.list_fields(is_prediction=True)
            if (sent := show_fields(name, fields, {}, "Commit prediction")) is not None:
                course.commit(folder, name, sent)
                st.rerun()
        else:
            committed = " · ".join(escape_markdown(f"{k}: {v}") for k, v in entry["committed"].items())
            st.caption(f"Committed: {committed}. Code **{entry['code']}**: write it on your sheet.")
            fields = exercise.list_fields(is_prediction=False)
            if (sent := show_fields(name, fields, entry, "Check")) is not None:
                course.submit(folder, name, sent)
                entry = course.read_entry(folder, name)
            show_hints(folder, name, entry)
    with left:
        st.markdown(f"**{exercise.goal}**")
        st.markdown("\n".join(f"{i}. {escape_markdown(s)}" for i, s in enumerate(course.list_steps(folder, name), 1)))
        if name == HIDDEN:
            show_model_button(folder)
        link(LINKS[name])
        if "seed" in task:
            st.image(find_images(task), caption=list("ABCD"), width=110)
        if rows := show_table(name, task, is_revealed=bool(entry)):
            st.dataframe(rows, hide_index=True, height="content")
        st.caption(f"**Hand in:** {exercise.hand_in} **Limits:** {exercise.limits}")


def show_hints(folder: Path, name: str, entry: dict[str, Any]) -> None:
    """Draw what is wrong with the answers of an entry."""
    if entry.get("answers"):
        hints = course.check_entry(folder, name)
        for hint in hints:
            st.warning(escape_markdown(hint), icon=":material/lightbulb:")
        if not hints:
            st.success(f"All right, after {entry['tries']} check(s).", icon=":material/task_alt:")


def show_model_button(folder: Path) -> None:
    """Draw the button that puts the student's own model in view."""
    model = folder / course.MODEL
    if not model.is_file():
        st.caption("Your model is not there yet. It is made by: ta-cleaner exercise trigger --student " + folder.name)
    elif st.button("Put my model in view", icon=":material/visibility:", key="exercises.model"):
        opened = st.session_state.setdefault(state.OPENED_MODELS, {})
        opened[ExternalModel(str(model), home_data(QUICK_MODEL))] = None
        state.select_run(state.MODEL_PREFIX + str(model.resolve()))
        st.rerun()


def show_quiz(folder: Path, round_name: str) -> None:
    """Draw the quiz of a round, or that it was answered; right answers are never shown here."""
    if round_name in course.read_entry(folder, QUIZ):
        st.success(f"The quiz {round_name} the exercises is stored.", icon=":material/task_alt:")
        return
    choices = []
    with st.form(f"exercises.quiz.{round_name}"):
        for i, item in enumerate(read_content().quiz, 1):
            chosen = st.radio(f"{i}. {item.text}", item.choices, index=None, key=f"exercises.quiz.{round_name}.{i}")
            choices.append(item.choices.index(chosen) + 1 if chosen else "")
        is_sent = st.form_submit_button("Hand in", type="primary")
    if is_sent:
        course.submit_quiz(folder, choices, round_name=round_name)
        st.rerun()


def show_files(folder: Path) -> None:
    """Draw what the student hands in, and the way out."""
    with st.container(horizontal=True):
        for file, label in ((course.ANSWERS, "Answers to hand in"), (course.SHEET, "Printable sheet")):
            if (folder / file).is_file():
                st.download_button(label, (folder / file).read_bytes(), file, icon=":material/download:")
        if st.button("Sign out", type="tertiary", key="exercises.sign_out"):
            st.session_state.clear()
            st.rerun()


with page("Exercises", LEAD):
    folder = open_folder()
    if folder is not None:
        exercises = read_content().exercises
        titles = {f"{QUIZ}.{ROUNDS[0]}": "Quiz before", **{n: e.title for n, e in exercises.items()}}
        titles[f"{QUIZ}.{ROUNDS[1]}"] = "Quiz after"
        chosen = state.choose_segment("Exercise", titles, default="plant", key="exercises.name", is_label_hidden=True)
        with st.spinner("Loading PyTorch …"):
            cache.triggers()
        try:
            if chosen in exercises:
                show_exercise(folder, chosen, exercises[chosen])
            else:
                show_quiz(folder, chosen.partition(".")[2])
        except CleanerError as error:
            show_error(error)
        show_files(folder)
