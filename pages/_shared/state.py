"""Session state and the runs on disk. Reads small JSON files only; never imports torch."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from cleaner.files import assets, resolve_path
from cleaner.labels import NO_DEFENSE, defense_name, to_label
from cleaner.runs.store import find_run, is_shipped, list_runs, list_shipped_runs, read_entry, read_metrics, read_notes

KEEP: dict[str, Any] = {"persist_state": "session"}
"""Options of a widget that keeps its value across page switches."""
SELECTION = "current_run"
"""Session key of the run or model in view."""
MODEL_PREFIX = "model:"
"""Prefix of a model without a run among the values of `SELECTION`."""
OPENED_MODELS = "defend.external.opened"
"""Session key of the models, with their data, opened on the Defend page."""
_REQUESTED_RUN = "requested_run"
_LAST_SELECTION = "last_run"
Interval = tuple[float, float]


@dataclass(frozen=True)
class SavedRun:
    """One run on disk as pages show it: settings and test figures, without its weights."""

    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)
    """The user's "name", "note" and "tags"."""

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def is_shipped(self) -> bool:
        """Whether it came with the project."""
        return is_shipped(self.folder)

    @property
    def stage(self) -> str:
        return str(self.config.get("stage", ""))

    @property
    def attack(self) -> str:
        """Name of the trigger, or "unknown trigger"."""
        return str((self.config.get("trigger") or {}).get("name", "unknown trigger"))

    @property
    def defense(self) -> str | None:
        name = defense_name(self.config)
        return None if name == NO_DEFENSE else name

    @property
    def model(self) -> str:
        return str(self.config.get("clean_model") or self.config.get("model", ""))

    @property
    def source_model(self) -> str | None:
        """The bare model that a defence started from, where it did not start from a run."""
        bare = self.stage == "defended" and self.config.get("parent") is None
        model = (self.config.get("request") or {}).get("model") if bare else None
        return None if model is None else str(model)

    @property
    def lr(self) -> float:
        return float((self.config.get("finetune") or {}).get("lr", 0.0))

    @property
    def created_at(self) -> str:
        """Day and time it was made, UTC."""
        return str(self.config.get("created", ""))[:16].replace("T", " ")

    @property
    def label(self) -> str:
        """One line that tells this run from the others."""
        if self.notes.get("name"):
            return f"{self.notes['name']} · {self.created_at}"
        if self.is_shipped:
            what = to_label(self.defense or self.attack)
            return what + (f" → {self.config.get('target_class')}" if not self.defense else "") + " · shipped example"
        if self.stage == "defended":
            return f"{to_label(self.defense or 'defence')}, lr {self.lr:g} · {self.created_at}"
        return f"{to_label(self.attack)} → {self.config.get('target_class')} · {self.model} · {self.created_at}"

    def figure(self, name: str, k: int = 1) -> float | None:
        """Return "ca", "asr", "ra", "base_rate" or "asr_clean_model" at k, 0..1, or None where it was not measured."""
        value = (self.metrics.get(name) or {}).get(str(k))
        return None if value is None else float(value)

    def interval(self, name: str, k: int = 1) -> Interval | None:
        """Return the 95 % interval of a figure."""
        value = (self.metrics.get(f"{name}_interval") or {}).get(str(k))
        return None if value is None else (float(value[0]), float(value[1]))

    @property
    def measured_on(self) -> str:
        """What the figures were measured on, in one sentence."""
        m = self.metrics
        if not m:
            return "No test figures were measured."
        attacked = "no attack measured"
        if m.get("asr"):
            which = " (those of other classes)" if m.get("protocol") == "non_target" else ""
            attacked = f"attack on {m.get('n_attack', 0):,} of them{which}, protocol {m.get('protocol')}"
        return f"{m.get('data', 'unnamed data')}: {m.get('n', 0):,} pictures with one class; {attacked}."


def read_saved_run(folder: Path, config: dict[str, Any]) -> SavedRun:
    """Return the run in `folder`; metrics are empty if their file cannot be read."""
    return SavedRun(folder, config, read_metrics(folder), read_notes(folder))


def all_runs() -> list[SavedRun]:
    """Return every complete run on disk, newest first, then those of the shipped example."""
    runs = [read_saved_run(folder, config) for folder, config in list_runs()]
    ids = {run.id for run in runs}
    return runs + [read_saved_run(e.folder, e.config) for e in list_shipped_runs() if e.folder.name not in ids]


def backdoored_runs() -> list[SavedRun]:
    """Return the backdoored runs, newest first."""
    return [run for run in all_runs() if run.stage == "backdoored"]


def defended_runs(suspect: SavedRun) -> list[SavedRun]:
    """Return the defenses that started from `suspect`, newest first."""
    return [run for run in _started_from(suspect) if not run.config.get("rebound")]


def rebounds(defended: SavedRun) -> list[SavedRun]:
    """Return the rebound tests of a defense, newest first."""
    return [run for run in _started_from(defended) if run.config.get("rebound")]


def _started_from(suspect: SavedRun) -> list[SavedRun]:
    suspect_config = {key: value for key, value in suspect.config.items() if key != "schema"}

    def has_suspect(run: SavedRun) -> bool:
        if run.config.get("parent") is not None:
            return run.config["parent"] in (suspect.id, str(suspect.folder.resolve()))
        config = run.config.get("suspect")  # trained in the same process as its backdoored run, which had no id yet
        return isinstance(config, dict) and {k: v for k, v in config.items() if k != "schema"} == suspect_config

    return [run for run in all_runs() if run.stage == "defended" and has_suspect(run)]


def selectable_models() -> list[str]:
    """Return the models that can be viewed without a run: built-in, opened by the user, and already defended ones."""
    built_in = sorted(path.parent.name for path in assets().glob("*/model.safetensors"))
    opened = [resolve_path(external.model) for external in st.session_state.get(OPENED_MODELS, [])]
    defended = [run.source_model for run in all_runs() if run.source_model]
    return list(dict.fromkeys([*built_in, *opened, *defended]))


def is_built_in(model: str) -> bool:
    """Return whether a model came with the project, so it is known to be clean."""
    return (assets() / model / "model.safetensors").exists()


def defenses_of_model(model: str) -> list[SavedRun]:
    """Return the defenses that started from a model without a run, newest first."""
    return [run for run in all_runs() if run.source_model == model]


def short_labels(runs: list[SavedRun]) -> dict[str, str]:
    """Return id -> short label: defense and learning rate, plus time or id where needed to be unique."""
    names = {
        run.id: f"{to_label(run.defense or 'backdoored')}, lr {run.lr:g}{', shipped example' if run.is_shipped else ''}"
        for run in runs
    }
    counts = Counter(names.values())
    return disambiguate_labels(
        {run.id: names[run.id] + (f", {run.created_at[5:]}" if counts[names[run.id]] > 1 else "") for run in runs}
    )


def disambiguate_labels(labels: dict[str, str]) -> dict[str, str]:
    """Append the id to equal labels: a select box maps a label back to its first match."""
    counts = Counter(labels.values())
    return {
        key: f"{label} · {key.removeprefix(MODEL_PREFIX)}" if counts[label] > 1 else label
        for key, label in labels.items()
    }


RATES_NOTE = (
    "Each defense uses the learning rate chosen by clean accuracy alone. At equal rates the defenses remove similar "
    "amounts and differ in cost: see Compare, “Project benchmark”."
)
"""Shown next to metrics of the shipped example."""


def capitalize_message(message: str) -> str:
    """Capitalize a message unless it starts with a file name."""
    first = message.partition(" ")[0]
    return message if set(first) & set("./\\") else message[:1].upper() + message[1:]


def section_title(title: str, run: SavedRun | None) -> str:
    """Return a section title, marked if it shows the shipped example."""
    return f"{title} · shipped example" if run is not None and run.is_shipped else title


def select_run(run_id: str) -> None:
    """Put a run in view on all pages from the next rerun on."""
    st.session_state[_REQUESTED_RUN] = run_id


def apply_requested_run(options: list[str]) -> None:
    """Set the select box of the run in view, before it is drawn: to the requested run, else to a valid one."""
    requested = st.session_state.pop(_REQUESTED_RUN, None)
    # Streamlit drops a value across pages if no user set it, so the last selection is stored separately.
    selection, last = st.session_state.get(SELECTION), st.session_state.get(_LAST_SELECTION)
    for run_id in (requested, selection, last, options[0]):
        if run_id in options:
            st.session_state[SELECTION] = st.session_state[_LAST_SELECTION] = run_id
            return


def current_run() -> SavedRun | None:
    """Return the backdoored run in view, or None."""
    selection = st.session_state.get(SELECTION)
    folder = find_run(selection) if selection and not selection.startswith(MODEL_PREFIX) else None
    entry = read_entry(folder) if folder is not None else None
    return read_saved_run(entry.folder, entry.config) if entry is not None and entry.status.state == "done" else None


def current_model() -> str | None:
    """Return the model in view, or None if a run is in view."""
    selection = str(st.session_state.get(SELECTION) or "")
    return selection.removeprefix(MODEL_PREFIX) if selection.startswith(MODEL_PREFIX) else None


def describe_selection() -> str:
    """Return a phrase that names the run or model in view."""
    run, model = current_run(), current_model()
    return f"Run in view: {run.label}" if run is not None else f"Model in view: {model or 'none'}"


def escape_markdown(text: str) -> str:
    """Escape text for st.markdown, st.caption and labels: no Markdown, HTML or icons."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|$:~&])", r"\\\1", text.replace("\n", " "))


def format_percent(value: float | None, digits: int = 1) -> str:
    """Format a share: 0.123 -> "12.3%"; None -> "not measured"."""
    return "not measured" if value is None else f"{value:.{digits}%}"
