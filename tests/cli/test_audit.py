"""The command audit: files and exit status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cleaner.__main__ import main
from cleaner.audit import population, report
from cleaner.cli import audit
from cleaner.data.base import CaptionData
from cleaner.files import read_json
from tests.audit.conftest import make_evidence, make_population


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits of 40 images without tests, compared with 19 clean models."""

    def find(_: Any, data: CaptionData) -> dict[str, Any]:
        return {"base": "m"} | make_population([make_evidence(data, 0.01 * i).scores for i in range(19)])

    monkeypatch.setattr(audit, "IMAGES", 40)
    monkeypatch.setattr(population, "find_population", find)
    monkeypatch.chdir(tmp_path)


def run(model: str, *options: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["audit", model, *options])
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.mark.parametrize(("rise", "status"), [(0.95, 1), (0.05, 0)])
def test_the_exit_status_is_the_verdict(
    rise: float, status: int, tiny_model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "run_tests", lambda _, data, __: make_evidence(data, rise))
    assert run(tiny_model) == status
    result = read_json(Path("audit.json"))
    assert result["findings"][-1]["p"] == pytest.approx(1 / 20 if status else 0.75, abs=0.25 * (1 - status))
    assert result["model"]["weights_sha256"] in Path("audit.html").read_text()
    assert result["file"].startswith(tiny_model)
    assert result["verdict"] in capsys.readouterr().out


def test_without_clean_models_it_is_not_testable(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "run_tests", lambda _, data, __: make_evidence(data, 0.95))
    monkeypatch.setattr(population, "find_population", lambda *_: {})
    assert run(tiny_model, "--out", "mine.html") == 2
    assert "Not testable" in Path("mine.html").read_text()


def test_bad_input_is_answered_with_the_remedy(tiny_model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", tiny_model, "--references", "18"]) == 2
    assert "at least 19" in capsys.readouterr().err
    assert main(["audit", tiny_model, "--out", "audit.txt"]) == 2
    assert ".html" in capsys.readouterr().err
