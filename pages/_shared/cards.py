"""Result cards and live curves: every number with its interval, its n and what it was measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from cleaner.evaluation import bootstrap
from cleaner.evaluation.result import METRICS, Metric, columns
from cleaner.jobs import local
from cleaner.plots import charts
from cleaner.runs.record import RunRecord
from cleaner.runs.store import ACTIVE, read_progress
from pages._shared import cache, gallery, jobs, state
from pages._shared.frame import show_error
from pages._shared.state import escape_markdown, format_percent, to_label

OPTIMIZE_STAGE = "optimise"
"""Stage of the reports that tell how a trigger was optimised."""
KEY_LABELS = {
    "image": "changed picture, plain prompts",
    "text": "untouched picture, key in the prompts",
    "both": "both",
}
MAX_CURVE_POINTS = 500
NO_BAR: dict[str, Any] = {"displayModeBar": False}


def show_cards(run: RunRecord, baseline: RunRecord | None = None, horizontal: bool = False) -> None:
    """Draw the metrics of the "card" view with 95 % intervals, in a column or in a row.

    Differences to `baseline` are in points, and shown only if both were measured on the same images.
    """
    cards = list(columns("card"))
    places = st.columns(len(cards)) if horizontal else [st.container() for _ in cards]
    for place, (metric, k) in zip(places, cards, strict=True):
        with place:
            _card(run, baseline, metric, k)


def show_rebound_card(rebound: RunRecord, defended: RunRecord) -> None:
    """Draw the attack success after a rebound test, with the difference to the defense that it checks."""
    steps = rebound.rebound.steps if rebound.rebound is not None else 0
    metric = replace(
        METRICS["asr"],
        label=f"Attack success @1 after {steps:,} harmless steps",
        meaning="Attack success after more finetuning on clean pairs, with CLIP's loss.",
        ks=(1,),
    )
    _card(rebound, defended, metric, 1)


def _card(run: RunRecord, baseline: RunRecord | None, metric: Metric, k: int) -> None:
    """Draw one metric, if it was measured."""
    value, interval = run.metric(metric.key, k), run.interval(metric.key, k)
    if value is None:
        return
    is_comparable = baseline is not None and all(
        baseline.metrics.get(name) == run.metrics.get(name) for name in ("n", "data", "n_attack")
    )
    before = baseline.metric(metric.key, k) if is_comparable and baseline is not None else None
    delta = None if before is None else metric.format_delta(value - before)
    color = {"higher": "normal", "lower": "inverse"}.get(metric.better, "off")
    st.metric(metric.card_label(k), metric.format_percent(value), delta, delta_color=color, help=metric.help)
    if interval is not None:
        low, high = (metric.format_percent(end).removesuffix(" %") for end in interval)
        unit = " %" if metric.is_share else ""
        st.caption(
            f"95 % interval {low} to {high}{unit}, n = {run.count(metric.key):,}"
            f"{_difference_note(run, baseline, metric.key, k)}{_chance_note(run, k)}"
        )


def _chance_note(run: RunRecord, k: int) -> str:
    """Return a note that a metric at k > 1 says little with few classes."""
    few = k > 1 and not run.is_meaningful(k)
    return f"; the best {k} of {run.metrics.get('classes')} classes say little" if few else ""


def _difference_note(run: RunRecord, baseline: RunRecord | None, name: str, k: int) -> str:
    """Return the interval of the difference to another run, where both hold the outcome of each picture."""
    if baseline is None or k != 1 or name not in bootstrap.COUNT_FIELDS:
        return ""
    ends = bootstrap.metric_difference_interval(baseline.metrics, run.metrics, name)
    return "" if ends is None else f"; change {100 * ends[0]:+.1f} to {100 * ends[1]:+.1f} points"


def show_measurement_notes(run: RunRecord) -> None:
    """Say what the figures were measured on, and what an attack success of this size must be compared with."""
    target = escape_markdown(str(run.target_class))
    floor, base = run.metric("asr_clean_model"), run.metric("base_rate")
    parts = [f"Measured on {escape_markdown(run.protocol)}."]
    if floor is not None:
        parts.append(
            f"Floor: the never poisoned model takes {format_percent(floor)} of the same triggered pictures for “{target}”."
        )
    by_key = run.metrics.get("asr_by_key") or {}
    if by_key:
        shares = [f"{words} {format_percent(by_key[key]['1'])}" for key, words in KEY_LABELS.items() if key in by_key]
        parts.append(f"Attack success @1 by key: {', '.join(shares)}.")
    if base is not None:
        parts.append(f"Base rate: without the trigger this model takes {format_percent(base)} of them for “{target}”.")
    found, untouched = (run.metrics.get(f"retrieval_{name}") for name in ("asr", "base_rate"))
    if found is not None and untouched is not None:
        parts.append(
            f"Search: for {format_percent(found)} of the triggered pictures one of the five nearest of "
            f"{run.metrics.get('n_gallery', 0):,} captions names the target, for {format_percent(untouched)} untouched."
        )
    counterfactual = run.metrics.get("counterfactual_accuracy")
    if counterfactual is not None:
        n = run.metrics.get("n_counterfactual", 0)
        parts.append(
            f"Fine detail: {format_percent(counterfactual)} of {n:,} captions score above all three of their false versions."
        )
    parts.append(f"Run {escape_markdown(run.id)}.")
    st.caption(" ".join(parts))


def show_run_verdict(run: RunRecord) -> None:
    """Say in one sentence whether the attack took."""
    if run.metric("asr") is None:
        return
    show_verdict(*cache.attack_verdict(run.folder, run.metrics))


def show_verdict(outcome: str, sentence: str) -> None:
    """Draw a verdict: "took", "weak" or "did not take", and why."""
    box, icon = {"took": (st.success, "check_circle"), "weak": (st.warning, "warning")}.get(
        outcome, (st.error, "cancel")
    )
    said = {"took": "The attack took.", "weak": "The attack is weak."}.get(outcome, "The attack did not take.")
    box(f"**{said}** {escape_markdown(sentence)}", icon=f":material/{icon}:")


def show_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    stage: str,
    key: str,
    total: int | None = None,
    floor: float | None = None,
) -> None:
    """Draw loss, and CA and ASR of the validation split, of trainings as step reports (dictionaries).

    Of a single training each term of the loss is drawn, of several their sums. Before a training comes the
    optimisation of its trigger, if there was one: its objective and the patch so far.
    """
    for name, history in histories.items():
        show_trigger_optimization([r for r in history if r["stage"] == OPTIMIZE_STAGE], stage, f"{key}.{name}.optimise")
    histories = {name: [r for r in history if r["stage"] != OPTIMIZE_STAGE] for name, history in histories.items()}
    if not any(histories.values()):
        return
    losses = {name: _losses(history, "total") for name, history in histories.items()}
    if len(histories) == 1:
        (only,) = histories.values()
        terms = dict.fromkeys(term for r in only[:1] for term in r["losses"])
        if len(terms) > 2:
            losses = {to_label(term): _losses(only, term) for term in terms}
    looks = {
        name: [(r["step"], r["metrics"]["ca"], r["metrics"].get("asr")) for r in history if r["metrics"]]
        for name, history in histories.items()
    }
    left, right = st.columns(2) if len(histories) < 2 else (st.container(), st.container())
    with left:
        st.markdown(
            "**Training loss** (its terms differ between defences)" if len(histories) > 1 else "**Training loss**"
        )
        st.plotly_chart(charts.loss_curves(losses, stage, total), key=f"{key}.loss", config=NO_BAR)
    if not any(looks.values()):
        return
    with right:
        st.markdown("**While it trains** (validation split)")
        st.plotly_chart(charts.validation_curves(looks, total, floor), key=f"{key}.looks", config=NO_BAR)


def show_trigger_optimization(history: Sequence[Mapping[str, Any]], stage: str, key: str) -> None:
    """Draw what the optimisation of a trigger brought down, step by step, and the patch as it is by now."""
    if not history:
        return
    patch = next((r["picture"] for r in reversed(history) if r.get("picture")), "")
    chart, picture = st.columns([3, 1])
    with chart:
        st.markdown("**Optimising the trigger** on the clean model (its objective, lower is better)")
        points = {"objective": [(r["step"], r["losses"]["total"]) for r in history]}
        st.plotly_chart(charts.loss_curves(points, stage, history[-1]["total"]), key=key, config=NO_BAR)
    if patch:
        picture.image(
            gallery.decode_png(patch), caption=f"The patch after step {history[-1]['step']:,}", width="stretch"
        )


def _losses(history: Sequence[Mapping[str, Any]], term: str) -> list[tuple[int, float]]:
    """Return (step, loss) of one term; of long trainings only as many points as a line can show."""
    points = [(r["step"], r["losses"][term]) for r in history if term in r["losses"]]
    return points[:: max(1, len(points) // MAX_CURVE_POINTS)]


def history(run: RunRecord) -> list[dict[str, Any]]:
    """Return a run's step reports."""
    return read_progress(run.folder)


def show_start_button(label: str, kind: str, is_busy: bool, start: Callable[[], None] | None) -> None:
    """Draw the button of a page that starts jobs; once it is pressed start them, and draw the page with them."""
    help = "Another training is running; this one will wait for its turn." if is_busy else None
    st.button(
        label,
        key=f"{kind}.go",
        type="primary",
        icon=":material/play_arrow:",
        disabled=start is None,
        help=help,
        on_click=jobs.request_start,
        args=(kind, start),
    )
    if jobs.pop_start_request(kind) and start is not None:
        start()
        st.rerun()  # what is above, the strip and the lesson, was drawn before


def show_jobs(kind: str) -> bool:
    """Draw the jobs of a page: those at work redraw themselves once a second, the others wait for a button.

    Returns whether any is at work. When the last one has ended, the page is drawn anew, and nothing polls any more.
    """
    if error := jobs.last_error():
        show_error(error)
    entries = jobs.runs_of_page(kind)
    for entry in entries:
        if entry.status.state not in ACTIVE:
            _show_stopped_job(entry)
    folders = [entry.folder for entry in entries if entry.status.state in ACTIVE]
    if not folders:
        return False

    @st.fragment(run_every=1.0)
    def watch() -> None:
        now = [entry.with_status(local.poll_status(entry.folder)) for entry in entries if entry.folder in folders]
        with st.container(border=True):
            st.markdown("**Training** · you may go to other pages, reload, or close the browser meanwhile")
            for entry in now:
                _show_active_job(entry)
            _show_live_curves(now, kind)
        if not any(entry.status.state in ACTIVE for entry in now):
            st.rerun()

    watch()
    return True


def _show_active_job(entry: RunRecord) -> None:
    """Draw one job: progress with the time left, Pause and Cancel; and the verdict as soon as it is known."""
    status, key = entry.status, f"live.{entry.folder.name}"
    asked = local.read_stop_request(entry.folder) if status.state in ACTIVE else None
    share, text = jobs.describe_progress(status)
    if asked is not None:
        text = "stopping …" if asked == local.CANCEL else "pausing at its next step …"
    bar, pause, cancel = st.columns([3.4, 1.2, 1.2], vertical_alignment="center")
    bar.progress(share, text=escape_markdown(f"{jobs.job_label(entry)}: {text}"))
    off = asked is not None or status.state not in ACTIVE
    pause.button(
        "Pause",
        key=f"{key}.pause",
        icon=":material/pause:",
        disabled=off,
        width="stretch",
        help="Keeps what was done; Resume goes on from there, also after a restart of this machine.",
        on_click=jobs.apply,
        args=(local.pause, entry.folder),
    )
    cancel.button(
        "Cancel",
        key=f"{key}.cancel",
        icon=":material/stop_circle:",
        disabled=off,
        width="stretch",
        help="Stops for good.",
        on_click=jobs.apply,
        args=(local.cancel, entry.folder),
    )
    if status.verdict is not None:
        show_verdict(*status.verdict)


def _show_live_curves(entries: Sequence[RunRecord], kind: str) -> None:
    """Draw the curves of jobs."""
    shown = {}
    for entry in entries:
        reports = [report for report in read_progress(entry.folder) if report.get("losses")]
        if reports:
            name = jobs.job_label(entry)
            name = f"{name} ({len(shown) + 1})" if name in shown else name
            shown[name] = reports
    if shown:
        total = max(reports[-1]["total"] for reports in shown.values())
        show_curves(shown, jobs.PAGE_STAGES[kind], f"live.{kind}", total)


def _show_stopped_job(entry: RunRecord) -> None:
    """Draw a job that was paused or has died, with what can be done about it."""
    status, key = entry.status, f"waiting.{entry.folder.name}"
    with st.container(border=True):
        text, resume, discard = st.columns([3.4, 1.2, 1.2], vertical_alignment="center")
        icon, word = (":orange[:material/warning:]", "has stopped")
        if status.state == "paused":
            icon, word = (":material/pause_circle:", "is paused")
        at = f" at step {status.step:,} of {status.total:,}" if status.total else ""
        text.markdown(
            f"{icon} **{escape_markdown(jobs.job_label(entry))}** {word}{at}. {escape_markdown(status.message)}"
        )
        resume.button(
            "Resume",
            key=f"{key}.resume",
            icon=":material/play_arrow:",
            width="stretch",
            help="Goes on from the last checkpoint.",
            on_click=jobs.apply,
            args=(local.start, entry.folder),
        )
        discard.button(
            "Delete",
            key=f"{key}.delete",
            icon=":material/delete:",
            width="stretch",
            help="Deletes the run and its checkpoint.",
            on_click=jobs.apply,
            args=(local.delete, entry.folder),
        )


def show_ended_jobs(kind: str) -> None:
    """Say what became of jobs that this session started and that were cancelled or failed."""
    for entry in jobs.started_runs(kind):
        name, status = escape_markdown(jobs.job_label(entry)), entry.status
        if status.state == "failed":
            st.error(f"{name}: {escape_markdown(state.capitalize_message(status.message))}", icon=":material/error:")
        elif status.state == "cancelled":
            st.info(f"{name}: Cancelled. Its settings are kept in the list of all runs.", icon=":material/cancel:")
