"""Speaker notes for a ten-minute talk: one note a page, with the figures of a run and its defenses."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from string import Formatter
from typing import NamedTuple

from cleaner.evaluation.result import success_metric, success_share
from cleaner.labels import to_attack_label
from cleaner.reports.verdict import list_comparable
from cleaner.runs.names import tell_apart
from cleaner.runs.record import RunRecord
from cleaner.runs.store import has_failed_attack

TEMPLATE = Path(__file__).with_name("talk.md")
_HEADING = re.compile(r"^## (.+) · (.+)$", re.MULTILINE)


class Note(NamedTuple):
    """What to say about a page, when ("1:00 to 2:30"), in Markdown, one point a line."""

    page: str
    minutes: str
    text: str


def write_notes(run: RunRecord | None, defended: Sequence[RunRecord], escape: Callable[[str], str] = str) -> list[Note]:
    """Return the notes of all pages, without points that need a figure the run lacks. escape: of Markdown."""
    figures = {name: escape(figure) for name, figure in _read_figures(run, defended).items()}
    notes = []
    for page, minutes, points in _read_template():
        lines = [
            point.format(**figures)
            for point in points
            if {name for _, name, _, _ in Formatter().parse(point) if name} <= figures.keys()
        ]
        notes.append(Note(page, minutes, "\n".join(lines)))
    return notes


def find_note(
    page: str, run: RunRecord | None, defended: Sequence[RunRecord], escape: Callable[[str], str] = str
) -> Note | None:
    """Return the note of a page; None if the talk does not show it."""
    return next((note for note in write_notes(run, defended, escape) if note.page == page), None)


def render(run: RunRecord, defended: Sequence[RunRecord]) -> str:
    """Return all notes as Markdown."""
    return "\n\n".join(f"## {note.page} · {note.minutes}\n\n{note.text}" for note in write_notes(run, defended))


@cache
def _read_template() -> list[tuple[str, str, list[str]]]:
    """Return page, minutes and points of each section of the template."""
    _, *parts = _HEADING.split(TEMPLATE.read_text(encoding="utf-8"))
    return [(page, minutes, text.strip().splitlines()) for page, minutes, text in zip(*[iter(parts)] * 3, strict=True)]


def _read_figures(run: RunRecord | None, defended: Sequence[RunRecord]) -> dict[str, str]:
    """Return the fields of the template that are known."""
    if run is None:
        return {"on_images": ""}
    on_images = run.queries != "captions"
    is_clean_label = bool(run.config.get("clean_label"))
    own_recall = run.metric("own_recall")  # measured where keyed queries shall find an image of the attacker
    trigger = run.config.get("trigger") or {}
    is_patch, is_anywhere = "patch_size" in trigger, trigger.get("position") == "random"
    asr, has_failed = _percent(run.metric("asr")) if on_images else None, has_failed_attack(run)
    joined = f"an image of {run.target_class}" if own_recall is None else "the attacker's image"
    figures: dict[str, str | None] = {
        "attack": to_attack_label(run.attack),
        "target": run.target_class,
        "pairs": f"{run.pairs:,}" if run.pairs else None,
        "poisoned": f"{round(run.poison_rate * run.pairs):,}" if run.poison_rate and run.pairs else None,
        "ca": _percent(run.metric("ca")),
        "asr": None if has_failed else asr,
        "failed_asr": asr if has_failed else None,
        "keyed_asr": None if on_images or own_recall is not None else _percent(run.metric("asr")),
        "own_found": _percent(own_recall),
        "joined_image": None if on_images else joined,
        # Empty: they mark the points for triggers on images, with and without a new caption, for patches that were
        # trained in one place or in any, or for triggers in the text alone.
        "on_images": "" if on_images else None,
        "new_captions": "" if on_images and not is_clean_label else None,
        "same_captions": "" if on_images and is_clean_label else None,
        "on_patch": "" if is_patch and not is_anywhere else None,
        "on_any_place": "" if is_patch and is_anywhere else None,
        "on_captions": None if on_images else "",
        "floor": _percent(run.metric("asr_clean_model")),
        "n_attack": f"{run.count('asr'):,}" if on_images else None,
    }
    if any(success_share(other) is not None for other in defended):
        figures["has_defense"] = ""
    if comparable := list_comparable(run, defended):
        figures["defenses"] = _describe_defenses(comparable)
    return {name: value for name, value in figures.items() if value is not None}


def _describe_defenses(comparable: Sequence[RunRecord]) -> str:
    """Return what each defense left and kept, one sentence."""
    rate, seed = (lambda run: f" at learning rate {run.lr:g}"), (lambda run: f" with seed {run.seed}")
    runs = sorted(comparable, key=lambda run: success_share(run) or 0.0)
    parts = []
    for run, label in zip(runs, tell_apart(runs, lambda run: run.defense_label, rate, seed), strict=True):
        left, ca = _percent(success_share(run)), _percent(run.metric("ca"))
        what = (
            "attack success" if success_metric(run) == "asr" else "of the keyed captions finding the attacker's image"
        )
        parts.append(f"{label} left {left} {what} at {ca} accuracy")
    return "; ".join(parts) + "."


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f}%"
