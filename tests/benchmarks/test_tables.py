"""Tables of README.md and docs/: they show the result files, with mean, range, interval, protocol and notes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tables
from benchmarks.markdown import asset_tables, comparison, size_tables, text_tables, timing_tables
from cleaner.evaluation.evaluate import Metrics
from cleaner.files import write_json
from tests.benchmarks.result_files import write_result

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


def test_the_table_of_text_triggers_states_how_each_attack_was_poisoned(tmp_path: Path) -> None:
    longer = make_row(None, 0, 0.9) | {"trigger": "input_aware"}
    longer["config"]["finetune"]["epochs"] = 20
    rows = [row | {"device": "cpu", "commit": "abc"} for row in (make_row(None, 0, 0.9), longer)]
    write_result(tmp_path, "text_triggers.json", rows=rows)
    text = text_tables.text_triggers(tmp_path)
    for trigger, schedule in (("badnet", "10 epochs, 310 steps"), ("input_aware", "20 epochs, 620 steps")):
        assert f"`{trigger}`: 2% of 2,000 pairs, batch 64, {schedule}, lr 0.0001" in text


def test_step_lists_every_method_and_the_settings(tmp_path: Path) -> None:
    row = {"method": "cleanclip", "seconds": 0.4, "bare_seconds": 0.36, "of_bare_rate": 0.9, "over_cleanclip": 1.0}
    rows = [row, row | {"method": "par", "of_bare_rate": 0.7}]
    model = {"model": "rn", "rows": rows, "classifier": [{"classes": 10, "seconds": 0.01}]}
    model |= {"preparation": {"EDA": 1.25}}
    settings = {"batch_size": 64, "precision": "fp32", "threads": 2, "rounds": 3, "steps": 8, "peak_mb": 1500}
    times = {"models": [model], "clock": "wall", "texts_of_an_epoch": [{"pairs": 1000, "seconds": 0.1}]}
    write_result(tmp_path, "step.json", **settings, **times)
    text = timing_tables.step(tmp_path)
    assert "| `rn` | cleanclip | 0.400 | 0.360 | 0.90 | 1.00 |" in text
    for part in ("Batch 64, fp32, 2 thread(s), wall time", "3 interleaved rounds", "1.50 GB", "commit abc"):
        assert part in text
    assert "EDA 1.2 ms" in text
    assert "Lowest share over all 2 methods timed: `rn` 0.70 (par)" in text


def test_rival_lists_every_number_of_loader_processes(tmp_path: Path) -> None:
    times = {"published_seconds": {"0": 0.3, "2": 0.2}, "seconds": {"auto": 0.1, "fp32": 0.15}}
    model = {"model": "rn", "of_published": {"auto": 0.5, "fp32": 0.75}, **times}
    settings = {"batch_size": 64, "precision": "bf16", "threads": 2, "rounds": 3, "steps": 40, "warmup_steps": 10}
    write_result(tmp_path, "rival.json", models=[model], **settings)
    text = timing_tables.rival(tmp_path)
    assert "| `rn` | 300 ms | 200 ms | 100 ms | 0.50 | 150 ms | 0.75 |" in text
    assert "3 rounds in turn, 40 steps each after 10 steps of warm-up" in text


def test_full_size_lists_both_visits_and_the_memory(tmp_path: Path) -> None:
    evaluated = {"step": "evaluate", "n": 214, "classes": 998, "templates": 7, "peak_mb": 1600.0}
    steps = [evaluated | {"cache": "first", "seconds": 64.41}, evaluated | {"cache": "second", "seconds": 8.12}]
    tried = {"step": "try", "warm": 0.36, "peak_mb": 1650.0}
    steps += [tried | {"cache": "first", "seconds": 8.4}, tried | {"cache": "second", "seconds": 8.3}]
    pages = [
        {"page": "start", "seconds": 0.0, "server_mb": 600.0},
        {"page": "Embeddings", "seconds": 6.9, "server_mb": 1646.2},
    ]
    write_result(tmp_path, "full_size.json", model="ViT-B-32", steps=steps, pages=pages)
    text = size_tables.full_size(tmp_path)
    assert "| zero-shot evaluation, 214 photos, 998 classes, 7 prompts each | 64.4 | 8.1 |" in text
    assert "| Embeddings | 6.9 | 1,646 |" in text
    assert "A further image in Try it: 0.4 s. Peak memory of a new process: 1,650 MB" in text
    assert "start |" not in text


def test_model_cards_are_listed_with_intervals(tmp_path: Path) -> None:
    card = {"model": "rn", "parameters": 2_500_000, "zero_shot_ca": 0.9, "zero_shot_interval": [0.88, 0.92], "n": 1000}
    card |= {"pairs": 5000, "steps": 300, "seconds": 3600, "teacher": "", "finetune": {"seed": 7}}
    write_json(tmp_path / "assets" / "rn" / "card.json", card)
    text = asset_tables.models(tmp_path)
    assert "| `rn` | 2.5 M | 0.900 [0.880, 0.920] | - | - | 5,000 | 300 | 1.0 | 7 |" in text
    assert "On 1,000 labeled test images of Scenes;" in text
    other = card | {"model": "photos", "data": "cifar10/train", "n": 10_000}
    write_json(tmp_path / "assets" / "photos" / "card.json", other)
    assert "10,000 labeled test images of CIFAR-10 photos" in asset_tables.models(tmp_path)
