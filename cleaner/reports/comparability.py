"""Warnings about runs that are not comparable, or show little."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from cleaner.evaluation.protocol import is_same_test
from cleaner.evaluation.result import WEAK_ASR, describe_queries
from cleaner.labels import format_count
from cleaner.runs.record import RunRecord
from cleaner.runs.store import has_failed_attack

HASHED = {"content": "data_sha256", "class list": "class_names_sha256"}
"""Hashed part of a test -> its field of `Metrics.to_dict`."""


def list_notes(records: Sequence[RunRecord]) -> list[str]:
    """Return warnings about runs in one table; empty if they are comparable."""
    notes = [note for note in (describe_different_tests(records), describe_different_texts(records)) if note]
    if failed := [record.name_or_id for record in records if has_failed_attack(record)]:
        notes.append(
            f"The attack failed (success below {WEAK_ASR:.0%}), so these runs say little about a defense: "
            f"{', '.join(failed)}."
        )
    return notes


def describe_different_tests(records: Sequence[RunRecord]) -> str:
    """Return a sentence that names the tests of runs if these differ, else ""."""
    tests = find_tests(records)
    if len(tests) < 2:
        return ""
    names = _name_tests([records[0] for records in tests])
    counted = [f"{name} ({format_count(len(group), 'runs')})" for name, group in zip(names, tests, strict=True)]
    return f"Not comparable: measured on {len(tests)} different tests: {'; '.join(counted)}."


def describe_different_texts(records: Sequence[RunRecord]) -> str:
    """Return a sentence that names the text versions of runs on subtexts if these differ, else ""."""
    counts = Counter(record.text_version for record in records if record.draws_subtexts)
    if len(counts) < 2:
        return ""
    names = {version: f"version {version}" if version else "not recorded" for version in counts}
    counted = [f"{names[version]} ({format_count(count, 'runs')})" for version, count in counts.items()]
    return f"Trained on subtexts of different text versions: {'; '.join(counted)}."


def _name_tests(records: Sequence[RunRecord]) -> list[str]:
    """Return what differs between the tests of these runs; hashes, which say little, only of equal names."""
    names = _join_differing([_list_facts(record.metrics) for record in records])
    hashes = _join_differing([_list_hashes(record.metrics) for record in records])
    return [
        ", ".join(filter(None, (name, sha if names.count(name) > 1 else ""))) or record.protocol
        for name, sha, record in zip(names, hashes, records, strict=True)
    ]


def _list_facts(metrics: Mapping[str, Any]) -> list[str]:
    """Return the facts of a test; "" where one is unknown."""
    prompts, classes = metrics.get("templates"), metrics.get("classes")
    return [
        str(metrics.get("data") or ""),
        f"n = {metrics.get('n', 0):,}",
        format_count(classes, "classes") if classes else "",
        f"{format_count(prompts, 'prompts')} per class" if prompts else "",
        f"attack on {describe_queries(metrics)}" if metrics.get("asr") else "",
    ]


def _list_hashes(metrics: Mapping[str, Any]) -> list[str]:
    stated = dict(read_hashes(metrics))
    return [f"{what} {stated.get(what, 'unknown')}" for what in HASHED]


def _join_differing(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return each row as one text, without the columns that state one value."""
    differing = [len({*column} - {""}) > 1 for column in zip(*rows, strict=True)]
    return [", ".join(filter(None, compress(row, differing))) for row in rows]


def read_hashes(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return each hashed part of a test and the first 8 digits of its hash, where metrics state it."""
    return [(what, str(sha)[:8]) for what, name in HASHED.items() if (sha := metrics.get(name))]


def find_tests(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Return the runs that were measured, in groups that were measured in the same way, apart from the target."""
    groups: list[list[RunRecord]] = []
    for record in records:
        if record.metrics:
            group = next((group for group in groups if _is_same_test(group[0], record)), None)
            groups.append([record]) if group is None else group.append(record)
    return groups


def _is_same_test(one: RunRecord, other: RunRecord) -> bool:
    ignored = ["target_class", "n_attack"]  # each attack has its own images
    if one.model != other.model:
        ignored.append("data_sha256")  # each model frames the images in its own way
    without = dict.fromkeys(ignored)
    return is_same_test({**one.metrics, **without}, {**other.metrics, **without})
