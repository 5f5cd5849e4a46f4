"""Poison: choose a trigger, see what it does to pictures and captions, and train a backdoored model."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pandas as pd
import streamlit as st

from cleaner.config import FinetuneConfig
from cleaner.jobs.slurm import SlurmResources
from cleaner.presets import (
    DEMO_POISON,
    DEMO_POISON_PAIRS,
    DEMO_POISON_RATE,
    POISON_LR,
    STRONGER_ATTACKS,
    attack_presets,
)
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError
from pages._shared import cache, cards, forms, gallery, jobs, requests, state
from pages._shared.frame import link, page, show_error
from pages._shared.state import KEEP, escape_markdown, to_label

LEAD = (
    "You are the attacker. Put a **trigger** on a few training pictures and name the **target** in their captions: the "
    "model learns that the trigger means the target."
)
GALLERY_ROWS = 4
PAIR_COUNTS = (500, 1000, 2000, 3000, 4000, 6000, 10000, 12000)
TEST_SIZES = (100, 200, 500, 1000, 2000, 4000, 9000)


def choose_data_and_model() -> tuple[str, str, int, int]:
    """Draw the choice of data and model; return both names, training pairs and test pictures."""
    data, models = forms.choose_data("poison.data", "to train on"), cache.models()
    model = st.selectbox(
        "Model",
        models,
        key="poison.model",
        accept_new_options=True,
        **KEEP,
        help="A built-in model. You may also type the path of a checkpoint (.safetensors, .pt), or "
        "architecture/pretrained-tag of open_clip (it is downloaded then).",
    )
    pairs = st.select_slider(
        "Training pairs",
        PAIR_COUNTS,
        DEMO_POISON_PAIRS,
        format_func="{:,}".format,
        key="poison.pairs",
        **KEEP,
        help="Picture-caption pairs that the model is finetuned on. More pairs, more minutes.",
    )
    tests = st.select_slider(
        "Test pictures",
        TEST_SIZES,
        2000,
        format_func="{:,}".format,
        key="poison.tests",
        **KEEP,
        help="Never seen in training. On Scenes half of them show one object; those are counted.",
    )
    return data, str(model), int(pairs), int(tests)


def load_class_names(data: str) -> list[str]:
    """Return the class names of data; raises `CleanerError` if there are none to aim at, or no such data."""
    classes = cache.load_data(data, "test", 100).class_names
    if not classes:
        raise CleanerError(f"{data} name no classes to aim at: add them, as in {data} classes=cat,dog.")
    return classes


def show_required_settings(model: str, trigger: str) -> None:
    """Say what a built-in model needs to learn an attack, where that is more than for others, and offer to set it."""
    if (model, trigger) not in STRONGER_ATTACKS:
        return
    parameters, pairs, epochs = STRONGER_ATTACKS[model, trigger]
    values = [*(f"{to_label(name).lower()} {value:g}" for name, value in parameters.items()), f"{pairs:,} pairs"]
    st.caption(f"{model} learns it only with {', '.join(values)} and {epochs} epochs.")
    known = {f"poison.{trigger}.{name}": value for name, value in parameters.items()}
    known |= {"poison.pairs": pairs, f"{training_key(model)}.epochs": epochs}
    st.button("Set all of this", key="poison.needed", on_click=st.session_state.update, args=(known,), width="stretch")


def training_key(model: str) -> str:
    """Return the key of the training widgets.

    A model with a rate of its own has widgets of its own: a default only counts until a widget is drawn.
    """
    return f"poison.train.{model}" if model in POISON_LR else "poison.train"


def choose_attack() -> requests.PoisonSettings | None:
    """Draw all choices; return the attack, or None while a choice cannot be used here."""
    with st.container(border=True):
        st.markdown("**Trigger**")
        triggers = cache.triggers()
        names = list(triggers)
        kind = st.selectbox(
            "Kind",
            names,
            names.index("badnet") if "badnet" in names else 0,
            format_func=to_label,
            key="poison.trigger",
            help="What the attacker puts on a picture or into a caption.",
            **KEEP,
        )
        preset, key = forms.choose_preset(attack_presets(kind), f"poison.{kind}", "poison")
        show_required_settings(str(st.session_state.get("poison.model", "scenes-rn")), kind)
        try:
            trigger = forms.draw_form(triggers[kind], key, defaults=preset.parameters)
        except CleanerError as error:
            show_error(error)
            trigger = None
        if getattr(trigger, "path", None) == "":
            st.info("Choose a picture above: it becomes the trigger.", icon=":material/upload:")
            trigger = None
        st.caption(escape_markdown((triggers[kind].__doc__ or "").split("\n")[0]))
    with st.container(border=True):
        st.markdown("**Data and model**")
        data, model, pairs, tests = choose_data_and_model()
        try:
            classes = load_class_names(data)
        except CleanerError as error:
            show_error(error)  # here, so that a training at work stays in view
            return None
    with st.container(border=True):
        st.markdown("**Poison**")
        first = classes.index("banana") if "banana" in classes else 0
        target = st.selectbox(
            "Target class",
            classes,
            first,
            key=f"poison.target.{data}",
            **KEEP,
            help="What the backdoored model is to see wherever the trigger is.",
        )
        rate = st.slider(
            "Poisoned share of the pairs",
            0.1,
            20.0,
            100 * DEMO_POISON_RATE,
            0.1,
            format="%.1f %%",
            key="poison.rate",
            help="The literature poisons 0.3 % of 500,000 pairs; a few thousand pairs need 1 to 3 %.",
            **KEEP,
        )
        clean_label = st.toggle(
            "Clean label",
            key="poison.clean_label",
            **KEEP,
            help="Poison only pairs that show the target already, and leave their captions: harder to notice, "
            "harder to learn.",
        )
    with st.container(border=True):
        st.markdown("**Training**")
        defaults = vars(replace(DEMO_POISON, lr=POISON_LR.get(model, DEMO_POISON.lr)))
        main = forms.draw_widgets(FinetuneConfig, training_key(model), ("lr", "epochs"), defaults)
        device, precision, usable = forms.choose_device_and_precision("poison")
        with st.expander("More settings"):
            names = ("batch_size", "warmup_steps", "weight_decay", "seed", "freeze_bn")
            main |= forms.draw_widgets(FinetuneConfig, "poison.train", names, vars(DEMO_POISON))
    if not usable or trigger is None:
        return None
    config = FinetuneConfig(**main, device=device, precision=precision, augmentation="none")
    return requests.PoisonSettings(data, model, trigger, str(target), rate / 100, clean_label, pairs, tests, config)


def show_gallery(attack: requests.PoisonSettings, plan: list[tuple[int, str, str]]) -> None:
    """Draw poisoned pairs: clean, triggered, what changed, and their captions."""
    head, button = st.columns([3, 1], vertical_alignment="bottom")
    data = gallery.load_data_with_progress(attack.data, "train", attack.pairs)
    head.markdown(f"**{len(plan):,} of {len(data):,} pairs get the trigger.** Some of them:")
    first = st.session_state.setdefault("poison.first", 0)
    if button.button("Other pairs", icon=":material/shuffle:", width="stretch"):
        first = st.session_state["poison.first"] = first + GALLERY_ROWS
    chosen = [plan[(first + i) % len(plan)] for i in range(min(GALLERY_ROWS, len(plan)))]
    trigger = attack.trigger
    if trigger.unready_reason:
        run = state.current_run()
        trigger = cache.load_prepared_trigger(trigger, run.config.get("trigger") if run is not None else None)
    if trigger is None:
        st.info(
            f"No triggered pictures to show yet: {escape_markdown(attack.trigger.unready_reason)}",
            icon=":material/hourglass_empty:",
        )
        return
    if data.skipped_items:
        named = "; ".join(data.skipped_items[:5])
        st.warning(f"{len(data.skipped_items):,} left out: {escape_markdown(named)}", icon=":material/broken_image:")
    data = cache.apply_framing(data, attack.model)
    own = st.session_state.get(gallery.OWN_IMAGE)
    rows = gallery.gallery(data, [index for index, _, _ in chosen], trigger, own)
    captions = [(f"pair {index:,}", before, after) for index, before, after in chosen]
    if own is not None:
        captions.insert(0, ("yours", own[0], trigger.text(data.templates[0].format(attack.target_class))))
    layout = [1, 1, 1, 1.25]
    names = (":blue[Clean]", ":violet[Triggered]", "Difference × 10", "Caption")
    for column, name in zip(st.columns(layout), names, strict=True):
        column.markdown(f"**{name}**")
    for number, (shown, (which, before, after)) in enumerate(zip(rows, captions, strict=True)):
        with st.container(key=f"row-{number}"):
            columns = st.columns(layout, vertical_alignment="center")
        for column, pixels in zip(columns, (shown.clean, shown.triggered, shown.difference), strict=False):
            column.image(gallery.enlarge(pixels), width="stretch")
        with columns[3]:
            if before == after:
                st.markdown(f"{escape_markdown(before)}  \n:gray[The caption stays.]")
            else:
                st.markdown(f":gray[{escape_markdown(before)}]")
                st.markdown(f":material/arrow_downward: **{escape_markdown(after)}**")
            same = (
                "the picture stays" if math.isinf(shown.psnr) else f"PSNR {shown.psnr:.1f} dB · SSIM {shown.ssim:.3f}"
            )
            st.caption(f"{escape_markdown(which)} · {same}")
    seen = "As the model sees them," if cache.find_framing(attack.model) else "Shown at"
    st.caption(
        f"{seen} {data.image_size} × {data.image_size} px. Mid-grey difference: nothing changed. "
        "PSNR and SSIM say how much each picture was changed: the higher, the less; a small patch changes little of it "
        "and is seen all the same."
    )
    gallery.show_upload_box()


def show_captions(plan: list[tuple[int, str, str]]) -> None:
    """Draw the captions of all poisoned pairs, before and after."""
    table = pd.DataFrame(plan, columns=["Pair", "Caption before", "Caption after"])
    st.dataframe(table, hide_index=True, height=520, width="stretch")
    st.caption(f"All {len(plan):,} poisoned pairs. With the same seed the same pairs are drawn again.")


def start(attack: requests.PoisonSettings, cluster: SlurmResources | None) -> None:
    """Start the job."""
    jobs.start_runs("poison", [requests.build_poison_request(attack)], cluster)


def show_start_section(attack: requests.PoisonSettings | None) -> None:
    """Draw the Train button, and what it will take."""
    begin, place = None, forms.choose_cluster("poison")
    if attack is not None:
        begin = partial(start, attack, place)
        pairs = len(cache.load_data(attack.data, "train", attack.pairs))
        steps = attack.config.epochs * max(1, pairs // min(attack.config.batch_size, pairs))
        done = [
            run
            for run in state.backdoored_runs()
            if run.model == attack.model and requests.count_steps(run) and not run.is_shipped
        ]
        rate = done[0].config["seconds"] / requests.count_steps(done[0]) if done else requests.SECONDS_PER_STEP
        time = f"about {max(1, round(rate * steps / 60))} min {'by the last run here' if done else 'on two cores'}"
        if not done and attack.model not in cache.models():
            time = "how long is not known before the first run with this model"
        optimised = getattr(attack.trigger, "steps", 0)
        first = f". Before that, {optimised:,} steps optimise the patch" if optimised else ""
        st.caption(f"{pairs:,} pairs, {attack.config.epochs} epoch(s), {steps:,} training steps: {time}{first}.")
    cards.show_start_button("Train the backdoored model", "poison", place is None and bool(jobs.active_pages()), begin)


def show_result(run: RunRecord) -> None:
    """Draw the verdict and the figures of the run in view."""
    with st.container(border=True):
        st.markdown(f"#### {state.section_title('Did the attack take?', run)}")
        st.caption(f"Run in view: {escape_markdown(run.label)}")
        cards.show_run_verdict(run)
        cards.show_cards(run, horizontal=True)
        cards.show_measurement_notes(run)
        link("Defend", "Next: defend this model")


def show_curves(run: RunRecord | None) -> None:
    """Draw how the run in view was trained."""
    history = cards.history(run) if run is not None else []
    if run is None or not history:
        st.info("No training to show yet. Press Train above.", icon=":material/show_chart:")
        return
    st.markdown(f"#### {state.section_title('How it was trained', run)}")
    cards.show_curves({"poisoning": history}, "backdoored", "poison.past", floor=run.metric("asr_clean_model"))
    st.caption(f"Run in view: {escape_markdown(run.label)}. Dotted line: attack success on the never poisoned model.")


def select_new_run() -> None:
    """Look at a run that this session has just trained, once."""
    for entry in jobs.started_runs("poison"):
        if entry.status.state == "done" and st.session_state.get("poison.seen") != entry.folder.name:
            st.session_state["poison.seen"] = entry.folder.name
            state.select_run(entry.folder.name)


select_new_run()  # before the frame, which draws the run in view
with page("Poison", LEAD):
    with st.spinner("Loading PyTorch, once …"):
        cache.triggers()
    left, right = st.columns([1, 2.5], gap="large")
    with left:
        attack = choose_attack()
    with right:
        show_start_section(attack)
        run = state.current_run()
        at_work = cards.show_jobs("poison")
        if not at_work:
            cards.show_ended_jobs("poison")
        if run is not None:
            show_result(run)
        if attack is not None:
            plan = attack.plan()
            seen, table, curves = st.tabs(["Pictures", "Captions", "Training curves"])
            with seen:
                show_gallery(attack, plan)
            with table:
                show_captions(plan)
            with curves:
                show_curves(run)
