"""The guided lesson: six steps through the pipeline, in a box shown on every page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from pages._shared import jobs, state
from pages._shared.state import escape_markdown

_STEP, _GO_TO_PAGE = "lesson.step", "lesson.go_to_page"


@dataclass(frozen=True)
class LessonStep:
    """One step of the lesson."""

    title: str
    page: str
    task: str
    observation: str
    question: str
    answer: str


STEPS = (
    LessonStep(
        "Plant a backdoor",
        "Poison",
        "Keep the settings and press **Train model**. The expected time is shown above the button.",
        "The example images: what the attacker adds to an image and how the caption changes. After training: "
        "**clean accuracy** and **attack success**.",
        "Why does testing on ordinary images not reveal the backdoor?",
        "Without the trigger the model is almost as accurate as before. Only the trigger activates the backdoor, and "
        "only the attacker knows it. The *floor* below the metrics is the attack success of the clean model on the "
        "same triggered images: it shows that the patch itself does not look like a banana.",
    ),
    LessonStep(
        "Clean the model",
        "Defend",
        "Your model should be **In view** in the menu. Keep the settings and press **Start defenses**. Press **Next** "
        "while they train.",
        "The verdict and the cards: **attack success** should fall, **clean accuracy** should stay. The short-captions "
        "defense is the control: TA-Cleaner's short true texts without its false ones. What do these add? Compare "
        "**fine detail**.",
        "A model with random weights has an attack success near zero. Is that a good defense?",
        "No. Its clean accuracy is at chance level. Judge a defense by both numbers: what it removed and what it cost. "
        "Good defenses are toward the bottom right of the accuracy and attack plot.",
    ),
    LessonStep(
        "See the trigger move images",
        "Embeddings",
        "Select **Backdoored** under **Show**, then **Backdoored → Defended**. Draw a lasso around some points to see "
        "their images.",
        "Clean and triggered images form two groups in the backdoored model. Do the groups mix after the defense? "
        "Compare **trigger pull** in the table.",
        "The map shows the groups. Why is the table needed?",
        "The model uses more than a hundred dimensions and the map shows two, so distances on the map are distorted. "
        "Use the map to find patterns and the metrics, computed in all dimensions, to judge them.",
    ),
    LessonStep(
        "See what the model uses",
        "Attention",
        "Keep the method **Occlusion**, which covers one region at a time and measures the change, and the text **The "
        "target class**. Compare the maps of the triggered image, then try other images and methods.",
        "The dotted box is the trigger. In which models is most of the attribution inside it? In the table: how "
        "much does **the trigger add** to the similarity?",
        "The attribution can stay on the trigger after the attack has stopped working. Why?",
        "A map shows how the evidence is distributed, not how much there is. If the trigger adds only little "
        "similarity in a cleaned model, most of that little can still come from the box: read map and similarity "
        "together. One image may be an exception; **Measure** covers many.",
    ),
    LessonStep(
        "See how TA-Cleaner trains",
        "Subtexts",
        "Choose an image and move the **Epoch** slider. Each epoch draws different subtexts from the same caption.",
        "On the left, a shorter text that is still true; on the right, texts made false by one small change. Below: "
        "does each model score the **caption** above the false texts? (A short true text may score lower.)",
        "Why does a false text change only one word?",
        "An entirely different text is easy to reject. With one word changed, the model has to check this word against "
        "the image: “banana” must mean a banana, and a patch in the corner is not one. This weakens the link between "
        "trigger and target.",
    ),
    LessonStep(
        "Compare and export",
        "Compare",
        "Find your runs and the shipped example in the table and the plot. Press **Report (HTML)** to save all results "
        "in one file.",
        "The bottom right of the plot is best. Bars are 95% intervals: where they overlap, a difference may be chance.",
        "In the shipped example, one defense reduced attack success to a few percent. Is that model clean?",
        "It is clean of this trigger, in this run. Another seed can give another result (train again and see), another "
        "attack can survive, and an unknown trigger cannot be tested at all.",
    ),
)


def current() -> int | None:
    """Return the index of the current step, or None outside the lesson."""
    step: int | None = st.session_state.get(_STEP)
    return step


def go_to_step(step: int | None) -> None:
    """Go to a step and its page on the next rerun; None ends the lesson. For button callbacks."""
    if step is None or not 0 <= step < len(STEPS):
        st.session_state.pop(_STEP, None)
        return
    st.session_state[_STEP], st.session_state[_GO_TO_PAGE] = step, True


def show_start_button() -> None:
    """Draw the button that starts or continues the lesson."""
    step = current()
    label = "Start lesson" if step is None else f"Continue lesson: step {step + 1}"
    st.button(label, key="lesson.start", icon=":material/school:", on_click=go_to_step, args=(step or 0,))


def show_step(title: str, page_file: Callable[[str], str]) -> None:
    """Draw the current step, if any, on page `title`; first switch to the step's page if a button requested it."""
    number = current()
    if number is None:
        return
    step = STEPS[number]
    if st.session_state.pop(_GO_TO_PAGE, False) and title != step.page:
        st.switch_page(page_file(step.page))
    with st.container(border=True, key="lesson"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/school: **Lesson, step {number + 1} of {len(STEPS)}: {step.title}**")
            if title != step.page:
                st.page_link(page_file(step.page), label=f"Go to {step.page}", icon=":material/arrow_forward:")
            _show_buttons(number)
        left, right = st.columns(2, gap="medium")
        left.markdown(f"**Do.** {step.task}")
        right.markdown(f"**Look at.** {step.observation}")
        _show_training_note()
        with st.expander(f"**Question.** {step.question}", key=f"lesson.question.{number}"):
            st.markdown(f"**Answer.** {step.answer}")


def _show_buttons(number: int) -> None:
    """Draw Back, Next and Close."""
    label = "Finish" if number + 1 == len(STEPS) else "Next"
    st.button("Back", key="lesson.back", disabled=number == 0, on_click=go_to_step, args=(number - 1,))
    st.button(label, key="lesson.next", type="primary", on_click=go_to_step, args=(number + 1,))
    st.button(
        "Close", key="lesson.close", on_click=go_to_step, args=(None,), help="Ends the lesson and keeps your runs."
    )


def _show_training_note() -> None:
    """While a job is active, name the run in view or offer the shipped example."""
    if not jobs.active_pages():
        return
    run = state.current_run()
    example = next((other for other in state.backdoored_runs() if other.is_shipped), None)
    if example is None or (run is not None and run.is_shipped):
        in_view = "" if run is None else f" In view: {escape_markdown(run.label)}."
        st.caption(f":material/hourglass_top: Training in the background.{in_view}")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(":material/hourglass_top: Training in the background.", width="content")
        st.button(
            "View shipped example",
            key="lesson.example",
            type="tertiary",
            on_click=state.select_run,
            args=(example.id,),
        )
