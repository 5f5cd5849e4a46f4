"""Paths in reports, which go to others: the names of files alone, without the folders of this machine."""

import re
from collections.abc import Sequence
from typing import Any

from cleaner.data.splits import SPLITS
from cleaner.runs.record import RunRecord

_FOLDERS = re.compile(
    rf"(?<![\w.~/\\+])(?:~?/|\\\\|[A-Za-z]:[/\\])(?:[^/\\]+[/\\])*?(?=[^/\\]+(?:/(?:{'|'.join(SPLITS)}))?[/\\]?(?:[,;]|$))"
)
"""The folders of a path; the name of data ends with that of their split: "csv:/home/me/pairs.csv/test"."""


def hide_folders(value: Any) -> Any:
    """Return text, or the values of a config, with the names of files alone."""
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, dict):
        return {key: hide_folders(item) for key, item in value.items()}
    return [hide_folders(item) for item in value] if isinstance(value, list) else value


def name_without_folders(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the records with names that hide their folders; equal ones get a number: "model.pt (1)"."""
    sharing: dict[str, list[str]] = {}
    for full in dict.fromkeys(name for r in records for name in (r.model, r.metrics.get("data")) if name):
        sharing.setdefault(hide_folders(full), []).append(full)
    names = {
        full: f"{short} ({number})" if len(sharing[short]) > 1 else short
        for short in sharing
        for number, full in enumerate(sharing[short], 1)
    }

    def rename(record: RunRecord) -> RunRecord:
        data = record.metrics.get("data")
        measured = {**record.metrics, "data": names[data]} if data else record.metrics
        return record.model_copy(update={"clean_model": names.get(record.model), "measured": measured})

    return [rename(record) for record in records]
