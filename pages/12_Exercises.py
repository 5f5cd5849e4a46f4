"""Exercises: predict, measure, answer, and see hints; the quiz before and after. Answers go to the student's folder."""

from pathlib import Path

import pandas as pd
import streamlit as st

from cleaner.exercises import student
from cleaner.exercises.content import Field, read_exercises
from cleaner.exercises.student import View
from cleaner.exercises.tasks import HIDDEN
from cleaner.presets import QUICK_MODEL, home_data
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.runs.external_model import put_in_view
from pages._shared.shell import state
from pages._shared.shell.frame import link, page, show_error
from pages._shared.shell.wording import escape_markdown

LEAD = "**Predict first, then measure.** Each exercise takes ten minutes and checks itself."
STUDENT = "exercises.student"
"""Session key of the ID that was opened; it is never part of the address."""


def open_folder() -> Path | None:
    """Return the folder of the student who signed in; else draw the form and return None."""
    if STUDENT not in st.session_state:
        with st.form("exercises.sign_in", width=420):
            own = st.text_input("ID", placeholder="On your sheet; without a course, any name").strip()
            if not st.form_submit_button("Sign in", type="primary"):
                return None
        student.find_student(own)  # raises for a wrong one
        st.session_state[STUDENT] = own
        st.rerun()
    return student.find_student(st.session_state[STUDENT])


def show_task(folder: Path, name: str, view: View) -> None:
    """Draw goal, steps, images and table."""
    st.markdown(f"**{view.exercise.goal}**")
    st.markdown("\n".join(f"{i}. {escape_markdown(step)}" for i, step in enumerate(view.steps, 1)))
    if name == HIDDEN:
        show_model_button(folder)
    if view.exercise.page:
        link(view.exercise.page)
    if view.images:
        st.image(view.images, [*"ABCD"], width=110, alt=[f"Image {letter}" for letter in "ABCD"])
    if view.rows:  # a table wraps texts, a data frame cuts them
        rows = [{name: escape_markdown(str(value)) for name, value in row.items()} for row in view.rows]
        st.table(pd.DataFrame(rows), border="horizontal", hide_index=True)
    st.caption(f"**Hand in:** {view.exercise.hand_in} **Limits:** {view.exercise.limits}")


def show_model_button(folder: Path) -> None:
    """Draw the button that puts the student's own model in view."""
    model = folder / student.MODEL
    if not model.is_file():
        st.caption(f"Your model is missing. Make it with: ta-cleaner exercise {HIDDEN} --student {folder.name}")
    elif st.button("Put my model in view", icon=":material/visibility:", key="exercises.model"):
        put_in_view(model, home_data(QUICK_MODEL))
        st.rerun()


def show_answers(folder: Path, name: str, view: View) -> None:
    """Draw what was committed, what is wrong with the answers, and the form to answer next."""
    label, given = "Check" if view.entry else "Commit prediction", view.entry.get("after", {})
    messages = st.container()
    with st.form(f"exercises.{name}.{label}"):
        values = {f.name: show_field(f, given.get(f.name), f"exercises.{name}.{label}.{f.name}") for f in view.fields}
        is_sent = st.form_submit_button(label if view.exercise.hints else "Hand in", type="primary")
    with messages:
        if is_sent:
            try:
                student.answer(folder, name, values)
                st.rerun()
            except CleanerError as error:
                show_error(error)
        if view.entry:
            committed = " · ".join(format_answer(value) for value in view.entry["before"].values())
            quiz = "Your first answers are stored. Answer again after the exercises."
            st.caption(f"Committed: {escape_markdown(committed)}" if view.exercise.hints else quiz)
        if hints := student.check_file(folder / student.ANSWERS).get(name) if given else None:
            st.warning("\n".join(f"- {escape_markdown(hint)}" for hint in hints), icon=":material/lightbulb:")
        elif given:
            st.success("All right." if view.exercise.hints else "Stored.", icon=":material/task_alt:")


def format_answer(value: str | float | None) -> str:
    """Return an answer as text."""
    return f"{value:g}" if isinstance(value, float) else value or ""


def show_field(field: Field, given: str | float | None, key: str) -> object:
    """Draw the widget of an answer; return its value."""
    if field.kind == "choice":
        index = field.choices.index(str(given)) if given in field.choices else None
        if len(field.choices) < 5:
            return st.radio(field.label, field.choices, index, key=key)
        return st.selectbox(field.label, field.choices, index, key=key)
    if field.kind == "argument":
        return st.text_area(field.label, format_answer(given), key=key)
    return st.text_input(field.label, format_answer(given), key=key)


def show_files(folder: Path) -> None:
    """Draw what the student hands in, and the way out."""
    with st.container(horizontal=True):
        for file, label in ((student.ANSWERS, "Answers to hand in"), (student.SHEET, "Printable sheet")):
            if (folder / file).is_file():
                st.download_button(label, (folder / file).read_bytes(), file, icon=":material/download:")
        if st.button("Sign out", type="tertiary", key="exercises.sign_out"):
            st.session_state.clear()
            st.rerun()


with page("Exercises", LEAD):
    own_folder = open_folder()
    if own_folder is not None:
        titles = {name: exercise.title for name, exercise in read_exercises().items()}
        chosen = state.choose_segment("Exercise", titles, key="exercises.name", is_label_hidden=True)
        with st.spinner("Loading the exercise …"):
            cache.parse(LEAD)  # loads PyTorch and the grammar, one session at a time
            seen = student.view_exercise(own_folder, chosen)
        left, right = st.columns([3, 2], gap="large")
        with left:
            show_task(own_folder, chosen, seen)
        with right:
            show_answers(own_folder, chosen, seen)
        show_files(own_folder)
