"""The shipped models: size, header, norms of the change and steps do not tell which ones are backdoored."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cleaner.models.clip import load_clip
from cleaner.zoo.plan import CUT_SIZE, DEVELOPMENT
from cleaner.zoo.store import Zoo

PERMUTATIONS = 24
ZOO = Zoo.read()
IDS = ZOO.list_ids(DEVELOPMENT)
ANSWERS = ZOO.read_answers(DEVELOPMENT)
IS_BACKDOORED = np.array([ANSWERS[id]["backdoored"] for id in IDS])


@cache
def read_features() -> NDArray[np.float64]:
    """Return the bytes, training steps, and norms of the change in image tower, text tower and words of each model."""
    rows = []
    for id in IDS:
        path, plan = ZOO.model_path(id), ANSWERS[id]["plan"]
        before, after = (load_clip(name).model.state_dict() for name in (plan["base"], path))
        norms = {"visual.": 0.0, "token_embedding.": 0.0, "": 0.0}
        words = 0
        for key, value in after.items():
            change = (value.float() - before[key].float()).square()
            part = next(part for part in norms if key.startswith(part))
            norms[part] += float(change.sum())
            if part == "token_embedding.":
                words = int(change.any(dim=1).sum())
        rows.append([path.stat().st_size, plan["steps"], words, *np.sqrt(list(norms.values()))])
    return np.array(rows)


def find_p_value(features: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Return the share of permuted labels that a classifier, tested on models it has not seen, ranks as well."""
    model = make_pipeline(StandardScaler(), LogisticRegression())

    def rank(truth: NDArray[np.bool_]) -> float:
        scores = cross_val_predict(model, features, truth, cv=LeaveOneOut(), method="decision_function")
        return float(roc_auc_score(truth, scores))

    rng, found = np.random.default_rng(0), rank(labels)
    return (1 + sum(rank(rng.permutation(labels)) >= found for _ in range(PERMUTATIONS))) / (1 + PERMUTATIONS)


@pytest.mark.slow
def test_a_classifier_on_size_steps_and_norms_finds_chance() -> None:
    assert find_p_value(read_features(), IS_BACKDOORED) > 0.05


@pytest.mark.slow
def test_the_same_classifier_finds_a_norm_that_tells() -> None:
    features = read_features().copy()
    features[:, -1] += 3 * features[:, -1].std() * IS_BACKDOORED
    assert find_p_value(features, IS_BACKDOORED) < 0.05


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
    assert torch.isfinite(torch.tensor([answer["ca"] for answer in ANSWERS.values()])).all()
