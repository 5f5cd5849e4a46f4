"""Identifiers in the words that pages and reports show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_DEFENSE = "none"
UNKNOWN_ATTACK = "unknown"


def is_meaningful(k: int, classes: int | None) -> bool:
    """Whether a figure at k says anything: with k >= C / 3 the target is often in the top k by chance.

    True where the number of classes is not known.
    """
    return classes is None or k < classes / 3


def to_label(name: str) -> str:
    """Return an identifier in words: "ta_cleaner" -> "TA-Cleaner"."""
    known = {
        "ta_cleaner": "TA-Cleaner",
        "cleanclip": "CleanCLIP",
        "cleanclip_short": "CleanCLIP, short captions",
        "finetune": "Plain finetuning",
        "badnet": "BadNet patch",
        "sig": "Sine wave (SIG)",
        "blended": "Blended noise",
        "wanet": "Warp (WaNet)",
        "badnet_stripes": "BadNet patch, stripes",
        "blended_stripes": "Blended stripes",
        "triangles": "Blended triangles",
        "text": "Watermark text",
        "trojvqa": "Patch and word (TrojVQA)",
        "ssba": "Hidden secret (SSBA)",
        "held_out": "Held-out kind of false subtext",
        "psnr": "Faintness (PSNR in dB)",
        "text_only": "A word in the text",
        "patch_image": "Your picture as patch",
        "pattern_image": "Your picture blended",
        "path": "Picture file",
        "key": "Text key",
        "lr": "Learning rate",
        "seed": "Seed",
        "share": "Share of pairs drawn (K)",
        "redraw": "Redraw captions each epoch",
        "freeze_bn": "Freeze BatchNorm",
        "negatives": "Negatives",
        "clip_loss": "CLIP loss",
        "in_modal_loss": "In-modal loss",
        "subtext_loss": "Subtext loss",
        "total": "Sum",
        "par": "PAR",
        "badclip": "BadCLIP",
        "delta": "Height of the wave",
        "beta1": "Beta 1",
        "beta2": "Beta 2",
        "gpus": "GPUs",
        "cpus": "Processors",
        "memory_gb": "Memory in GB",
        "minutes": "Time limit in minutes",
        "at_once": "Runs at the same time",
        "sbatch": "More options of sbatch",
        "grad_cam": "GradCAM",
        "rollout": "Attention rollout",
        "gradient_rollout": "Gradient rollout",
    }
    if name not in known and " " in name:  # a variant: a name, and what is different
        own, _, different = name.partition(" ")
        return f"{to_label(own)}, {different}"
    return known.get(name) or name.replace("_", " ").replace("-", " ").capitalize()


def defense_name(config: Mapping[str, Any]) -> str:
    """Return the name of a run's defence with the parameters that are not at their defaults, `NO_DEFENSE` for none.

    A rebound test is no defence: it goes by the one that it follows, so that its figures never count as those of the
    plain finetuning that it does.
    """
    if rebound := config.get("rebound"):
        after = (rebound.get("after") or {}).get("name", "no_defence")
        return f"{after} then rebound ({rebound.get('steps')} steps)"
    name = str((config.get("defense") or {}).get("name", NO_DEFENSE))
    different = (_parameter(key, value) for key, value in (config.get("variant") or {}).items())
    return " ".join((name, ", ".join(different))).rstrip()


def _parameter(key: str, value: Any) -> str:
    """Return a parameter that is not at its default, as the tables name it."""
    if key == "share":
        return f"K {100 * value:g} %"
    name = key.replace("_", " ")
    return f"{'with' if value else 'without'} {name}" if isinstance(value, bool) else f"{name} {value}"


def to_defense_label(name: str) -> str:
    """Return a defence's name, or `NO_DEFENSE`, in words."""
    return "No defence" if name == NO_DEFENSE else to_label(name)


def to_attack_label(name: str | None) -> str:
    """Return a trigger's name, None or `UNKNOWN_ATTACK` in words."""
    return "Unknown trigger" if name in (None, UNKNOWN_ATTACK) else to_label(str(name))
