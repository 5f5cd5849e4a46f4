"""Buttons that act on runs; Delete asks first."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cleaner.jobs import local
from cleaner.labels import format_count
from cleaner.runs.record import RunRecord
from pages._shared import cache
from pages._shared.inspect import playground
from pages._shared.runs import jobs
from pages._shared.shell import state
from pages._shared.shell.wording import escape_markdown


def show_action_button(
    column: DeltaGenerator,
    label: str,
    action: Callable[[], None],
    *,
    key: str,
    icon: str,
    help: str,
    is_disabled: bool = False,
) -> None:
    """Draw a button that acts on runs; if the action fails, the page shows the error."""
    column.button(
        label,
        key=key,
        icon=f":material/{icon}:",
        disabled=is_disabled,
        width="stretch",
        help=help,
        on_click=jobs.run_action,
        args=(action,),
    )


def show_playground_button(run: RunRecord, key: str) -> None:
    """Draw the download of a built-in model's playground, made when the button is pressed."""
    if not playground.is_possible(run):
        return

    draw_download(
        "Playground (HTML)",
        lambda: cache.playground_html(run, playground.list_defenses(run)),
        "playground.html",
        "text/html",
        key=key,
        icon="touch_app",
        help="One offline file: drag the trigger with the mouse, and these models answer in the browser.",
    )


def draw_download(
    label: str,
    make: Callable[[], str | bytes],
    name: str,
    mime: str,
    *,
    icon: str,
    key: str | None = None,
    help: str | None = None,
    width: Literal["content", "stretch"] = "content",
) -> None:
    """Draw the download of a file that is made when the button is pressed; the page does not run again."""
    icon = f":material/{icon}:"
    st.download_button(label, make, name, mime, key=key, icon=icon, on_click="ignore", help=help, width=width)


def show_resume_button(column: DeltaGenerator, entry: RunRecord, key: str) -> None:
    """Draw the button that resumes a run."""
    show_action_button(
        column,
        "Resume",
        partial(jobs.resume, entry),
        key=key,
        icon="play_arrow",
        help="Continues from the last checkpoint, if there is one.",
    )


def ask_to_delete(place: DeltaGenerator, entry: RunRecord, key: str) -> None:
    """Draw the question, folded, and the button that deletes a run; key: of that button."""
    with place.popover("Delete …", icon=":material/delete:", width="stretch", key=f"{key}.ask"):
        names = dict.fromkeys([entry.name or entry.folder.name, entry.folder.name])
        children = len(state.list_started_from(entry))
        stay = f" {format_count(children, 'runs')} that started from it will stay." if children else ""
        if unfinished := jobs.count_unfinished_from(entry):
            stay += f" **{format_count(unfinished, 'unfinished trainings')} started from it and will fail.**"
        st.markdown(f"Delete **{escape_markdown(' · '.join(names))}** and all its files? This cannot be undone.{stay}")
        st.button("Delete", key=key, on_click=jobs.run_action, args=(partial(local.delete, entry.folder),))
