"""README and CONTRIBUTING say what is true: commands exist, the Python example runs, tables are those of the files."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tyro

from benchmarks import tables
from cleaner.__main__ import Command
from cleaner.attacks import TRIGGERS
from cleaner.cli.options import instantiate
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.evaluation.evaluate import Metrics
from cleaner.models.clip import Clip

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXTS = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^python -m cleaner ([^#\n]+?)\s*(?:#.*)?$", README, re.MULTILINE)))
INLINE = sorted(set(re.findall(r"`python -m cleaner ([^`]+)`", TEXTS)))


@pytest.mark.parametrize("line", [*COMMANDS, *INLINE])
def test_command_lines_parse(line: str) -> None:
    command: Any = tyro.cli(Command, args=shlex.split(line))  # type: ignore[call-overload]
    assert callable(command.run)
    if getattr(command, "trigger", ()):
        instantiate(TRIGGERS, command.trigger)
    if getattr(command, "defense", ()):
        instantiate(DEFENSES, command.defense)


def test_the_examples_were_found() -> None:
    assert {line.split()[0] for line in COMMANDS} >= {"demo", "list", "poison", "defend", "evaluate"}


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named_targets = set(re.findall(r"(?:^|`)make ([a-z]+)", TEXTS, re.MULTILINE))
    assert {"run", "test"} <= named_targets
    assert not [target for target in named_targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]


def test_links_inside_the_project_lead_somewhere() -> None:
    prose = re.sub(r"```.*?```", "", TEXTS, flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)\)", prose)
    assert not [t for t in targets if not t.startswith("http") and not (ROOT / t).exists()]


@pytest.mark.parametrize("name", [*TRIGGERS, *DEFENSES])
def test_readme_names_every_attack_and_defence(name: str) -> None:
    assert f"`{name}`" in README


def test_python_example_runs(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_clip: Clip,
    toy_data: TensorData,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import cleaner.data.base
    import cleaner.models.clip
    import cleaner.presets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cleaner.models.clip, "load_clip", lambda name: tiny_clip)
    monkeypatch.setattr(cleaner.data.base, "load_data", lambda name, **options: toy_data)
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    before = tiny_clip.sha256()
    space: dict[str, Any] = {}
    exec(compile(example[1], "README.md", "exec"), space)
    assert tiny_clip.sha256() == before
    assert "ASR@1" in capsys.readouterr().out
    assert (tmp_path / "cleaned.safetensors").exists()


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_tables_show_the_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.render(text) == text, "run make tables"


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


def cell(defense: str | None, seed: int, ca: float) -> dict[str, Any]:
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
        "metrics": metrics,
        "config": config,
    }
    return dict(json.loads(json.dumps(entry)))


def stored(root: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (root / "benchmarks" / "results").mkdir(parents=True)
    result = {"command": "python -m benchmarks.x", "commit": "abc", "device": "cpu, 2 cores", "rows": rows}
    (root / "benchmarks" / "results" / name).write_text(json.dumps(result), encoding="utf-8")


def test_one_seed_is_shown_with_its_wilson_interval(tmp_path: Path) -> None:
    stored(tmp_path, "attack_defense.json", [cell(None, 0, 0.9), cell("ta_cleaner", 0, 0.8)])
    text = tables.attack_defense(tmp_path)
    low, high = METRICS.interval("ca")
    assert f"| none (backdoored) | 0.900 [{low:.3f}, {high:.3f}] |" in text
    for part in (
        "Wilson",
        "`non_target`",
        "n 1,000",
        "960 triggered",
        "310 steps",
        "Seed 0",
        "ta_cleaner 0.0001",
        "cpu, 2 cores",
        "commit abc",
        "2 % of 2,000 pairs",
    ):
        assert part in text


def test_it_is_said_which_backdoored_model_the_rows_are_of(tmp_path: Path) -> None:
    rows = [cell(None, 0, 0.9), cell("finetune", 0, 0.8), cell("par", 0, 0.7), cell("finetune", 1, 0.7)]
    stored(tmp_path / "old", "attack_defense.json", rows)
    assert "SHA-256" not in tables.attack_defense(tmp_path / "old")
    for row, digest in zip(rows[1:], ("a" * 64, "b" * 64, "c" * 64), strict=True):
        row["suspect_sha256"] = digest
    stored(tmp_path / "new", "attack_defense.json", rows)
    said = "Backdoored models by SHA-256: seed 0 aaaaaaaa / bbbbbbbb; seed 1 cccccccc; 1 older rows do not name theirs."
    assert said in tables.attack_defense(tmp_path / "new")


def test_several_seeds_are_shown_as_mean_minimum_maximum(tmp_path: Path) -> None:
    stored(tmp_path, "attack_defense.json", [cell("finetune", seed, ca) for seed, ca in enumerate((0.7, 0.8, 0.9))])
    text = tables.attack_defense(tmp_path)
    assert "| finetune | 0.800 [0.700, 0.900] |" in text
    assert "minimum, maximum" in text
    assert "Seeds 0, 1, 2" in text


def test_rows_that_were_measured_in_two_ways_are_not_passed_off_as_one(tmp_path: Path) -> None:
    other = cell("finetune", 0, 0.8)
    other["metrics"] |= {"protocol": "all_images", "n_attack": 1000}
    stored(tmp_path, "attack_defense.json", [cell(None, 0, 0.9), other])
    for text in (tables.attack_defense(tmp_path), tables.at_a_glance(tmp_path)):
        assert "Protocol `non_target`" in text
        assert "1,000 triggered ones" in text
        assert "Protocol `all_images`" in text


def test_missing_files_say_how_to_measure(tmp_path: Path) -> None:
    for render in (tables.attack_defense, tables.demo, tables.models, tables.ssba):
        assert "Not measured yet" in render(tmp_path)


def test_photos_say_where_the_model_comes_from(tmp_path: Path) -> None:
    assert "python -m benchmarks.photos" in tables.photos(tmp_path)
    stored(tmp_path, "photos.json", [cell(None, 0, 0.9), cell("ta_cleaner", 0, 0.8), cell("cleanclip", 0, 0.7)])
    path = tmp_path / "benchmarks" / "results" / "photos.json"
    card = {
        "command": "python -m cleaner pretrain",
        "zero_shot_ca": 0.6,
        "zero_shot_interval": [0.57, 0.63],
        "n": 1000,
        "pairs": 4250,
        "image_size": 32,
        "heldout_by": "test: as the data say",
        "parameters": 10_400_000,
        "steps": 660,
    }
    trials = {"rate_trials": [{"n": 750}], "attack_trials": [], "lost_accuracy": [["scenes-rn", "cleanclip"]]}
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"card": card, "grid": [1e-4, 1e-3], "budget": 0.02} | trials)
    )
    text = tables.photos(tmp_path)
    for part in (
        "0.600 [0.570, 0.630]",
        "4,250 photos of 32 px",
        "`python -m cleaner pretrain`",
        "750 validation",
        "cleanclip †",
        "test: as the data say",
    ):
        assert part in text


def test_a_method_that_lost_accuracy_is_marked(tmp_path: Path) -> None:
    stored(tmp_path, "attack_defense.json", [cell("cleanclip", 0, 0.5)])
    rates = {"lost_accuracy": [["scenes-rn", "cleanclip"]]}
    (tmp_path / "benchmarks" / "results" / "learning_rates.json").write_text(json.dumps(rates), encoding="utf-8")
    assert "cleanclip †" in tables.attack_defense(tmp_path)


def test_every_rate_that_was_tried_is_shown_and_the_chosen_one_marked(tmp_path: Path) -> None:
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
    assert "Not measured yet" in tables.learning_rates(tmp_path)
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    (folder / "learning_rates.json").write_text(json.dumps(rates), encoding="utf-8")
    text = tables.learning_rates(tmp_path)
    assert "| finetune | 0.900 | **0.980 / 0.500** | - |" in text
    assert "| par † | 0.800 | **0.850** | 0.840 |" in text


def test_what_came_after_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    newer = cell("finetune", 1, 0.9) | {"cpu_seconds": 50.0, "transfer": {"scenes-night": {"ca": 0.3}}}
    newer["rebound"] = {"steps": 186, "lr": 3e-4, "metrics": METRICS.to_dict()}
    ours = cell("ta_cleaner", 1, 0.8) | {"cpu_seconds": 125.0, "transfer": {"scenes-night": {"ca": 0.2}}}
    stored(tmp_path, "attack_defense.json", [cell(None, 0, 0.9), cell("finetune", 0, 0.9), newer, ours])
    text = tables.attack_defense(tmp_path)
    assert "| rebound ASR@1 | CA `scenes-night` | CPU seconds | x finetune |" in text
    lines = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert lines["| none (backdoored)"].endswith("| - | - | - | - |")
    assert lines["| finetune"].endswith("| 0.250 | 0.300 | 50 | 1.0 |")
    assert lines["| ta_cleaner"].endswith("| - | 0.200 | 125 | 2.5 |")
    assert "CPU seconds: seed 1 of finetune" in text


def test_all_attacks_at_a_glance(tmp_path: Path) -> None:
    rows = [cell(None, 0, 0.9), cell(None, 0, 0.8) | {"trigger": "sig"}, cell("finetune", 0, 0.7)]
    other = cell("finetune", 1, 0.5)
    other["metrics"]["asr"] = {"1": 0.75, "3": 0.8}
    stored(tmp_path, "attack_defense.json", [*rows, other, cell("ta_cleaner K 5 %", 0, 0.1)])
    text = tables.at_a_glance(tmp_path)
    assert "| none (backdoored) | 2 | 0.850 | 0.800 | 0.250 | 0.250 |" in text
    assert "| finetune | 1 | 0.600 | 0.800 | 0.500 [0.250, 0.750] | - |" in text
    assert "| floor: never poisoned |  |  |  | 0.020 | 0.020 |" in text
    assert "K 5 %" not in text


def test_an_attack_of_several_seeds_weighs_no_more_than_one_of_a_single_seed(tmp_path: Path) -> None:
    rows = [cell("finetune", seed, 0.9) for seed in (0, 1, 2)]
    stored(tmp_path, "attack_defense.json", [cell(None, 0, 0.9), *rows, cell("finetune", 0, 0.5) | {"trigger": "sig"}])
    assert "| finetune | 2 | 0.700 |" in tables.at_a_glance(tmp_path)


def test_it_is_said_which_figures_come_from_fewer_seeds(tmp_path: Path) -> None:
    late = {"transfer": {"scenes-night": {"ca": 0.3}}, "cpu_seconds": 10.0}
    rows = [cell("finetune", 0, 0.9), cell("finetune", 1, 0.9) | late, cell("par", 0, 0.8) | late]
    stored(tmp_path, "attack_defense.json", [cell(None, 0, 0.9), cell(None, 1, 0.9), *rows])
    text = tables.attack_defense(tmp_path)
    assert "of one seed, [..] the 95 % Wilson interval: par (seed 0)." in text
    assert "CPU seconds: seed 1 of finetune." in text


def test_each_other_trigger_has_one_row(tmp_path: Path) -> None:
    assert "--attacks badnet_stripes" in tables.other_triggers(tmp_path)
    trigger = {"name": "patch_image", "path": "cat.png", "sha256": "abc", "patch_size": 28}
    rows = [cell(None, 0, 0.9), cell("ta_cleaner", 0, 0.8), cell(None, 0, 0.7)]
    for row in rows[:2]:
        row |= {"trigger": "patch_image"}
        row["config"] |= {"trigger": trigger}
    rows[1]["rebound"] = {"steps": 186, "lr": 3e-4, "metrics": METRICS.to_dict()}
    rows[2] |= {"trigger": "wanet", "config": rows[2]["config"] | {"trigger": {"name": "wanet"}}}
    stored(tmp_path, "attack_defense.json", [*rows, cell(None, 0, 0.6)])
    text = tables.other_triggers(tmp_path)
    assert "| `patch_image` | path cat.png, patch_size 28 | 0.900 [" in text
    assert "| `wanet` |" in text
    assert text.count("| 0.250 |") == 1  # of rebound, for the one that was defended
    assert "0.600" not in text
    assert "patch_image" not in tables.attack_defense(tmp_path)


def test_ablations_stand_beside_the_whole_method(tmp_path: Path) -> None:
    rows = [cell("cleanclip", 0, 0.6), cell("ta_cleaner", 0, 0.9), cell("ta_cleaner K 5 %", 0, 0.8)]
    elsewhere = cell("ta_cleaner", 0, 0.9) | {"trigger": "sig"}
    stored(tmp_path, "attack_defense.json", [*rows, elsewhere])
    text = tables.ablations(tmp_path)
    assert "| ta_cleaner K 5 % | 0.800" in text
    assert "| ta_cleaner | 0.900" in text
    assert "| cleanclip |" not in text
    assert "sig" not in text


def test_fine_detail_by_kind_stands_where_a_kind_was_held_out(tmp_path: Path) -> None:
    rows = [cell(name, 0, 0.9) | {"commit": "abc"} for name in (None, "ta_cleaner", "ta_cleaner relation held out")]
    for row, relation in zip(rows, (0.5, 0.875, 0.625), strict=True):
        row["metrics"]["counterfactual_by_kind"] = {"relation": relation, "count": 1.0}
    elsewhere = cell("ta_cleaner", 0, 0.9) | {"trigger": "sig", "commit": "abc"}
    stored(tmp_path, "attack_defense.json", [*rows, elsewhere])
    text = tables.counterfactual_by_kind(tmp_path)
    assert "| defence | CF | count | relation |" in text
    assert "| ta_cleaner relation held out | 0.800 | 1.000 | 0.625 |" in text
    assert "100 pairs of scenes/test, seed 0" in text
    assert "sig" not in text


def test_budgets_are_shown_in_order(tmp_path: Path) -> None:
    made = {"commit": "abc", "device": "cpu, 2 cores"}
    rows = [cell("finetune", 0, 0.9) | made | {"pairs": pairs, "steps": 651, "lr": 1e-3} for pairs in (6000, 1500)]
    stored(tmp_path, "budget.json", rows)
    text = tables.budget(tmp_path)
    assert text.index("| 1,500 | 651 | 0.001 | finetune | 0.900") < text.index("| 6,000 | 651 | 0.001 | finetune")
