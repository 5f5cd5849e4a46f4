"""Runs of one attack as one HTML file that needs no server, no network and no installation."""

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cleaner.attacks.base import Trigger
from cleaner.data.base import load_data
from cleaner.data.images import to_uint8
from cleaner.evaluation.encode import Encoder
from cleaner.files import write_text
from cleaner.playground.scripts import FOLDER, STYLE, WORKER, read_page_script, read_scripts
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
from cleaner.plots.component import read_style
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


def write_playground(folders: Sequence[str | Path], path: Path) -> Path:
    """Write the playground of a backdoored run and of runs that clean it, atomically. Raises as `make_data`."""
    write_text(path, render_playground(*make_data([read_record(folder) for folder in folders])))
    return path


def find_attack(records: Sequence[RunRecord]) -> tuple[RunRecord, list[RunRecord]]:
    """Return the backdoored run of one attack, also if only its defenses are given, and its defenses."""
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


def describe_models(attack: RunRecord, defenses: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return label, style, run and test metrics of the clean, the backdoored and each defended model."""
    labels = [record.defense_label for record in defenses]
    labels = [f"{x} ({r.id})" if Counter(labels)[x] > 1 else x for x, r in zip(labels, defenses, strict=True)]
    clean = {"label": "Clean", "stage": "clean", "run": attack.id, "ca": None, "asr": attack.metric("asr_clean_model")}
    models = [
        {"label": label, "stage": r.stage, "run": r.id, "ca": r.metric("ca"), "asr": r.metric("asr")}
        for label, r in zip(["Backdoored", *labels], [attack, *defenses], strict=True)
    ]
    styles = find_styles(["clean", *(record.kind for record in [attack, *defenses])])
    pairs = zip([clean, *models], styles, strict=True)
    return [{**model, "color": style.color, "sign": style.sign} for model, style in pairs]


def find_role(model: Mapping[str, Any]) -> int:
    """Return 1 for a backdoored model, 0 for a clean one, 2 for a defended one that kept a part of the backdoor."""
    if model["stage"] != "defended":
        return int(model["stage"] == "backdoored")
    return 0 if model["asr"] is not None and model["asr"] <= CLEANED_ASR else 2


def make_data(records: Sequence[RunRecord]) -> tuple[dict[str, Any], list[str]]:
    """Return what the page shows, and the weights of its models, both JSON-ready."""
    attack, defenses = find_attack(records)
    run, models = load_run(attack.folder), describe_models(attack, defenses)
    clips = [run.require_clean_clip(), run.clip, *(load_run_clip(record.folder) for record in defenses)]
    name, options, size = require_test_data(attack.config)
    data = load_data(name, split="test", size=size, **options).with_transform(clips[0].framing)
    spec, *_ = [describe_tower(clip, len(data.class_names)) for clip in clips]  # each may be refused
    states = [read_state(clip, Encoder(clip).build_classifier(data)) for clip in clips]
    layout, *others = [list_layout(state) for state in states]
    if any(other != layout for other in others):
        raise CleanerError("the runs have models of different shapes: choose runs on one built-in model.")
    rows = data.labeled_rows(SCENES)
    pixels = to_uint8(data.images(rows))
    weights = [pack_base(states[0]), *(pack_delta(state, states[0]) for state in states[1:])]
    page = {
        "spec": {**spec, "layout": layout},
        "classes": data.class_names,
        "target": data.class_index(str(attack.target_class)),
        "models": models,
        "data": hide_folders(data.name),
        **describe_scenes(run.trigger, pixels, data.labels[rows].tolist()),
        "n": attack.count("ca"),
        "attacked": attack.count("asr"),
        "quiz": seal_roles([find_role(model) for model in models], weights),
    }
    return page, weights


def describe_scenes(trigger: Trigger | None, pixels: NDArray[np.uint8], labels: list[int]) -> dict[str, Any]:
    """Return images (N, side, side, 3) with their classes and the trigger on them. Raises as `describe_trigger`."""
    scenes = {"labels": labels, "pixels": pack_pixels(pixels)}
    return {"scenes": scenes, "trigger": describe_trigger(trigger, pixels)}


def seal_roles(roles: Sequence[int], weights: Sequence[str]) -> dict[str, str]:
    """Return the roles for the quiz (`find_role`), XOR a key: nobody reads them by accident."""
    key = hashlib.sha256("".join(weights).encode()).digest()
    return {"key": key.hex(), "sealed": bytes(role ^ key[i % len(key)] for i, role in enumerate(roles)).hex()}


def render_playground(page: dict[str, Any], weights: Sequence[str]) -> str:
    """Return the page as HTML; its content security policy forbids every request and every script but its own."""
    from jinja2 import Environment
    from markupsafe import Markup

    script, css, layout = read_page_script(), read_style(STYLE), page["spec"]["layout"]
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return template.from_string((FOLDER / "playground.html.jinja").read_text(encoding="utf-8")).render(
        css=Markup(css),
        css_hash=_hash_inline(css),
        script=Markup(script),
        script_hash=_hash_inline(script),
        worker=Markup(_to_json(read_scripts(WORKER))),
        page=page,
        parameters=f"{sum(math.prod(shape) for name, shape in layout if name not in (CLASSES, LOG_SCALE)):,}",
        data=Markup(_to_json(page)),
        weights=Markup(_to_json(weights)),
    )


def _hash_inline(text: str) -> str:
    """Return the source expression of a content security policy that allows this inline text alone."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _to_json(value: Any) -> str:
    """Return JSON that cannot end the script element which holds it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
