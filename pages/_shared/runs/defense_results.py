"""Results of the Defend page: cards side by side, trade-off plot, table, curves and rebound tests."""

from functools import partial

import pandas as pd
import streamlit as st

from cleaner.evaluation.result import METRICS, success_metric
from cleaner.labels import find_clean_captions, to_attack_label
from cleaner.plots import comparison
from cleaner.presets import CLEAN_PAIRS, settings_for
from cleaner.reports.verdict import describe_defenses
from cleaner.runs.names import label_defenses, tell_apart
from cleaner.runs.record import RunRecord
from cleaner.runs.status import RunState
from cleaner.variant import REBOUND
from pages._shared.inspect.plotly_charts import NO_MODE_BAR
from pages._shared.runs import cards, curves, job_requests, jobs
from pages._shared.shell import stage_mode, state, times, wording
from pages._shared.shell.fragments import show_tabs
from pages._shared.shell.frame import link
from pages._shared.shell.model_names import show_model_name
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown

MAX_CARDS = 3
NEWLY_DONE = "defend.newly_done"
"""Beginning of the session keys of newly trained defenses; the id of the run that they started from follows."""


def show_results(run: RunRecord) -> None:
    """Draw the backdoored model and its defenses: the trade-off first."""
    defended = state.defended_runs(run)
    if not defended:
        st.info("No defenses of this model yet: press **Start defenses**.", icon=":material/science:")
        return
    st.markdown(f"## {wording.section_title('Is the backdoor gone?', run)}")
    verdict_place, plot_place = st.container(), st.container()
    compared = _choose_defenses(run, defended)
    floor = run.metric("asr_clean_model") if success_metric(run) == "asr" else None
    with verdict_place:
        _show_verdict(run, compared)
    with plot_place:
        chart = stage_mode.enlarge(comparison.pareto(points(run, defended), floor))
        st.plotly_chart(chart, key="pareto", config=NO_MODE_BAR)
        st.caption(wording.describe_tradeoff([run, *defended]))
    _show_cards(run, compared)
    views = {
        "All metrics": lambda: _show_table([run, *defended]),
        curves.TAB: lambda: _show_curves(run, compared),
    }
    show_tabs("defend.details", views)
    link("Subtexts", "View subtexts")


def _show_curves(run: RunRecord, compared: list[RunRecord]) -> None:
    """Draw the training curves of the compared defenses."""
    labels = label_defenses(compared, times.created_at)
    folders, floor = {labels[other.id]: other.folder for other in compared}, run.metric("asr_clean_model")
    curves.show_curves(folders, [other.kind for other in compared], "defend.past", floor=floor)


def _choose_defenses(run: RunRecord, defended: list[RunRecord]) -> list[RunRecord]:
    """Draw the choice of the defenses to compare; newly trained ones are preselected, others fill up."""
    run_labels = tell_apart(defended, times.label_run, lambda other: f" · seed {other.seed}")
    labels = dict(zip((other.id for other in defended), run_labels, strict=True))
    key = f"defend.shown.{run.id}"
    newly_done = st.session_state.pop(f"{NEWLY_DONE}.{run.id}", ())
    if new := [run_id for run_id in labels if run_id in newly_done]:
        preselected = [*new, *(run_id for run_id in labels if run_id not in new)][:MAX_CARDS]
        st.session_state[key] = [run_id for run_id in labels if run_id in preselected]
    run_ids = st.multiselect(
        "Compare",
        list(labels),
        list(labels)[:MAX_CARDS],
        format_func=labels.__getitem__,
        key=key,
        max_selections=MAX_CARDS,
        **KEEP,
    )
    return [other for other in defended if other.id in run_ids]


def _show_verdict(run: RunRecord, compared: list[RunRecord]) -> None:
    """Draw in words which of the compared defenses removed most, and at what cost."""
    labels = label_defenses(compared, times.created_at)
    sentences = describe_defenses(run, {escape_markdown(labels[other.id]): other for other in compared})
    if sentences:
        st.markdown(" ".join(sentences), help="One run each: a different seed can change the order.")


def _show_cards(run: RunRecord, compared: list[RunRecord]) -> None:
    """Draw the cards of the backdoored model and of each compared defense."""
    labels = label_defenses(compared, times.created_at)
    with st.container(key="cards"):
        columns = st.columns(1 + max(len(compared), 1), border=True, gap="small")
    with columns[0], st.container(key=f"card-{run.id}", gap=None):
        show_model_name("Backdoored", run.kind, to_attack_label(run.attack))
        cards.show_cards(run)
    for column, other in zip(columns[1:], compared, strict=False):
        with column, st.container(key=f"card-{other.id}", gap=None):
            label = labels[other.id]
            show_model_name(label, other.kind, _describe_training(other, label))
            cards.show_cards(other, run)
            show_rebound(other)
    note = f" {state.RATES_NOTE}" if all(other.is_shipped for other in [run, *state.defended_runs(run)]) else ""
    st.caption(
        "Small print: 95% intervals. Changes are relative to the backdoored model on the same test images; for "
        f"rebound tests, to the defense.{note}"
    )
    if notes := list(dict.fromkeys(other.overlap_note for other in compared if other.overlap_note)):
        st.caption(f"Overlap with the poisoned pairs: {escape_markdown(' '.join(notes))}")
    cards.show_measurement_notes(run)


def _describe_training(run: RunRecord, label: str) -> str:
    """Return learning rate and pairs of a defense, and chosen captions of the pairs unless its label names them."""
    captions = find_clean_captions(run.data_options)
    # Below a label of two lines, a longer note would wrap and push the figures out of line with the other cards'.
    is_needed = captions and not label.startswith(run.defense_label)
    return f"lr {run.lr:g}, {job_requests.count_pairs(run):,} pairs{f', {captions} captions' if is_needed else ''}"


def show_rebound(defended: RunRecord) -> None:
    """Draw the rebound tests of a defense, the newest of each length, and the form for another one."""
    if defended.metric("asr") is None:
        return
    by_steps = {test.rebound.steps: test for test in reversed(state.rebounds(defended)) if test.rebound is not None}
    for steps in sorted(by_steps):
        cards.show_rebound_card(by_steps[steps], defended)
    key = f"rebound.{defended.id}"
    with st.popover("Rebound test", width="stretch", help="Does further training bring the backdoor back?"):
        pairs = defended.pairs or CLEAN_PAIRS
        finetune = settings_for(defended.model, REBOUND).finetune
        st.markdown(f"Plain finetuning, learning rate {finetune.lr:g}, {pairs:,} clean pairs; then evaluated again.")
        st.number_input("Steps", 1, 10_000, finetune.steps, key=f"{key}.steps", help="Of 64 pairs each.", **KEEP)
        st.button(
            "Start",
            key=f"{key}.go",
            icon=":material/play_arrow:",
            on_click=jobs.run_action,
            args=(partial(start_rebound, defended, f"{key}.steps"),),
        )


def start_rebound(defended: RunRecord, steps_key: str) -> None:
    """Start a rebound test with the steps of widget `steps_key`."""
    jobs.start_runs("defend", [job_requests.build_rebound_request(defended, int(st.session_state[steps_key]))])


def points(run: RunRecord, defended: list[RunRecord]) -> list[comparison.TradeoffPoint]:
    """Return the backdoored model and its defenses as points of the trade-off plot."""
    labels, name = label_defenses(defended, times.created_at), success_metric(run)
    measured = []
    for other in [run, *defended]:
        ca, success = other.metric("ca"), other.metric(name)
        if ca is not None and success is not None:
            measured.append(
                comparison.TradeoffPoint(
                    label=labels.get(other.id, "Backdoored"),
                    kind=other.kind,
                    ca=ca,
                    asr=success,
                    ca_interval=other.interval("ca"),
                    asr_interval=other.interval(name),
                    legend_label=other.defense_label,
                    success=METRICS[name].card_label(1),
                )
            )
    return measured


def _show_table(runs: list[RunRecord]) -> None:
    """Draw the metrics of runs, with the size of their test data."""
    values, formats = cards.metric_columns(runs)
    table = pd.DataFrame(
        {
            "Model": [r.defense_label for r in runs],
            "Learning rate": [r.lr for r in runs],
            **values,
            "n (CA)": [r.count("ca") for r in runs],
            "n (ASR)": [r.count("asr") for r in runs],
            "Seed": [r.seed for r in runs],
            "Seconds": [r.seconds for r in runs],
            "Run": [r.id for r in runs],
        }
    )
    st.dataframe(table, hide_index=True, column_config=formats, placeholder="not measured")


def select_newly_done(run: RunRecord) -> None:
    """Preselect the defenses of `run` that this session has just trained, once."""
    if new := [entry for entry in jobs.list_new_results("defend") if entry.started_from(run)]:
        done = [entry for entry in jobs.started_runs("defend") if entry.status.state == RunState.DONE]
        st.session_state[f"{NEWLY_DONE}.{run.id}"] = [entry.id for entry in done if entry.rebound is None]
        jobs.mark_as_seen(new)
