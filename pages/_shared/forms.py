"""Forms that draw themselves: a settings dataclass -> widgets -> an instance; and select boxes with reasons."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from cleaner.config import Parameter, parameters
from cleaner.files import atomic_write
from cleaner.jobs import slurm
from cleaner.jobs.slurm import SlurmResources
from cleaner.presets import SCENES_VARIANT, Preset, explain_unpublished
from cleaner.runs.request import format_data
from cleaner.runs.store import runs_root
from cleaner.types import CleanerError
from pages._shared.frame import show_error
from pages._shared.state import KEEP, escape_markdown, to_label

T = TypeVar("T")
VARIANT_LABELS = {SCENES_VARIANT: "Scenes", "all-pairs": "Scenes, K 100 %", "published": "As published"}
IMAGE_SUFFIXES = ["png", "jpg", "jpeg", "webp"]
UPLOAD_SUFFIXES = ["zip", "csv", "tsv", *IMAGE_SUFFIXES]
LEARNING_RATES = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)


def draw_form(cls: type[T], key: str, only: Sequence[str] = (), defaults: Mapping[str, Any] | None = None) -> T:
    """Draw a widget for each parameter of a settings dataclass and return the instance they describe.

    `only` limits and orders the parameters; `defaults` replaces default values.
    """
    return cls(**draw_widgets(cls, key, only, defaults))


def draw_widgets(
    cls: type, key: str, only: Sequence[str] = (), defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Draw widgets as `draw_form` does and return name -> value."""
    shown = {p.name: p for p in parameters(cls)}
    return {
        name: draw_widget(shown[name], f"{key}.{name}", (defaults or {}).get(name, shown[name].default))
        for name in (only or shown)
    }


def draw_widget(p: Parameter, key: str, default: Any) -> Any:
    """Draw the widget that fits a parameter's kind and range; return its value."""
    label = p.label
    if p.name == "lr":
        return choose_learning_rate(key, default, p.help)
    if p.choices:
        return st.selectbox(label, p.choices, index=p.choices.index(default), key=key, help=p.help, **KEEP)
    if p.kind is bool:
        return st.toggle(label, value=default, key=key, help=p.help, **KEEP)
    if p.is_path:
        return choose_image_file(key, label, default, p.help)
    if p.kind is str:
        return st.text_input(label, value=default, key=key, help=p.help, **KEEP)
    step: float = p.step or (1 if p.kind is int else 0.01)
    bounded = p.low is not None and p.high is not None
    if p.name != "seed" and bounded and (p.high - p.low) / step <= 300:  # type: ignore[operator]
        kind, fine = p.kind, "%.3f" if step < 0.01 else None
        return st.slider(
            label, kind(p.low), kind(p.high), kind(default), kind(step), format=fine, key=key, help=p.help, **KEEP
        )
    low = None if p.low is None else p.kind(p.low)
    high = None if p.high is None else p.kind(p.high)
    style = None if p.kind is int else "%.4g"
    return st.number_input(label, low, high, p.kind(default), p.kind(step), format=style, key=key, help=p.help, **KEEP)


def choose_image_file(key: str, label: str, default: str, help: str) -> str:
    """Draw the choice of a picture file, by its path or by upload; return the path."""
    st.file_uploader(
        "Upload a picture",
        IMAGE_SUFFIXES,
        key=f"{key}.upload",
        max_upload_size=50,
        on_change=_keep_image,
        args=(key,),
        help="It is kept beside your runs, on the app's machine; a run that uses it has a copy.",
    )
    if fault := st.session_state.get(f"{key}.fault"):
        show_error(fault)
    return str(st.text_input(label, value=default, key=key, help=help, **KEEP))


def _keep_image(key: str) -> None:
    """Keep an uploaded picture under its SHA-256, and choose it."""
    upload = st.session_state.get(f"{key}.upload")
    st.session_state[f"{key}.fault"] = None
    if upload is None:
        return
    content = upload.getvalue()
    path = runs_root() / "uploads" / hashlib.sha256(content).hexdigest() / Path(upload.name).name
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except CleanerError as error:
        st.session_state[f"{key}.fault"] = error
        return
    st.session_state[key] = str(path)


def choose_preset(presets: Sequence[Preset], key: str, command: str) -> tuple[Preset, str]:
    """Draw the choice between the presets of an attack or defence, the first at the start, and the source in one line.

    Returns the preset and the key of its widgets. Each preset has widgets of its own, so that what was changed by hand
    is still there after a look at another one. `command` is what takes the preset on the command line.
    """
    known = {preset.variant: preset for preset in presets}
    variant = next(iter(known))
    if len(known) > 1:
        variant = st.radio(
            "Settings",
            list(known),
            format_func=lambda name: VARIANT_LABELS.get(name) or f"As {to_label(name)} has it",
            key=f"{key}.settings",
            horizontal=True,
            **KEEP,
            help="Values to begin with, for what stands in this box; each can be changed.",
        )
    preset = known[variant]
    training = preset.training
    trained = f"\n\nTrained there: {training.describe()}." if training is not None else ""
    more = f"{preset.source}{trained}\n\nAll of it at once: `python -m cleaner {command} --preset {preset.name}`"
    if training is not None and training.data:
        missing = "" if len(known) > 1 else f" Published settings: {explain_unpublished(preset.method)}."
        st.caption(escape_markdown(f"This project's settings for small data.{missing}"), help=more)
    else:
        st.caption(escape_markdown(f"Source: {preset.citation}"), help=more)
    return preset, key if variant == SCENES_VARIANT else f"{key}.{variant}"


def choose_learning_rate(key: str, default: float, help: str = "", label: str = "Learning rate") -> float:
    """Draw a slider over the usual learning rates; the default need not be one of them."""
    options = sorted({*LEARNING_RATES, default})
    return float(st.select_slider(label, options, default, format_func="{:g}".format, key=key, help=help, **KEEP))


def choose_usable(label: str, reasons: Mapping[str, str | None], default: str, key: str, help: str) -> str:
    """Draw a select box in which options with a reason say why they cannot be used; return the usable choice.

    Streamlit cannot grey out single options. Choosing an unusable one shows one sentence, and the work cannot be
    started (`CleanerError`) until another one is chosen.
    """

    def shown(option: str) -> str:
        reason = reasons[option]
        return option if reason is None else f"{option} (not here: {reason})"

    options = sorted(reasons, key=lambda option: reasons[option] is not None)
    start = default if default in options else options[0]
    choice = st.selectbox(label, options, options.index(start), format_func=shown, key=key, help=help, **KEEP)
    if reasons[choice] is not None:
        usable = ", ".join(option for option in options if reasons[option] is None)
        st.warning(f"{choice} cannot be used here: {reasons[choice]}. Choose {usable}.", icon=":material/block:")
    return str(choice)


def choose_learning_rates(key: str, default: float, help: str = "") -> list[float]:
    """Draw a choice of several learning rates."""
    options = sorted({*LEARNING_RATES, default})
    chosen = st.multiselect("Learning rates", options, [default], format_func="{:g}".format, key=key, help=help, **KEEP)
    return sorted(float(rate) for rate in chosen)


def choose_data(key: str, use: str) -> str:
    """Draw the choice of data, which may be typed; return name and options in one line."""
    from pages._shared import cache

    names = cache.datasets()
    start = names.index("scenes") if "scenes" in names else 0
    data = str(
        st.selectbox(
            "Data",
            names,
            start,
            key=key,
            accept_new_options=True,
            **KEEP,
            help=f"Pictures with captions {use}. You may also type the path of a table (.csv, .tsv), of a folder of "
            "pictures, of a .tar or of a .zip on this machine, with options after it: pairs.csv classes=cat,dog.",
        )
    )
    with st.expander("Upload pictures", icon=":material/upload:", key=f"{key}.more"):
        st.file_uploader(
            "A zip, or pictures and their table",
            UPLOAD_SUFFIXES,
            accept_multiple_files=True,
            key=f"{key}.upload",
            on_change=_keep_data,
            args=(key,),
            help="The table is a .csv or .tsv with the columns filepath and title, which names the files as they are "
            "called. All is kept beside your runs, on the app's machine.",
        )
        st.text_input(
            "Class names",
            key=f"{key}.classes",
            on_change=_keep_data,
            args=(key,),
            placeholder="cat, dog",
            help="With commas; needed where the table has no class column and the zip no class folders.",
        )
        if fault := st.session_state.get(f"{key}.fault"):
            show_error(fault)
    return data


def _keep_data(key: str) -> None:
    """Keep what was uploaded, and choose it as the data."""
    from pages._shared import cache

    files = st.session_state.get(f"{key}.upload")
    st.session_state[f"{key}.fault"] = None
    if not files:
        return
    try:
        path = cache.save_uploads([(file.name, file.getvalue()) for file in files])
    except CleanerError as error:
        st.session_state[f"{key}.fault"] = error
        return
    named = ",".join(name.strip() for name in st.session_state.get(f"{key}.classes", "").split(",") if name.strip())
    st.session_state[key] = format_data(path, {"classes": named} if named else {})


def choose_device_and_precision(key: str) -> tuple[str, str, bool]:
    """Draw the two select boxes; return device, precision and whether this machine can use them."""
    from pages._shared import cache

    reasons = cache.devices()
    first = next((name for name in ("cuda", "mps", "cpu") if reasons[name] is None), "cpu")
    left, right = st.columns(2)
    with left:
        help = f"Where the numbers are crunched. Here: {cache.device_name(first)}."
        if reason := slurm.explain_unavailable():
            help += f" Training on a cluster is not offered: {reason}."
        device = choose_usable("Device", reasons, first, f"{key}.device", help)
    with right:
        formats = {"auto": None, **cache.precisions(device)}
        help = "Number format of the two towers; losses are always fp32. auto takes the fast one of the device"
        help += "." if reasons[device] else f": here {cache.resolve_auto_precision(device)}."
        precision = choose_usable("Precision", formats, "auto", f"{key}.precision", help)
    return device, precision, reasons[device] is None and formats[precision] is None


def choose_cluster(key: str) -> SlurmResources | None:
    """Draw the choice of where to train, if there is one; return what to ask the cluster for, None: this machine."""
    if slurm.explain_unavailable():
        return None
    help = "A job on the cluster takes a GPU where it gets one, else processors, whatever stands under Device."
    places = ("This machine", "Slurm cluster")
    if st.radio("Train on", places, key=f"{key}.place", horizontal=True, help=help, **KEEP) == places[0]:
        return None
    with st.expander("What to ask Slurm for"):
        return draw_form(SlurmResources, f"{key}.slurm")


def checked(ok: bool, sentence: str) -> None:
    """Raise `CleanerError` with `sentence` unless `ok`."""
    if not ok:
        raise CleanerError(sentence)
