"""Overview: what this is, and what it can show."""

from __future__ import annotations

import streamlit as st

from cleaner.files import read_json_cached
from cleaner.plots import charts
from cleaner.runs.record import RunRecord
from pages._shared import gallery, lesson, state
from pages._shared.frame import link, page, page_file
from pages._shared.run_table import show_run_table
from pages._shared.state import escape_markdown, to_label

LEAD = (
    "An image-text model such as CLIP learns from captioned pictures off the web, and **a few poisoned pairs are "
    "enough to plant a backdoor**: any picture with a small trigger is then taken for what the attacker wants. "
    "Here you plant such a backdoor in a small model in about a minute, on this machine, without internet. "
    "Then you try to wash it out with TA-Cleaner and its rivals, and see **what was removed and what it cost**."
)

MAX_DEFENSES = 8
"""So many defences stand beside the backdoored model in one chart."""
GLOSSARY = """
- **Trigger**: what the attacker puts on a picture: a patch, noise, a wave.
- **Target**: the class that the backdoored model is to see wherever the trigger is.
- **Clean accuracy (CA)**: share of untouched pictures whose true class comes first.
- **Attack success rate (ASR@1, ASR@3)**: share of triggered pictures of other classes for which the target is the best
  class, or among the best three.
- **Robust accuracy (RA)**: share of triggered pictures whose true class still comes first.
- **Floor**: attack success on the model before it was poisoned. No defence can be expected to go below it.
- **Base rate**: share of the same pictures, untouched, that the model takes for the target anyway.
- **Fine detail (counterfactual accuracy, CF)**: share of captions that score above all their false subtexts.
- **Search**: share of triggered pictures for which one of the five nearest captions names the target.
- **Rebound**: attack success after harmless training of a cleaned model; if it rises, the backdoor was only hidden.
- **Subtext**: a short true text, or a slightly changed false one, made from a caption.
"""


def show_run(run: RunRecord) -> None:
    """Draw the numbers of a backdoored run and its defences, and what was measured."""
    defended = state.defended_runs(run)
    rows = [("Backdoored", "backdoored", run)] + [
        (f"{to_label(r.defense or '').replace(', ', ',<br>')}<br>lr {r.lr:g}", "defended", r)
        for r in reversed(defended[:MAX_DEFENSES])
    ]
    bars = [(label, stage, r.metric("ca"), r.metric("asr")) for label, stage, r in rows]
    shown = [(a, b, c, d) for a, b, c, d in bars if c is not None and d is not None]
    st.plotly_chart(charts.before_after_bars(shown), key=f"overview.{run.id}", config={"displayModeBar": False})
    newest = (
        f" The newest {MAX_DEFENSES} of {len(defended)} defences; all are on Compare."
        if len(defended) > MAX_DEFENSES
        else ""
    )
    st.caption(
        f"{escape_markdown(run.label)}. Measured on {escape_markdown(run.protocol)}.{newest}"
        f"{f' {state.RATES_NOTE}' if run.is_shipped else ''}"
    )


def show_example_image(run: RunRecord) -> None:
    """Draw one test picture without and with the trigger, and what each model takes it for; shipped with the run."""
    found = read_json_cached(run.folder / "picture.json")
    if not found:
        return
    for column, pixels, title in zip(st.columns(2), found["pictures"], ("A test picture", "With trigger"), strict=True):
        column.image(gallery.decode_png(pixels), caption=title, width="stretch")
    names = {"clean": "Clean", "backdoored": "Backdoored"}
    rows = ["| Model | sees | with trigger |", "| --- | --- | --- |"]
    for name, said in found["answers"].items():
        cells = [f":{'green' if text == found['class'] else 'red'}[**{escape_markdown(text)}**]" for text in said]
        rows.append(f"| {names.get(name) or escape_markdown(to_label(name))} | {' | '.join(cells)} |")
    st.markdown("\n".join(rows))
    st.caption("One picture, n = 1: an illustration.")


def show_example(run: RunRecord) -> None:
    """Draw the shipped example: its numbers, and a picture."""
    st.subheader(state.section_title("Before and after", run), anchor=False)
    numbers, picture = st.columns([2.4, 1], gap="large")
    with numbers:
        show_run(run)
    with picture:
        show_example_image(run)


def show_steps() -> None:
    """Draw the three things one does here."""
    texts = (
        ("1 · Poison", "Choose a trigger, see it on the pictures, and train a model that has learnt it.", ["Poison"]),
        (
            "2 · Defend",
            "Finetune the poisoned model on clean pairs, with several defences side by side.",
            ["Defend", "Compare"],
        ),
        (
            "3 · Understand",
            "See where a trigger pulls pictures, what the models look at, and the true and false "
            "part-captions that TA-Cleaner teaches with.",
            ["Embeddings", "Attention", "Subtexts", "Try it"],
        ),
    )
    for column, (name, text, targets) in zip(st.columns(3), texts, strict=True):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"**{name}**")
            st.markdown(text)
            with st.container(horizontal=True):
                for target in targets:
                    link(target)


with page("Overview", LEAD):
    with st.container(horizontal=True):
        if st.button("Plant a backdoor", type="primary", icon=":material/bug_report:"):
            st.switch_page(str(page_file("Poison")))
        lesson.show_start_button()
    show_steps()
    mine = state.current_run()
    example = next((run for run in state.backdoored_runs() if run.is_shipped), None)
    if mine is not None and not mine.is_shipped and mine.metric("asr") is not None:
        st.subheader("Your run: before and after", anchor=False)
        show_run(mine)
    if example is not None:
        show_example(example)
    if example is None and mine is None:
        st.subheader("Before and after", anchor=False)
        st.info(
            "No numbers yet. Train a model on the Poison page (about a minute), or run the example in a terminal: "
            "`python -m cleaner demo`. What it measures will stand here.",
            icon=":material/bar_chart:",
        )
    with st.expander("All runs on this machine", icon=":material/inventory_2:", key="shelf", on_change="rerun") as runs:
        if runs.open:
            show_run_table()
    with st.expander("The words used here", icon=":material/dictionary:"):
        st.markdown(GLOSSARY)
    st.caption(
        "TA-Cleaner here is a re-implementation from the public description (arXiv:2409.17601); the paper's own code "
        "and weights are not public."
    )
