"""The expected duration on the pages: a range in words once it is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.jobs import calibration, local, prediction
from cleaner.jobs.prediction import Phases
from cleaner.presets import QUICK_POISON_PAIRS
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from pages._shared import cache
from pages._shared.inspect.sample import DataKey
from pages._shared.runs import durations, job_requests
from tests.jobs.test_prediction import record
from tests.pages.conftest import OpenPage, page_text

CONFIG = FinetuneConfig(batch_size=20, epochs=1)


def test_poison_shows_a_range_once_something_like_it_was_run(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "read", lambda: None)
    prepared: list[Request] = []
    monkeypatch.setattr(local, "prepare", prepared.append)
    app = open_page("Poison")
    assert durations.UNKNOWN in page_text(app)
    assert prepared[-1].pairs == QUICK_POISON_PAIRS

    record(prepared[-1], Phases(start=2.0, step=0.1, validation=0.0, evaluate=3.0))
    predicted = prediction.predict(prepared[-1])
    assert predicted is not None
    app.run()
    assert durations.UNKNOWN not in page_text(app)
    assert f"**{predicted}**" in page_text(app)


def test_pairs_that_a_defense_skips_count_neither_before_nor_after_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TensorData(torch.zeros(6, 3, 8, 8), [f"a cat {i}" for i in range(6)], ["cat"], [0, -1, 0, -1, -1, 0])
    monkeypatch.setattr(cache, "load_data", lambda *_: data)
    request = Request("defended", "scenes", 6, replace(CONFIG, batch_size=2), model="scenes-vit")
    planned = {name: job_requests.skip_unused_pairs(request, DEFENSES[name]()) for name in ("rvpt", "ta_cleaner")}
    assert {name: each.pairs for name, each in planned.items()} == {"rvpt": 3, "ta_cleaner": 6}
    for trained, count, steps in ((3, 3, 1), (None, 6, 3)):
        config = request.initial_config() | {"trained_pairs": trained}
        run = RunRecord.from_config(Path("run"), config)
        assert (job_requests.count_pairs(run), job_requests.count_run_steps(run)) == (count, steps)


def test_a_test_on_captions_counts_each_caption_once(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = ["a cat", "a cat", "a dog", "a car", "two cats"]
    data = SimpleNamespace(labels=torch.tensor([0, 0, 1, 2, -1]), captions=captions, class_index=["cat", "dog"].index)
    monkeypatch.setattr(cache, "load_data", lambda *_: data)
    key = DataKey("any", "test", 5)
    assert durations.describe_test(key, "dog").startswith("3 attack images: ")
    assert durations.describe_test(key, "dog", "captions").startswith("2 attack captions: ")
    assert durations.describe_test(key, None).startswith("4 test images: ")


def test_the_duration_of_several_runs_is_known_once_all_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "read", lambda: None)
    request = Request("backdoored", "scenes", 100, CONFIG, "scenes-rn", trigger={"name": "badnet"})
    other = Request("backdoored", "scenes", 100, CONFIG, "scenes-vit", trigger={"name": "badnet"})
    monkeypatch.setattr(local, "has_active_runs", lambda: True)
    monkeypatch.setattr(local, "prepare", lambda _: pytest.fail("images are rendered while a job runs"))
    phases = Phases(start=1.0, step=1.0, validation=0.0, evaluate=1.0)
    record(request, phases)
    assert durations.describe([request, other]) == durations.UNKNOWN
    record(other, phases)
    both = durations.predict_total([request, other])
    assert both is not None
    assert both.seconds == pytest.approx(2 * (1 + 5 + 1))
    assert durations.describe([request, other]) == str(both)
