"""Runs of one attack as one HTML file that needs no server, no network and no installation."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cleaner.data.base import load_data
from cleaner.data.images import to_uint8
from cleaner.evaluation.encode import Encoder
from cleaner.files import write_text
from cleaner.labels import to_defense_label
from cleaner.models.clip import Clip
from cleaner.playground.trigger import describe_trigger, pack_pixels
from cleaner.playground.weights import (
    CLASSES,
    LOG_SCALE,
    describe_tower,
    list_layout,
    pack_base,
    pack_delta,
    read_state,
)
from cleaner.plots.styles import find_styles
from cleaner.reports.paths import hide_folders
from cleaner.runs.folders import find_run
from cleaner.runs.record import RunRecord
from cleaner.runs.request import require_test_data
from cleaner.runs.run import load_run, load_run_clip
from cleaner.runs.store import read_record
from cleaner.types import CleanerError

SCENES = 60
"""Test images in the page."""
CLEANED_ASR = 0.05
"""A defended model counts as clean in the quiz up to this attack success."""
FOLDER = Path(__file__).parent
SHARED = ("engine.js", "pixels.js")
WORKER = (*SHARED, "tasks.js")
"""Scripts of the Web Worker, in this order."""
VIEWS = ("stage.js", "drag.js", "slider.js", "maps.js", "quiz.js")
PAGE = (*SHARED, "dom.js", "state.js", "app.js", "bars.js", *VIEWS, "main.js")
"""Scripts of the page, in this order."""


class Shown(NamedTuple):
    """One model of the page: its stage ("clean", "backdoored", "defended"), and the run it comes from."""

    stage: str
    label: str
    kind: str
    run: str
    clip: Clip
    ca: float | None
    asr: float | None

    @property
    def is_guilty(self) -> bool | None:
        """Whether it has a backdoor; None for a defended model that kept a part of it."""
        if self.stage == "defended":
            return None if self.asr is None or self.asr > CLEANED_ASR else False
        return self.stage == "backdoored"


def write_playground(folders: Sequence[str | Path], path: Path) -> Path:
    """Write the playground of a backdoored run and of runs that clean it, atomically. Raises as `make_data`."""
    write_text(path, render_playground(*make_data([read_record(folder) for folder in folders])))
    return path


def find_attack(records: Sequence[RunRecord]) -> tuple[RunRecord, list[RunRecord]]:
    """Return the backdoored run, also if only its defenses are given, and its defenses.

    Raises `CleanerError` for runs of several attacks.
    """
    attacks = [record for record in records if record.stage == "backdoored"]
    defenses = [record for record in records if record.stage != "backdoored"]
    if not attacks and defenses and defenses[0].parent:
        attacks = [read_record(find_run(defenses[0].parent, defenses[0].folder))]
    strangers = [record for record in defenses if not attacks or not record.started_from(attacks[0])]
    if len(attacks) != 1 or strangers:
        raise CleanerError(
            "a playground shows one backdoored run and defenses that started from it: leave the other runs out."
        )
    return attacks[0], defenses


def load_models(attack: RunRecord, defenses: Sequence[RunRecord]) -> tuple[list[Shown], Any]:
    """Return the clean, the backdoored and the defended models, and the trigger.

    Raises `CleanerError` if the model before poisoning is gone.
    """
    run = load_run(attack.folder)
    clean_ca, clean_asr = None, attack.metric("asr_clean_model")
    models = [Shown("clean", "Clean", "clean", attack.id, run.require_clean_clip(), clean_ca, clean_asr)]
    labels = [to_defense_label(record.defense) for record in defenses]
    labels = [f"{x} ({r.id})" if Counter(labels)[x] > 1 else x for x, r in zip(labels, defenses, strict=True)]
    for record, label in zip([attack, *defenses], ["Backdoored", *labels], strict=True):
        clip = run.clip if record is attack else load_run_clip(record.folder)
        ca, asr = record.metric("ca"), record.metric("asr")
        models.append(Shown(record.stage, label, record.kind, record.id, clip, ca, asr))
    return models, run.trigger


def make_data(records: Sequence[RunRecord]) -> tuple[dict[str, Any], list[str]]:
    """Return what the page shows, and the weights of its models, both JSON-ready.

    Raises `CleanerError` as `find_attack`, `load_models`, `describe_tower` and `describe_trigger`.
    """
    attack, defenses = find_attack(records)
    models, trigger = load_models(attack, defenses)
    clean = models[0].clip
    name, options, size = require_test_data(attack.config)
    data = load_data(name, split="test", size=size, **options).with_transform(clean.framing)
    spec, *_ = [describe_tower(model.clip, len(data.class_names)) for model in models]  # each may be refused
    rows = data.labeled_rows(SCENES)
    pixels = to_uint8(data.images(rows))
    states = [read_state(model.clip, Encoder(model.clip).build_classifier(data)) for model in models]
    if any(list_layout(state) != list_layout(states[0]) for state in states):
        raise CleanerError("the runs have models of different shapes: choose runs on one built-in model.")
    weights = [pack_base(states[0]), *(pack_delta(state, states[0]) for state in states[1:])]
    page = {
        "spec": {**spec, "layout": list_layout(states[0])},
        "classes": data.class_names,
        "target": data.class_index(str(attack.target_class)),
        "models": [_describe_model(*pair) for pair in zip(models, find_styles(m.kind for m in models), strict=True)],
        "scenes": {"labels": data.labels[rows].tolist(), "pixels": pack_pixels(pixels)},
        "data": hide_folders(data.name),
        "trigger": describe_trigger(trigger, pixels),
        "n": attack.count("ca"),
        "attacked": attack.count("asr"),
        "quiz": seal_roles([model.is_guilty for model in models], weights),
    }
    return page, weights


def _describe_model(model: Shown, style: Any) -> dict[str, Any]:
    values = {key: getattr(model, key) for key in ("stage", "label", "run", "ca", "asr")}
    return {**values, "color": style.color, "sign": style.sign}


def seal_roles(roles: Sequence[bool | None], weights: Sequence[str]) -> dict[str, str]:
    """Return the roles for the quiz (1 backdoored, 0 clean, 2 left out), XOR a key: nobody reads them by accident."""
    key = hashlib.sha256("".join(weights).encode()).digest()
    codes = [2 if role is None else int(role) for role in roles]
    sealed = bytes(code ^ key[i % len(key)] for i, code in enumerate(codes))
    return {"key": key.hex(), "sealed": sealed.hex()}


@cache
def read_scripts(names: tuple[str, ...]) -> str:
    """Return scripts, one after another."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


def render_playground(page: dict[str, Any], weights: Sequence[str]) -> str:
    """Return the page as HTML; its content security policy forbids every request and every script but its own."""
    from jinja2 import Environment
    from markupsafe import Markup

    script, css = read_scripts(PAGE), (FOLDER / "playground.css").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return template.from_string((FOLDER / "playground.html.jinja").read_text(encoding="utf-8")).render(
        css=Markup(css),
        css_hash=_hash_inline(css),
        script=Markup(script),
        script_hash=_hash_inline(script),
        worker=Markup(_to_json(read_scripts(WORKER))),
        page=page,
        parameters=f"{_count_parameters(page['spec']['layout']):,}",
        data=Markup(_to_json(page)),
        weights=Markup(_to_json(weights)),
    )


def _count_parameters(layout: Sequence[tuple[str, list[int]]]) -> int:
    """Return the number of weights of the image tower."""
    return sum(math.prod(shape) for name, shape in layout if name not in (CLASSES, LOG_SCALE))


def _hash_inline(text: str) -> str:
    """Return the source expression of a content security policy that allows this inline text alone."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _to_json(value: Any) -> str:
    """Return JSON that cannot end the script element which holds it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
