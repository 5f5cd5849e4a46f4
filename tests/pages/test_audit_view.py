"""Audit on Trigger search: verdict, removal of what was found, and the audit of the cleaned model beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cleaner.attacks import TRIGGERS
from cleaner.audit.result import locate_audit, store_audit
from cleaner.data.images import encode_png
from cleaner.method import Training
from cleaner.presets import settings_for
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.detect import audit_view
from tests.attacks.test_inverted import make_layers
from tests.pages.conftest import OpenPage, errors, finish_work, page_text, press, table, wait_for_training, widget_keys
from tests.pages.runs import make_runs


def make_result(verdict: str, asr: float, earlier: bool = False) -> dict[str, Any]:
    """Return an audit that found a patch."""
    finding = {"test": "Both tests", "name": "badnet", "class_name": "cup", "distance": 17.0}
    finding |= {"largest_reference": 3.0, "p": 0.025}
    row = {"trigger": "badnet", "class_name": "cup", "ca": 0.9, "n": 600, "uses": {"Zero-shot": [asr, 0.02]}}
    row["uses"]["Linear probe"] = None
    return {
        "verdict": verdict,
        "findings": [finding],
        "false_alarm_rate": 0.05,
        "references": {"n": 39, "base": "scenes-rn", "commit": "c", "text_version": 1, "command": "x"},
        "known_triggers": [
            {"trigger": "badnet", "class_name": "cup", "before": 0.1, "after": 0.9, "usual": 0.1, "n": 9}
        ],
        "settings_tried": 510,
        "inversion": {"png": encode_png(make_layers()), "suspect": "cup", "classes": {"cup": 0.1, "cat": 0.2}},
        "interfaces": [{**row, "trigger": "found before: badnet"}] * earlier + [row],
        "trigger": {"label": "badnet", "class_name": "cup", "state": TRIGGERS["badnet"]().state_dict()},
        "detection": {
            "split": "sealed",
            "found": {"badclip": [0, 4]},
            "false_alarms": [1, 20],
            "models": ["scenes-lite"],
        },
        "data": {"name": "scenes/test", "n": 600, "source": "scenes"},
        "model": {"name": "scenes-rn", "weights_sha256": "0" * 64, "description": []},
    }


def test_a_finding_is_removed_and_the_model_audited_again(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked, _ = make_runs(tmp_path)
    calls: list[tuple[Any, ...]] = []

    def find(*arguments: Any) -> None:
        calls.append(arguments[:4])
        is_first = arguments[3] is None
        store_audit(
            make_result("suspicious" if is_first else "nothing found", 0.95 if is_first else 0.02, not is_first),
            arguments[2],
        )

    def shorten(*names: str) -> Training:
        training = settings_for(*names)
        return replace(training, pairs=64, finetune=replace(training.finetune, epochs=1))

    monkeypatch.setattr(cache, "make_audit", find)
    monkeypatch.setattr(audit_view, "settings_for", shorten)
    app = open_page("Trigger search")
    assert "search.audit.remove" not in widget_keys(app)
    finish_work(press(app, "search.audit.go"))
    assert calls == [(("run", str(attacked)), "scenes", locate_audit(attacked), None)]
    assert "Suspicious. The class cup" in errors(app)[0].replace("**", "")
    assert table(app, "Stands out most")["Class"].tolist() == ["cup"]
    assert table(app, "Use")["With"].tolist() == [95]
    assert "BadCLIP 0 of 4; false alarms: 1 of 20" in page_text(app)

    press(app, "search.audit.remove")
    (folder,) = [path for path in (tmp_path / "runs").iterdir() if "defended" not in path.name and path != attacked]
    config = json.loads((folder / "config.json").read_text())
    assert json.loads(config["defense"]["known"]) == TRIGGERS["badnet"]().state_dict()
    assert config["parent"] == attacked.name
    wait_for_training(app)
    assert not app.exception

    finish_work(press(app, "search.audit.again"))
    assert calls[-1] == (("run", str(folder)), "scenes", locate_audit(folder), locate_audit(attacked))
    after = app.table[0].value
    assert after.loc["Verdict"].tolist() == ["suspicious", "nothing found"]
    assert after.loc["Zero-shot: reaches cup with the found trigger"].tolist() == ["95.0%", "2.0%"]


def test_a_model_that_cannot_be_tested_ends_in_one_sentence(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)

    def refuse(*arguments: Any) -> None:
        raise CleanerError("not testable: no references.")

    monkeypatch.setattr(cache, "make_audit", refuse)
    app = open_page("Trigger search")
    finish_work(press(app, "search.audit.go"))
    assert errors(app) == ["Not testable: no references."]
    assert "search.audit.remove" not in widget_keys(app)
