"""The timed jobs are those that a page starts."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import demo
from cleaner import presets
from cleaner.jobs import prediction


def test_few_pairs_are_looked_at_as_often_as_on_the_pages() -> None:
    config, pairs = replace(presets.POISON, epochs=40), presets.POISON.batch_size // 2
    assert prediction.count_validations(pairs, demo.make_config(config, pairs, demo.Options())) == 10
