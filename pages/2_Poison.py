"""Poison: choose a trigger, see it on images and captions, and train a backdoored model."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from cleaner.command_line import join_command
from cleaner.config import FinetuneConfig, count_steps
from cleaner.jobs import local
from cleaner.jobs.slurm import SlurmResources
from cleaner.labels import format_count, to_label
from cleaner.presets import (
    DEFAULT_ATTACK,
    MAX_POISON_RATE,
    OWN_POISON,
    POISON_LR,
    QUICK_MODEL,
    SCENES_VARIANT,
    STRONGER_ATTACKS,
    attack_presets,
    default_target,
    find_tried_model,
    home_data,
    is_pretrained,
    presets_for_model,
    settings_for,
)
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from cleaner.runs.run import read_progress
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.inspect import gallery
from pages._shared.inspect.sample import DataKey
from pages._shared.runs import cards, curves, durations, external_model, forms, job_requests, jobs, live_jobs, sources
from pages._shared.shell import downloads, stage_mode, state, times, wording
from pages._shared.shell.fragments import show_tabs
from pages._shared.shell.frame import defend_button, page, show_error
from pages._shared.shell.progress import load_data_with_progress
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown

LEAD = "Add a **trigger** to a few training images, name the **target** in their captions, and train on them."
PAIR_COUNTS = (500, 1000, 2000, 4000, 6000, 8000, 10000, 12000, 22500)
TEST_SIZES = (100, 200, 500, 1000, 2000, 4000, 9000)
MODEL = "poison.model"


def choose_trigger() -> Any:
    """Draw the choice of the trigger and its parameters; return None while they cannot be used."""
    kinds = cache.triggers()
    help = "What the attacker adds to an image or caption."
    name = forms.choose_method("Kind", kinds, DEFAULT_ATTACK, key="poison.trigger", help=help)
    model = sources.find_chosen_model(MODEL, QUICK_MODEL)
    presets = presets_for_model(attack_presets(name, model), model)
    preset, key = forms.choose_preset(presets, trigger_key(name), join_command(["poison", "--model", model]))
    if preset.variant == SCENES_VARIANT:
        show_required_settings(name, key)
    trigger = None
    try:
        framing = cache.find_framing(model)
        side = framing.size if framing is not None else None
        trigger = forms.draw_form(kinds[name], key, defaults=preset.parameters, image_side=side)
    except CleanerError as error:
        show_error(error)
    if getattr(trigger, "path", None) == "":
        st.info("Choose an image file above.", icon=":material/upload:")
        trigger = None
    st.caption(escape_markdown(kinds[name].describe()))
    return trigger


def find_setting() -> str:
    """Return the built-in model whose settings suit the chosen one; else the chosen one."""
    return find_tried_model(sources.find_chosen_model(MODEL, QUICK_MODEL))


def trigger_key(trigger: str) -> str:
    """Return the key prefix of a trigger's widgets: models whose parameters differ have their own."""
    model = find_setting()
    if is_pretrained(model):
        return f"poison.pretrained.{trigger}"
    has_own = (model, trigger) in STRONGER_ATTACKS and STRONGER_ATTACKS[model, trigger][0]
    return f"poison.{model}.{trigger}" if has_own else f"poison.{trigger}"


def show_required_settings(trigger: str, key: str) -> None:
    """Draw the settings that a built-in model needs to learn an attack, and the button that sets them."""
    model = find_setting()
    if (model, trigger) not in STRONGER_ATTACKS:
        return
    tried_on = home_data(model)
    if st.session_state.get("poison.data", tried_on) != tried_on:  # other data have their own box of pairs, too
        return
    parameters, pairs, epochs = STRONGER_ATTACKS[model, trigger]
    values: dict[str, Any] = {f"{key}.{name}": value for name, value in parameters.items()}
    values |= {own_setting_key("poison.pairs"): pairs, f"{training_key()}.epochs": epochs}
    if all(st.session_state.get(name) == value for name, value in values.items()):
        return
    settings = [*(f"{to_label(name).lower()} {value:g}" for name, value in parameters.items()), f"{pairs:,} pairs"]
    st.caption(f"{model} needs {', '.join(settings)} and {format_count(epochs, 'epochs')} to learn this attack.")
    st.button("Apply", key="poison.needed", on_click=st.session_state.update, args=(values,), width="stretch")


def choose_data_and_model() -> tuple[DataKey, str, int]:
    """Draw the choice of data and model; return training data, model and test images."""
    data, model = sources.choose_data("poison.data", "for training"), sources.choose_model(MODEL, QUICK_MODEL)
    downloads.show_home_data(model, data, "poison.data")
    if not data:
        return DataKey("", "train", 0), model, 0
    pairs = forms.choose_pair_count(
        "Training pairs",
        PAIR_COUNTS,
        settings_for(model, DEFAULT_ATTACK, "quick").pairs,
        key=own_setting_key("poison.pairs"),
        data=data,
        help="Image-caption pairs for finetuning; training time grows with them.",
    )
    if pairs == cache.count_training_pairs(data):
        st.warning("No pairs are left for a defense of this model: choose fewer.", icon=":material/warning:")
    tests = st.select_slider(
        "Test images",
        TEST_SIZES,
        2000,
        format_func="{:,}".format,
        key="poison.tests",
        **KEEP,
        help="Held out from training; on Scenes only those with one object count, about half.",
    )
    return DataKey(data, "train", pairs), model, int(tests)


def load_class_names(data: str) -> list[str]:
    """Return the class names of data; raise `CleanerError` if there are no classes or no such data."""
    classes = cache.load_data(DataKey(data, "test", 100)).class_names
    if not classes:
        raise CleanerError(f"{data} has no class names: enter them in the field Class names.")
    return classes


def training_key() -> str:
    """Return the key prefix of the training widgets: models with their own defaults have their own."""
    model = find_setting()
    if is_pretrained(model):
        return "poison.train.pretrained"
    return f"poison.train.{model}" if model in POISON_LR or model in OWN_POISON else "poison.train"


def own_setting_key(key: str) -> str:
    """Return the key of a widget; a model with its own setting for all attacks has its own, as in `training_key`."""
    model = find_setting()
    return f"{key}.{model}" if model in OWN_POISON else key


def choose_poisoning(data: str, model: str, classes: list[str]) -> tuple[str, float, bool]:
    """Draw the choice of the poisoned pairs; return target class, poison rate and whether labels stay clean."""
    target = st.selectbox(
        "Target class",
        classes,
        classes.index(default_target(classes)),
        key=f"poison.target.{data}",
        **KEEP,
        help="The class that the backdoored model predicts for triggered images.",
    )
    percent = st.slider(
        "Poison rate",
        0.1,
        100 * MAX_POISON_RATE,
        100 * (settings_for(model, DEFAULT_ATTACK, "quick").poison_rate or 0),
        0.1,
        format="%.1f%%",
        key=own_setting_key("poison.rate"),
        help="The literature uses 0.3% of 500,000 pairs; a few thousand pairs need 1% to 10%.",
        **KEEP,
    )
    clean_label = st.toggle(
        "Clean label",
        key="poison.clean_label",
        **KEEP,
        help="Poison only pairs whose caption names the target, and keep the captions: harder to detect and to learn.",
    )
    return str(target), percent / 100, clean_label


def choose_training(model: str) -> FinetuneConfig | None:
    """Draw the training settings; return None if this machine does not support device and precision."""
    defaults = vars(settings_for(model, DEFAULT_ATTACK, "quick").finetune)
    settings = forms.draw_widgets(FinetuneConfig, training_key(), ("lr", "epochs"), defaults)
    device, precision, is_usable = forms.choose_device_and_precision("poison")
    with st.expander("More settings"):
        names = ("batch_size", "warmup_steps", "weight_decay", "seed", "freeze_bn")
        settings |= forms.draw_widgets(FinetuneConfig, "poison.train", names, defaults)
    if not is_usable:
        return None
    return FinetuneConfig(**settings, device=device, precision=precision, augmentation="none")


def choose_attack(*, is_open: bool) -> job_requests.AttackSettings | None:
    """Draw all settings, in folded groups unless `is_open`; return None while any of them cannot be used."""
    with st.expander("Trigger", is_open, icon=":material/bug_report:"):
        trigger = choose_trigger()
    with st.expander("Data and model", is_open, icon=":material/database:"):
        data, model, tests = choose_data_and_model()
        if not data.name or not model:
            st.info("Enter the path of your files.", icon=":material/folder_open:")
            return None
        try:
            classes = load_class_names(data.name)
        except CleanerError as error:
            show_error(error)  # here, so that active jobs stay visible
            return None
        is_readable = model in cache.models()
        if not is_readable:
            external = job_requests.ExternalModel(model, data.name)
            external_model.show_facts(external, "poison.external")
            is_readable = external_model.is_readable(external)
    with st.expander("Poisoning", is_open, icon=":material/edit_note:"):
        target, poison_rate, clean_label = choose_poisoning(data.name, model, classes)
    with st.expander("Training", is_open, icon=":material/tune:"):
        config = choose_training(model)
    if config is None or trigger is None or not is_readable:
        return None
    return job_requests.AttackSettings(
        data=data.name,
        model=model,
        trigger=trigger,
        target_class=target,
        poison_rate=poison_rate,
        clean_label=clean_label,
        pairs=data.size or 0,
        test_size=tests,
        config=config,
    )


def show_start_section(attack: job_requests.AttackSettings | None) -> None:
    """Draw the Train button, what it trains and the estimate of the duration."""
    cluster = forms.choose_cluster("poison")
    is_busy = cluster is None and local.has_active_runs()
    run_requests = [] if attack is None else [job_requests.build_poison_request(attack)]
    on_start = None if attack is None else partial(start_poisoning, attack, run_requests, cluster)
    live_jobs.show_start_button("Train model", "poison", is_busy, on_start)
    if attack is None:
        st.caption(":material/error: Complete or correct the settings below.")
        return
    pairs = len(load_data_with_progress(attack.training_data))
    steps = count_steps(pairs, attack.config)
    optimization_steps = getattr(attack.trigger, "steps", 0)
    first = f", after {format_count(optimization_steps, 'steps')} of trigger optimization" if optimization_steps else ""
    counts = {"training steps": steps, "pairs": pairs, "epochs": attack.config.epochs}
    plan = ", ".join(format_count(count, nouns) for nouns, count in counts.items()) + first
    queries = "images" if "image" in attack.trigger.modalities else "captions"
    tested = durations.describe_test(DataKey(attack.data, "test", attack.test_size), attack.target_class, queries)
    if cluster is None:
        trained = [replace(request, pairs=pairs) for request in run_requests]
        st.caption(f"**{durations.describe(trained)}** · {plan}  \n{tested}")
    else:
        st.caption(f"{plan}  \n{tested}")
    forms.show_command(run_requests)


def start_poisoning(
    attack: job_requests.AttackSettings, run_requests: Sequence[Request], cluster: SlurmResources | None
) -> None:
    """Queue the training, if its pairs can be poisoned; if not, `show_preview` says why and a toast repeats it."""
    try:
        attack.plan()
    except CleanerError as error:
        st.toast(f"Not started: {escape_markdown(str(error))}", icon=":material/error:")
    else:
        jobs.start_runs("poison", run_requests, cluster)


def show_result(run: RunRecord) -> None:
    """Draw the verdict and the metrics of the run in view."""
    with st.container(border=True, key="result"):
        st.markdown(f"## {wording.section_title('Did the attack succeed?', run)}")
        cards.show_verdict(run.verdict)
        cards.show_cards(run)
        defend_button("Defend the example's model" if run.is_shipped else "Defend this model", "poison.defend")
        cards.show_measurement_notes(run)


def show_preview(attack: job_requests.AttackSettings | None, run: RunRecord | None) -> None:
    """Draw tabs with the poisoned images, their captions, and the training curves of the run in view."""
    try:
        plan = None if attack is None else attack.plan()
    except CleanerError as error:  # such as too few pairs that name the target; the curves stay
        show_error(error)
        plan = None
    if attack is None or plan is None:
        stage_mode.explain_missing("The settings of the attack are incomplete: complete them outside stage mode.")
        show_images = show_captions = show_hint
    else:
        show_images, show_captions = partial(gallery.show_gallery, attack, plan), partial(gallery.show_captions, plan)
    if not stage_mode.is_on():
        curves_view = partial(show_training_curves, run)
        show_tabs("poison.tabs", {"Images": show_images, "Captions": show_captions, curves.TAB: curves_view})
    elif attack is not None:  # stage mode hides all but the gallery
        show_images()


def show_hint() -> None:
    st.info("The poisoned pairs appear when the settings are complete.", icon=":material/tune:")


def show_training_curves(run: RunRecord | None) -> None:
    """Draw the training curves of the run in view."""
    if run is None or not read_progress(run.folder):
        st.info("No training recorded yet: press **Train model**.", icon=":material/show_chart:")
        return
    curves.show_curves({"poisoning": run.folder}, [run.stage], "poison.past", floor=run.metric("asr_clean_model"))
    st.caption(f"Run in view: {escape_markdown(times.label_run(run))}.")


with page("Poison", LEAD, picture=".st-key-gallery"):
    with st.spinner("Loading PyTorch …"):
        cache.triggers()
    run = state.current_run()
    left, right = st.columns([1, 2.6], gap="medium")
    with left:
        start_place, result_place = st.container(), st.container()
        attack = choose_attack(is_open=run is None)
        with start_place:
            show_start_section(attack)
        if run is not None:
            with result_place:
                show_result(run)
    with right, st.container(key="preview"):
        live_jobs.show_jobs("poison")
        live_jobs.show_ended_jobs("poison")
        show_preview(attack, run)
