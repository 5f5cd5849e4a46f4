"""Defend: finetune the backdoored model on clean pairs, with one or several defences side by side."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pandas as pd
import streamlit as st

from cleaner.config import FinetuneConfig
from cleaner.evaluation.result import columns
from cleaner.jobs.slurm import SlurmResources
from cleaner.labels import to_attack_label
from cleaner.plots import charts
from cleaner.presets import CLEAN_PAIRS, DEFEND, DEMO_CLEAN_PAIRS, DEMO_DEFEND, REBOUND_STEPS, Preset, defense_presets
from cleaner.runs.record import RunRecord
from pages._shared import cache, cards, external_model, forms, jobs, requests, state, sweeps
from pages._shared.frame import link, page
from pages._shared.state import KEEP, escape_markdown, to_label

LEAD = (
    "You are the defender. You have a backdoored model and **a few clean pairs**; you do not know the trigger. "
    "Finetune the model on them and see whether the backdoor is gone, and what it cost."
)
REBOUND_HELP = "Does harmless training bring the backdoor back? Some defences only hide it."
CLEAN_PAIR_COUNTS = (200, 500, 1000, 2000, 3000, 5000, 10000)
Plan = list[tuple[object, FinetuneConfig]]
Suspect = RunRecord | requests.ExternalModel


def choose_defenses(model: str) -> tuple[Plan, int] | None:
    """Draw all choices; return (defence, settings) for each and the clean pairs, or None while one cannot be used."""
    kinds = cache.defenses()
    first = [name for name in ("cleanclip", "ta_cleaner") if name in kinds] or list(kinds)[:1]
    chosen = st.multiselect(
        "Defences",
        list(kinds),
        first,
        format_func=to_label,
        key="defend.which",
        **KEEP,
        help="Each starts from the same backdoored model and sees the same clean pairs for the same number of steps.",
    )
    many = st.toggle(
        "Sweep rates and seeds",
        key="defend.sweep",
        **KEEP,
        help="Each defence is trained with each rate and seed. Started again, a sweep goes on with what is missing.",
    )
    tried = []
    for name in chosen:
        with st.container(border=True):
            st.markdown(f"**{escape_markdown(to_label(name))}**")
            preset, key = forms.choose_preset(defense_presets(name, model), f"defend.{name}", "defend RUN")
            rates = _choose_learning_rates(f"{key}.lr", preset, many)
            tried.append((name, rates, _choose_parameters(kinds[name], key, preset)))
    with st.container(border=True):
        st.markdown("**For all of them**")
        pairs = st.select_slider(
            "Clean pairs",
            CLEAN_PAIR_COUNTS,
            DEMO_CLEAN_PAIRS,
            format_func="{:,}".format,
            key="defend.pairs",
            **KEEP,
            help="Pairs that nobody has poisoned, of a split that the attacker did not touch.",
        )
        shared = forms.draw_widgets(FinetuneConfig, "defend.train", ("epochs",), vars(DEMO_DEFEND))
        seeds = _choose_seed_count() if many else 1
        device, precision, usable = forms.choose_device_and_precision("defend")
        with st.expander("More settings"):
            names = ("batch_size", "augmentation", "warmup_steps", "weight_decay", "redraw", "freeze_bn", "seed")
            shared |= forms.draw_widgets(FinetuneConfig, "defend.train", names, vars(DEMO_DEFEND))
    if not usable:
        return None
    common = FinetuneConfig(device=device, precision=precision, **shared)
    return [
        (kinds[name](**own), replace(common, lr=rate, seed=common.seed + seed))
        for name, rates, own in tried
        for rate in rates
        for seed in range(seeds)
    ], int(pairs)


def _default_lr(preset: Preset) -> float:
    """Return the learning rate that a defence's box begins with: the demo's, if no source states one."""
    training = preset.training
    return DEMO_DEFEND.lr if training is None or training.data else training.finetune.lr


def _choose_learning_rates(key: str, preset: Preset, is_sweep: bool) -> list[float]:
    """Draw the choice of a defence's learning rate, or of several."""
    help, first = (
        "How big the steps are. It matters most: too small removes nothing, too big forgets.",
        _default_lr(preset),
    )
    full = preset.training
    if full is not None and first != full.finetune.lr:
        help += (
            f" It begins with what so short a training needs; for {full.pairs:,} pairs, {full.finetune.epochs} epochs "
            f"{full.finetune.lr:g} was chosen, by accuracy alone."
        )
    if is_sweep:
        return forms.choose_learning_rates(f"{key}s", first, help)
    return [forms.choose_learning_rate(key, first, help)]


def _choose_seed_count() -> int:
    """Draw the number of seeds of a sweep."""
    help = "How often each is trained, each time with another order of pairs, augmentations and subtexts."
    return int(st.number_input("Seeds", 1, 10, 1, key="defend.seeds", help=help, **KEEP))


def _choose_parameters(kind: type, key: str, preset: Preset) -> dict[str, object]:
    """Draw a defence's own parameters, folded away."""
    st.caption(escape_markdown((kind.__doc__ or "").split("\n")[0]))
    if not forms.parameters(kind):
        return {}
    with st.expander("Its own parameters"):
        return forms.draw_widgets(kind, key, defaults=preset.parameters)


def preflight(run: Suspect, plan: Plan, pairs: int, cluster: SlurmResources | None) -> None:
    """Draw what will be done and how long it will take, one line for each defence."""
    before = [other for other in state.all_runs() if other.stage == "defended"]
    rows, total = [], 0.0
    for defense in dict.fromkeys(defense for defense, _ in plan):
        configs = [config for other, config in plan if other == defense]
        rate, source = requests.estimate_step_seconds(run, before, defense, configs[0])
        steps = configs[0].epochs * max(1, pairs // min(configs[0].batch_size, pairs))
        seconds = rate * steps * len(configs)
        total += seconds
        name = to_label(defense.state_dict()["name"])  # type: ignore[attr-defined]
        lrs, seeds = ({getattr(config, field): None for config in configs} for field in ("lr", "seed"))
        rows.append(
            {
                "Defence": name,
                "Learning rate": ", ".join(f"{lr:g}" for lr in lrs),
                "Seed": ", ".join(map(str, seeds)),
                "Runs": len(configs),
                "Pairs": f"{pairs:,}",
                "Steps": f"{steps:,}",
                "Minutes": f"{seconds / 60:.1f}" if rate else "not known",
                "Judged by": source,
            }
        )
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    runs = "1 run" if len(plan) == 1 else f"{len(plan)} runs"
    time = f"about {max(total / 60, 0.1):.1f} min" if total else "for how long is not known yet"
    where = "on the cluster, as many at a time as it has room for" if cluster else "one after the other"
    st.caption(
        f"{runs}, {time}, {where}." if cluster else f"{runs}, {time}, on {escape_markdown(plan[0][1].device)}, {where}."
    )


def start(run: Suspect, plan: Plan, pairs: int, cluster: SlurmResources | None) -> None:
    """Start the jobs, as a sweep if a defence has several."""
    several = len(plan) > len({defense for defense, _ in plan})
    begin = jobs.start_sweep if several else jobs.start_runs
    begin("defend", [requests.build_defense_request(run, defense, pairs, config) for defense, config in plan], cluster)


def show_start_section(run: Suspect, choice: tuple[Plan, int] | None) -> None:
    """Draw the preflight and the Start button."""
    begin, place = None, forms.choose_cluster("defend")
    if choice is not None and choice[0]:
        preflight(run, *choice, place)
        begin = partial(start, run, *choice, place)
    else:
        st.info(
            "Choose at least one defence with a learning rate, and a device that is here.", icon=":material/arrow_back:"
        )
    cards.show_start_button("Start the defences", "defend", place is None and bool(jobs.active_pages()), begin)


def show_results(run: RunRecord) -> None:
    """Draw the backdoored model and its defences: cards, the plane of CA and ASR, curves."""
    defended = state.defended_runs(run)
    if not defended:
        st.info(
            "This model has not been defended yet. Press Start; results are kept on this machine.",
            icon=":material/science:",
        )
        return
    st.subheader(state.section_title("Is the backdoor gone, and what did it cost?", run), anchor=False)
    labels = state.disambiguate_labels({other.id: other.label for other in defended})
    key = f"defend.shown.{run.id}"
    wanted = st.session_state.pop("defend.new", None)
    if wanted:
        st.session_state[key] = [name for name in wanted if name in labels]
    chosen = st.multiselect(
        "Side by side",
        list(labels),
        list(labels)[:3],
        format_func=labels.__getitem__,
        key=key,
        max_selections=3,
        **KEEP,
    )
    shown = [other for other in defended if other.id in chosen]
    columns = st.columns(1 + max(len(shown), 1), border=True)
    with columns[0]:
        st.markdown("**Backdoored**")
        st.caption(escape_markdown(to_attack_label(run.attack)))
        cards.show_cards(run)
    for column, other in zip(columns[1:], shown, strict=False):
        with column:
            st.markdown(f"**{escape_markdown(to_label(other.defense or ''))}**")
            st.caption(f"learning rate {other.lr:g}, {other.pairs:,} pairs")
            cards.show_cards(other, run)
            show_rebound(other)
    st.caption(
        "Differences in points against the backdoored model, on the same test pictures; after a rebound test, "
        f"against the defence.{f' {state.RATES_NOTE}' if run.is_shipped else ''}"
    )
    cards.show_measurement_notes(run)
    plane, figures_of_all, curves = st.tabs(["Accuracy against attack", "All figures", "Training curves"])
    with plane:
        st.markdown("**Accuracy kept against attack left** · all defences of this model")
        st.plotly_chart(
            charts.pareto(points(run, defended), run.metric("asr_clean_model")), key="pareto", config=cards.NO_BAR
        )
        st.caption(
            "Best is down and to the right. Whiskers: 95 % intervals. Dotted line: ASR of the never poisoned model."
        )
    with figures_of_all:
        st.dataframe(table([run, *defended]), hide_index=True, width="stretch")
    names = state.short_labels(shown)
    histories = {names[other.id]: cards.history(other) for other in shown}
    with curves:
        cards.show_curves(histories, "defended", "defend.past", floor=run.metric("asr_clean_model"))
    link("Subtexts", "See the subtexts that TA-Cleaner trains with")


def show_rebound(defended: RunRecord) -> None:
    """Draw what came of the rebound tests of a defence, the newest of each length, and the button for one more."""
    if defended.metric("asr") is None:
        return
    done = {again.rebound.steps: again for again in reversed(state.rebounds(defended)) if again.rebound}
    for steps in sorted(done):
        cards.show_rebound_card(done[steps], defended)
    key = f"rebound.{defended.id}"
    with st.popover("Rebound test", width="stretch", help=REBOUND_HELP):
        pairs = defended.pairs or CLEAN_PAIRS
        st.markdown(f"Plain finetuning at learning rate {DEFEND.lr:g} on {pairs:,} clean pairs, then measured again.")
        st.number_input("Steps", 1, 10_000, REBOUND_STEPS, key=f"{key}.steps", help="Of 64 pairs each.", **KEEP)
        st.button(
            "Start the rebound test",
            key=f"{key}.go",
            icon=":material/play_arrow:",
            on_click=jobs.run_action,
            args=(partial(start_rebound, defended, f"{key}.steps"),),
        )


def start_rebound(defended: RunRecord, key: str) -> None:
    """Start a rebound test of as many steps as the box `key` says."""
    jobs.start_runs("defend", [requests.build_rebound_request(defended, int(st.session_state[key]))])


def points(run: RunRecord, defended: list[RunRecord]) -> list[charts.TradeoffPoint]:
    """Return the backdoored model and its defences as points of the plane."""
    names = state.short_labels(defended)
    found = []
    for other in [run, *defended]:
        ca, asr = other.metric("ca"), other.metric("asr")
        if ca is not None and asr is not None:
            label = names.get(other.id, "Backdoored")
            found.append(charts.TradeoffPoint(label, other.stage, ca, asr, other.interval("ca"), other.interval("asr")))
    return found


def table(runs: list[RunRecord]) -> pd.DataFrame:
    """Return the figures of runs, with what they were measured on."""
    return pd.DataFrame(
        [
            {
                "Model": to_label(r.defense or "backdoored"),
                "Learning rate": f"{r.lr:g}",
                **{
                    metric.header(k): "not measured" if value is None else metric.format_percent(value)
                    for metric, k in columns("table")
                    for value in [r.metric(metric.key, k)]
                },
                "n (CA)": r.count("ca"),
                "n (ASR)": r.count("asr"),
                "Seconds": r.seconds,
                "Run": r.id,
            }
            for r in runs
        ]
    )


def select_new_defenses() -> None:
    """Show the defences that this session has just trained, once."""
    done = [entry for entry in jobs.started_runs("defend") if entry.status.state == "done"]
    names = [entry.folder.name for entry in done if entry.rebound is None]
    if names and st.session_state.get("defend.seen") != names:
        st.session_state["defend.seen"] = st.session_state["defend.new"] = names


def show_backdoored(run: RunRecord) -> None:
    """Draw the page for a model that was poisoned here, so that its trigger is known."""
    st.caption(f"Suspect: {escape_markdown(run.label)}. Choose another one in the menu on the left.")
    select_new_defenses()
    left, right = st.columns([1, 2.5], gap="large")
    with left:
        choice = choose_defenses(run.model)
    with right:
        show_start_section(run, choice)
        at_work, swept = cards.show_jobs("defend"), sweeps.show(run)
        if not at_work:
            cards.show_ended_jobs("defend")
        if not swept and (state.defended_runs(run) or not at_work):
            show_results(run)


def show_external_model() -> None:
    """Draw the page for a model of the reader's, whose trigger nobody knows."""
    left, right = st.columns([1, 2.5], gap="large")
    with left:
        own = external_model.choose()
        choice = choose_defenses(own.model) if own else None
    with right:
        if own is None:
            external_model.show_hint()
            return
        external_model.show_facts(own)
        show_start_section(own, choice)
        at_work = cards.show_jobs("defend")
        if not (sweeps.show(own) or at_work):
            cards.show_ended_jobs("defend")
            external_model.results(own)
        external_model.show_trigger_scan(own)


with page("Defend", LEAD):
    with st.spinner("Loading PyTorch, once …"):
        cache.defenses()
    run = state.current_run()
    if st.toggle("Bring a model of my own", key="defend.own", help=external_model.HELP, **KEEP):
        show_external_model()
    elif run is not None:
        show_backdoored(run)
    else:
        st.info(
            "There is no backdoored model yet. Make one on the Poison page; it takes about a minute.",
            icon=":material/bug_report:",
        )
        link("Poison", "Go to Poison")
