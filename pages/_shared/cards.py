"""Result cards and live curves: every number with its interval, its n and what it was measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from cleaner import figures
from pages._shared import cache, images
from pages._shared.state import Saved, percent, plain
from pages._shared.work import Job

FIGURES = (
    (
        "ca",
        1,
        "Clean accuracy",
        "CA: share of untouched pictures whose true class comes first. Higher is better.",
        "normal",
    ),
    ("asr", 1, "Attack success @1", "ASR@1: share of triggered pictures that are taken for the target.", "inverse"),
    (
        "asr",
        3,
        "Attack success @3",
        "ASR@3: the target is among the three best classes of a triggered picture.",
        "inverse",
    ),
    ("ra", 1, "Robust accuracy", "RA: share of triggered pictures whose true class still comes first.", "normal"),
)
OPTIMISE = "optimise"
"""Stage of the reports that tell how a trigger was optimised."""
KEYS = {
    "image": "changed picture, plain prompts", "text": "untouched picture, key in the prompts", "both": "both",
}  # fmt: skip
NO_BAR: dict[str, Any] = {"displayModeBar": False}


def cards(run: Saved, against: Saved | None = None, across: bool = False) -> None:
    """Draw CA, ASR@1, ASR@3 and RA with 95 % intervals, below or beside one another.

    Differences to `against` are in points, and shown only where both were measured on the same pictures.
    """
    same = against is not None and all(against.metrics.get(m) == run.metrics.get(m) for m in ("n", "data", "n_attack"))
    places = st.columns(len(FIGURES)) if across else [st.container() for _ in FIGURES]
    for place, (name, k, label, help, good) in zip(places, FIGURES, strict=True):
        value, interval = run.figure(name, k), run.interval(name, k)
        if value is None:
            continue
        before = against.figure(name, k) if same and against is not None else None
        delta = None if before is None else f"{100 * (value - before):+.1f} points"
        n = run.metrics.get("n" if name == "ca" else "n_attack", 0)
        with place:
            st.metric(label, percent(value), delta, delta_color=good, help=help)
            if interval is not None:
                low, high = (100 * end for end in interval)
                st.caption(f"95 % interval {low:.1f} to {high:.1f} %, n = {n:,}")


def in_words(run: Saved) -> None:
    """Say what the figures were measured on, and what an attack success of this size must be compared with."""
    target = plain(str(run.config.get("target_class")))
    floor, base = run.figure("asr_clean_model"), run.figure("base_rate")
    parts = [f"Measured on {plain(run.protocol)}"]
    if floor is not None:
        parts.append(
            f"Floor: the never poisoned model takes {percent(floor)} of the same triggered pictures for “{target}”."
        )
    by_key = run.metrics.get("asr_by_key") or {}
    if by_key:
        shares = [f"{words} {percent(by_key[key]['1'])}" for key, words in KEYS.items() if key in by_key]
        parts.append(f"Attack success @1 by key: {', '.join(shares)}.")
    if base is not None:
        parts.append(f"Base rate: without the trigger this model takes {percent(base)} of them for “{target}”.")
    counterfactual = run.metrics.get("counterfactual_accuracy")
    if counterfactual is not None:
        n = run.metrics.get("n_counterfactual", 0)
        parts.append(
            f"Fine detail: {percent(counterfactual)} of {n:,} captions score above all three of their false versions."
        )
    parts.append(f"Run {plain(run.id)}.")
    st.caption(" ".join(parts))


def verdict(run: Saved) -> None:
    """Say in one sentence whether the attack took."""
    if run.figure("asr") is None:
        return
    word, sentence = cache.verdict(run.folder, run.metrics)
    box, icon = {"took": (st.success, "check_circle"), "weak": (st.warning, "warning")}.get(word, (st.error, "cancel"))
    said = {"took": "The attack took.", "weak": "The attack is weak."}.get(word, "The attack did not take.")
    box(f"**{said}** {plain(sentence)}", icon=f":material/{icon}:")


def curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], stage: str, key: str, total: int | None = None,
    floor: float | None = None,
) -> None:  # fmt: skip
    """Draw loss, and CA and ASR of the validation split, of trainings as step reports (dictionaries).

    Before a training comes the optimisation of its trigger, if there was one: its objective and the patch so far.
    """
    for name, history in histories.items():
        optimised([r for r in history if r["stage"] == OPTIMISE], stage, f"{key}.{name}.optimise")
    histories = {name: [r for r in history if r["stage"] != OPTIMISE] for name, history in histories.items()}
    if not any(histories.values()):
        return
    losses = {
        name: [(r["step"], r["losses"]["total"]) for r in history if "total" in r["losses"]]
        for name, history in histories.items()
    }
    looks = {
        name: [(r["step"], r["metrics"]["ca"], r["metrics"].get("asr")) for r in history if r["metrics"]]
        for name, history in histories.items()
    }
    left, right = st.columns(2) if len(histories) < 2 else (st.container(), st.container())
    with left:
        st.markdown(
            "**Training loss** (its terms differ between defences)" if len(histories) > 1 else "**Training loss**"
        )
        st.plotly_chart(figures.loss_curves(losses, stage, total), key=f"{key}.loss", config=NO_BAR)
    with right:
        st.markdown("**While it trains** (validation split)")
        st.plotly_chart(figures.validation_curves(looks, total, floor), key=f"{key}.looks", config=NO_BAR)


def optimised(history: Sequence[Mapping[str, Any]], stage: str, key: str) -> None:
    """Draw what the optimisation of a trigger brought down, step by step, and the patch as it is by now."""
    if not history:
        return
    patch = next((r["picture"] for r in reversed(history) if r.get("picture")), "")
    chart, picture = st.columns([3, 1])
    with chart:
        st.markdown("**Optimising the trigger** on the clean model (its objective, lower is better)")
        points = {"objective": [(r["step"], r["losses"]["total"]) for r in history]}
        st.plotly_chart(figures.loss_curves(points, stage, history[-1]["total"]), key=key, config=NO_BAR)
    if patch:
        picture.image(images.from_png(patch), caption=f"The patch after step {history[-1]['step']:,}", width="stretch")


def history(run: Saved) -> list[dict[str, Any]]:
    """Return a run's step reports; a broken last line is skipped."""
    reports = []
    try:
        lines = (run.folder / "progress.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            reports.append(json.loads(line))
        except ValueError:
            continue
    return reports


def go(label: str, key: str, busy: bool, ready: bool) -> bool:
    """Draw the button that starts a job, and once pressed a greyed one in its place; return whether it was pressed.

    No st.rerun() after it: Streamlit merges it with a click on the menu that comes meanwhile, and the click is lost.
    """
    slot = st.empty()
    wait = "Another training is running."
    icon = ":material/play_arrow:"
    off = busy or not ready
    pressed = slot.button(label, key=key, type="primary", icon=icon, disabled=off, help=wait if busy else None)
    if pressed:
        slot.button(label, key=f"{key}.pressed", type="primary", icon=icon, disabled=True, help=wait)
    return pressed


def live(job: Job, stage: str) -> None:
    """Draw a job while it runs: progress with the time left, curves, Cancel. Redraws itself once a second."""
    key = f"live.{job.kind}"

    @st.fragment(run_every=1.0 if job.running else None)
    def watch() -> None:
        with st.container(border=True):
            head, button = st.columns([5, 1], vertical_alignment="center")
            head.markdown("**Training** · you may go to other pages or reload meanwhile")
            if button.button("Cancel", key=f"{key}.cancel", icon=":material/stop_circle:", disabled=job.stopping):
                job.cancel()
            for part in job.parts:
                share, text = part.progress
                text = {"waiting": "waits for its turn", "done": "done", "cancelled": "cancelled"}.get(part.state, text)
                done = 1.0 if part.state == "done" else share
                st.progress(min(done, 1.0), text=plain(f"{part.label}: {'stopping …' if job.stopping else text}"))
            shown = {part.label: [vars(r) for r in part.history] for part in job.parts if part.history}
            if shown:
                totals = [r.total for part in job.parts for r in part.history if r.stage != OPTIMISE]
                total = max(totals, default=None)
                curves(shown, stage, key, total)
        if not job.running:
            st.rerun()

    watch()


def ended(job: Job) -> None:
    """Say what became of a job that was cancelled or failed."""
    for part in job.parts:
        if part.state == "failed":
            st.error(f"{plain(part.label)}: {plain(part.message)}", icon=":material/error:")
        elif part.state == "cancelled":
            st.info(f"{plain(part.label)}: {part.message or 'not begun.'}", icon=":material/cancel:")
