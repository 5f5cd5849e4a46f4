"""Labels: identifiers in words, without importing what they name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cleaner.config import FinetuneConfig, parameters
from cleaner.jobs.slurm import SlurmResources
from cleaner.labels import (
    STAGE_LABELS,
    format_count,
    state_label,
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
        ("in_modal_loss", "In-modal loss"),
        ("blend_ratio", "Blend ratio"),
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
