"""Forms: draw the widgets of a settings dataclass, of data, device and cluster, and return the choice."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from cleaner.access import INSTALL, is_public
from cleaner.config import REFERENCE_SIDE, Parameter, parameters, scale_pixels
from cleaner.files import write_bytes
from cleaner.jobs import slurm
from cleaner.jobs.slurm import SlurmResources
from cleaner.labels import CLEAN_CAPTIONS, FULL_CAPTIONS, to_label, to_words
from cleaner.method import Preset
from cleaner.presets import (
    PRETRAINED_VARIANT,
    QUICK_VARIANT,
    SCENES_VARIANT,
    choose_pairs,
    explain_unpublished,
)
from cleaner.runs.folders import runs_root
from cleaner.runs.request import Request
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.shell import path_field, uploads
from pages._shared.shell.frame import show_error
from pages._shared.shell.state import KEEP, choose_segment
from pages._shared.shell.wording import capitalize_message, escape_markdown

T = TypeVar("T")
VARIANT_LABELS = {
    QUICK_VARIANT: "Quick",
    SCENES_VARIANT: "Full",
    "all-pairs": "Full, K 100%",
    PRETRAINED_VARIANT: "Pretrained",
    "published": "Published",
}
MAX_SLIDER_STEPS = 300
"""Steps above which a parameter gets a number box instead of a slider."""
LEARNING_RATES = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)


def draw_form(cls: type[T], key: str, *, defaults: Mapping[str, Any] | None = None, image_side: int | None = None) -> T:
    """Draw the widgets of a settings dataclass, as `draw_widgets` does, and return the chosen instance."""
    return cls(**draw_widgets(cls, key, defaults=defaults, image_side=image_side))


def draw_widgets(
    cls: type,
    key: str,
    only: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
    *,
    image_side: int | None = None,
) -> dict[str, Any]:
    """Draw the widgets of a settings dataclass and return name -> value.

    only: names of the parameters to draw, in this order; empty: all. defaults: replace the class's own. image_side: of
    the images in px, if it is known, in which lengths are shown.
    """
    by_name = {p.name: p for p in parameters(cls)}
    values = {name: p.default for name, p in by_name.items()} | dict(defaults or {})
    drawn = {}
    for name in only or by_name:
        p, own_key, default = by_name[name], f"{key}.{name}", values[name]
        is_scaled = not p.scaled_if or st.session_state.get(f"{key}.{p.scaled_if}", values[p.scaled_if])
        if image_side and not is_scaled:
            # A widget of its own: the same number is another size. It starts with the size that was in view.
            p = replace(p, is_length=False, high=min(p.high or image_side, image_side), label=f"{p.label} in px")
            default = st.session_state.get(own_key, default)
            own_key, default = f"{own_key}.px.{image_side}", max(scale_pixels(default, image_side), int(p.low or 1))
        drawn[name] = draw_widget(p, own_key, default, image_side=image_side)
    return drawn


def choose_length(p: Parameter, key: str, default: int, side: int) -> int:
    """Draw a slider over the lengths on an image of `side` px; return the value for `REFERENCE_SIDE`."""

    def label_option(value: int) -> str:
        pixels = f"{scale_pixels(value, side)} px"
        return pixels if side == REFERENCE_SIDE else f"{pixels} ({value} at {REFERENCE_SIDE})"

    options = range(int(p.low or 1), int(p.high or REFERENCE_SIDE) + 1, int(p.step or 1))
    label = f"{p.label}, on images of {side} px"
    return int(st.select_slider(label, options, default, format_func=label_option, key=key, help=p.help, **KEEP))


def draw_widget(p: Parameter, key: str, default: Any, *, image_side: int | None = None) -> Any:
    """Draw the widget for a parameter's type and range; return its value. image_side: see `draw_widgets`."""
    label = p.label
    if p.is_length and image_side:
        return choose_length(p, key, int(default), image_side)
    if p.name == "lr":
        return choose_learning_rate(key, default, p.help)
    if p.choices:
        return st.selectbox(label, p.choices, index=p.choices.index(default), key=key, help=p.help, **KEEP)
    if p.kind is bool:
        return st.toggle(label, value=default, key=key, help=p.help, **KEEP)
    if p.is_path:
        return choose_image_file(key, label, default=default, help=p.help)
    if p.kind is str:
        return st.text_input(label, value=default, key=key, help=p.help, **KEEP)
    step: float = p.step or (1 if p.kind is int else 0.01)
    low = None if p.low is None else p.kind(p.low)
    high = None if p.high is None else p.kind(p.high)
    value, step = p.kind(default), p.kind(step)
    if p.name != "seed" and low is not None and high is not None and (high - low) / step <= MAX_SLIDER_STEPS:
        number_format = "%.3f" if step < 0.01 else None
        return st.slider(label, low, high, value, step, format=number_format, key=key, help=p.help, **KEEP)
    number_format = None if p.kind is int else "%.4g"
    return st.number_input(label, low, high, value, step, format=number_format, key=key, help=p.help, **KEEP)


def choose_image_file(key: str, label: str, *, default: str, help: str) -> str:
    """Draw an upload box and a text box for an image file; return its path."""
    if is_public():
        st.caption(f"This server takes no file for a trigger: {INSTALL}")
        return default
    st.file_uploader(
        "Upload an image",
        uploads.IMAGE_TYPES,
        key=f"{key}.upload",
        max_upload_size=uploads.MAX_UPLOAD_MB,
        on_change=_keep_image,
        args=(key,),
        help="Stored on this machine; each run that uses it has a copy.",
    )
    if error := st.session_state.get(f"{key}.error"):
        show_error(error)
    if default:
        st.session_state.setdefault(key, default)
    suffixes = [f".{kind}" for kind in uploads.IMAGE_TYPES]
    return path_field.show(key, label, suffixes, placeholder="/data/trigger.png", help=help)


def file_name(name: str) -> str:
    """Return the name of an uploaded file as a plain name: no folders, no control characters, at most 80 letters."""
    return re.sub(r"[^\w.-]+", "_", Path(name.replace("\\", "/")).name)[-80:].lstrip(".") or "image"


def _keep_image(key: str) -> None:
    """Store an uploaded image under its SHA-256 and select it."""
    upload = st.session_state.get(f"{key}.upload")
    st.session_state[f"{key}.error"] = None
    if upload is None:
        return
    content = upload.getvalue()
    path = runs_root() / "uploads" / hashlib.sha256(content).hexdigest() / file_name(upload.name)
    try:
        write_bytes(path, content)
    except CleanerError as error:
        st.session_state[f"{key}.error"] = error
        return
    st.session_state[key] = str(path)


def choose_preset(presets: Sequence[Preset], key: str, command: str) -> tuple[Preset, str]:
    """Draw the choice of a preset and its source; return it and the key prefix of its own widgets."""
    by_variant = {preset.variant: preset for preset in presets}
    labels = VARIANT_LABELS if QUICK_VARIANT in by_variant else VARIANT_LABELS | {SCENES_VARIANT: "Small data"}
    variant = default = next(iter(by_variant))
    if len(by_variant) > 1:
        variant = st.radio(
            "Settings",
            list(by_variant),
            format_func=lambda name: labels.get(name) or to_label(name),
            key=f"{key}.settings",
            horizontal=True,
            **KEEP,
            help="Initial values of the parameters below.",
        )
    preset = by_variant[variant]
    has_published = any(other.training is None or not other.training.data for other in presets)
    _show_preset_source(preset, command, has_published=has_published)
    return preset, key if variant == default else f"{key}.{variant}"


def choose_method(label: str, names: Iterable[str], default: str, *, key: str, help: str | None = None) -> str:
    """Draw the choice of an attack, an explainer or a detector; return its name."""
    options = list(names)
    start = options.index(default) if default in options else 0
    return str(st.selectbox(label, options, start, format_func=to_label, key=key, help=help, **KEEP))


def _show_preset_source(preset: Preset, command: str, *, has_published: bool) -> None:
    training = preset.training
    details = f"\n\nTraining: {training.describe()}." if training is not None else ""
    # A run to defend has its data; published attacks have none that a model could be poisoned with.
    data = " --data ..." if command.startswith("poison") and training is not None and not training.data else ""
    line = f"python -m cleaner {command} --preset {preset.name}{data}".replace("`", "")  # would end the code
    help = f"{preset.source}{details}\n\nCommand: `{line}`"
    if preset.variant == PRETRAINED_VARIANT:
        st.caption(escape_markdown(f"For pretrained models: {preset.source}."))
    elif training is not None and training.data:
        reason = "" if has_published else f" {capitalize_message(explain_unpublished(preset.method))}."
        st.caption(escape_markdown(f"This project's settings for small data.{reason}"), help=help)
    else:
        st.caption(escape_markdown(f"Source: {preset.citation}"), help=help)


def choose_learning_rate(key: str, default: float, help: str) -> float:
    """Draw a slider over common learning rates and the default."""
    options = sorted({*LEARNING_RATES, default})
    return float(
        st.select_slider("Learning rate", options, default, format_func="{:g}".format, key=key, help=help, **KEEP)
    )


def choose_usable(label: str, reasons: Mapping[str, str | None], *, default: str, key: str, help: str) -> str:
    """Draw a select box with options that may be unavailable; return the choice, usable or not.

    reasons: option -> None, or why it is unavailable. Streamlit cannot disable single options, so an unavailable one
    shows its reason and, when chosen, a warning.
    """

    def label_option(option: str) -> str:
        reason = reasons[option]
        return option if reason is None else f"{option} (unavailable: {reason})"

    options = sorted(reasons, key=lambda option: reasons[option] is not None)
    start = default if default in options else options[0]
    choice = st.selectbox(label, options, options.index(start), format_func=label_option, key=key, help=help, **KEEP)
    if reasons[choice] is not None:
        usable = ", ".join(option for option in options if reasons[option] is None)
        st.warning(f"{choice} is unavailable: {reasons[choice]}. Choose {usable}.", icon=":material/block:")
    return str(choice)


def choose_learning_rates(key: str, default: float, help: str) -> list[float]:
    """Draw a choice of several learning rates."""
    options = sorted({*LEARNING_RATES, default})
    chosen = st.multiselect("Learning rates", options, [default], format_func="{:g}".format, key=key, help=help, **KEEP)
    return sorted(float(rate) for rate in chosen)


def choose_pair_count(
    label: str, counts: Sequence[int], default: int, *, key: str, data: str, used: int = 0, help: str
) -> int:
    """Draw the choice of a number of training pairs; default and `used` as in `presets.choose_pairs`."""
    available = cache.count_training_pairs(data)
    default = choose_pairs(default, available, used)
    if available is not None:
        available = max(available - used, 1)
        counts = [*(count for count in counts if count < available), available]
        counts, key = sorted({*counts, default}), f"{key}.{data}.{used}"
    if len(counts) == 1:  # a slider needs two
        st.caption(f"{label}: {counts[0]:,}, all that are available.")
        return counts[0]
    chosen = st.select_slider(label, counts, default, format_func="{:,}".format, key=key, help=help, **KEEP)
    if available is not None:
        st.caption(f"{available:,} pairs are available.")
    return int(chosen)


def choose_clean_captions(data: str, *, key: str, help: str) -> dict[str, str]:
    """Draw the choice of captions, if `data` leave one; return options of the data, {} by default."""
    choices, default = cache.caption_choices(data)
    if not choices:
        return {}
    chosen = choose_segment(
        "Clean captions", choices[::-1], default=default, format_func=to_words, key=f"{key}.{data}", help=help
    )
    return {} if chosen == default else {CLEAN_CAPTIONS: chosen}


def read_clean_captions(data: str, *, key: str) -> str:
    """Return the captions chosen by `choose_clean_captions`, which may be drawn later on the page."""
    _, default = cache.caption_choices(data)
    return str(st.session_state.get(f"{key}.{data}", default or FULL_CAPTIONS))


def show_command(requests: Sequence[Request]) -> None:
    """Draw a button that shows the commands which make the same runs, to copy."""
    with st.popover("Copy as command", icon=":material/terminal:", type="tertiary"):
        st.code("\n".join(map(cache.format_command, requests)), language="bash", wrap_lines=True)
        st.caption("The same training in a terminal. The app lists the run while it trains.")


def choose_device_and_precision(key: str) -> tuple[str, str, bool]:
    """Draw the choice of device and precision; return both, and whether this machine supports them."""
    reasons, default = cache.devices(), cache.default_device()
    left, right = st.columns(2)
    with left:
        help = f"{cache.device_name(default)}."
        if reason := slurm.unavailable_reason():
            help += f" No cluster: {reason}."
        device = choose_usable("Device", reasons, default=default, key=f"{key}.device", help=help)
    with right:
        formats = {"auto": None, **cache.precisions(device)}
        automatic = "" if reasons[device] else f"; auto: {cache.resolve_auto_precision(device)}"
        help = f"Number format of both towers; losses are always fp32{automatic}."
        precision = choose_usable("Precision", formats, default="auto", key=f"{key}.precision", help=help)
    return device, precision, reasons[device] is None and formats[precision] is None


def choose_cluster(key: str) -> SlurmResources | None:
    """Draw the choice between this machine and a cluster; return the resources to request, None: this machine."""
    if is_public() or slurm.unavailable_reason():
        return None
    help = "The cluster ignores the device chosen below: it uses a GPU if allocated, else CPUs."
    places = ("This machine", "Slurm cluster")
    if st.radio("Train on", places, key=f"{key}.place", horizontal=True, help=help, **KEEP) == places[0]:
        return None
    with st.expander("Slurm resources"):
        return draw_form(SlurmResources, f"{key}.slurm")
