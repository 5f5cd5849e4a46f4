"""Tables of README.md and docs/: they show the result files, with mean, range, interval, protocol and notes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tables
from benchmarks.markdown import comparison
from cleaner.evaluation.evaluate import Metrics

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_pages_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.render(text) == text, "run make tables"
    assert not re.search(r"\d %", re.sub(r"<!--.*?-->", "", text))


METRICS = Metrics(
    ca={1: 0.9, 3: 0.95},
    n=1000,
    classes=32,
    data="scenes/test",
    target_class="banana",
    asr={1: 0.25, 3: 0.5},
    ra={1: 0.7, 3: 0.8},
    base_rate={1: 0.01, 3: 0.1},
    n_attack=960,
    asr_clean_model={1: 0.02, 3: 0.1},
    counterfactual_accuracy=0.8,
    n_counterfactual=100,
)


def make_row(defense: str | None, seed: int, ca: float) -> dict[str, Any]:
    config: dict[str, Any] = {
        "pairs": 2000,
        "finetune": {"lr": 1e-4, "epochs": 10, "batch_size": 64, "augmentation": "autoaugment"},
    }
    if defense is None:
        config["poison_rate"] = 0.02
    metrics = replace(METRICS, ca={1: ca, 3: 0.95}).to_dict()
    entry = {
        "model": "scenes-rn",
        "trigger": "badnet",
        "defense": defense,
        "seed": seed,
        "seconds": 30.0,
        "cpu_seconds": 50.0,
        "metrics": metrics,
        "config": config,
    }
    return dict(json.loads(json.dumps(entry)))


def test_every_table_is_on_one_page() -> None:
    names = [match[2] for page in tables.PAGES for match in tables.TABLE_BLOCK.finditer(page.read_text("utf-8"))]
    assert sorted(names) == sorted(tables.TABLES)


def test_check_reports_a_page_that_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table:headline -->\nold\n<!-- /table -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(tables, "PAGES", (page,))
    assert tables.main(tables.Options(check=True)) == 1
    assert "page.md" in capsys.readouterr().err
    assert "\nold\n" in page.read_text("utf-8")
    assert tables.main(tables.Options()) == 0
    text = page.read_text("utf-8")
    assert text.startswith("before\n<!-- table:headline -->\n")
    assert text.endswith("\n<!-- /table -->\nafter\n")
    assert "\nold\n" not in text
    assert tables.main(tables.Options(check=True)) == 0


def test_every_attack_weighs_the_same_in_the_summary() -> None:
    rows = [make_row("finetune", seed, 0.9) for seed in (0, 1, 2)] + [make_row(None, 0, 0.9)]
    rows += [make_row(name, 0, ca) | {"trigger": "sig"} for name, ca in ((None, 0.8), ("finetune", 0.5))]
    text = comparison.format_summary([row | {"device": "cpu", "commit": "abc"} for row in rows], "python -m x")
    assert "cpu; commit abc; `python -m x`." in text
    assert "| finetune | 2 | 0.700 |" in text
    assert "| floor: never poisoned |  |  |  | 0.020 | 0.020 |" in text
