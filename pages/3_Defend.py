"""Defend: finetune a backdoored model on clean pairs with one or several defenses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cleaner.config import FinetuneConfig, count_steps, parameters
from cleaner.jobs import local
from cleaner.jobs.prediction import format_range
from cleaner.jobs.slurm import SlurmResources
from cleaner.labels import FULL_CAPTIONS, format_count, to_label
from cleaner.method import Method, Preset
from cleaner.plots.styles import find_style
from cleaner.presets import (
    PAGE_DEFENSES,
    QUICK_CLEAN_PAIRS,
    QUICK_DEFEND,
    QUICK_VARIANT,
    defense_presets,
    find_tried_model,
    is_pretrained,
    presets_for_model,
)
from cleaner.runs.manifest import get_requested_pairs
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request, format_data, get_test_data
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.runs import defense_results, durations, external_model, forms, job_requests, jobs, live_jobs, sweeps
from pages._shared.runs.job_requests import Suspect
from pages._shared.shell import stage_mode, state
from pages._shared.shell.frame import link, page, show_error
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown

LEAD = "Finetune the backdoored model on **clean pairs**, without knowing the trigger."
CLEAN_PAIR_COUNTS = (200, 500, 1000, 2000, 4000, 6000, 8000, 10000)
MAX_SEEDS = 10
CAPTIONS = "defend.captions"
SWEEP = "defend.sweep"
"""Session key of the switch. It decides, not the number of runs: one rate and one seed may get more of them later."""
LAYOUT = [1, 2.6]
"""Widths of settings and results."""
PLAN_WIDTHS = {
    "Defense": 160,
    "Learning rate": 90,
    "Seed": 48,
    "Runs": 48,
    "Pairs": 58,
    "Steps": 54,
    "Duration": 120,
    "Memory": 70,
}
"""Column -> pixels: together as wide as a popover gets."""
DefensePlan = list[tuple[Any, FinetuneConfig]]
"""(defense, settings) of each run."""
Choice = tuple[DefensePlan, "CleanPairs"] | CleanerError | None
"""What to train on what; an error, or None, while a setting cannot be used."""
CAPTIONS_HELP = (
    "Full captions name objects, colors and mostly size, place and ground. Mixed ones are short for half of the pairs, "
    "like those that the built-in models were trained on. At the same learning rate TA-Cleaner, CleanCLIP (also with "
    "short captions) and plain finetuning then cost less accuracy. Quick settings follow this choice where rates were "
    "tried for both."
)


@dataclass(frozen=True)
class CleanPairs:
    """The pairs of all defenses."""

    count: int
    options: Mapping[str, str]
    """Options of the data that affect only these pairs."""


def choose_defenses(model: str, data: str, *, used: int = 0, is_open: bool) -> Choice:
    """Draw all settings; return plan and clean pairs. used: pairs of `data` that the attacker trained on."""
    kinds = cache.defenses()
    names = st.multiselect(
        "Defenses",
        list(kinds),
        PAGE_DEFENSES,
        format_func=to_label,
        key="defend.which",
        **KEEP,
        help="Each starts from the same model with the same pairs and epochs; RVPT skips pairs that do not have "
        "exactly one class.",
    )
    is_sweep = st.toggle(
        "Sweep",
        key=SWEEP,
        **KEEP,
        help="Train each defense with each learning rate and seed; restarting trains only what is missing.",
    )
    choices, captions = [], forms.read_clean_captions(data, key=CAPTIONS)
    for name in names:
        with st.expander(f"{find_style(name).sign} {escape_markdown(to_label(name))}", is_open):
            preset, key = forms.choose_preset(
                presets_for_model(defense_presets(name, model, captions), model),
                settings_key(model, name),
                "defend RUN",
            )
            # A default applies until a widget is drawn, and captions have learning rates of their own.
            rate_key = f"{key}.lr" if captions == FULL_CAPTIONS else f"{key}.lr.{captions}"
            rates = _choose_learning_rates(rate_key, preset, is_sweep)
            choices.append((name, rates, _choose_parameters(kinds[name], key, preset)))
    try:
        with st.expander("All defenses", is_open, icon=":material/tune:"):
            pairs, seeds, config = _choose_shared_settings(is_sweep, data, used)
        if config is None:
            return None
        return [
            (kinds[name](**parameters), replace(config, lr=lr, seed=config.seed + seed))
            for name, rates, parameters in choices
            for lr in rates
            for seed in range(seeds)
        ], pairs
    except CleanerError as error:
        return error  # shown at the button, while active jobs and results stay visible


def settings_key(model: str, defense: str) -> str:
    """Return the key prefix of a defense's widgets: each built-in model has its own, pretrained ones share."""
    tried = find_tried_model(model)
    return f"defend.{'pretrained' if is_pretrained(tried) else tried}.{defense}"


def _choose_shared_settings(is_sweep: bool, data: str, used: int) -> tuple[CleanPairs, int, FinetuneConfig | None]:
    """Draw the settings of all defenses; return clean pairs, seeds and the config, None if it cannot be used."""
    count = forms.choose_pair_count(
        "Clean pairs",
        CLEAN_PAIR_COUNTS,
        QUICK_CLEAN_PAIRS,
        key="defend.pairs",
        data=data,
        used=used,
        help="Image-caption pairs from a split without poisoned pairs.",
    )
    options = forms.choose_clean_captions(data, key=CAPTIONS, help=CAPTIONS_HELP)
    settings = forms.draw_widgets(FinetuneConfig, "defend.train", ("epochs",), vars(QUICK_DEFEND))
    help = "Runs per setting; the seed determines order of pairs, augmentations and subtexts."
    seeds = int(st.number_input("Seeds", 1, MAX_SEEDS, 1, key="defend.seeds", help=help, **KEEP)) if is_sweep else 1
    device, precision, is_usable = forms.choose_device_and_precision("defend")
    with st.expander("More settings"):
        names = ("batch_size", "augmentation", "warmup_steps", "weight_decay", "redraw", "freeze_bn", "seed")
        settings |= forms.draw_widgets(FinetuneConfig, "defend.train", names, vars(QUICK_DEFEND))
    config = FinetuneConfig(device=device, precision=precision, **settings) if is_usable else None
    return CleanPairs(count, options), seeds, config


def _choose_learning_rates(key: str, preset: Preset, is_sweep: bool) -> list[float]:
    """Draw the choice of a defense's learning rate, or of several."""
    training = preset.training
    default = QUICK_DEFEND.lr if training is None else training.finetune.lr
    help = "Too small removes nothing, too large destroys accuracy."
    if training is not None and training.is_lr_chosen and preset.variant != QUICK_VARIANT:
        epochs = format_count(training.finetune.epochs, "epochs")
        st.caption(f"Meant for {training.pairs:,} pairs and {epochs}; both are set under All defenses.")
    if is_sweep:
        return forms.choose_learning_rates(f"{key}s", default, help)
    return [forms.choose_learning_rate(key, default, help)]


def _choose_parameters(kind: type[Method], key: str, preset: Preset) -> dict[str, object]:
    """Draw a defense's own parameters in an expander."""
    st.caption(escape_markdown(kind.describe()))
    if not parameters(kind):
        return {}
    with st.expander("Parameters"):
        return forms.draw_widgets(kind, key, defaults=preset.parameters)


def show_preflight(
    suspect: Suspect, plan: DefensePlan, run_requests: list[Request], cluster: SlurmResources | None
) -> None:
    """Draw the number of planned runs and their expected duration, and in a table on demand one row per defense."""
    tested = _describe_test(suspect)
    runs = format_count(len(plan), "runs")
    if st.session_state[SWEEP] and any(is_done := jobs.find_done(run_requests, cluster)):
        total = len(plan)
        plan = [entry for entry, done in zip(plan, is_done, strict=True) if not done]
        run_requests = [request for request, done in zip(run_requests, is_done, strict=True) if not done]
        runs = f"{len(plan)} of {total} runs left"
    if not plan:
        st.caption(f"{runs}: this sweep is done.  \n{tested}")
        return
    run_requests = [
        job_requests.skip_unused_pairs(request, defense)
        for request, (defense, _) in zip(run_requests, plan, strict=True)
    ]
    if cluster is not None:
        st.caption(f"{runs}, in parallel on the cluster.  \n{tested}")
    else:
        where = f"one at a time on {escape_markdown(plan[0][1].device)}"
        st.caption(f"**{durations.describe(run_requests)}** · {runs}, {where}  \n{tested}")
    _draw_plan(plan, run_requests)


def _describe_test(suspect: Suspect) -> str:
    """Return what the test images of a defense can resolve; "" if they cannot be read."""
    try:
        if isinstance(suspect, job_requests.ExternalModel):
            return durations.describe_test(suspect.test_data, None)
        return durations.describe_test(job_requests.read_test_data(suspect), suspect.target_class, suspect.queries)
    except CleanerError:
        return ""


def _draw_plan(plan: DefensePlan, run_requests: list[Request]) -> None:
    rows = []
    for defense in dict.fromkeys(defense for defense, _ in plan):
        chosen = [i for i, (other, _) in enumerate(plan) if other == defense]
        configs = [plan[i][1] for i in chosen]
        lrs, seeds = (sorted({getattr(config, field) for config in configs}) for field in ("lr", "seed"))
        pairs = run_requests[chosen[0]].pairs
        duration = durations.predict_total([run_requests[i] for i in chosen])
        rows.append(
            {
                "Defense": to_label(defense.state_dict()["name"]),
                "Learning rate": ", ".join(f"{lr:g}" for lr in lrs),
                "Seed": ", ".join(map(str, seeds)),
                "Runs": len(configs),
                "Pairs": f"{pairs:,}",
                "Steps": f"{count_steps(pairs, configs[0]):,}",
                "Duration": "unknown" if duration is None else format_range(duration.low, duration.high),
                "Memory": f"{duration.memory / 1e9:.1f} GB" if duration is not None and duration.memory else "unknown",
            }
        )
    with st.popover("Plan", icon=":material/list:", type="tertiary"):  # wider than the column
        columns = {name: st.column_config.Column(width=width) for name, width in PLAN_WIDTHS.items()}
        columns["Learning rate"] = st.column_config.Column("lr", width=PLAN_WIDTHS["Learning rate"])
        st.dataframe(pd.DataFrame(rows), hide_index=True, width=sum(PLAN_WIDTHS.values()) + 2, column_config=columns)


def show_start_section(suspect: Suspect, choice: Choice) -> None:
    """Draw the Start button and the preflight, or why the button is disabled."""
    cluster = forms.choose_cluster("defend")
    plan: DefensePlan = []
    run_requests, reason = [], None
    try:
        if isinstance(choice, CleanerError):
            raise choice
        plan, pairs = choice or ([], CleanPairs(0, {}))
        run_requests = [
            job_requests.build_defense_request(suspect, defense, pairs.count, config, pairs.options)
            for defense, config in plan
        ]
    except CleanerError as error:
        plan, reason = [], error
    start = jobs.start_sweep if st.session_state[SWEEP] else jobs.start_runs
    on_start = partial(start, "defend", run_requests, cluster) if plan else None
    live_jobs.show_start_button("Start defenses", "defend", cluster is None and local.has_active_runs(), on_start)
    if plan:
        show_preflight(suspect, plan, run_requests, cluster)
        forms.show_command(run_requests)
    elif reason is not None:
        show_error(reason)
    else:
        st.caption(":material/error: Complete or correct the settings below.")


def show_backdoored(run: RunRecord, left: DeltaGenerator, right: DeltaGenerator) -> None:
    """Draw the page for a model that was poisoned here."""
    defense_results.select_newly_done(run)
    defended = state.defended_runs(run)
    with left:
        start_place = st.container()
        choice = choose_defenses(
            run.model,
            format_data(*get_test_data(run.config)[:2]),
            used=get_requested_pairs(run.config),
            is_open=not defended,
        )
        with start_place:
            show_start_section(run, choice)
    with right:
        has_jobs, has_sweep = live_jobs.show_jobs("defend"), sweeps.show(run)
        live_jobs.show_ended_jobs("defend")
        if defended or not (has_jobs or has_sweep):
            defense_results.show_results(run)
        else:
            stage_mode.explain_missing("The plot appears when the first defense of this model finishes.")


def show_external_model(left: DeltaGenerator, right: DeltaGenerator) -> None:
    """Draw the page for a model trained elsewhere."""
    with left:
        external = external_model.choose()
        start_place = st.container()
        choice = choose_defenses(external.model, external.data, is_open=True) if external else None
        if external is not None:
            with start_place:
                show_start_section(external, choice if external_model.is_readable(external) else None)
    with right:
        stage_mode.explain_missing("An external model has no plot: its trigger, and so its attack success, is unknown.")
        if external is None:
            external_model.show_hint()
            return
        before = external_model.show_facts(external)
        if external_model.is_readable(external):
            external_model.show_search_button(external)
        live_jobs.show_jobs("defend")
        sweeps.show(external)
        live_jobs.show_ended_jobs("defend")
        external_model.show_results(external, before)


def show_missing_run() -> None:
    """Offer to clean the model in view, and to view the newest backdoored run, or the page that makes one."""
    runs, model = state.backdoored_runs(), state.current_model()
    text = "The model in view belongs to no run: clean it as an external model, or view a backdoored run."
    st.info(text if runs else "No backdoored model yet: train one on the Poison page.", icon=":material/bug_report:")
    if model:
        external_model.show_switch(model)
    if runs:
        label = escape_markdown(state.view_labels()[runs[0].id])
        st.button(f"View {label}", key="defend.view", on_click=state.select_run, args=(runs[0].id,))
    else:
        link("Poison", "Go to Poison")


with page("Defend", LEAD, picture=".st-key-pareto"):
    with st.spinner("Loading PyTorch …"):
        cache.defenses()
    run = state.current_run()
    left, right = st.columns(LAYOUT, gap="medium")
    if left.toggle("External model", key=state.EXTERNAL, help=external_model.HELP, **KEEP):
        show_external_model(left, right)
    elif run is not None:
        show_backdoored(run, left, right)
    else:
        with right:
            show_missing_run()
