"""Trigger inversion on a page: settings, live picture of patch and mask, the classes, and what the trigger does."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import streamlit as st

from cleaner.command_line import cleaner_command
from cleaner.method import REIMPLEMENTED
from cleaner.plots import resistance as charts
from cleaner.runs.inversion_result import (
    CHANCE_NOTE,
    ESTIMATE_NOTE,
    MISS_NOTE,
    NOT_CONVERGED,
    Inversion,
    InversionConfig,
    find_inversion,
    locate_inversion,
    read_inversion,
)
from cleaner.runs.record import RunRecord
from cleaner.runs.request import parse_data
from cleaner.types import OnStep
from pages._shared import cache
from pages._shared.detect.background_work import show_work
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.plotly_charts import NO_MODE_BAR
from pages._shared.inspect.sample import DataKey, ModelKey
from pages._shared.runs import forms
from pages._shared.shell import stage_mode
from pages._shared.shell.frame import defend_button
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown, format_percent

IMAGE_COUNTS = (200, 500, 1000, 2000)
DEFAULT_COUNT = 1000
METHOD = f"Ideas of InverTune (arXiv:2506.12411) and Neural Cleanse (doi:10.1109/SP.2019.00031). {REIMPLEMENTED}"
SEARCH_SETTINGS = ("search_steps", "search_batch", "patch_steps", "batch_size", "success", "seed")
PICTURE_SIDE = 192


@dataclass(frozen=True)
class Subject:
    """The model whose trigger is searched: of a run, or without one."""

    model: ModelKey
    name: str
    """As the command line takes it: a run folder, or a model."""
    data: str
    run: RunRecord | None

    @property
    def run_folder(self) -> Path | None:
        return None if self.run is None else self.run.folder

    @property
    def result_folder(self) -> Path:
        """Where the result of a search goes."""
        return locate_inversion(self.run_folder, self.name)

    @property
    def stored_folder(self) -> Path:
        """Where the result in view is, which need not exist."""
        return find_inversion(self.run_folder, self.name)


def show(subject: Subject) -> None:
    """Draw settings and start button, then progress and the stored result."""
    key = ("invert", str(subject.result_folder))
    work = cache.find_work(key)
    left, right = st.columns([1, 2.9], gap="medium")
    with left:
        config = _choose_config()
        stored = read_inversion(subject.stored_folder)
        label = "Find the trigger" if stored is None else "Search again"
        is_running = work is not None and work.is_running
        if st.button(label, key="search.invert.go", type="primary", icon=":material/play_arrow:", disabled=is_running):
            if (other := cache.find_work(key)) is not None and other.is_running:
                st.toast("A search of this model was started in another tab; see it here.", icon=":material/info:")
            cache.start_search(key, partial(_search, subject, config))
            st.rerun()  # disables the button
        st.caption("Unlabeled clean images suffice. It takes minutes and goes on when you leave this page.")
        st.caption(METHOD)
    with right:
        if work is not None:
            show_work(work, "Searching …", "search.invert")
        if stored is not None:
            _show_result(subject, stored)
        elif not is_running:
            st.info(
                "Not searched yet. The search measures how small a perturbation moves images to each class, then finds "
                "a patch for the class that needs the smallest one.",
                icon=":material/frame_inspect:",
            )


def _choose_config() -> InversionConfig:
    images = st.select_slider("Images", IMAGE_COUNTS, DEFAULT_COUNT, key="search.invert.images", **KEEP)
    with st.expander("Parameters"):
        values = forms.draw_widgets(InversionConfig, "search.invert", SEARCH_SETTINGS)
    return InversionConfig(images=int(images), **values)


def _search(subject: Subject, config: InversionConfig, on_step: OnStep) -> None:
    """Invert the trigger and store the result."""
    data = DataKey(subject.data, "clean", config.images)
    cache.make_inversion(
        subject.model, data, config, run=subject.run_folder, folder=subject.result_folder, on_step=on_step
    )


def _show_result(subject: Subject, found: Inversion) -> None:
    _show_figures(found)
    chart = charts.resistance_bars(found.classes, found.suspect, found.target_class)
    st.plotly_chart(stage_mode.enlarge(chart), key="search.invert.classes", config=NO_MODE_BAR)
    st.caption(
        "RMS size, as a share of the pixel range, of the single perturbation that moves half of the images to the "
        f"class. {int(found.settings['images']):,} images of {escape_markdown(found.data)}, {found.seconds:.0f} s."
        + (
            f" **{escape_markdown(found.target_class)}** is the target of the known attack."
            if found.target_class
            else ""
        )
    )
    if found.suspect is None:
        return
    _show_triggers(subject, found)
    if not found.has_converged:
        st.info(NOT_CONVERGED, icon=":material/info:")
    if found.outlier_index is not None and not found.is_anomalous:
        st.info(f"No class stands out. {MISS_NOTE}", icon=":material/info:")
    st.warning(ESTIMATE_NOTE, icon=":material/warning:")
    _show_uses(subject, found.suspect)


def _show_figures(found: Inversion) -> None:
    """Draw suspect, outlier index and the figures of the trigger."""
    if found.suspect is None:
        st.info(f"No class gives way: no suspect. {MISS_NOTE}", icon=":material/info:")
        return
    suspect, outlier, asr, overlap = st.container(key="search-figures").columns(4)
    suspect.metric("Suspect class", escape_markdown(found.suspect))
    if found.is_right is not None:
        suspect.caption(
            "the attack's target"
            if found.is_right
            else f"wrong: the target is {escape_markdown(found.target_class or '')}"
        )
    elif not found.changes_images:
        suspect.caption("the attack changes no image")
    index = "–" if found.outlier_index is None else f"{found.outlier_index:.2f}"
    outlier.metric(
        "Outlier index",
        index,
        help=f"How far below the median resistance, in robust standard deviations. {CHANCE_NOTE}",
    )
    if found.outlier_index is None:
        outlier.caption("two classes are too few to say whether one stands out")
    else:
        outlier.caption("stands out (2 or more)" if found.is_anomalous else "does not stand out (less than 2)")
    asr.metric(
        "ASR, inverted trigger", format_percent(found.asr), help="Share of held-out images moved to the suspect."
    )
    if found.interval is not None:
        low, high = found.interval
        asr.caption(f"95% interval {format_percent(low)} to {format_percent(high)}, n = {found.n:,}")
    if found.iou is not None:
        overlap.metric("Overlap of the masks", f"{found.iou:.2f}", help="Intersection over union with the true mask.")
        inside, true_asr = format_percent(found.inside, 0), format_percent(found.true_asr)
        overlap.caption(f"{inside} of the mask is on the true one; true trigger: ASR {true_asr}")


def _show_triggers(subject: Subject, found: Inversion) -> None:
    """Draw the inverted trigger and its mask, beside the true one where it is known."""
    inverted, true = st.container(key="triggers").columns(2)
    inverted.image(enlarge(cache.draw_inverted(found.png), PICTURE_SIDE), alt="Inverted trigger, next to its mask")
    inverted.caption(f"Inverted trigger and its mask ({format_percent(found.masked_share)} of the image)")
    attack = cache.draw_attack(subject.run_folder) if subject.run_folder is not None else None
    if attack is not None:
        true.image(enlarge(attack, PICTURE_SIDE), alt="True trigger, next to its mask")
        true.caption("True trigger and its mask")


def _show_uses(subject: Subject, suspect: str) -> None:
    """Draw what the inverted trigger is good for. suspect: its class."""
    defend_button("Train it away: choose “Unlearn inverted trigger”", "inversion.defend")
    folder = subject.stored_folder
    data: list[str] = []
    if subject.run is None:  # a run has its data; for other models, a command would take Scenes
        name, options = parse_data(subject.data)
        data = ["--data", name, *(f"{key}={value}" for key, value in options.items())]
    evaluate = ["evaluate", subject.name, "--trigger", str(folder), "--target-class", suspect, *data]
    defend = ["defend", subject.name, "--defense", "unlearn_trigger", f"path={folder / 'trigger.png'}", *data]
    with st.popover("Copy as command", icon=":material/terminal:", type="tertiary"):
        st.code(
            "\n".join(cleaner_command(*words) for words in (evaluate, defend)),
            language="bash",
            wrap_lines=True,
        )
