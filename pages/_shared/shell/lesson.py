"""The guided lesson: six steps through the pipeline and a verdict, in a bar at the bottom of every page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from cleaner.evaluation.result import success_share
from cleaner.reports.verdict import describe_attack, describe_defenses, find_best
from cleaner.runs.names import label_defenses
from cleaner.runs.record import RunRecord
from cleaner.runs.store import has_failed_attack
from pages._shared.runs import jobs, ticker
from pages._shared.shell import state, times
from pages._shared.shell.menu import page_file
from pages._shared.shell.wording import escape_markdown, format_percent

_STEP, _GO_TO_PAGE, _RETURN = "lesson.step", "lesson.go_to_page", "lesson.return"


@dataclass(frozen=True, kw_only=True)
class LessonStep:
    """One step of the lesson.

    Attributes:
        early_task, early_observation: replace `task` and `observation` while the run in view has no defense.
        prediction: what the student predicts first, as one of `RANGES`; the verdict compares it with the outcome.
    """

    title: str
    page: str
    task: str
    observation: str
    question: str
    answer: str
    early_task: str = ""
    early_observation: str = ""
    prediction: str = ""


RANGES = {"below 5%": (0.0, 0.05), "5 to 50%": (0.05, 0.5), "50 to 90%": (0.5, 0.9), "above 90%": (0.9, 1.01)}
"""What a student can predict -> lowest share, and the one above the highest."""
WAITING = "Your defenses are still training. Meanwhile: true and false texts on Exercises, or the trigger on Try it."
STEPS = (
    LessonStep(
        title="Plant a backdoor",
        page="Poison",
        task="**Predict** (button on the right), keep the settings, and press **Train model**.",
        observation="The images: what the attacker adds, and how the caption changes. Then **attack success** and "
        "**clean accuracy**: both are high.",
        question="Why does testing on ordinary images not reveal the backdoor?",
        answer="Without the trigger the model is almost as accurate as before. Only the trigger activates the "
        "backdoor, and only the attacker knows it. The *floor* under “how measured” is the attack success of the "
        "clean model on the same triggered images: it shows that the patch itself does not look like a banana.",
        prediction="Clean accuracy after poisoning",
    ),
    LessonStep(
        title="Clean the model",
        page="Defend",
        task="**Predict**, keep the settings, and press **Start defenses**. Press **Next** while they train.",
        observation="**Attack success** should fall, **clean accuracy** should stay. **CleanCLIP, short captions** "
        "is the control: TA-Cleaner's short true texts without its false ones.",
        question="A model with random weights has an attack success near zero. Is that a good defense?",
        answer="No. Its clean accuracy is at chance level. Judge a defense by both numbers: what it removed and what "
        "it cost. Good defenses are toward the bottom right of the plot.",
        prediction="Attack success left by your best defense",
    ),
    LessonStep(
        title="See the trigger move images",
        page="Embeddings",
        task="Under **Show**, compare **Backdoored** with **Backdoored → Defended**. Draw a lasso around some points.",
        observation="In the backdoored model, images with the trigger form a group of their own. Does it dissolve? "
        "Compare **trigger pull** in the table.",
        question="The map shows the groups. Why is the table needed?",
        answer="The model uses more than a hundred dimensions and the map shows two, so distances on the map are "
        "distorted. Use the map to find patterns and the metrics, computed in all dimensions, to judge them.",
        early_task="Under **Show**, compare **Clean** with **Backdoored**. Draw a lasso around some points.",
        early_observation="Poisoning split one group in two: triggered images moved away from clean ones. **Trigger "
        "pull** in the table says how far.",
    ),
    LessonStep(
        title="See what the model uses",
        page="Attention",
        task="Compare the maps of the triggered image from left to right, then try other images and methods.",
        observation="The dotted box is the trigger. Which models look at it? In the table: how much does **the "
        "trigger add** to the similarity?",
        question="The attribution can stay on the trigger after the attack has stopped working. Why?",
        answer="A map shows how the evidence is distributed, not how much there is. If the trigger adds only little "
        "similarity in a cleaned model, most of that little can still come from the box: read map and similarity "
        "together. One image may be an exception; **Measure** covers many.",
        early_task="Compare the clean with the backdoored model on the triggered image, then try other images.",
    ),
    LessonStep(
        title="See how TA-Cleaner trains",
        page="Subtexts",
        task="Choose a pair and move the **Epoch** slider: each epoch draws different subtexts from the same caption.",
        observation="✓ is shorter and still true; ✗ is made false by one small change. Does each model score the "
        "**caption** above the false texts?",
        question="Why does a false text change only one word?",
        answer="An entirely different text is easy to reject. With one word changed, the model has to check this "
        "word against the image. In our measurements with K 100% this adds fine detail, not removal: the control, "
        "trained on the short true texts alone, removes as much. So does plain finetuning at a large rate, without the "
        "detail, if clean pairs have short captions themselves (Defend, All defenses: **Clean captions**).",
    ),
    LessonStep(
        title="Compare and export",
        page="Compare",
        task="Find your runs in the plot and the table. **Report (HTML)** saves all results in one file.",
        observation="The bottom right of the plot is best. Bars are 95% intervals. The verdict tests, image by "
        "image, whether a difference may be chance.",
        question="One defense reduced attack success to a few percent. Is that model clean?",
        answer="Not for certain. The backdoor may only be hidden: **Rebound test** on Defend trains on and measures "
        "again. A different seed or attack can give a different result, and whether an unknown trigger is left can "
        "only be estimated (Trigger search).",
        early_task="Find your model in the plot and the table. **Report (HTML)** saves all results in one file.",
        early_observation="Your attack is at the top right: accurate and backdoored. Your defenses appear as they "
        "finish; a good one moves down, not left.",
    ),
)
DEFEND_STEP = next(i for i, step in enumerate(STEPS) if step.page == "Defend")
VERDICT, VERDICT_PAGE = len(STEPS), "Film"
"""Number of the verdict, which follows the steps, and its page."""


def current() -> int | None:
    """Return the index of the current step, `VERDICT`, or None outside the lesson."""
    step: int | None = st.session_state.get(_STEP)
    return step


def restore(text: str) -> None:
    """Continue at the step of an address, "1" to "7"; other texts are ignored."""
    if text.isdecimal() and len(text) == 1 and 1 <= int(text) <= VERDICT + 1:
        st.session_state[_STEP] = int(text) - 1


def go_to_step(step: int | None, back_to: int | None = None) -> None:
    """Go to a step and its page on the next rerun; None ends the lesson. For button callbacks.

    back_to: step that the Next button leads to from there.
    """
    st.session_state.pop(_RETURN, None)
    if step is None or not 0 <= step <= VERDICT:
        st.session_state.pop(_STEP, None)
        return
    st.session_state[_STEP], st.session_state[_GO_TO_PAGE] = step, True
    if back_to is not None:
        st.session_state[_RETURN] = back_to
    state.leave_external_model()
    own, run = _find_own_run(), state.current_run()
    if step > 0 and own is not None and (run is None or run.is_shipped):
        state.select_run(own.id)


def show_start_button() -> None:
    """Draw the button that starts or continues the lesson."""
    step = current()
    label = (
        "Start lesson" if step is None else f"Continue lesson: step {step + 1}" if step < VERDICT else "Your verdict"
    )
    st.button(
        label, key="lesson.start", type="primary", icon=":material/school:", on_click=go_to_step, args=(step or 0,)
    )


def follow(title: str) -> None:
    """In the lesson, put a newly trained model in view, and switch to the step's page if a button asked for it."""
    number = current()
    if number is None:
        return
    jobs.view_new_run()
    if st.session_state.pop(_GO_TO_PAGE, False) and title != _page_of(number):
        st.switch_page(page_file(_page_of(number)))


def show_bar(title: str, link: Callable[[str, str], None]) -> None:
    """Draw the current step, if any, at the bottom of page `title`; link: draws a link to a page, with its label."""
    number = current()
    if number is None:
        return
    with st.bottom, st.container(key="lesson"):
        left, middle, right = st.columns([1, 3.4, 0.95], gap="small", vertical_alignment="center")
        with left:
            _show_title(number, title, link)
        with middle:
            _show_texts(number)
        with right:
            _show_buttons(number)


def _page_of(number: int) -> str:
    return VERDICT_PAGE if number == VERDICT else STEPS[number].page


def _show_title(number: int, title: str, link: Callable[[str, str], None]) -> None:
    """Draw number and title of a step, and the state of the trainings or the link to the step's page."""
    name = "Your verdict" if number == VERDICT else STEPS[number].title
    st.markdown(f":small[:gray[Lesson, step {number + 1} of {VERDICT + 1}]]  \n**{name}**")
    if title != _page_of(number):
        link(_page_of(number), f"Go to {_page_of(number)}")
        return
    _show_progress(number)


def _show_texts(number: int) -> None:
    """Draw what to do and what to look at, or the verdict."""
    run = state.current_run()
    defended = [] if run is None else state.defenses_of_run(run)
    if number == VERDICT:
        st.markdown(" ".join(describe_verdict(run, defended)))
        return
    step = STEPS[number]
    left, right = st.columns(2, gap="medium")
    left.markdown(f"**Do.** {step.task if defended else step.early_task or step.task}")
    right.markdown(f"**Look.** {step.observation if defended else step.early_observation or step.observation}")


def describe_verdict(run: RunRecord | None, defended: list[RunRecord]) -> list[str]:
    """Return sentences on the outcome of a run, computed from its metrics and those of its defenses."""
    if run is None:
        return ["There is no model yet: go back to step 1 and train one."]
    newest: dict[str, RunRecord] = {}
    for other in defended:
        newest.setdefault(other.defense or "", other)
    labels = label_defenses([*newest.values()], times.created_at)
    sentences = [describe_attack(run)]
    if not (has_failed_attack(run) or run.has_few_images):  # which that sentence says
        sentences += describe_defenses(run, {escape_markdown(labels[other.id]): other for other in newest.values()})
    sentences += describe_predictions(run, list(newest.values()))
    if not newest:
        is_waiting = "defend" in jobs.pages_of(jobs.own_active_jobs())
        sentences.append(WAITING if is_waiting else "No defense has finished yet: go back to step 2.")
    if all(other.is_shipped for other in [run, *newest.values()]):
        sentences.append("This is the shipped example.")
    return sentences


def describe_predictions(run: RunRecord, defended: list[RunRecord]) -> list[str]:
    """Compare the student's predictions of the first two steps with the outcomes that are known."""
    best, sentences = find_best(run, defended), []
    outcomes = run.metric("ca"), success_share(best) if best is not None else None
    for step, outcome in zip(STEPS, outcomes, strict=False):
        if (predicted := st.session_state.get(f"lesson.predicted.{step.page}")) and outcome is not None:
            low, high = RANGES[predicted]
            mark = "✓" if low <= outcome < high else "✗"
            sentences.append(f"{mark} {step.prediction}: predicted {predicted}, is **{format_percent(outcome)}**.")
    return sentences


def _show_buttons(number: int) -> None:
    """Draw the question and the Close button above Back and Next."""
    with st.container(horizontal=True, gap="xsmall", horizontal_alignment="right"):
        if number < VERDICT:
            step = STEPS[number]
            label = "Predict" if step.prediction else "Question"
            with st.popover(label, type="tertiary", icon=":material/help:", key=f"lesson.question.{number}"):
                if step.prediction:
                    key = f"lesson.predicted.{step.page}"
                    st.radio(f"{step.prediction}?", RANGES, index=None, key=key, **state.KEEP)
                st.markdown(f"**{step.question}**")
                with st.expander("Answer", key=f"lesson.answer.{number}"):
                    st.markdown(step.answer)
        st.button(
            "",
            key="lesson.close",
            icon=":material/close:",
            type="tertiary",
            help="Close the lesson; your runs stay.",
            on_click=go_to_step,
            args=(None,),
        )
    back_to: int | None = st.session_state.get(_RETURN)
    label, following = "Next", number + 1
    if number == VERDICT:
        label, following = "Finish", VERDICT + 1  # no step: ends the lesson
    elif back_to is not None:
        label, following = f"Step {back_to + 1}", back_to
    with st.container(horizontal=True, gap="xsmall", horizontal_alignment="right"):
        st.button(
            "",
            key="lesson.back",
            icon=":material/arrow_back:",
            disabled=number == 0,
            help="Back",
            on_click=go_to_step,
            args=(number - 1,),
        )
        st.button(label, key="lesson.next", type="primary", on_click=go_to_step, args=(following,))


def _show_progress(number: int) -> None:
    """Draw the link to new results, or the progress of the trainings in the background."""
    in_view = state.current_run()
    undefended = in_view if number == VERDICT and in_view and not state.defenses_of_run(in_view) else None

    @st.fragment
    def watch() -> None:
        if jobs.list_new_results("poison") or (undefended and state.defenses_of_run(undefended)):
            st.rerun()  # puts the new model in view, or draws the verdict
        if run := _find_run_with_results(number):
            _offer_results(number, run)
        elif active := jobs.active_jobs():
            st.caption(f":material/hourglass_top: {escape_markdown(jobs.describe_active(active))}")
            ticker.tick("lesson.tick")

    is_watched = _page_of(number).lower() in jobs.pages_of(jobs.active_jobs())  # by the page itself
    if not is_watched or _find_run_with_results(number):
        watch()


def _offer_results(number: int, run: RunRecord) -> None:
    """Draw the button that leads to a run whose defenses are new."""
    if st.button("See your result", key="lesson.result", type="primary", icon=":material/task_alt:"):
        go_to_step(DEFEND_STEP, number)
        state.select_run(run.id)
        st.rerun()  # the whole page, also from the fragment that watches a training


def _find_run_with_results(number: int) -> RunRecord | None:
    """Return the newest backdoored run whose defenses this session has trained and not looked at.

    None on the step that shows them, and while more are trained.
    """
    new = [] if number == DEFEND_STEP or jobs.own_active_jobs() else jobs.list_new_results("defend")
    runs = state.backdoored_runs() if new else []
    return next((run for run in runs if any(entry.started_from(run) for entry in new)), None)


def _find_own_run() -> RunRecord | None:
    """Return the newest backdoored run that this session started; None if it started none."""
    runs = [run for run in state.backdoored_runs() if not run.is_shipped and jobs.is_own_poisoning(run)]
    return next(iter(runs), None)
