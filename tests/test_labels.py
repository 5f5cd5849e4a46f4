"""Labels: identifiers in words, without importing what they name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cleaner.config import FinetuneConfig, parameters
from cleaner.jobs.slurm import SlurmResources
from cleaner.labels import (
    FLAGGED_DEFENSE,
    STAGE_LABELS,
    defense_name,
    format_count,
    state_label,
    to_defense_label,
    to_label,
)

pytestmark = pytest.mark.quick

CLEANER = Path(__file__).resolve().parents[1] / "cleaner"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("badnet", "BadNet patch"),
        ("ta_cleaner", "TA-Cleaner"),
        ("grad_cam", "GradCAM"),
        ("ta_cleaner K 100 %", "TA-Cleaner, K 100%"),
        ("ta_cleaner then rebound (3 steps)", "TA-Cleaner, then rebound (3 steps)"),
        ("finetune then ta_cleaner K 100 %", "Plain finetuning, then TA-Cleaner, K 100%"),
        ("par then cleanclip then rebound (3 steps)", "PAR, then CleanCLIP, then rebound (3 steps)"),
        ("ta_cleaner without text to text, held out verb", "TA-Cleaner, without text to text, held out verb"),
        ("in_modal_loss", "In-modal loss"),
        ("blend_ratio", "Blend ratio"),
        ("retrained detector clip_score, flagged 8", "Retrained, detector CLIP score, flagged 8"),
        ("without_flagged_pairs detector clip_score, flagged 1800", "Without 1,800 flagged pairs (CLIP score)"),
        ("without_flagged_pairs detector clip_score, flagged 1", "Without 1 flagged pair (CLIP score)"),
        ("scenes-rn", "Scenes rn"),
    ],
)
def test_identifier_becomes_words(name: str, label: str) -> None:
    assert to_label(name) == label


def test_labels_are_found_without_importing_the_classes() -> None:
    code = "import sys; from cleaner.labels import to_label; print(to_label('sig'), 'torch' in sys.modules)"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Sine wave (SIG) False"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({}, "none"),
        ({"defense": {"name": "par"}}, "par"),
        ({"defense": {"name": "ta_cleaner"}, "variant": {"share": 1.0}}, "ta_cleaner K 100 %"),
        (
            {"defense": {"name": "ta_cleaner"}, "variant": {"text_to_text": False, "held_out": "verb"}},
            "ta_cleaner without text to text, held out verb",
        ),
        (
            {"defense": {"name": "finetune"}, "rebound": {"after": {"name": "par"}, "steps": 3}},
            "par then rebound (3 steps)",
        ),
        ({"defense": {"name": "finetune"}, "rebound": {"steps": 3}}, "no_defense then rebound (3 steps)"),
        (
            {"rebound": {"after": {"name": "ta_cleaner"}, "steps": 3}, "suspect": {"variant": {"share": 1.0}}},
            "ta_cleaner K 100 % then rebound (3 steps)",
        ),
        (
            {
                "defense": {"name": "ta_cleaner"},
                "variant": {"share": 1.0},
                "data_options": {"clean_captions": "mixed", "seed": 3},
            },
            "ta_cleaner K 100 %, mixed captions",
        ),
        (
            {
                "rebound": {"after": {"name": "cleanclip"}, "steps": 3},
                "suspect": {"data_options": {"clean_captions": "mixed"}},
            },
            "cleanclip mixed captions then rebound (3 steps)",
        ),
        (
            {"defense": {"name": "par"}, "suspect": {"stage": "defended", "defense": {"name": "finetune"}}},
            "finetune then par",
        ),
        ({"defense": {"name": "par"}, "suspect": {"stage": "backdoored"}}, "par"),
        ({"data_options": {"clean_captions": "mixed"}}, "none"),
        ({"defense": {"name": "par"}, "data_options": {"captions": "mixed"}}, "par mixed captions"),
        ({"defense": {"name": "par"}, "data_options": {"captions": "mixed", "clean_captions": "full"}}, "par"),
        (
            {"defense": {"name": FLAGGED_DEFENSE}, "data_options": {"clean_captions": "mixed"}},
            FLAGGED_DEFENSE,
        ),
    ],
)
def test_defense_name_has_the_changed_parameters(config: dict[str, Any], name: str) -> None:
    assert defense_name(config) == name


def test_no_defense_has_a_label() -> None:
    assert to_defense_label("none") == "Backdoored"
    assert to_defense_label("cleanclip") == "CleanCLIP"


def test_parameters_have_their_own_labels() -> None:
    labels = {p.name: p.label for cls in (FinetuneConfig, SlurmResources) for p in parameters(cls)}
    expected = {"lr": "Learning rate", "beta1": "Beta 1", "gpus": "GPUs", "memory_gb": "Memory in GB", "seed": "Seed"}
    assert {name: labels[name] for name in expected} == expected


def test_every_stage_that_is_reported_has_a_label() -> None:
    sources = "".join(path.read_text("utf-8") for path in CLEANER.rglob("*.py"))
    stages = re.findall(r'start_progress\([\w.]+, "([^"]+)"|StepReport\("([^"]+)"|\bstage: str = "([^"]+)"', sources)
    reported = {stage for groups in stages for stage in groups if stage}
    assert {"evaluate", "images", "render", "defend"} <= reported
    assert reported <= STAGE_LABELS.keys()


def test_states_read_as_words() -> None:
    states = ("new", "running", "cancelled", "died")
    assert [state_label(state) for state in states] == ["not started", "running", "canceled", "stopped"]


def test_one_of_a_kind_is_singular() -> None:
    assert format_count(1, "pairs") == "1 pair"
    assert format_count(1, "classes") == "1 class"
    assert format_count(1, "defenses") == "1 defense"
    assert format_count(6000, "pairs") == "6,000 pairs"
