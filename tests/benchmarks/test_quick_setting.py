"""The quick setting is chosen by validation accuracy alone, from equally many trials of each method."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import quick_plan, quick_setting
from cleaner.files import assets
from cleaner.models.clip import load_clip
from cleaner.runs.run import load_run

MODEL = "scenes-lite"


def trial(lr: float, ca: float, *, form: str = "", name: str = "cleanclip", **changes: Any) -> dict[str, Any]:
    fields = {"model": MODEL, "defense": name, "form": form, "lr": lr, "ca": ca, "backdoored_ca": 0.98, "asr": 0.5}
    return {**fields, "seed": 200, **quick_plan.SETTING, **changes}


def test_every_method_gets_the_same_number_of_trials() -> None:
    plan = list(quick_plan.trial_plan())
    counts = Counter(key["defense"] for key in plan)
    assert set(counts) == set(quick_plan.VARIANTS)
    assert set(counts.values()) == {quick_plan.TRIALS_EACH}
    assert len({tuple(key.values()) for key in plan}) == len(plan)


def test_the_seeds_of_trials_and_confirmation_differ() -> None:
    assert len(set(quick_plan.CONFIRM_SEEDS)) == 5
    assert not set(quick_plan.CONFIRM_SEEDS) & set(quick_plan.TRIAL_SEEDS)


def test_the_largest_rate_within_the_budget_is_chosen() -> None:
    trials = [trial(1e-3, 0.97), trial(2e-3, 0.952), trial(4e-3, 0.94)]
    chosen = quick_plan.choose(trials)[MODEL]["cleanclip"]
    assert (chosen["lr"], chosen["lost_accuracy"]) == (2e-3, False)
    assert chosen["loss"] == pytest.approx(0.028)


def test_a_loss_above_the_budget_by_a_rounding_error_is_within_it() -> None:
    assert quick_plan.BUDGET < 0.98 - 0.95
    assert not quick_plan.choose([trial(1e-3, 0.95)])[MODEL]["cleanclip"]["lost_accuracy"]


def test_attack_success_plays_no_part() -> None:
    trials = [trial(1e-3, 0.97), trial(2e-3, 0.952)]
    before = quick_plan.choose(trials)
    assert before == quick_plan.choose([{**t, "asr": t["lr"]} for t in trials])


def test_ties_go_to_the_most_accurate_form() -> None:
    name = "cleanclip_short"
    trials = [trial(1e-3, 0.96, form="core", name=name), trial(1e-3, 0.97, form="relation", name=name)]
    chosen = quick_plan.choose(trials)[MODEL][name]
    assert (chosen["form"], chosen["parameters"]) == ("relation", {"share": 1.0, "positive": "relation"})


def test_the_mean_over_the_trial_seeds_decides() -> None:
    trials = [trial(2e-3, 0.96), trial(2e-3, 0.93, seed=201), trial(1e-3, 0.97), trial(1e-3, 0.96, seed=201)]
    assert quick_plan.choose(trials)[MODEL]["cleanclip"]["lr"] == 1e-3


def test_a_method_without_an_affordable_rate_is_marked() -> None:
    chosen = quick_plan.choose([trial(1e-3, 0.80), trial(1e-4, 0.90)])[MODEL]["cleanclip"]
    assert (chosen["lr"], chosen["lost_accuracy"]) == (1e-4, True)


def test_trials_of_another_setting_do_not_count() -> None:
    assert quick_plan.choose([trial(1e-3, 0.97, pairs=1)]) == {}


def test_each_call_keeps_the_command_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_setting, "RESULT_PATH", tmp_path / "quick_setting.json")
    for name, argv in (("trials", "first"), ("rows", "confirm"), ("trials", "later")):
        monkeypatch.setattr(quick_setting.protocol, "format_command_line", lambda argv=argv: argv)
        quick_setting.append(name, trial(1e-3, 0.97))
    stored = quick_setting.read()
    assert stored["command"] == "first"
    assert [len(stored[name]) for name in ("trials", "rows")] == [2, 1]


def test_nothing_is_chosen_before_all_trials_of_a_model_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_setting, "RESULT_PATH", tmp_path / "quick_setting.json")
    monkeypatch.setattr(quick_setting.protocol, "add_provenance", lambda: {"command": "of this call"})
    trials = [trial(key["lr"], 0.97, form=key["form"], name=key["defense"]) for key in quick_plan.trial_plan()]
    for done in trials[:-1]:
        quick_setting.append("trials", done)
        quick_setting.append("trials", {**trials[-1], "model": done["defense"]})  # other models do not count
    assert quick_setting.read()["chosen"] == {}
    with pytest.raises(SystemExit, match=f"trials --model {MODEL}"):
        quick_setting.find_choice(MODEL)
    quick_setting.append("trials", trials[-1])
    chosen = quick_setting.read()["chosen"]
    assert list(chosen) == [MODEL]
    assert chosen[MODEL].keys() == quick_setting.find_choice(MODEL).keys() == quick_plan.VARIANTS.keys()


def test_a_trial_of_an_attack_states_its_own_weights() -> None:
    run = load_run(assets() / "example" / "example-badnet")
    assert quick_setting.trial_figures(run)["suspect_sha256"] == run.clip.sha256() != load_clip(run.clip.name).sha256()


def test_a_defense_has_seed_and_precision_of_its_backdoored_model(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[Any] = []
    monkeypatch.setattr(quick_setting, "load_home", lambda *_: None)
    monkeypatch.setattr(quick_setting, "defend", lambda _, defense, clean, config, **options: configs.append(config))
    test: Any = None
    suspect: Any = SimpleNamespace(config={"model": MODEL, "finetune": {"seed": 7, "precision": "fp32"}})
    for steps in (0, 10):
        quick_setting.defend_quickly(suspect, quick_plan.VARIANTS["finetune"][""], 2e-3, test, label="", steps=steps)
    assert [(c.seed, c.precision, c.lr) for c in configs] == [(7, "fp32", 2e-3)] * 2
    assert configs[1].steps == 10


def test_confirmation_has_each_method_at_its_own_and_at_the_common_rate() -> None:
    chosen = {
        name: {"form": next(iter(forms)), "lr": 2e-3 if name == "ta_cleaner" else 1e-3}
        for name, forms in quick_plan.VARIANTS.items()
    }
    plan = {name: (lr, steps) for name, _, lr, steps in quick_plan.confirmation_plan(chosen)}
    assert plan["ta_cleaner"] == plan["cleanclip at TA-Cleaner's rate"] == (2e-3, 0)
    assert plan["cleanclip"] == (1e-3, 0)
    assert plan["cleanclip, full schedule"] == (1e-3, quick_plan.CLAIM_STEPS)
    assert "ta_cleaner at TA-Cleaner's rate" not in plan
