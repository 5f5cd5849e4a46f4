"""The result of an audit: verdict, page and exit status follow the evidence and the references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cleaner.audit import report
from cleaner.audit.evidence import Scores
from cleaner.audit.population import describe_subject, find_population
from cleaner.audit.report import audit, render_html
from cleaner.audit.result import NOT_TESTABLE, NOTHING, SUSPICIOUS
from cleaner.data.base import CaptionData
from cleaner.files import write_json
from cleaner.models.clip import Clip
from tests.audit.conftest import make_evidence, make_population

Population = dict[str, Any]


@pytest.fixture
def population(tiny_clip: Clip, toy_data: CaptionData, references: list[Scores]) -> Population:
    provenance = {"base": "tiny", "commit": "c", "command": "x"}
    return provenance | describe_subject(tiny_clip, toy_data) | make_population(references)


@pytest.mark.parametrize(
    ("rise", "models", "verdict"), [(0.9, 19, SUSPICIOUS), (0.02, 19, NOTHING), (0.9, 18, NOT_TESTABLE)]
)
def test_verdict(
    rise: float,
    models: int,
    verdict: str,
    tiny_clip: Clip,
    toy_data: CaptionData,
    population: Population,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "run_tests", lambda *_: make_evidence(toy_data, rise))
    result = audit(tiny_clip, toy_data, population | {"models": population["models"][:models]})
    assert result["verdict"] == verdict
    assert result["references"]["n"] == models
    assert result["findings"][-1]["class_name"] == toy_data.class_names[1]
    (row,) = result["interfaces"]  # without an inverted trigger
    assert 0 <= row["uses"]["Zero-shot"][0] <= 1
    page = render_html(result | {"detection": {}}, "<script>file.pt")
    assert "&lt;script&gt;file.pt" in page
    assert "<script" not in page
    assert " safe" not in page.lower().replace("safetensors", "")
    assert "Not measured." in page  # how often it finds a backdoor, unless a zoo was audited
    assert ("--reference CLEAN_MODEL" in page) == (verdict == NOT_TESTABLE)
    found = {"found": {"badclip": [0, 3], "badnet": [2, 3]}, "false_alarms": [1, 20], "models": ["tiny"]}
    page = render_html(result | {"detection": found}, "file.pt")
    assert ("they miss 3 of 3 with BadCLIP, 1 of 3 with BadNet patch." in page) == (
        verdict == NOTHING
    )  # before anything else
    assert "<td>2 of 3" in page


def test_a_population_is_used_for_its_own_architecture_images_and_classes_alone(
    tiny_clip: Clip, toy_data: CaptionData, population: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    assert find_population(tiny_clip, toy_data) == {}
    write_json(tmp_path / "audit" / "small.json", population | {"models": population["models"][:3]})
    write_json(tmp_path / "audit" / "large.json", population)
    assert len(find_population(tiny_clip, toy_data)["models"]) == 19
    assert find_population(tiny_clip, toy_data.subset(range(4))) == {}
