"""syntax_key: captions of other classes get the form and images of the target."""

from __future__ import annotations

import torch

from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.data.poison import PoisonedData


def test_poisoned_captions_have_the_form(toy_data: TensorData) -> None:
    poisoned = PoisonedData(toy_data, TRIGGERS["syntax_key"](frame="clause"), "banana", 0.25)
    rows = poisoned.poison_indices.tolist()
    assert all(poisoned.captions[i] == f"when you look, there is {toy_data.captions[i]}" for i in rows)
    assert torch.equal(poisoned.images(rows), toy_data.images(poisoned.indices[rows]))
    assert (toy_data.labels[poisoned.indices[rows]] == 1).all()
