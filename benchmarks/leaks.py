"""Do size, steps or norms tell the backdoored models of a zoo? python -m benchmarks.leaks --build zoo-build

A classifier on what the files show without being run, tested on models that it has not seen, for each built-in model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import RESULTS_DIR, protocol
from benchmarks.zoo import read_build
from cleaner.evaluation.detection import compute_auroc
from cleaner.models.clip import load_clip

RESULT_PATH = RESULTS_DIR / "zoo_leaks.json"
FEATURES = ("bytes", "steps", "words", "image tower", "word vectors", "text tower")
"""Of a file: its size, training steps, changed word vectors, and norms of the change."""
PERMUTATIONS = 99


@dataclass(frozen=True)
class Options:
    """Measure the models of a build."""

    build: Path = Path("zoo-build")
    """Folder of `zoo build`: its host's, with all answers."""


def main(options: Options) -> None:
    """Write the result file."""
    protocol.start(1)
    answers = read_build(options.build)
    rows = []
    for base in sorted({answer["plan"]["base"] for answer in answers.values()}):
        own = {path: answer for path, answer in answers.items() if answer["plan"]["base"] == base}
        features = read_features((path.with_name("model.safetensors"), answer["plan"]) for path, answer in own.items())
        labels = np.array([answer["backdoored"] for answer in own.values()])
        auroc, p = measure_leak(features, labels)
        single = {name: compute_auroc(features[:, i], labels) for i, name in enumerate(FEATURES)}
        counts = {"clean": int((~labels).sum()), "backdoored": int(labels.sum())}
        rows.append({"model": base, **counts, "auroc": auroc, "p": p, "single": single})
    protocol.write_result(RESULT_PATH, seeds=[0], rows=rows)


@cache
def read_base(name: str) -> dict[str, Tensor]:
    """Return the weights of a built-in model."""
    return load_clip(name).model.state_dict()


def read_features(models: Iterable[tuple[Path, dict[str, Any]]]) -> NDArray[np.float64]:
    """Return `FEATURES` of (file, plan) of each model."""
    rows = []
    for path, plan in models:
        before, after = read_base(plan["base"]), load_clip(path).model.state_dict()
        norms = {"visual.": 0.0, "token_embedding.": 0.0, "": 0.0}
        words = 0
        for key, value in after.items():
            change = (value.float() - before[key].float()).square()
            part = next(part for part in norms if key.startswith(part))
            norms[part] += float(change.sum()) if torch.is_floating_point(value) else 0.0
            if part == "token_embedding.":
                words = int(change.any(dim=1).sum())
        rows.append([path.stat().st_size, plan["steps"], words, *np.sqrt(list(norms.values()))])
    return np.array(rows)


def measure_leak(features: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the AUROC of a classifier on models that it has not seen, and how many permuted labels it ranks as well.

    It also sees the log ratios of the norms: all norms grow with the learning rate, their ratios do not.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    logs = np.log(features[:, -3:])
    features = np.concatenate([features, logs - np.roll(logs, 1, axis=1)], axis=1)
    model = make_pipeline(StandardScaler(), LogisticRegression())

    def rank(truth: NDArray[np.bool_]) -> float:
        scores = cross_val_predict(model, features, truth, cv=LeaveOneOut(), method="decision_function")
        return compute_auroc(scores, truth)

    rng, found = np.random.default_rng(0), rank(labels)
    return found, (1 + sum(rank(rng.permutation(labels)) >= found for _ in range(PERMUTATIONS))) / (1 + PERMUTATIONS)


if __name__ == "__main__":
    main(tyro.cli(Options))
