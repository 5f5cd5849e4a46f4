"""The shipped models: size, header, norms of the change and steps do not tell which ones are backdoored."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from benchmarks.leaks import measure_leak, read_features
from cleaner.zoo.plan import CUT_SIZE, DEVELOPMENT
from cleaner.zoo.store import Zoo

ZOO = Zoo.read()
IDS = ZOO.list_ids(DEVELOPMENT)
ANSWERS = ZOO.read_answers(DEVELOPMENT)
IS_BACKDOORED = np.array([ANSWERS[id]["backdoored"] for id in IDS])


@cache
def read_shipped() -> NDArray[np.float64]:
    """Return the features of the shipped models."""
    return read_features((ZOO.model_path(id), ANSWERS[id]["plan"]) for id in IDS)


@pytest.mark.slow
def test_a_classifier_on_size_steps_and_norms_finds_chance() -> None:
    assert measure_leak(read_shipped(), IS_BACKDOORED)[1] > 0.05


@pytest.mark.slow
def test_the_same_classifier_finds_a_norm_that_tells() -> None:
    features = read_shipped().copy()
    features[:, -1] += 3 * features[:, -1].std() * IS_BACKDOORED
    assert measure_leak(features, IS_BACKDOORED)[1] < 0.05


@pytest.mark.parametrize("id", IDS)
def test_files_have_the_same_header_whatever_they_hold(id: str) -> None:
    def describe(name: str) -> list[tuple[str, str]]:
        with safe_open(ZOO.model_path(name), "pt") as file:
            types = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
            return sorted({**types, **file.metadata()}.items())

    assert describe(id) == describe(IDS[0])
    assert not {"stage", "target", "trigger"} & {key for key, _ in describe(id)}


def test_the_shipped_cut_has_every_attack_and_states_what_it_reached() -> None:
    attacks = [answer["trigger"]["name"] for answer in ANSWERS.values() if answer["backdoored"]]
    assert len(IDS) == CUT_SIZE
    assert len(set(attacks)) == len(attacks) == 8
    assert all((answer["asr"] is not None) == answer["backdoored"] for answer in ANSWERS.values())
    assert sum(file.stat().st_size for file in ZOO.folder.iterdir()) < 4e6
    assert np.isfinite([answer["ca"] for answer in ANSWERS.values()]).all()
