"""Means over seeds, rows that are never averaged, points of the trade-off."""

from __future__ import annotations

import pytest

from cleaner.plots import comparison
from cleaner.reports import aggregate
from cleaner.runs.folders import shipped_root
from cleaner.runs.names import describe_run
from cleaner.runs.record import RunRecord
from cleaner.runs.store import read_record
from tests.reports.conftest import vary

DEFENDED = ("BadNet patch", "ta_cleaner")


def rows(*records: RunRecord) -> set[str]:
    return {row for row, _ in aggregate.aggregate_seeds(records, "asr")}


def test_cells_are_mean_minimum_and_maximum_over_seeds(runs: list[RunRecord]) -> None:
    cell = aggregate.aggregate_seeds(runs, "asr")[DEFENDED]
    assert (cell.mean, cell.low, cell.high) == pytest.approx((0.2, 0.1, 0.3))
    assert cell.seeds == (0, 1, 2)
    newer = vary(runs[1], metrics={"asr": {"1": 0.9}}, created="2027")
    cell = aggregate.aggregate_seeds([*runs, newer], "asr")[DEFENDED]
    assert (cell.high, cell.seeds) == (0.9, (0, 1, 2))
    other = vary(runs[1], metrics={"asr": {"1": 0.9}}, clean_model="scenes-vit")
    assert rows(*runs, other) == {"BadNet patch, clean-rn", "BadNet patch, scenes-vit"}  # models are never averaged
    assert aggregate.aggregate_seeds(runs, "ra")["BadNet patch", "none"].mean == pytest.approx(0.1)


def test_backdoored_models_of_other_seeds_count_beside_each_other(runs: list[RunRecord]) -> None:
    suspects = [{"finetune": {"seed": seed}} for seed in (3, 4, 4)]
    defended = [
        vary(runs[1], metrics={"asr": {"1": asr}}, suspect=suspect, created=str(asr))
        for asr, suspect in zip((0.1, 0.4, 0.7), suspects, strict=True)
    ]
    cell = aggregate.aggregate_seeds(defended, "asr")[DEFENDED]
    assert (cell.low, cell.high, len(cell.seeds)) == (0.1, 0.7, 2)


def test_a_front_holds_the_backdoored_model_wherever_its_runs_lie(runs: list[RunRecord]) -> None:
    backdoored, defended = runs[:2]
    defended = vary(defended, parent=str(backdoored.folder.resolve()))
    points = aggregate.make_run_points([backdoored, defended])
    assert len({point.suspect for point in points}) == 1


def test_points_have_the_figures_of_their_runs(runs: list[RunRecord]) -> None:
    points = aggregate.make_run_points(runs[:2])
    assert [(p.kind, p.ca, p.asr, p.ca_interval, p.asr_interval) for p in points] == [
        (run.kind, run.metric("ca"), run.metric("asr"), run.interval("ca"), run.interval("asr")) for run in runs[:2]
    ]


def test_each_attack_counts_by_the_metric_that_judges_it(runs: list[RunRecord]) -> None:
    own = {"own_recall": {"1": 0.91}, "own_recall_interval": {"1": (0.85, 0.95)}}
    planted = vary(runs[0], "planted", {**runs[0].metrics, **own}, trigger={"name": "retrieval"})
    point = aggregate.make_run_points([planted])[0]
    assert (point.asr, point.asr_interval) == (0.91, (0.85, 0.95))
    alone = comparison.pareto([point])
    assert alone.layout.yaxis.title.text == "Attacker's image found @1 (lower is better)"
    both = comparison.pareto(aggregate.make_run_points([runs[0], planted])).layout
    titles = {title.text.replace("<br>", " ").rpartition(": ")[2] for title in both.annotations}
    assert titles == {"attack success @1", "attacker's image found @1"}
    assert both.yaxis.title.text == "Attack success (lower is better)"


def test_runs_that_are_not_comparable_are_never_averaged(runs: list[RunRecord]) -> None:
    def other(seed: int, metrics: dict[str, object], **config: object) -> RunRecord:
        return vary(runs[0], "other", {"asr": {"1": 0.9}, **metrics}, finetune={"seed": seed}, **config)

    openai = [other(seed, {}, clean_model=name) for seed, name in enumerate(("RN50/openai", "ViT-B-32/openai"))]
    assert rows(*openai) == {"BadNet patch, RN50/openai", "BadNet patch, ViT-B-32/openai"}  # one stem, two models
    paths = [{"request": {"model": f"/{folder}/epoch_10.pt"}} for folder in ("a", "b")]
    external = [
        other(seed, {}, stage="defended", clean_model=None, model="epoch_10", **path) for seed, path in enumerate(paths)
    ]
    assert rows(*external) == {"BadNet patch, /a/epoch_10.pt", "BadNet patch, /b/epoch_10.pt"}
    targets = rows(runs[0], other(7, {}, target_class="cat"))
    assert targets == {"BadNet patch, target banana", "BadNet patch, target cat"}
    data = runs[0].metrics["data"]
    assert rows(runs[0], other(7, {"data": "photos"})) == {f"BadNet patch, on {data}", "BadNet patch, on photos"}
    assert rows(*runs, other(7, {})) == {"BadNet patch"}
    fewer = other(7, {"data": data, "n": 20})
    assert rows(runs[0], fewer) == {f"BadNet patch, on {data}, n = {n}" for n in (100, 20)}
    first, second = (other(7 + i, {"data": data, "n": 100, "data_sha256": sha * 64}) for i, sha in enumerate("ab"))
    assert rows(first, second) == {f"BadNet patch, content {sha * 8}" for sha in "ab"}
    first, second = (other(7 + i, {"data": data, "class_names_sha256": sha * 64}) for i, sha in enumerate("ab"))
    assert rows(first, second) == {f"BadNet patch, class list {sha * 8}" for sha in "ab"}
    first, second = (other(7 + i, {"data": data, "n": 100, "templates": count}) for i, count in enumerate((4, 80)))
    assert rows(first, second) == {f"BadNet patch, {count} prompts" for count in (4, 80)}


def test_the_shipped_example_has_rows_of_its_own(runs: list[RunRecord]) -> None:
    example = read_record(shipped_root() / "example-badnet")
    badnet = sorted(row for row in rows(*runs, example) if row.startswith("BadNet patch"))
    assert [row.endswith(" (shipped example)") for row in badnet] == [False, True]
    assert rows(example) == {"BadNet patch"}


def test_a_rebound_test_never_counts_as_plain_finetuning(runs: list[RunRecord]) -> None:
    plain = vary(runs[1], "plain", {"asr": {"1": 0.5}}, defense={"name": "finetune"})
    metrics = {"asr": {"1": 0.0}, "ca": {"1": 0.5}}  # a trade-off of its own
    after = {"steps": 186, "after": {"name": "ta_cleaner"}}
    rebound = vary(plain, "again", metrics, created="2027", rebound=after)
    together = [*runs[:2], plain, rebound]
    cells = aggregate.aggregate_seeds(together, "asr")
    assert cells["BadNet patch", "finetune"].mean == 0.5
    assert cells[DEFENDED].mean == pytest.approx(0.1)
    assert rebound.defense == "ta_cleaner then rebound (186 steps)"
    label = "TA-Cleaner, then rebound (186 steps)"
    assert label in aggregate.plot_heatmap(together, "asr").data[0].y
    assert describe_run(rebound).startswith(f"BadNet patch: {label}, lr ")
    points = aggregate.make_run_points(together)
    assert not [trace for trace in comparison.pareto(points).data if trace.mode == "lines"]
    tested = [vary(rebound, str(n), suspect={**runs[1].config, "finetune": {"seed": n}}) for n in (0, 1)]
    cells = aggregate.aggregate_seeds(tested, "asr")
    assert len(cells["BadNet patch", rebound.defense].seeds) == 2
    bare = vary(rebound, "bare", rebound={"steps": 5, "after": None})
    assert bare.rebound is not None
    assert "then rebound (5 steps)" in describe_run(bare)
    assert "(after lunch)" in describe_run(bare.model_copy(update={"name": "after lunch"}))
