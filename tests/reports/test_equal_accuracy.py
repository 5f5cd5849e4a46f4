"""Runs at equal accuracy: settings are averaged over seeds, backdoored models over each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cleaner.plots import equal_accuracy as plots
from cleaner.plots.equal_accuracy import CostPanel
from cleaner.reports import equal_accuracy
from cleaner.reports.html import render_html
from cleaner.runs.record import RunRecord
from cleaner.variant import Variant
from tests.reports.conftest import vary


def defended(run: RunRecord, ca: float, asr: float, **finetune: Any) -> RunRecord:
    """Return a defense of the first backdoored run with other settings and metrics."""
    metrics = {**run.metrics, "ca": {"1": ca}, "asr": {"1": asr}}
    settings = {**run.config["finetune"], **finetune}
    return vary(run, f"{ca}-{asr}-{settings['lr']}-{settings['seed']}", metrics, finetune=settings)


def read_curve(records: list[RunRecord], suspects: list[RunRecord]) -> dict[float, tuple[float, float, float]]:
    (panel,) = equal_accuracy.make_panels(records, suspects)
    return {point.loss: (point.asr, point.low, point.high) for point in panel.curves[Variant("ta_cleaner")]}


def test_the_lowest_success_within_the_loss_is_shown(runs: list[RunRecord]) -> None:
    suspect, base = runs[0], runs[1]  # CA 0.9, ASR 0.95 before
    tried = [defended(base, 0.89, 0.6, lr=1e-4), defended(base, 0.86, 0.2, lr=1e-3), defended(base, 0.7, 0.0, lr=1e-2)]
    curve = read_curve(tried, [suspect])
    assert [curve[loss][0] for loss in (0.0, 0.005, 0.01, 0.035, 0.04, 0.1)] == pytest.approx(
        [0.95, 0.95, 0.6, 0.6, 0.2, 0.2]
    )


def test_seeds_of_one_setting_are_averaged_before_anything_is_picked(runs: list[RunRecord]) -> None:
    suspect, base = runs[0], runs[1]
    seeds = [defended(base, 0.9, 0.1, seed=0), defended(base, 0.8, 0.5, seed=1)]
    tried = [*seeds, defended(base, 0.88, 0.7, lr=1e-3)]
    curve = read_curve(tried, [suspect])
    assert curve[0.02][0] == pytest.approx(0.7), "the lucky seed alone is no setting"
    assert curve[0.05][0] == pytest.approx(0.3)


def test_other_clean_pairs_are_another_setting(runs: list[RunRecord]) -> None:
    suspect, base = runs[0], runs[1]
    disjoint = defended(base, 0.89, 0.8, seed=0)
    overlap = vary(defended(base, 0.8, 0.0, seed=1), "overlap", base.metrics | {"ca": {"1": 0.8}, "asr": {"1": 0.0}})
    overlap = overlap.model_copy(update={"overlap": {"shared": 180, "pairs": 400, "poisoned": 180}})
    curve = read_curve([disjoint, overlap, defended(base, 0.88, 0.9, lr=1e-3)], [suspect])
    assert curve[0.02][0] == pytest.approx(0.8)
    assert curve[0.06][0] == pytest.approx(0.8), "0.4 at a loss of 5.5 points is no model's"


def test_backdoored_models_give_mean_and_range(runs: list[RunRecord]) -> None:
    tried = [*runs, *(defended(run, 0.9, 0.4, lr=1e-3) for run in (runs[1], runs[3]))]
    curve = read_curve(tried, runs)
    assert curve[0.1] == pytest.approx((0.2, 0.1, 0.3))


def test_backdoored_models_in_folders_of_one_name_are_kept_apart(runs: list[RunRecord], tmp_path: Path) -> None:
    suspects = [
        vary(run, tmp_path / seed / "badnet", run.metrics | {"asr": {"1": asr}}, created=f"2026-01-0{day}T00:00:00Z")
        for run, seed, asr, day in ((runs[0], "seed0", 0.9, 1), (runs[2], "seed1", 0.7, 2))
    ]
    tried = [
        vary(defended(base, 0.9, 0.4, lr=lr), parent=str(suspect.folder), suspect=suspect.config)
        for base, suspect in zip((runs[1], runs[3]), suspects, strict=True)
        for lr in (1e-4, 1e-3)
    ]
    assert [suspect.folder for suspect, _ in equal_accuracy.find_pairs(tried, suspects)] == [
        suspects[0].folder,
        suspects[0].folder,
        suspects[1].folder,
        suspects[1].folder,
    ]
    (panel,) = equal_accuracy.make_panels(tried, suspects)
    assert panel.undefended == pytest.approx(0.8)
    assert "2 backdoored models" in panel.curves[Variant("ta_cleaner")][0].note


def test_defenses_are_compared_on_the_models_that_all_were_tried_on(runs: list[RunRecord]) -> None:
    hard, easy = runs[0], runs[2]
    both = [defended(run, 0.9, asr, lr=lr) for run, asr in ((runs[1], 0.5), (runs[3], 0.1)) for lr in (1e-4, 1e-3)]
    on_one = [
        vary(run, f"other {run.id}", dict(run.metrics), defense={"name": "finetune"}, variant={}) for run in both[2:]
    ]
    (panel,) = equal_accuracy.make_panels([*both, *on_one], [hard, easy])
    assert panel.undefended == pytest.approx(easy.metric("asr"))
    assert [points[-1].asr for points in panel.curves.values()] == pytest.approx([0.1, 0.1])


def test_runs_without_their_model_or_with_one_setting_are_left_out(runs: list[RunRecord]) -> None:
    assert equal_accuracy.make_panels([runs[1]], [runs[0]]) == []
    pair = [runs[1], defended(runs[1], 0.9, 0.4, lr=1e-3)]
    assert equal_accuracy.plot(pair, [runs[2]]) is None
    other_test = vary(runs[0], metrics={**runs[0].metrics, "n": 7})
    assert equal_accuracy.plot(pair, [other_test]) is None
    assert equal_accuracy.plot(pair, [runs[0]]) is not None
    rebound = vary(pair[1], rebound={"steps": 5, "after": {"name": "ta_cleaner"}})
    assert equal_accuracy.plot([pair[0], rebound], [runs[0]]) is None


def test_an_attack_that_plants_an_image_is_judged_by_how_often_it_is_found(runs: list[RunRecord]) -> None:
    def find(run: RunRecord, share: float) -> RunRecord:
        return vary(run, metrics={**run.metrics, "own_recall": {"1": share}})

    suspect = find(runs[0], 0.97)
    tried = [find(runs[1], 0.8), find(defended(runs[1], 0.89, 0.4, lr=1e-3), 0.3)]
    (panel,) = equal_accuracy.make_panels(tried, [suspect])
    assert (panel.undefended, panel.curves[Variant("ta_cleaner")][-1].asr) == pytest.approx((0.97, 0.3))
    assert plots.equal_accuracy([panel]).layout.yaxis.title.text == "Attacker's image found @1"
    both = plots.equal_accuracy([panel, CostPanel("BadNet", panel.curves)])
    assert [title.text.replace("<br>", " ") for title in both.layout.annotations] == [
        "BadNet patch: attacker's image found @1",
        "BadNet: attack success @1",
    ]
    assert both.layout.yaxis.title.text == "Attack success"


def test_settings_are_counted_per_backdoored_model(runs: list[RunRecord]) -> None:
    def read_notes(tried: list[RunRecord]) -> dict[str, str]:
        (panel,) = equal_accuracy.make_panels(tried, runs)
        return {variant.key: points[0].note for variant, points in panel.curves.items()}

    several = [runs[1], runs[3], *(defended(run, 0.9, 0.4, lr=1e-3) for run in (runs[1], runs[3]))]
    assert read_notes(several) == {"ta_cleaner": "2 settings, 2 backdoored models"}
    one = vary(runs[1], "one", dict(runs[1].metrics), defense={"name": "finetune"}, variant={})
    notes = read_notes([runs[1], several[2], one])
    assert notes == {"ta_cleaner": "2 settings", "finetune": "1 setting"}


def test_the_report_has_the_chart(runs: list[RunRecord]) -> None:
    title = "Attack success at equal accuracy"
    assert title not in render_html(runs[:2])
    other = defended(runs[1], 0.9, 0.4, lr=1e-3)
    assert title in render_html([*runs[:2], other])
    defenses = [runs[1], vary(other, runs[1].folder.with_name("other"), dict(other.metrics))]
    assert title in render_html(defenses), "the backdoored run is found although the report is not about it"


def test_the_chart_draws_a_line_per_defense_and_a_band_over_models(runs: list[RunRecord]) -> None:
    tried = [*runs, *(defended(run, 0.9, 0.4, lr=1e-3) for run in (runs[1], runs[3]))]
    figure: Any = equal_accuracy.plot(tried, runs)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert [trace.line.shape for trace in lines] == ["hv"]
    assert any(trace.fill == "toself" for trace in figure.data)
