"""Labels: identifiers in the words that pages and reports show. Importing it loads no heavy package."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

NO_DEFENSE = "none"
UNKNOWN_ATTACK = "unknown"
FLAGGED_DEFENSE = "without_flagged_pairs"
"""Name in place of a defense: the model before poisoning was trained again, without pairs that a detector flagged."""
CLEAN_CAPTIONS, FULL_CAPTIONS = "clean_captions", "full"
"""Option of data whose clean pairs can have other captions (`CaptionData.caption_choices`), and its default."""
REGISTERED_LABELS: dict[str, str] = {}
"""Registered name -> label of the classes that were imported, such as those of a notebook."""
LABELS = Path(__file__).with_name("labels.json")
"""Package -> registered name -> label of this project's classes, so that importing torch is not needed for them."""
INPUT_LABELS = {"captions": "captions", "classes": "classes", "model_sha256": "weights"}
"""Keys of what a checkpoint must match that are no setting, in words."""
LOSS_LABELS = {"clip_loss": "CLIP loss", "in_modal_loss": "In-modal loss", "total": "Sum"}


def to_label(name: str) -> str:
    """Return the label that a registered class states, else the words of an identifier: "Blend ratio"."""
    return REGISTERED_LABELS.get(name) or _list_labels().get(name) or LOSS_LABELS.get(name) or to_words(name)


def format_count(count: int, nouns: str) -> str:
    """Return a number with its noun: 1, "pairs" -> "1 pair"; 1, "classes" -> "1 class"; 6000 -> "6,000 pairs"."""
    noun = nouns.removesuffix("es" if nouns.endswith("sses") else "s")
    return f"{count:,} {noun if count == 1 else nouns}"


def to_words(name: str) -> str:
    """Return an identifier as words: "blend_ratio" -> "Blend ratio"."""
    return name.replace("_", " ").replace("-", " ").capitalize()


def name_difference(stored: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return what differs from what a checkpoint must match: "settings", "captions and classes", ...; "" if nothing."""
    keys = {**expected, **stored}
    differing = [key for key in keys if key not in stored or key not in expected or stored[key] != expected[key]]
    # Other settings may poison other captions: these are no cause then.
    if any(key not in INPUT_LABELS for key in differing):
        return "settings"
    return " and ".join(label for key, label in INPUT_LABELS.items() if key in differing)


def find_clean_captions(options: Any) -> str:
    """Return the captions of the clean pairs that options of data name; "" for the usual ones."""
    stated = options if isinstance(options, Mapping) else {}
    captions = stated.get(CLEAN_CAPTIONS) or stated.get("captions") or FULL_CAPTIONS
    return "" if captions == FULL_CAPTIONS else str(captions)


def to_attack_label(name: str | None) -> str:
    """Return a trigger's name, None or `UNKNOWN_ATTACK` in words."""
    return "Unknown trigger" if name in (None, UNKNOWN_ATTACK) else to_label(str(name))


def state_label(state: str) -> str:
    """Return the state of status.json as users read it."""
    return {"new": "not started", "cancelled": "canceled", "died": "stopped"}.get(state, state)


VERDICT_SENTENCES = {
    "took": "The attack succeeded.",
    "weak": "The attack is weak.",
    "did not take": "The attack failed.",
    "is unclear": "The outcome of the attack is unclear.",
}
"""First part of `evaluation.verdict.attack_verdict` -> what users read."""
STAGE_LABELS = {
    "download": "Downloading (MB)",
    "render": "Rendering images",
    "read photos": "Reading photos",
    "read captions": "Reading captions",
    "check images": "Checking images",
    "optimize": "Optimizing the trigger",
    "distill": "Distilling",
    "pretrain": "Pretraining",
    "poison": "Poisoning",
    "defend": "Finetuning",
    "evaluate": "Evaluating",
    "prompts": "Encoding class prompts",
    "captions": "Encoding captions",
    "images": "Encoding images",
    "compare images": "Comparing clean with poisoned images",
    "map": "Computing the embedding map",
    "attribution": "Computing attributions",
    "screen": "Trying settings",
    "scan": "Scanning",
    "search": "Comparing classes",
    "invert": "Finding patch and mask",
    "detect": "Scoring",
    "zoo": "Training the zoo",
}
"""Stage of a step report -> what users read."""


def stage_label(stage: str) -> str:
    """Return a stage of a step report as users read it."""
    return STAGE_LABELS.get(stage, stage.capitalize())


@cache
def read_labels() -> dict[str, dict[str, str]]:
    """Return package -> registered name -> label of this project's classes that have one."""
    labels: dict[str, dict[str, str]] = json.loads(LABELS.read_text("utf-8"))
    return labels


@cache
def _list_labels() -> dict[str, str]:
    return {name: label for labels in read_labels().values() for name, label in labels.items()}
