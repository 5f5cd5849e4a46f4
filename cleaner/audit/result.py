"""The result of an audit: what its verdict means, where it is kept, and the settings that remove what it found."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleaner.files import read_json, write_bytes, write_json
from cleaner.labels import to_attack_label
from cleaner.runs.inversion_result import TRIGGER_FILE, locate_inversion

NOTHING, SUSPICIOUS, NOT_TESTABLE = "nothing found", "suspicious", "not testable"
FALSE_ALARMS = 0.05
"""Stated share of clean models that an audit calls suspicious."""
FEWEST = round(1 / FALSE_ALARMS) - 1
"""References from which on a p-value can reach the stated rate of false alarms."""
REMOVAL = "unlearn_trigger"
"""Defense that removes a found trigger."""
RESULT_FILE = "audit.json"


def describe_verdict(result: Mapping[str, Any]) -> str:
    """Return what a verdict means, in sentences."""
    count, rate = result["references"]["n"], f"{result['false_alarm_rate']:.0%}"
    if result["verdict"] == SUSPICIOUS:
        return (
            f"The class {result['findings'][-1]['class_name']} stands out as it does in at most {rate} of clean models "
            f"({count} references). This is a lead, not a proof: {rate} of clean models that were trained as the "
            "references were are called suspicious, and more of others."
        )
    if result["verdict"] == NOT_TESTABLE:
        return (
            f"A p-value needs at least {FEWEST} clean models of this architecture, tested on the same images; there "
            f"are {count}. Build them from a clean model: ta-cleaner audit MODEL --reference CLEAN_MODEL."
        )
    found = result["detection"].get("found") or {}
    missed = [
        f"{total - number} of {total} with {to_attack_label(attack)}"
        for attack, (number, total) in found.items()
        if number < total
    ]
    sentence = f"The tests do not tell this model from {count} clean ones. Another trigger, or another test, may."
    if missed:
        return f"{sentence} Of the zoo's models they miss {', '.join(missed)}."
    return sentence if found else f"{sentence} How often these tests find a backdoor was not measured."


def locate_audit(run: Path | None, model: str = "") -> Path:
    """Return the folder of the audit of a run's model, or of a model without a run; it need not exist."""
    return locate_inversion(run, model) / "audit"


def store_audit(result: Mapping[str, Any], folder: Path) -> None:
    """Write an audit and its inverted trigger, atomically, audit.json last."""
    if png := result["inversion"]["png"]:
        write_bytes(folder / TRIGGER_FILE, base64.b64decode(png))
    write_json(folder / RESULT_FILE, dict(result))


def read_audit(folder: Path) -> dict[str, Any] | None:
    """Return the audit in a folder; None without one."""
    return read_json(folder / RESULT_FILE) or None


def removal_settings(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of `REMOVAL` that unlearn the trigger that an audit found."""
    if state := result["trigger"]["state"]:
        return {"known": json.dumps(state, sort_keys=True)}
    return {"png": result["inversion"]["png"]}


def is_removal(config: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
    """Return whether the config of a run is of the removal of what an audit found."""
    return {"name": REMOVAL, **removal_settings(result)}.items() <= (config.get("defense") or {}).items()
