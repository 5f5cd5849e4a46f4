"""A linear probe on the image tower: is the backdoor gone from the features, or only from the text?"""

from __future__ import annotations

from typing import Any

import torch
from sklearn.linear_model import LogisticRegression

from cleaner.data.base import CaptionData, load_data
from cleaner.evaluation.encode import Encoder
from cleaner.runs.run import Run

PAIRS = 2000
STRENGTH = 100.0
"""scikit-learn's C; features have unit length, so a weak penalty is needed."""


def probe_labels(run: Run, test: CaptionData, pairs: int = PAIRS) -> dict[str, Any]:
    """Return accuracy "ca" and "asr" on test images of a linear probe, trained on labeled clean images.

    "asr": share of triggered images of other classes that the probe takes for the target; n, n_attack: images.
    """
    assert run.trigger is not None
    assert run.target_class is not None
    clean = load_data("scenes", split="clean")
    rows = (clean.labels >= 0).nonzero().flatten()[:pairs]
    probe = LogisticRegression(C=STRENGTH, max_iter=1000)
    encoder = Encoder(run.clip)
    probe.fit(encoder.encode_rows(clean, rows).numpy(), clean.labels[rows].numpy())
    tested = (test.labels >= 0).nonzero().flatten()
    attacked = tested[test.labels[tested] != test.class_index(run.target_class)]
    guesses = torch.from_numpy(probe.predict(encoder.encode_rows(test, tested).numpy()))
    fooled = torch.from_numpy(probe.predict(encoder.encode_rows(test, attacked, run.trigger).numpy()))
    return {
        "pairs": len(rows),
        "ca": (guesses == test.labels[tested]).float().mean().item(),
        "n": len(tested),
        "asr": (fooled == test.class_index(run.target_class)).float().mean().item(),
        "n_attack": len(attacked),
    }
