"""Overview: what this is, and what it can show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st

from cleaner import figures
from pages._shared import state
from pages._shared.frame import link, page, page_file
from pages._shared.shelf import shelf
from pages._shared.state import Saved, plain, words

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
LEAD = (
    "An image-text model such as CLIP learns from captioned pictures off the web, and **a few poisoned pairs are "
    "enough to plant a backdoor**: any picture with a small trigger is then taken for what the attacker wants. "
    "Here you plant such a backdoor in a small model within a minute, on this machine, without internet. "
    "Then you try to wash it out with TA-Cleaner and its rivals, and see **what was removed and what it cost**."
)

GLOSSARY = """
- **Trigger**: what the attacker puts on a picture: a patch, noise, a wave.
- **Target**: the class that the backdoored model is to see wherever the trigger is.
- **Clean accuracy (CA)**: share of untouched pictures whose true class comes first.
- **Attack success rate (ASR@1, ASR@3)**: share of triggered pictures of other classes for which the target is the best
  class, or among the best three.
- **Robust accuracy (RA)**: share of triggered pictures whose true class still comes first.
- **Floor**: attack success on the model before it was poisoned. No defence can be expected to go below it.
- **Subtext**: a short true text, or a slightly changed false one, made from a caption.
"""


def demo() -> dict[str, Any] | None:
    """Return the example result written by `python -m cleaner demo`, or None."""
    try:
        result: dict[str, Any] = json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))
        return result if result.get("rows") else None
    except (OSError, ValueError):
        return None


def show_demo(result: dict[str, Any]) -> None:
    """Draw the example's numbers: one bar pair for each model, and what they were measured on."""
    rows = [row for row in result["rows"] if (row.get("metrics") or {}).get("asr")]
    if not rows:
        return
    bars = []
    for row in rows:
        metrics = Saved(RESULTS, {}, row["metrics"])
        label = words(row["defense"]) if row.get("defense") else "Backdoored"
        stage = "defended" if row.get("defense") else "backdoored"
        bars.append((label, stage, metrics.figure("ca") or 0.0, metrics.figure("asr") or 0.0))
    st.plotly_chart(figures.before_after(bars), key="demo", config={"displayModeBar": False})
    first = rows[0]
    attack = first.get("trigger") or first.get("attack") or "unknown"
    st.caption(
        f"{plain(words(str(attack)))} on {plain(str(first.get('model', '')))}. "
        f"{plain(Saved(RESULTS, {}, first['metrics']).protocol)} Made by `{result.get('command', '')}`, "
        f"commit {plain(str(result.get('commit', '')))}, {plain(str(result.get('device', '')))}."
    )


def show_run(run: Saved, defended: list[Saved]) -> None:
    """Draw the numbers of the run in view."""
    rows = [("Backdoored", "backdoored", run)] + [
        (f"{words(r.defense or '')}<br>lr {r.lr:g}", "defended", r) for r in reversed(defended[:5])
    ]
    bars = [(label, stage, r.figure("ca"), r.figure("asr")) for label, stage, r in rows]
    shown = [(a, b, c, d) for a, b, c, d in bars if c is not None and d is not None]
    st.plotly_chart(figures.before_after(shown), key="mine", config={"displayModeBar": False})
    st.caption(f"Run in view: {plain(run.label)}. {plain(run.protocol)}")


def steps() -> None:
    """Draw the three things one does here."""
    texts = (
        ("1 · Poison", "Choose a trigger, see it on the pictures, and train a model that has learnt it.", ["Poison"]),
        (
            "2 · Defend", "Finetune the poisoned model on clean pairs, with several defences side by side.",
            ["Defend", "Compare"],
        ),
        (
            "3 · Understand", "See where a trigger pulls pictures, what the models look at, and the true and false "
            "part-captions that TA-Cleaner teaches with.", ["Embeddings", "Attention", "Subtexts", "Try it"],
        ),
    )  # fmt: skip
    for column, (name, text, targets) in zip(st.columns(3), texts, strict=True):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"**{name}**")
            st.markdown(text)
            with st.container(horizontal=True):
                for target in targets:
                    link(target)


with page("Overview", LEAD):
    if st.button("Plant a backdoor", type="primary", icon=":material/bug_report:"):
        st.switch_page(str(page_file("Poison")))
    steps()
    result, mine = demo(), state.current_run()
    if result is not None:
        st.subheader("The example: before and after", anchor=False)
        show_demo(result)
    if mine is not None and mine.figure("asr") is not None:
        st.subheader("Your run: before and after", anchor=False)
        show_run(mine, state.defended_runs(mine))
    if result is None and mine is None:
        st.subheader("Before and after", anchor=False)
        st.info(
            "No numbers yet. Train a model on the Poison page (about a minute), or run the example in a terminal: "
            "`python -m cleaner demo`. What it measures will stand here.",
            icon=":material/bar_chart:",
        )
    with st.expander("All runs on this machine", icon=":material/inventory_2:", key="shelf", on_change="rerun") as runs:
        if runs.open:
            shelf()
    with st.expander("The words used here", icon=":material/dictionary:"):
        st.markdown(GLOSSARY)
    st.caption(
        "TA-Cleaner here is a re-implementation from the public description (arXiv:2409.17601); the paper's own code "
        "and weights are not public."
    )
