"""An audit from a loaded model to its result as JSON and as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from cleaner.attacks.base import TRIGGERS, Trigger, load_trigger
from cleaner.audit.evidence import KNOWN, Evidence, compare, run_tests
from cleaner.audit.population import FOLDER, list_scores
from cleaner.audit.result import (
    FALSE_ALARMS,
    FEWEST,
    NOT_TESTABLE,
    NOTHING,
    SUSPICIOUS,
    describe_verdict,
    read_audit,
)
from cleaner.audit.uses import measure_image_uses
from cleaner.data.base import CaptionData
from cleaner.evaluation.evaluate import evaluate
from cleaner.files import assets, read_json
from cleaner.inspection.description import describe_model
from cleaner.labels import to_attack_label
from cleaner.models.clip import Clip
from cleaner.reports.results import add_provenance
from cleaner.runs.inversion_result import TRIGGER_FILE, write_inversion
from cleaner.types import CleanerError, OnStep

EXIT_CODES = {NOTHING: 0, SUSPICIOUS: 1, NOT_TESTABLE: 2}
INVERTED = "inverted"
"""Label of the inverted trigger."""
LISTED = 8
"""Rows of a table of results."""
INTERFACES = {
    "Zero-shot": ("asr", "base_rate"),
    "Retrieval of captions": ("retrieval_asr", "retrieval_base_rate"),
}
"""How a model is used -> metrics of the suspected target with and without the trigger."""


Found = tuple[str, Trigger, str]
"""Label, trigger, and the class that it moves images to."""


def audit(
    clip: Clip,
    data: CaptionData,
    population: Mapping[str, Any],
    on_step: OnStep | None = None,
    *,
    earlier: Sequence[Found] = (),
) -> dict[str, Any]:
    """Return the result of an audit, JSON-ready.

    data: about 600 images, with classes, labels if there are any. earlier: triggers found in the model before it was
    cleaned; the first "interfaces" are theirs.
    """
    evidence, references = run_tests(clip, data, on_step), list_scores(population)
    usual = {name: median([each[KNOWN].get(name, 0.0) for each in references] or [0.0]) for name in evidence.rises}
    ranking = sorted(usual, key=lambda name: usual[name] - evidence.rises[name].rise)
    judged = judge(evidence, population)
    known, inversion, _ = judged["findings"]
    is_known = evidence.inversion.suspect is None or known["distance"] >= inversion["distance"]
    setting = known["name"]
    found = (setting, known["class_name"]) if is_known else (INVERTED, evidence.inversion.suspect)
    return add_provenance(
        "ta-cleaner audit",
        **judged,
        model={"name": clip.name, "weights_sha256": clip.sha256(), "description": describe_model(clip)},
        data={"name": data.name, "n": len(data), "sha256": data.fingerprint()},
        false_alarm_rate=FALSE_ALARMS,
        references={key: value for key, value in population.items() if key != "models"} | {"n": len(references)},
        scores=evidence.scores,
        known_triggers=[asdict(evidence.rises[name]) | {"usual": usual[name]} for name in ranking[:LISTED]],
        settings_tried=len(evidence.triggers),
        inversion=asdict(evidence.inversion),
        interfaces=_measure_interfaces(clip, data, evidence, setting, earlier, on_step),
        trigger={
            "label": found[0],
            "class_name": found[1],
            "state": evidence.triggers[setting].state_dict() if is_known else None,
        },
        detection=read_json(assets() / FOLDER / "detection.json"),
    )


def judge(evidence: Evidence, population: Mapping[str, Any]) -> dict[str, Any]:
    """Return "verdict" and "findings" with their classes, JSON-ready."""
    references = list_scores(population)
    known, inversion, both = findings = compare(evidence.scores, references)
    classes = [evidence.rises[known.name].class_name, inversion.name]
    classes.append(classes[inversion.distance > known.distance])
    verdict = SUSPICIOUS if both.p <= FALSE_ALARMS else NOTHING
    return {
        "verdict": verdict if len(references) >= FEWEST else NOT_TESTABLE,
        "findings": [asdict(each) | {"class_name": name} for each, name in zip(findings, classes, strict=True)],
    }


def _measure_interfaces(
    clip: Clip,
    data: CaptionData,
    evidence: Evidence,
    setting: str,
    earlier: Sequence[Found],
    on_step: OnStep | None,
) -> list[dict[str, Any]]:
    """Return what a setting of a known trigger and the inverted trigger do to each use, toward their classes."""
    if not len(data.labeled_rows()):
        return []
    tried = [*earlier, (setting, evidence.triggers[setting], evidence.rises[setting].class_name)]
    rows = []
    with TemporaryDirectory() as folder:
        if evidence.inversion.suspect is not None:
            path = str(write_inversion(evidence.inversion, Path(folder)) / TRIGGER_FILE)
            tried.append((INVERTED, TRIGGERS["inverted"](path=path), evidence.inversion.suspect))
        for label, trigger, name in tried:
            metrics = evaluate(clip, data, trigger, name, ks=(1,), counterfactual=False, on_step=on_step)
            uses: dict[str, Any] = {use: [metrics.metric(each) for each in names] for use, names in INTERFACES.items()}
            uses |= measure_image_uses(clip, data, trigger, name, on_step)
            rows.append({"trigger": label, "class_name": name, "ca": metrics.ca[1], "n": metrics.n, "uses": uses})
    return rows


def load_found(folder: Path) -> Found:
    """Return the trigger that the audit stored in a folder found. Raises `CleanerError` without an audit."""
    if (result := read_audit(folder)) is None:
        raise CleanerError("the audit of the suspect model is gone: repeat it first.")
    found = result["trigger"]
    trigger = load_trigger(found["state"] or {"name": "inverted", "path": str(folder / TRIGGER_FILE)})
    return f"found before: {found['label']}", trigger, found["class_name"]


def render_html(result: Mapping[str, Any], file: str) -> str:
    """Return one page about an audit; it loads nothing, and all text is escaped. file: path, size and hash."""
    from jinja2 import Environment

    template = Path(__file__).with_name("audit.html.jinja").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    classes = sorted(result["inversion"]["classes"].items(), key=lambda item: item[1])[:LISTED]
    return page.render(result, file=file, meaning=describe_verdict(result), classes=classes, to_label=to_attack_label)
