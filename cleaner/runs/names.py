"""Names of runs in pages, reports and messages. What names a method is `cleaner.variant`."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from cleaner.evaluation.result import WEAK_ASR, success_share
from cleaner.labels import find_clean_captions, to_attack_label, to_label
from cleaner.runs.record import RunRecord
from cleaner.runs.store import has_failed_attack

Name = Callable[[RunRecord], str]
"""What a run is called, or a part of it; `created_at`: day and time in the reader's zone, "2026-11-24 23:05"."""
VISIBLE = 20
"""Characters of a label that a narrow select box has room for."""


def _utc(record: RunRecord) -> str:
    return record.created_at


def label_attack(record: RunRecord) -> str:
    """Return attack and target: "BadNet patch → banana"."""
    return f"{to_attack_label(record.attack)} → {record.target_class}"


def label_job(record: RunRecord) -> str:
    """Return the name of a run while it is trained: the user's, else that of its defense or attack."""
    return record.name or (record.defense_label if record.defense else to_label(record.attack or record.id))


def label_run(record: RunRecord, created_at: Name = _utc) -> str:
    """Return one line that tells a run from others in a list."""
    mark = _mark_attack(record) if record.stage == "backdoored" else ""
    if record.name:
        return f"{record.name} · {created_at(record)}{mark}"
    if record.is_shipped:
        return f"{record.defense_label if record.defense else label_attack(record)} · shipped example"
    if record.stage == "defended":
        return f"{record.defense_label if record.defense else 'Defense'}, lr {record.lr:g} · {created_at(record)}"
    return f"{label_attack(record)} · {record.model} · {created_at(record)}{_mark_attack(record)}"


def _mark_attack(record: RunRecord) -> str:
    """Return what says that a defense of an attack cannot be judged: it failed, or was hardly measured."""
    if record.has_few_images:
        return " · few test images"
    asr = success_share(record)
    return " · attack failed" if asr is not None and asr < WEAK_ASR else ""


def label_film(record: RunRecord) -> str:
    """Return what happens in the film of a run: "Poisoning: BadNet patch", or the name of the defense."""
    mark = " (the attack failed)" if has_failed_attack(record) else ""
    if record.stage == "backdoored":
        return f"Poisoning: {to_attack_label(record.attack)}{mark}"
    return (record.defense_label if record.defense else "Defense") + mark


def describe_run(record: RunRecord) -> str:
    """Return attack, defense, learning rate and name (else id) of a run; it holds outside this machine too."""
    rate = f", lr {record.lr:g}" if record.defense else ""
    place = "shipped example" if record.is_shipped else record.name_or_id
    place += ", attack failed" if has_failed_attack(record) else ""
    return f"{to_attack_label(record.attack)}: {record.defense_label}{rate} ({place})"


def label_trainings(records: Sequence[RunRecord], created_at: Name = _utc) -> dict[str, str]:
    """Return id -> defense and learning rate; what else differs only where needed to tell runs apart."""
    is_mixed = len({record.is_shipped for record in records}) > 1

    def label(record: RunRecord) -> str:
        shipped = ", shipped example" if is_mixed and record.is_shipped else ""
        return f"{record.defense_label}, lr {record.lr:g}{shipped}"

    labels = tell_apart(records, label, name_seed, lambda record: f", {created_at(record)[5:]}")
    return dict(zip((record.id for record in records), labels, strict=True))


def label_defenses(records: Sequence[RunRecord], created_at: Name = _utc) -> dict[str, str]:
    """Return id -> label of the defense, with captions, variant, rate, seed or time where needed."""
    labels = {record.id: to_label(record.kind) for record in records}
    has_same_pairs = len({find_clean_captions(record.data_options) for record in records}) < 2
    if len(set(labels.values())) < len(labels) or not has_same_pairs:
        labels = {record.id: record.defense_label for record in records}
    return labels if len(set(labels.values())) == len(labels) else label_trainings(records, created_at)


def name_rate(record: RunRecord) -> str:
    return f", lr {record.lr:g}"


def name_seed(record: RunRecord) -> str:
    return f", seed {record.seed}"


def _name_id(record: RunRecord) -> str:
    return f" · {record.id}"


def tell_apart(records: Sequence[RunRecord], label: Name, *details: Name) -> list[str]:
    """Return unique labels: equal ones get the details in which they differ, at last the id."""
    labels = [label(record) for record in records]
    for detail in (*details, _name_id):
        found = defaultdict(set)
        for text, record in zip(labels, records, strict=True):
            found[text].add(detail(record))
        labels = [f"{x}{detail(r)}" if len(found[x]) > 1 else x for x, r in zip(labels, records, strict=True)]
    return labels


def number_equal_beginnings(labels: Mapping[str, str]) -> dict[str, str]:
    """Put a number before labels that are equal in their first `VISIBLE` characters; the last one is number 1."""
    counts = Counter(label[:VISIBLE] for label in labels.values())
    left = dict(counts)
    numbered = {}
    for key, label in labels.items():
        start = label[:VISIBLE]
        numbered[key] = f"{left[start]} · {label}" if counts[start] > 1 else label
        left[start] -= 1
    return numbered
