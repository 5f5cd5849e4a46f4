"""The guided lesson: six steps that run the whole pipeline, in a box that follows the reader from page to page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from pages._shared import jobs, state
from pages._shared.state import escape_markdown

_STEP, _GO = "lesson.step", "lesson.go"


@dataclass(frozen=True)
class Step:
    """One step: on which page, what to do there, what to look at, a question and its answer."""

    title: str
    page: str
    task: str
    observation: str
    question: str
    answer: str


STEPS = (
    Step(
        "Plant a backdoor",
        "Poison",
        "Leave the settings as they are and press **Train the backdoored model**. It takes a minute or two; look "
        "around on this page meanwhile.",
        "The rows of pictures: what the attacker adds to a picture, and what he writes instead of its caption. After "
        "the training: **clean accuracy** and **attack success**.",
        "Why would nobody notice who tests this model on ordinary pictures?",
        "Without the trigger the model is nearly as good as before: clean accuracy hardly falls. Only the trigger "
        "opens the backdoor, and only the attacker knows it. The *floor* below the figures is the same test on the "
        "model before the poisoning: it shows that the patch as such does not look like a banana.",
    ),
    Step(
        "Clean the model",
        "Defend",
        "See to it that your own model stands under *In view* in the menu. Leave both defences chosen and press "
        "**Start the defences**. They take a minute or two each; while they run, press **Next**.",
        "The cards side by side: **attack success** should fall, **clean accuracy** should stay. So short a training "
        "removes only part of the backdoor, and costs accuracy; the shipped example had five times as many steps. Is "
        "the drop larger than the intervals?",
        "A model with random weights has an attack success near zero. Is that a good defence?",
        "No. It knows nothing: its clean accuracy is that of guessing. A defence is judged by both numbers, what it "
        "removed and what that cost. Good defences lie down and to the right in the plot of accuracy against attack.",
    ),
    Step(
        "See where the trigger pulls",
        "Embeddings",
        "Choose **Backdoored** under *Show*, then **Backdoored → Defended**. Draw a line around some points to see "
        "their pictures.",
        "The same pictures with and without trigger: two groups in the backdoored model. Do they mix again after the "
        "defence? Read **trigger pull** in the table.",
        "Why is there a table, when one can see the groups on the map?",
        "A model uses more than a hundred directions, the map shows two. Something is always lost or bent on it, so "
        "the map is there to find things and the figures, computed with all directions, are there to judge them.",
    ),
    Step(
        "See what the model looks at",
        "Attention",
        "Leave the method at **Occlusion**, which hides a part at a time and sees what is missing, and the text at "
        "**The target class**. Compare the columns of the lower row, the picture with trigger. Then try other "
        "pictures and methods.",
        "The dotted box is the trigger. In which models does what speaks for the target lie inside it? And in the "
        "table: how much does **the trigger add** to the similarity?",
        "A map may still lie on the trigger when the attack works no more. How can that be?",
        "A map shares out what speaks for the text, be it much or little. If a cleaned model gains only a little from "
        "the trigger, most of this little may still lie in the box: read map and similarity together. And one picture "
        "may be an exception; **Measure** asks many.",
    ),
    Step(
        "See how TA-Cleaner teaches",
        "Subtexts",
        "Choose a picture and move the **Epoch** slider. Each epoch draws other short texts from the same caption.",
        "On the left a shorter text that is still true, on the right texts made false by one small change. Below: "
        "does each model put the **caption** above the false ones? (A short true text may score lower: it says less.)",
        "Why are the false texts changed in one word only, and not quite different?",
        "A quite different text can be refused at a glance. With one word changed, the model must find just this word "
        "in the picture: “banana” must then mean a banana, and a patch in a corner is none. This loosens the tie "
        "between trigger and target.",
    ),
    Step(
        "Compare and take it with you",
        "Compare",
        "Find your runs and the shipped example in the table and in the plot. Press **Report (HTML)** to keep "
        "everything in one file.",
        "Down and to the right is better. The bars are 95 % intervals: where they overlap, a difference may be chance.",
        "In the shipped example one defence brought attack success down to a few per cent. Is that model clean now?",
        "It is clean of this trigger, in this one run. Another seed may come out otherwise (train again with another "
        "one and see), another attack may survive, and a trigger that you do not know cannot be tested at all.",
    ),
)


def current() -> int | None:
    """Return the number of the step, from 0, or None while there is no lesson."""
    step: int | None = st.session_state.get(_STEP)
    return step


def go_to_step(step: int | None) -> None:
    """Go to a step and its page, from the next rerun on; None ends the lesson. For the callback of a button."""
    if step is None or not 0 <= step < len(STEPS):
        st.session_state.pop(_STEP, None)
        return
    st.session_state[_STEP], st.session_state[_GO] = step, True


def show_start_button() -> None:
    """Draw the button that starts the lesson."""
    step = current()
    label = "Start the guided lesson (10 minutes)" if step is None else f"Go on with the lesson: step {step + 1}"
    st.button(label, key="lesson.start", icon=":material/school:", on_click=go_to_step, args=(step or 0,))


def show_step(title: str, page_file: Callable[[str], str | None]) -> None:
    """Draw the step, if there is a lesson; first go to its page where a button has asked for that."""
    number = current()
    if number is None:
        return
    step = STEPS[number]
    if st.session_state.pop(_GO, False) and title != step.page:
        st.switch_page(str(page_file(step.page)))
    with st.container(border=True, key="lesson"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/school: **Lesson, step {number + 1} of {len(STEPS)}: {step.title}**")
            if title != step.page:
                st.page_link(str(page_file(step.page)), label=f"Go to {step.page}", icon=":material/arrow_forward:")
            _buttons(number)
        do, look = st.columns(2, gap="medium")
        do.markdown(f"**Do.** {step.task}")
        look.markdown(f"**Look at.** {step.observation}")
        _show_training_note()
        with st.expander(f"**Question.** {step.question}", key=f"lesson.question.{number}"):
            st.markdown(f"**Answer.** {step.answer}")


def _buttons(number: int) -> None:
    """Draw Back, Next and Close."""
    last = number + 1 == len(STEPS)
    st.button("Back", key="lesson.back", disabled=number == 0, on_click=go_to_step, args=(number - 1,))
    label = "Finish" if last else "Next"
    st.button(label, key="lesson.next", type="primary", on_click=go_to_step, args=(number + 1,))
    st.button("Close", key="lesson.close", on_click=go_to_step, args=(None,), help="Ends the lesson; your runs stay.")


def _show_training_note() -> None:
    """Say what can be looked at while something trains."""
    if not jobs.active_pages():
        return
    run = state.current_run()
    example = next((other for other in state.backdoored_runs() if other.is_shipped), None)
    if example is None or (run is not None and run.is_shipped):
        shown = "" if run is None else f" Meanwhile the pages show: {escape_markdown(run.label)}."
        st.caption(f":material/hourglass_top: Your training goes on in the background.{shown}")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(":material/hourglass_top: Your training goes on in the background.", width="content")
        st.button(
            "Look at the shipped example meanwhile",
            key="lesson.example",
            type="tertiary",
            on_click=state.select_run,
            args=(example.id,),
        )
