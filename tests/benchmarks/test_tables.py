"""Tables of README.md and docs/: they show the result files, with mean, range, interval, protocol and notes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tables
from benchmarks.markdown import asset_tables, result_tables, size_tables, text_tables, timing_tables
from cleaner.evaluation.evaluate import Metrics
from cleaner.files import write_json
from tests.benchmarks.result_files import write_result


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_pages_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.render(text) == text, "run make tables"
    assert not re.search(r"\d %", text)


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
    page.write_text("before\n<!-- table:demo -->\nold\n<!-- /table -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(tables, "PAGES", (page,))
    assert tables.main(tables.Options(check=True)) == 1
    assert "page.md" in capsys.readouterr().err
    assert "\nold\n" in page.read_text("utf-8")
    assert tables.main(tables.Options()) == 0
    text = page.read_text("utf-8")
    assert text.startswith("before\n<!-- table:demo -->\n")
    assert text.endswith("\n<!-- /table -->\nafter\n")
    assert "\nold\n" not in text
    assert tables.main(tables.Options(check=True)) == 0


def write_cells(root: Path, rows: list[dict[str, Any]], *lost: list[str]) -> None:
    """Write the table of attack x defense; `lost`: (model, method) pairs that lost more accuracy than the budget."""
    write_result(root, "attack_defense.json", rows=rows)
    write_result(root, "learning_rates.json", lost_accuracy=lost)


def test_one_seed_is_shown_with_its_wilson_interval(tmp_path: Path) -> None:
    write_cells(tmp_path, [make_row(None, 0, 0.9), make_row("ta_cleaner", 0, 0.8)])
    text = result_tables.attack_defense(tmp_path)
    low, high = METRICS.interval("ca")
    assert f"| none (backdoored) | 0.900 [{low:.3f}, {high:.3f}] |" in text
    for part in (
        "Wilson",
        "`non_target`",
        "n 1,000",
        "960 triggered images",
        "310 steps",
        "Seed 0",
        "ta_cleaner 0.0001",
        "cpu, 2 cores",
        "commit abc",
        "2% of 2,000 pairs",
    ):
        assert part in text


def test_the_table_of_text_triggers_states_how_each_attack_was_poisoned(tmp_path: Path) -> None:
    longer = make_row(None, 0, 0.9) | {"trigger": "input_aware"}
    longer["config"]["finetune"]["epochs"] = 20
    rows = [row | {"device": "cpu", "commit": "abc"} for row in (make_row(None, 0, 0.9), longer)]
    write_result(tmp_path, "text_triggers.json", rows=rows)
    text = text_tables.text_triggers(tmp_path)
    for trigger, schedule in (("badnet", "10 epochs, 310 steps"), ("input_aware", "20 epochs, 620 steps")):
        assert f"`{trigger}`: 2% of 2,000 pairs, batch 64, {schedule}, lr 0.0001" in text


def test_a_caption_states_the_precision_that_rows_record(tmp_path: Path) -> None:
    rows = [make_row("finetune", seed, 0.8) | {"device": "cpu"} for seed in (0, 1)]
    rows[1]["precision"] = "bf16"
    write_cells(tmp_path, rows)
    assert "cpu / cpu, bf16; commit" in result_tables.attack_defense(tmp_path)


def test_caption_names_the_backdoored_models_by_hash(tmp_path: Path) -> None:
    rows = [make_row(None, 0, 0.9), make_row("finetune", 0, 0.8), make_row("par", 0, 0.7), make_row("finetune", 1, 0.7)]
    write_cells(tmp_path / "old", rows)
    assert "SHA-256" not in result_tables.attack_defense(tmp_path / "old")
    for row, digest in zip(rows[1:], ("a" * 64, "b" * 64, "c" * 64), strict=True):
        row["suspect_sha256"] = digest
    write_cells(tmp_path / "new", rows)
    text = result_tables.attack_defense(tmp_path / "new")
    assert "SHA-256: seed 0 aaaaaaaa / bbbbbbbb; seed 1 cccccccc; not recorded in 1 older rows." in text


def test_several_seeds_are_shown_as_mean_minimum_maximum(tmp_path: Path) -> None:
    write_cells(tmp_path, [make_row("finetune", seed, ca) for seed, ca in enumerate((0.7, 0.8, 0.9))])
    text = result_tables.attack_defense(tmp_path)
    assert "| finetune | 0.800 [0.700, 0.900] |" in text
    assert "minimum, maximum" in text
    assert "Seeds 0, 1, 2" in text


def test_caption_names_every_protocol_of_the_rows(tmp_path: Path) -> None:
    other = make_row("finetune", 0, 0.8)
    other["metrics"] |= {"protocol": "all_images", "n_attack": 1000}
    write_cells(tmp_path, [make_row(None, 0, 0.9), other])
    for text in (result_tables.attack_defense(tmp_path), result_tables.at_a_glance(tmp_path)):
        assert "Protocol `non_target`" in text
        assert "1,000 triggered images" in text
        assert "Protocol `all_images`" in text


def test_a_method_that_lost_accuracy_is_marked(tmp_path: Path) -> None:
    write_cells(tmp_path, [make_row("cleanclip", 0, 0.5)], ["scenes-rn", "cleanclip"])
    assert "cleanclip †" in result_tables.attack_defense(tmp_path)


def test_rates_are_listed_with_the_chosen_one_in_bold(tmp_path: Path) -> None:
    def trial(defense: str, lr: float, **more: float) -> dict[str, object]:
        return {
            "model": "scenes-rn",
            "defense": defense,
            "lr": lr,
            "clean_pairs": 6000,
            "epochs": 7,
            "n": 5444,
            "backdoored_ca": 0.989,
            "commit": "abc",
            **more,
        }

    trials = [
        trial("finetune", 1e-3, ca=0.9),
        trial("finetune", 3e-4, ca=0.98, asr=0.5, n_attack=5263),
        trial("par", 1e-3, ca=0.8),
        trial("par", 3e-4, ca=0.85),
        trial("par", 1e-4, ca=0.84),
        trial("par", 3e-3, ca=0.99),  # outside the grid
        {**trial("finetune", 1e-4, ca=0.7), "epochs": 20},  # of an earlier comparison
    ]
    rates = {
        "grid": [1e-4, 3e-4, 1e-3],
        "clean_pairs": 6000,
        "epochs": 7,
        "split": "scenes/validation",
        "budget": 0.02,
        "seeds": [0],
        "chosen": {"scenes-rn": {"finetune": 3e-4, "par": 3e-4}},
        "lost_accuracy": [["scenes-rn", "par"]],
        "trials": trials,
    }
    write_result(tmp_path, "learning_rates.json", **rates)
    text = result_tables.learning_rates(tmp_path)
    assert "| finetune | 0.900 | **0.980 / 0.500** | - |" in text
    assert "| par † | 0.800 | **0.850** | 0.840 |" in text


def test_followup_columns_appear_where_they_were_measured(tmp_path: Path) -> None:
    with_rebound = make_row("finetune", 1, 0.9) | {"transfer": {"scenes-night": {"ca": 0.3, "n": 1014}}}
    with_rebound["rebound"] = {"steps": 186, "lr": 3e-4, "metrics": METRICS.to_dict()}
    slower = make_row("ta_cleaner", 1, 0.8) | {"cpu_seconds": 125.0}
    slower["transfer"] = {"scenes-night": {"ca": 0.2, "n": 1014}}
    write_cells(tmp_path, [make_row(None, 0, 0.9), make_row("finetune", 0, 0.9), with_rebound, slower])
    text = result_tables.attack_defense(tmp_path)
    assert "| rebound ASR@1 | CA `scenes-night` | CPU seconds | x finetune |" in text
    lines = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert lines["| none (backdoored)"].endswith("| - | - | 50 | - |")
    assert lines["| finetune"].endswith("| 0.250 | 0.300 | 50 | 1.0 |")
    assert lines["| ta_cleaner"].endswith("| - | 0.200 | 125 | 2.5 |")
    assert "`scenes-night`: n 1,014 for CA; mean over seeds." in text


def test_summary_of_all_attacks(tmp_path: Path) -> None:
    rows = [make_row(None, 0, 0.9), make_row(None, 0, 0.8) | {"trigger": "sig"}, make_row("finetune", 0, 0.7)]
    other = make_row("finetune", 1, 0.5)
    other["metrics"]["asr"] = {"1": 0.75, "3": 0.8}
    write_cells(tmp_path, [*rows, other, make_row("ta_cleaner K 5 %", 0, 0.1)])
    text = result_tables.at_a_glance(tmp_path)
    assert "| none (backdoored) | 2 | 0.850 | 0.800 | 0.250 | 0.250 |" in text
    assert "| finetune | 1 | 0.600 | 0.800 | 0.500 [0.250, 0.750] | - |" in text
    assert "| floor: never poisoned |  |  |  | 0.020 | 0.020 |" in text
    assert "K 5 %" not in text


def test_an_attack_of_several_seeds_weighs_no_more_than_one_of_a_single_seed(tmp_path: Path) -> None:
    rows = [make_row("finetune", seed, 0.9) for seed in (0, 1, 2)]
    write_cells(
        tmp_path,
        [make_row(None, 0, 0.9), *rows, make_row("finetune", 0, 0.5) | {"trigger": "sig"}],
    )
    assert "| finetune | 2 | 0.700 |" in result_tables.at_a_glance(tmp_path)


def test_caption_names_methods_with_fewer_seeds(tmp_path: Path) -> None:
    rows = [make_row("finetune", 0, 0.9), make_row("finetune", 1, 0.9), make_row("par", 0, 0.8)]
    write_cells(tmp_path, [make_row(None, 0, 0.9), make_row(None, 1, 0.9), *rows])
    text = result_tables.attack_defense(tmp_path)
    assert "one seed with its 95% Wilson interval: par (seed 0)." in text


def test_other_triggers_have_one_row_each(tmp_path: Path) -> None:
    trigger = {"name": "patch_image", "path": "cat.png", "sha256": "abc", "patch_size": 28}
    rows = [make_row(None, 0, 0.9), make_row("ta_cleaner", 0, 0.8), make_row(None, 0, 0.7)]
    for row in rows[:2]:
        row |= {"trigger": "patch_image"}
        row["config"] |= {"trigger": trigger}
    rows[1]["rebound"] = {"steps": 186, "lr": 3e-4, "metrics": METRICS.to_dict()}
    rows[2] |= {"trigger": "wanet", "config": rows[2]["config"] | {"trigger": {"name": "wanet"}}}
    write_cells(tmp_path, [*rows, make_row(None, 0, 0.6)])
    text = result_tables.other_triggers(tmp_path)
    assert "| `patch_image` | path cat.png, patch_size 28 | 0.900 [" in text
    assert "| `wanet` |" in text
    assert text.count("| 0.250 |") == 1  # of rebound, for the one that was defended
    assert "0.600" not in text
    assert "patch_image" not in result_tables.attack_defense(tmp_path)


def test_ablations_are_listed_with_the_whole_method(tmp_path: Path) -> None:
    rows = [make_row("cleanclip", 0, 0.6), make_row("ta_cleaner", 0, 0.9), make_row("ta_cleaner K 5 %", 0, 0.8)]
    elsewhere = make_row("ta_cleaner", 0, 0.9) | {"trigger": "sig"}
    write_cells(tmp_path, [*rows, elsewhere])
    text = result_tables.ablations(tmp_path)
    assert "| ta_cleaner K 5 % | 0.800" in text
    assert "| ta_cleaner | 0.900" in text
    assert "| cleanclip |" not in text
    assert "sig" not in text


def test_fine_detail_by_kind_needs_a_held_out_kind(tmp_path: Path) -> None:
    rows = [make_row(name, 0, 0.9) | {"commit": "abc"} for name in (None, "ta_cleaner", "ta_cleaner relation held out")]
    for row, relation in zip(rows, (0.5, 0.875, 0.625), strict=True):
        row["metrics"]["counterfactual_by_kind"] = {"relation": relation, "count": 1.0}
    elsewhere = make_row("ta_cleaner", 0, 0.9) | {"trigger": "sig", "commit": "abc"}
    write_cells(tmp_path, [*rows, elsewhere])
    text = result_tables.counterfactual_by_kind(tmp_path)
    assert "| defense | CF | count | relation |" in text
    assert "| ta_cleaner relation held out | 0.800 | 1.000 | 0.625 |" in text
    assert "100 pairs of scenes/test, seed 0" in text
    assert "sig" not in text


def test_step_lists_every_method_and_the_settings(tmp_path: Path) -> None:
    row = {"method": "cleanclip", "seconds": 0.4, "bare_seconds": 0.36, "of_bare_rate": 0.9, "over_cleanclip": 1.0}
    model = {"model": "rn", "rows": [row], "classifier": [{"classes": 10, "seconds": 0.01}]}
    model |= {"preparation": {"EDA": 1.25}}
    settings = {"batch_size": 64, "precision": "fp32", "threads": 2, "rounds": 3, "steps": 8, "peak_mb": 1500}
    times = {"models": [model], "clock": "wall", "texts_of_an_epoch": [{"pairs": 1000, "seconds": 0.1}]}
    write_result(tmp_path, "step.json", **settings, **times)
    text = timing_tables.step(tmp_path)
    assert "| `rn` | cleanclip | 0.400 | 0.360 | 0.90 | 1.00 |" in text
    for part in ("Batch 64, fp32, 2 thread(s), wall time", "3 interleaved rounds", "1.50 GB", "commit abc"):
        assert part in text
    assert "EDA 1.2 ms" in text


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
    predicted = {"steps": 4, "sample": 12.4, "predicted": [80.2, 110.0], "real": 95.5}
    write_result(tmp_path, "full_size.json", model="ViT-B-32", steps=steps, prediction=predicted, pages=pages)
    text = size_tables.full_size(tmp_path)
    assert "| zero-shot evaluation, 214 photos, 998 classes, 7 prompts each | 64.4 | 8.1 |" in text
    assert "| Embeddings | 6.9 | 1,646 |" in text
    assert "A further image in Try it: 0.4 s. Peak memory of a new process: 1,650 MB" in text
    assert "predicted as 80 to 110 s from a sample of 12 s, took 96 s." in text
    assert "start |" not in text


def test_data_memory_lists_formats(tmp_path: Path) -> None:
    rows = [
        {"format": name, "pairs": pairs, "own_mb": own, "mapped_mb": 0.4}
        for name, pairs, own in (("csv", 5000, 30.1), ("csv", 100_000, 61.2))
    ]
    write_result(tmp_path, "data_memory.json", rows=rows)
    text = size_tables.data_memory(tmp_path)
    assert "| csv | 100,000 | 61 | 0 |" in text
    assert "Own memory of few and many pairs: csv from 30 to 61 MB." in text


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


def test_budgets_are_sorted_and_name_the_programs_that_measured_them(tmp_path: Path) -> None:
    origin = {"commit": "abc", "device": "cpu, 2 cores", "steps": 651, "lr": 1e-3}
    pairs = {6000: "python -m benchmarks.attack_defense --seeds 0", 1500: "python -m benchmarks.budget"}
    rows = [make_row("finetune", 0, 0.9) | origin | {"pairs": n, "command": command} for n, command in pairs.items()]
    write_result(tmp_path, "budget.json", rows=rows, command="python -m benchmarks.budget --methods par")
    text = result_tables.budget(tmp_path)
    assert text.index("| 1,500 | 651 | 0.001 | finetune | 0.900") < text.index("| 6,000 | 651 | 0.001 | finetune")
    assert text.endswith("commit abc; `python -m benchmarks.budget` / `python -m benchmarks.attack_defense`.")
