"""The sigmoid forms of the losses equal naive numpy versions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cleaner.losses import clip_loss, in_modal_loss, subtext_loss
from cleaner.losses.sigmoid import in_modal_bias
from tests.losses.test_losses import M, S, features

pytestmark = pytest.mark.quick

B = -6.0
WITH_BIAS = replace(features(), logit_bias=B)


def naive_sigmoid_loss(logits: np.ndarray) -> float:
    """SigLIP's loss, one pair at a time; -inf: left out."""
    total = 0.0
    for i, row in enumerate(logits):
        for j, logit in enumerate(row):
            if logit > -np.inf:
                total += math.log1p(math.exp(-logit if i == j else logit))
    return total / len(logits)


def naive_bias(cosines: np.ndarray) -> float:
    def mean_of_others(matrix: np.ndarray) -> float:
        return float(np.mean([matrix[i, j] for i in range(len(matrix)) for j in range(len(matrix)) if i != j]))

    across = WITH_BIAS.image.numpy() @ WITH_BIAS.text.numpy().T
    return B + S * (mean_of_others(across) - mean_of_others(cosines))


def test_clip_loss_is_that_of_siglip() -> None:
    logits = S * WITH_BIAS.image.numpy() @ WITH_BIAS.text.numpy().T + B
    assert clip_loss(WITH_BIAS).item() == pytest.approx(naive_sigmoid_loss(logits), rel=1e-5)


def test_in_modal_loss_is_shifted_to_the_level_of_images_and_captions() -> None:
    expected = 0.0
    for rows, views in ((WITH_BIAS.image, WITH_BIAS.image_aug), (WITH_BIAS.text, WITH_BIAS.text_aug)):
        assert views is not None
        cosines = rows.numpy() @ views.numpy().T
        expected += naive_sigmoid_loss(S * cosines + naive_bias(cosines)) / 2
    assert in_modal_loss(WITH_BIAS).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("text_to_text", [True, False])
def test_subtext_loss_judges_each_subtext_by_itself(text_to_text: bool) -> None:
    masked = torch.zeros(M, M, dtype=torch.bool)
    masked[0, 1] = True
    padding = torch.tensor([[True, True], [True, False], [True, True]])
    f = replace(WITH_BIAS, false_negative=masked, negative_mask=padding)
    image, text = f.image[f.selected].numpy(), f.text[f.selected].numpy()
    positive, negative = f.positive.numpy(), f.negative.numpy()

    def against(queries: np.ndarray, bias: float) -> float:
        own = S * queries @ positive.T + bias
        own[0, 1] = -np.inf
        others = S * np.einsum("md,mnd->mn", queries, negative) + bias
        others[1, 1] = -np.inf
        return naive_sigmoid_loss(np.concatenate([own, others], axis=1))

    reverse = S * positive @ image.T + B
    reverse[1, 0] = -np.inf
    expected = against(image, B) + naive_sigmoid_loss(reverse)
    if text_to_text:
        expected += against(text, naive_bias(text @ positive.T))
    assert subtext_loss(f, text_to_text).item() == pytest.approx(expected / 3, rel=1e-5)


def test_the_bias_of_a_single_drawn_pair_is_that_of_captions() -> None:
    positive, negative = WITH_BIAS.positive[:1], WITH_BIAS.negative[:1]
    drawn = {"selected": torch.tensor([2]), "negative_mask": None, "false_negative": None}
    f = replace(WITH_BIAS, positive=positive, negative=negative, **drawn)
    text = f.text.numpy()
    subtexts = np.concatenate([positive.numpy(), negative[0].numpy()])
    expected = naive_sigmoid_loss(S * text[2:3] @ subtexts.T + naive_bias(text @ text.T))
    with_text, without = (subtext_loss(f, text_to_text).item() for text_to_text in (True, False))
    assert 3 * (with_text - without) == pytest.approx(expected, rel=1e-4)


def test_one_pair_and_no_pair_are_finite() -> None:
    views = ("image", "text", "image_aug", "text_aug")
    one = replace(WITH_BIAS, **{name: getattr(WITH_BIAS, name)[:1] for name in views})
    assert math.isfinite(in_modal_loss(one).item())
    empty = torch.tensor([], dtype=torch.long)
    none = replace(WITH_BIAS, positive=WITH_BIAS.positive[:0], selected=empty)
    assert subtext_loss(none).item() == 0.0


def test_gradients_are_finite_with_masked_pairs() -> None:
    image = WITH_BIAS.image.clone().requires_grad_()
    f = replace(WITH_BIAS, image=image, false_negative=torch.ones(M, M, dtype=torch.bool))
    subtext_loss(f).backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()


def test_no_gradient_flows_through_the_bias() -> None:
    image = WITH_BIAS.image.clone().requires_grad_()
    assert not in_modal_bias(replace(WITH_BIAS, image=image), image @ image.T).requires_grad


def test_the_bias_needs_a_sigmoid_model() -> None:
    with pytest.raises(ValueError, match="logit_bias"):
        in_modal_bias(features(), torch.eye(2))
