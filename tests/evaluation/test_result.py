"""The table of metrics: complete rows; one more row is written, read and shown everywhere."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from cleaner.cli.output import format_row, format_table, metric_header, metric_legend
from cleaner.evaluation import result
from cleaner.evaluation.metrics import wilson_interval
from cleaner.evaluation.result import METRICS, Metric, Metrics, columns, describe_resolution, format_metric
from cleaner.files import read_json
from cleaner.reports import aggregate, html, tensorboard
from cleaner.reports.tables import to_csv
from cleaner.runs.store import read_record
from cleaner.types import CleanerError
from tests.evaluation.extra_metric import VALUE, MoreMetrics, make_measured_run, register_stealth
from tests.pages.runs import make_metrics

pytestmark = pytest.mark.quick


@pytest.fixture
def stealth(monkeypatch: pytest.MonkeyPatch) -> Metric:
    return register_stealth(monkeypatch)


@pytest.fixture
def folder(stealth: Metric, tmp_path: Path) -> Path:
    return make_measured_run(tmp_path)


def test_each_row_is_complete() -> None:
    for name, metric in METRICS.items():
        assert metric.key == name
        assert metric.label
        assert metric.meaning.endswith(".")
        assert metric.count in Metrics.__dataclass_fields__
    headers = [metric.header(k) for metric, k in columns("export")]
    assert len(headers) == len(set(headers))
    assert [metric.header(k) for metric, k in columns("card")] == ["CA", "ASR@1", "ASR@3", "RA"]


def test_a_difference_that_rounds_to_zero_has_no_sign() -> None:
    share, number = METRICS["asr"], replace(METRICS["asr"], is_share=False)
    texts = [share.format_delta(value) for value in (0.0, -0.0004, 0.0004, 0.001, -0.844)]
    assert texts == ["±0.0 points"] * 3 + ["+0.1 points", "-84.4 points"]
    assert share.format_change(0.9684, 0.9606) == "-0.7 points", "of 96.8% and 96.1%"
    assert [number.format_delta(value) for value in (0.0, -0.0004)] == ["±0", "-0.0004"]


def test_views_contain_each_other() -> None:
    sizes = [len(list(columns(view))) for view in result.VIEWS]
    assert sizes == sorted(sizes)
    assert len({metric.key for metric, _ in columns("export")}) == len(METRICS)


def test_metrics_survive_json() -> None:
    metrics = make_metrics(0.9)
    state = json.loads(json.dumps(metrics.to_dict()))
    assert Metrics.from_dict(state) == metrics
    assert {key for key in state if key.endswith("_interval")} == {
        f"{name}_interval" for name in ("ca", "asr", "ra", "base_rate", "asr_clean_model")
    }
    low, high = state["asr_interval"]["1"]
    assert low < state["asr"]["1"] < high


def test_an_interval_has_the_count_of_its_own_metric() -> None:
    metrics = replace(make_metrics(0.9), n_attack=4371, cross_asr=0.3, n_cross=1000)
    assert metrics.interval("cross_asr") == wilson_interval(0.3, 1000)
    with pytest.raises(CleanerError, match="number of images was recorded"):
        replace(metrics, n_cross=0).interval("cross_asr")


def test_a_missing_interval_says_what_to_do() -> None:
    metrics = replace(make_metrics(0.9), counterfactual_accuracy=None, asr_clean_model=None, cross_asr=None)
    for name, remedy in (
        ("ASR", r"no metric 'ASR'.*ca, asr, ra"),
        ("n", "no metric 'n'"),
        ("counterfactual_accuracy", "counterfactual=True"),
        ("asr_clean_model", "clean_clip"),
        ("cross_asr", "a trigger and a target class"),
    ):
        with pytest.raises(CleanerError, match=remedy):
            metrics.interval(name)
    with pytest.raises(CleanerError, match="k = 1, 3, not 2"):
        metrics.interval("asr", 2)


def test_only_a_k_that_counts_classes_is_marked_where_they_are_few() -> None:
    few = replace(make_metrics(0.9), classes=9, asr={1: 0.9, 3: 1.0}, own_recall={1: 0.91, 10: 0.97})
    assert format_metric(few, METRICS["asr"], 3) == "1.000 (n.m.)"
    assert format_metric(few, METRICS["own_recall"], 10) == "0.970"


def test_one_more_metric_is_written_and_read(stealth: Metric, folder: Path) -> None:
    written = read_json(folder / "metrics.json")
    assert written["stealth"] == VALUE
    low, high = written["stealth_interval"]
    assert low < VALUE < high
    assert MoreMetrics.from_dict(written).metric("stealth") == VALUE
    record = read_record(folder)
    assert (record.metric("stealth"), record.interval("stealth"), record.count("stealth")) == (VALUE, (low, high), 96)


def test_one_more_metric_is_exported(stealth: Metric, folder: Path) -> None:
    record = read_record(folder)
    (line,) = csv.DictReader(io.StringIO(to_csv([record])))
    assert float(line["stealth"]) == VALUE
    assert tensorboard.collect_test_scalars(record)["test/stealth"] == VALUE
    page = html.render_html([record])
    assert "<th>ST</th>" in page
    assert '<td class="number">0.438</td>' in page
    assert stealth.meaning in page
    assert ("BadNet patch", "none") in aggregate.aggregate_seeds([record], "stealth")
    assert "stealth" in [metric.key for metric in aggregate.heatmap_metrics()]


def test_one_more_metric_is_printed(stealth: Metric, folder: Path) -> None:
    measured = MoreMetrics.from_dict(read_json(folder / "metrics.json"))
    for source in (measured, read_record(folder)):
        cells = dict(zip(metric_header(), format_row("x", source), strict=True))
        assert (cells["ST"], cells["CA"][:5]) == ("0.438", "0.900")
    assert "ST" in format_table([format_row("x", measured)]).splitlines()[0]
    assert f"ST: {stealth.meaning}" in metric_legend()


@pytest.mark.parametrize(("count", "points"), [(4, 70), (100, 19), (10_000, 2)])
def test_resolution_is_the_width_of_the_widest_interval(count: int, points: int) -> None:
    text = describe_resolution(count)
    low, high = wilson_interval(0.5, count)
    assert round(100 * (high - low)) == points
    assert f"{points} points" in text
