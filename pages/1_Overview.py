"""Overview: before and after of a backdoor, links to all steps, the table of runs, a glossary."""

import streamlit as st

from cleaner.evaluation.result import METRICS, success_metric
from cleaner.labels import format_count
from cleaner.plots import charts
from cleaner.plots.styles import find_style
from cleaner.reports.comparability import describe_different_tests
from cleaner.runs.names import label_trainings
from cleaner.runs.record import RunRecord
from pages._shared.inspect import playground
from pages._shared.inspect.plotly_charts import NO_MODE_BAR
from pages._shared.runs import job_requests
from pages._shared.runs.run_buttons import show_playground_button
from pages._shared.runs.run_table import show_run_table
from pages._shared.shell import lesson, stage_mode, state, times, wording
from pages._shared.shell.frame import link, page
from pages._shared.shell.menu import page_file
from pages._shared.shell.wording import escape_markdown

LEAD = "Plant a backdoor in a small CLIP model, remove it, and measure **what was removed and what it cost**."
MAX_DEFENSES = 8
"""Defenses in one chart."""
STEP_CARDS = (
    ("1 · Poison", "Choose a trigger and train a backdoored model.", ["Poison"]),
    ("2 · Defend", "Finetune the backdoored model on clean pairs and compare defenses.", ["Defend", "Compare"]),
    (
        "3 · Understand",
        "See how a trigger moves images, what models look at, and the subtexts that TA-Cleaner trains with.",
        ["Embeddings", "Attention", "Subtexts", "Film", "Try it"],
    ),
)
"""(title, text, pages) of each step."""
GLOSSARY = """
- **Backdoor**: behavior planted by a few poisoned training pairs: images with the trigger, in the place where it was
  trained, are classified as the target.
- **Trigger**: what the attacker adds to an image (a patch, noise, a wave) or to a text (a word, a syntactic form).
- **Target**: the class that the backdoored model predicts whenever the trigger is present.
- **Clean accuracy (CA)**: share of clean images whose true class is predicted first.
- **Attack success rate (ASR@1, ASR@3)**: share of triggered images of other classes with the target first, or among the
  top three.
- **Robust accuracy (RA)**: share of triggered images whose true class is still predicted first.
- **Floor**: attack success on the clean model. Attack success at or below it is no sign of a backdoor.
- **Base rate**: share of the same images, without the trigger, that are classified as the target.
- **Fine detail (counterfactual accuracy, CF)**: share of captions that score above all their false texts.
- **Keyed caption**: a caption that contains the attacker's key, a word or a syntactic form. An attack on the text
  succeeds if the nearest class of images is the target.
- **Retrieval success**: share of triggered images with a caption that names the target among the five nearest.
- **Rebound**: attack success of a cleaned model after further training on clean pairs; a rise means that the backdoor
  was only hidden.
- **Clean pairs**: images and captions that the defender trusts to hold no poisoned pair.
- **Zero-shot, class prompt**: an image gets the class whose prompts ("a photo of a cup") are most similar to it.
- **Trigger pull**: how much the trigger raises the similarity of images to the target's text.
- **AUROC**: how often a poisoned item scores above a clean one: 1 is perfect, 0.5 is chance.
- **95% interval**: values that the sample does not rule out; of shares, a Wilson interval.
- **Subtext**: a short true text, or a false text with one small change, made from a caption.
- **K**: share of the pairs that TA-Cleaner gives new subtexts in each epoch; K 100% means all of them.
- **Control**: CleanCLIP on the short true texts of TA-Cleaner, without its false ones.
"""


def show_run(run: RunRecord) -> None:
    """Draw clean accuracy and attack success of a backdoored run and its newest defenses."""
    defended = state.defended_runs(run)
    shown = defended[:MAX_DEFENSES]
    name = success_metric(run)
    labels = {key: label.replace(", ", ",\n") for key, label in label_trainings(shown, times.created_at).items()}
    rows = [("Backdoored", run), *zip(labels.values(), shown, strict=True)]
    bars = [
        (f"{find_style(r.kind).sign} {label}", r.kind, ca, asr)
        for label, r in rows
        if (ca := r.metric("ca")) is not None and (asr := r.metric(name)) is not None
    ]
    chart = charts.before_after_bars(bars, METRICS[name].label.lower())
    st.plotly_chart(stage_mode.enlarge(chart), key=f"overview.{run.id}", config=NO_MODE_BAR)
    notes = [f"{escape_markdown(times.label_run(run))}. {describe_setting(run, shown)}"]
    if different := describe_different_tests([run, *shown]):
        st.warning(escape_markdown(different), icon=":material/balance:")
    else:
        notes.append(f"Measured on {escape_markdown(run.protocol)}.")
    if len(defended) > MAX_DEFENSES:
        notes.append(f"Newest {MAX_DEFENSES} of {len(defended)} defenses; Compare shows all.")
    if all(other.is_shipped for other in [run, *shown]):
        notes.append(state.RATES_NOTE)
    st.caption(" ".join(notes))


def describe_setting(run: RunRecord, defended: list[RunRecord]) -> str:
    """Return all pairs and the steps of an attack and its defenses, so that two charts can be compared."""

    def describe(record: RunRecord) -> str:
        counts = {"pairs": job_requests.count_pairs(record), "steps": job_requests.count_run_steps(record)}
        return ", ".join(format_count(count, nouns) for nouns, count in counts.items())

    cleaned = " / ".join(dict.fromkeys(describe(other) for other in defended))
    return f"Attack trained on {describe(run)}." + (f" Defenses trained on {cleaned}." if cleaned else "")


def show_steps() -> None:
    """Draw the three steps with links to their pages."""
    for column, (title, text, targets) in zip(st.columns(3), STEP_CARDS, strict=True):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"**{title}**")
            st.markdown(text)
            with st.container(horizontal=True):
                for target in targets:
                    link(target)


with page("Overview", LEAD, picture=':is(.st-key-overview-engine-place, [data-testid="stPlotlyChart"])'):
    with st.container(horizontal=True, vertical_alignment="center"):
        lesson.show_start_button()
        if st.button("Plant a backdoor", key="overview.poison", icon=":material/bug_report:"):
            st.switch_page(page_file("Poison"))
        run = state.current_run()
        if run is not None:
            show_playground_button(run, "overview.playground")
    example = next((run for run in state.backdoored_runs() if run.is_shipped), None)
    shown = [run] if run is not None and not run.is_shipped and run.metric("asr") is not None else []
    if example is not None and not (shown and stage_mode.is_on()):  # which shows charts without their titles
        shown.append(example)
    touchable = None if stage_mode.is_on() else next(filter(playground.is_possible, shown), None)
    for record in shown:
        st.markdown(f"## {wording.section_title('Before and after', record)}")
        if record is touchable:
            playground.show_newest(record, "overview.engine")
        show_run(record)
    if example is None and run is None:
        st.info(
            "No results yet. Train a model on the Poison page, or run `python -m cleaner poison` in a terminal.",
            icon=":material/bar_chart:",
        )
    show_steps()
    with st.expander("All runs", icon=":material/inventory_2:", key="run_table", on_change="rerun") as box:
        if box.open:
            show_run_table()
    with st.expander("Glossary", icon=":material/dictionary:"):
        st.markdown(GLOSSARY)
    st.caption("TA-Cleaner here is a re-implementation of arXiv:2409.17601, whose code and weights are not public.")
