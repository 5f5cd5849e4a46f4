"""The data of a playground, kept with the files derived from its attack, so that the app need not make them again."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cleaner.files import write_text
from cleaner.runs.derived import unique_name
from cleaner.runs.record import RunRecord

FORMAT = 1
"""Of what `export.make_data` returns: a change of it, or of how engine.js reads it, is a new one."""

KEPT = 3
"""Newest files of an attack that stay: with a large model, each has tens of megabytes."""


def name_file(attack: RunRecord, defenses: Sequence[RunRecord]) -> str:
    """Return the name of the file for these runs; runs that are replaced get another one."""
    names = [run.id if run.is_shipped else unique_name(run.folder) for run in (attack, *defenses)]
    return f"playground-{FORMAT}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}.json"


def write_data(path: Path, page: dict[str, Any], weights: Sequence[str]) -> None:
    """Write the two values of `export.make_data`, a line each, atomically; drop the oldest files of the attack."""
    write_text(path, f"{json.dumps(page)}\n{json.dumps(weights)}\n")
    files = sorted(path.parent.glob("playground-*.json"), key=lambda file: file.stat().st_mtime)
    for old in files[:-KEPT]:
        old.unlink(missing_ok=True)


def read_data(path: Path) -> tuple[dict[str, Any], str]:
    """Return what `write_data` wrote, the weights as JSON."""
    page, weights = path.read_text(encoding="utf-8").splitlines()
    return json.loads(page), weights
