"""From a finding to its removal: what an audit found is stored, unlearned, and tried again on the cleaned model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cleaner.attacks.base import TRIGGERS
from cleaner.audit import report, result
from cleaner.audit.population import choose_images, describe_subject
from cleaner.audit.report import audit, load_found
from cleaner.audit.result import is_removal, locate_audit, read_audit, removal_settings, store_audit
from cleaner.data.base import TensorData
from cleaner.data.images import encode_png
from cleaner.defenses import DEFENSES
from cleaner.files import write_json
from cleaner.models.clip import Clip
from cleaner.types import CleanerError
from tests.attacks.test_inverted import make_layers
from tests.audit.conftest import make_evidence, make_population


def make_result(tmp_path: Path, is_known: bool) -> dict[str, Any]:
    state = TRIGGERS["wanet"]().state_dict() if is_known else None
    trigger = {"label": "wanet" if is_known else "inverted", "class_name": "cup", "state": state}
    found = {"verdict": "suspicious", "trigger": trigger, "inversion": {"png": encode_png(make_layers())}}
    store_audit(found, tmp_path)
    stored = read_audit(tmp_path)
    assert stored == found
    return stored


@pytest.mark.parametrize("is_known", [True, False])
def test_the_found_trigger_is_the_one_that_is_unlearned(tmp_path: Path, is_known: bool) -> None:
    found = make_result(tmp_path, is_known)
    label, trigger, name = load_found(tmp_path)
    assert (label, name) == (f"found before: {found['trigger']['label']}", "cup")
    images = torch.rand(40, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    removal = DEFENSES["unlearn_trigger"](**removal_settings(found), triggered_share=1.0)
    assert not removal.needs_inversion
    assert torch.equal(removal.perturb(images, 0, 0, range(40)), trigger(images))
    config = {"defense": {**removal.state_dict()}}
    assert is_removal(config, found)
    assert not is_removal(config, make_result(tmp_path, not is_known))
    assert not is_removal({"defense": {"name": "finetune"}}, found)


def test_without_an_audit_its_trigger_cannot_be_tried_again(tmp_path: Path) -> None:
    assert read_audit(locate_audit(tmp_path)) is None
    with pytest.raises(CleanerError, match="repeat it"):
        load_found(tmp_path)


def test_a_cleaned_model_is_tried_with_the_trigger_found_before(
    tiny_clip: Clip, toy_data: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "run_tests", lambda *_: make_evidence(toy_data, 0.9))
    first = audit(tiny_clip, toy_data, {})
    assert first["trigger"] == {
        "label": "badnet",
        "class_name": toy_data.class_names[1],
        "state": TRIGGERS["badnet"]().state_dict(),
    }
    store_audit(first, tmp_path)
    again = audit(tiny_clip, toy_data, {}, earlier=[load_found(tmp_path)])
    earlier, same = again["interfaces"]
    assert earlier["trigger"] == "found before: badnet"
    assert earlier["uses"] == same["uses"]


def test_images_are_those_of_the_references(
    tiny_clip: Clip, toy_data: TensorData, references: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    own = toy_data.subset(range(6))
    data = {"photos": own, "scenes": toy_data}
    with pytest.raises(CleanerError, match="--reference") as error:
        choose_images(tiny_clip, "photos", data.__getitem__)
    assert str(error.value).count(". ") == 1  # what is missing, and the remedy
    population = {"base": "tiny", **describe_subject(tiny_clip, toy_data), **make_population(references)}
    write_json(tmp_path / "audit" / "tiny.json", population)
    name, images, found = choose_images(tiny_clip, "photos", data.__getitem__)
    assert (name, len(images), len(found["models"])) == ("scenes", len(toy_data), 19)

    def refuse(name: str) -> TensorData:
        if name == "photos":
            raise CleanerError("no class names")
        return data[name]

    assert choose_images(tiny_clip, "photos", refuse)[0] == "scenes"
    write_json(tmp_path / "audit" / "own.json", population | describe_subject(tiny_clip, own))
    assert choose_images(tiny_clip, "photos", data.__getitem__)[0] == "photos"


def test_every_verdict_says_what_it_means() -> None:
    found: dict[str, Any] = {
        "references": {"n": 39},
        "false_alarm_rate": 0.05,
        "findings": [{"class_name": "cup"}],
        "detection": {"found": {"badclip": [0, 2], "badnet": [2, 2]}},
    }
    meanings = {verdict: result.describe_verdict(found | {"verdict": verdict}) for verdict in report.EXIT_CODES}
    assert "cup" in meanings[result.SUSPICIOUS]
    assert "not a proof" in meanings[result.SUSPICIOUS]
    assert "they miss 2 of 2 with BadCLIP." in meanings[result.NOTHING]
    assert "--reference" in meanings[result.NOT_TESTABLE]
