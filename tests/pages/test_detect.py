"""Detect: ranks training pairs, trains without the flagged ones, and tells triggered images from clean ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cleaner.evaluation import detection
from cleaner.evaluation.bootstrap import auroc_interval
from cleaner.inspection.image_detection import ImageDetection
from cleaner.inspection.pair_detection import locate_detection_file, read_detection, write_detection
from cleaner.labels import FLAGGED_DEFENSE
from cleaner.runs.manifest import read_manifest
from cleaner.runs.store import list_runs
from pages._shared import cache
from tests.pages.conftest import (
    OpenPage,
    chart,
    chart_keys,
    choose_small_training,
    errors,
    go_to,
    link_labels,
    page_text,
    press,
    table,
    wait_for_training,
    widget_keys,
)
from tests.pages.runs import make_runs


def test_without_a_run_it_says_what_to_choose(open_page: OpenPage) -> None:
    app = open_page("Detect")
    assert "no known attack" in page_text(app)
    assert "Train a backdoored model" in link_labels(app)


def test_a_run_without_its_poisoned_pairs_is_one_sentence(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Detect")
    assert "manifest.json" in page_text(app)
    assert not errors(app)


@pytest.fixture
def detected(open_page: OpenPage):
    """The page on a small run that was poisoned in the app."""
    app = choose_small_training(open_page("Poison"))
    press(app, "poison.go")
    wait_for_training(app)
    return go_to(app, "Detect")


def test_pairs_are_ranked_and_the_model_is_trained_without_the_flagged_ones(detected) -> None:
    app = detected
    assert not errors(app)
    text = page_text(app)
    assert "of the top 16" in text
    (run,) = list_runs()
    poisoned, found = set(read_manifest(run.folder)["poison_indices"]), read_detection(run.folder)
    assert found is not None
    order = np.argsort(-found.scores["clip_score"], kind="stable").tolist()
    hits, caught, total = (len(poisoned.intersection(order[:n])) for n in (16, 50, 500))
    assert f"CLIP score: **{hits} of the top 16 {'is' if hits == 1 else 'are'} poisoned**" in text
    assert f"50 of 500 pairs flagged: **{caught} of the {total} poisoned**, and {50 - caught} clean." in text
    assert f"450 pairs remain, {total - caught} of them poisoned" in text
    assert app.button(key="detect.go").label == "Train without 50 pairs"
    figures = table(app, "AUROC")
    assert len(figures) == len(found.scores) >= 6
    assert figures["Detector"].str.endswith("◀").sum() == 1
    caught_shares = [100 * row.caught[1] for row in found.figures.values()]
    assert figures["Caught at 5% false alarms"].tolist() == caught_shares, "numbers: text would not sort"
    assert not chart_keys(app)  # their tabs are closed
    for tab, key in (("Scores", "detect.scores"), ("Reference size", "detect.sizes"), ("Map", "detect.map")):
        app.session_state["detect.details"] = tab
        app.run()
        assert chart_keys(app) == [key]
        if tab == "Scores":
            threshold = chart(app, key)["layout"]["shapes"][0]["x0"]
            assert threshold == pytest.approx(float(np.sort(found.scores["clip_score"])[-50]))
    names = [trace["name"] for trace in chart(app, "detect.map")["data"]]
    assert names == ["flagged pairs", "clean pairs", "poisoned pairs"]
    file = locate_detection_file(run.folder)
    scores = found.scores["clip_score"] + np.float32(10) * found.poisoned
    write_detection(replace(found, scores={**found.scores, "clip_score": scores}), file)
    assert page_text(app.run()).count("◆] **poisoned**") == min(16, total)
    write_detection(found, file)
    app.session_state["detect.details"] = "Detectors"
    app.selectbox(key="detect.detector").set_value("clip_score").run()
    assert "detect.reference" not in widget_keys(app)
    app.selectbox(key="detect.detector").set_value("k_distance").run()
    app.select_slider(key="detect.reference").set_value(64).run()
    sizes = table(app, "AUROC").set_index("Detector")["Reference pairs"].to_dict()
    assert (sizes.pop("k-distance ◀"), sizes.pop("CLIP score")) == ("64", "–")
    assert "64" not in sizes.values()
    app.toggle(key="detect.custom").set_value(True).run()
    app.slider(key="detect.k_distance.k").set_value(40).run()
    assert not app.exception
    assert not errors(app)
    app.slider(key="detect.k_distance.k").set_value(100).run()
    assert "reference pairs" in errors(app)[0]
    app.toggle(key="detect.custom").set_value(False).run()
    app.select_slider(key="detect.share").set_value(0.2).run()
    press(app, "detect.go")
    wait_for_training(app)
    again = next(run for run in list_runs() if run.defense_settings is not None)
    assert again.defense_settings.name == FLAGGED_DEFENSE
    assert again.pairs == 400
    assert len(again.config["request"]["excluded"]) == 100
    assert "jobs" not in app.run().query_params, "its result is seen"
    shown = page_text(app)
    assert "Without 100 flagged pairs (k-distance)" in shown
    assert "poisoned pairs remained among the 400 training pairs" in shown
    assert f"n = {again.count('ca'):,} (CA)" in [box.label.partition(",")[0] for box in app.expander]


@pytest.mark.slow
def test_few_pairs_have_smaller_references(detected) -> None:
    app = detected
    (run,) = list_runs()
    file = locate_detection_file(run.folder)
    for n, sizes in ((200, ["64", "128", "200"]), (64, [])):
        found = read_detection(run.folder)
        assert found is not None
        scores = {name: values[:n] for name, values in found.scores.items()}
        few = replace(found, scores=scores, poisoned=found.poisoned[:n], coordinates=found.coordinates[:n])
        write_detection(few, file)
        app.selectbox(key="detect.detector").set_value("k_distance").run()
        assert not app.exception, [e.message for e in app.exception]
        sliders = [slider for slider in app.select_slider if slider.key == "detect.reference"]
        assert [option for slider in sliders for option in slider.options] == sizes
        assert [slider.value for slider in sliders] == ([n] if sizes else [])
    app.select_slider(key="detect.share").set_value(0.01).run()
    assert app.button(key="detect.go").label == "Train without 1 pair"


def test_a_threshold_flags_the_images_above_it(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(tmp_path)
    calibration, clean, triggered = (np.arange(100, dtype=np.float32) + shift for shift in (0, 10, 50))
    found = ImageDetection(clean, triggered, calibration)
    seen: list[Any] = []

    def detect(*arguments: object) -> ImageDetection:
        seen[:] = arguments
        return found

    monkeypatch.setattr(cache, "detect_images", detect)
    monkeypatch.setattr(cache, "score_sample", lambda *_: [10.0, 99.0])  # around the threshold
    intervals: list[Any] = []

    def measure(*arguments: Any) -> tuple[float, float]:
        intervals.append(arguments)
        return auroc_interval(*arguments)

    monkeypatch.setattr(detection, "auroc_interval", measure)
    app = open_page("Detect")
    app.segmented_control(key="detect.question").set_value("image").run()
    assert not app.exception, [e.message for e in app.exception]
    assert (seen[2].split, seen[3].split) == ("test", "validation")
    assert [("flagged" in m.value) for m in app.markdown if ", score " in m.value] == [False, True]
    roc = chart(app, "detect.images.roc")["data"][0]
    assert sum(roc["y"]) > sum(roc["x"])
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["AUROC"] == "0.820"
    assert shown["Triggered images flagged"] == "55.0%"  # above 94, with 5% of the calibration images
    assert shown["Clean images flagged"] == "15.0%"
    table_columns = ["Clean test images flagged", "Triggered images flagged", "F1"]
    rows = table(app, "Threshold")[table_columns].values.tolist()
    assert rows == [["11.0%", "51.0%", f"{2 * 0.51 / 1.62:.3f}"], ["15.0%", "55.0%", f"{2 * 0.55 / 1.7:.3f}"]]
    app.segmented_control(key="detect.images.allowed").set_value(0.01).run()
    assert {metric.label: metric.value for metric in app.metric}["Triggered images flagged"] == "51.0%"
    assert len(intervals) == 1, "the interval does not depend on the threshold"
    assert "Threshold from 100 clean validation images. A detector" in page_text(app)


def test_images_have_a_threshold_from_another_split(detected) -> None:
    app = detected
    app.segmented_control(key="detect.question").set_value("image").run()
    assert not app.exception, [e.message for e in app.exception]
    for name in ("bdetclip", "masking"):
        app.selectbox(key="detect.images.detector").set_value(name).run()
        assert not errors(app)
        thresholds = table(app, "Threshold")
        assert thresholds["False alarms allowed"].tolist() == ["1%", "5%"]
        traces = chart(app, "detect.images.scores")["data"]
        assert [trace["name"].partition(" (")[0] for trace in traces] == ["clean", "triggered", "clean, other split"]
        assert "score" in page_text(app)
