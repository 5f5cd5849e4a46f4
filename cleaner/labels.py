"""Labels: identifiers in the words that pages and reports show. Importing it loads no heavy package."""

from __future__ import annotations

import re
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
LABELED_PACKAGES = ("attacks", "data", "defenses", "detectors", "explain")
"""Packages whose registered classes may have a `label`."""
INPUT_LABELS = {"captions": "captions", "classes": "classes", "model_sha256": "weights"}
"""Keys of what a checkpoint must match that are no setting, in words."""
LOSS_LABELS = {"clip_loss": "CLIP loss", "in_modal_loss": "In-modal loss", "total": "Sum"}

_REGISTERED_CLASS = re.compile(
    r'^@\w+\.register\("(?P<name>[^"]+)"\)\n(?:@.*\n)*class .*\n(?P<body>(?:(?:[ )].*)?\n)*)', re.MULTILINE
)
_FLAGGED = re.compile(rf"{FLAGGED_DEFENSE} detector (?P<detector>\w+), flagged (?P<pairs>\d+)")
_LABEL = re.compile(r'^    label: [^=\n]* = "(?P<text>[^"]*)"$', re.MULTILINE)


def to_label(name: str) -> str:
    """Return the label of an identifier: "ta_cleaner" -> "TA-Cleaner", "ta_cleaner K 100 %" -> "TA-Cleaner, K 100%".

    A registered class states its own label; any other name is split into words.
    """
    if label := _find_class_label(name) or LOSS_LABELS.get(name):
        return label
    if flagged := _FLAGGED.fullmatch(name):
        return f"Without {format_count(int(flagged['pairs']), 'flagged pairs')} ({to_label(flagged['detector'])})"
    first, _, last = name.rpartition(" then ")  # one training after another
    if first:
        return f"{to_label(first)}, then {last if last.startswith('rebound') else to_label(last)}"
    if " " in name:
        method, _, difference = name.partition(" ")
        # Not every word: "text" of "without text to text" is the name of an attack too.
        words = re.sub(
            r"(?<=\bdetector )\w+", lambda word: _find_class_label(word[0]) or word[0], difference.replace(" %", "%")
        )
        return f"{to_label(method)}, {words}"
    return to_words(name)


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


def defense_name(config: Mapping[str, Any]) -> str:
    """Return the name of a run's defense with the parameters that differ from the defaults; `NO_DEFENSE` if none.

    Captions of the clean pairs that are not the usual ones come last: they change what every defense does.
    A rebound test is named after the defense that it follows: it finetunes, but must not count as plain finetuning. So
    is a defense of a model that was defended before.
    """
    if rebound := config.get("rebound"):
        suspect = config.get("suspect")
        stated = suspect if isinstance(suspect, Mapping) else {}
        tested = {
            "defense": rebound.get("after") or {"name": "no_defense"},
            **{key: stated.get(key) for key in ("variant", "data_options", "suspect")},
        }
        return f"{defense_name(tested)} then rebound ({format_count(rebound.get('steps', 0), 'steps')})"
    name, variant = str((config.get("defense") or {}).get("name", NO_DEFENSE)), config.get("variant")
    changed = variant.items() if isinstance(variant, Mapping) else ()
    details = [_describe_parameter(key, value) for key, value in changed]
    if name not in (NO_DEFENSE, FLAGGED_DEFENSE) and (captions := find_clean_captions(config.get("data_options"))):
        details.append(f"{captions} captions")
    after = config.get("suspect")
    first = f"{defense_name(after)} then " if isinstance(after, Mapping) and after.get("stage") == "defended" else ""
    return first + " ".join((name, ", ".join(details))).rstrip()


def find_clean_captions(options: Any) -> str:
    """Return the captions of the clean pairs that options of data name; "" for the usual ones."""
    stated = options if isinstance(options, Mapping) else {}
    captions = stated.get(CLEAN_CAPTIONS) or stated.get("captions") or FULL_CAPTIONS
    return "" if captions == FULL_CAPTIONS else str(captions)


def to_defense_label(name: str | None) -> str:
    """Return the label of a defense; of None or `NO_DEFENSE` that of the backdoored model, which has none."""
    return "Backdoored" if name in (None, NO_DEFENSE) else to_label(str(name))


def _describe_parameter(key: str, value: Any) -> str:
    """Return a parameter that differs from its default; part of a name in result files, so its form is fixed."""
    if key == "share" and isinstance(value, (int, float)):
        return f"K {100 * value:g} %"
    name = key.replace("_", " ")
    return f"{'with' if value else 'without'} {name}" if isinstance(value, bool) else f"{name} {value}"


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
"""First part of `reports.verdict.attack_verdict` -> what users read."""
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
}
"""Stage of a step report -> what users read."""


def stage_label(stage: str) -> str:
    """Return a stage of a step report as users read it."""
    return STAGE_LABELS.get(stage, stage.capitalize())


@cache
def list_registered(package: str) -> tuple[str, ...]:
    """Return the sorted names that the files of one of `LABELED_PACKAGES` register, without importing them."""
    return tuple(sorted(_read_registrations(package)))


def _find_class_label(name: str) -> str:
    """Return the label that a registered class states; "" if there is none."""
    return REGISTERED_LABELS.get(name) or _read_class_labels().get(name, "")


@cache
def _read_class_labels() -> dict[str, str]:
    """Return registered name -> label of the classes in this package that state one."""
    return {name: label for p in LABELED_PACKAGES for name, label in _read_registrations(p).items() if label}


@cache
def _read_registrations(package: str) -> dict[str, str]:
    """Return registered name -> label or "", read from the source files: importing the classes would import torch.

    With regular expressions, since `ast.parse` fails now and then while another thread parses (python/cpython#106905).
    """
    sources = (path.read_text("utf-8") for path in sorted((Path(__file__).parent / package).glob("*.py")))
    classes = (match for source in sources for match in _REGISTERED_CLASS.finditer(source))
    return {match["name"]: label["text"] if (label := _LABEL.search(match["body"])) else "" for match in classes}
