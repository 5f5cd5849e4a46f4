"""Each loss equals a naive numpy version; tests/defenses/test_contract.py trains on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cleaner.losses import (
    Features,
    clip_loss,
    in_modal_loss,
    info_nce,
    par_loss,
    reviewed_subtext_loss,
    subtext_loss,
)
from cleaner.losses.info_nce import pad_rows

pytestmark = pytest.mark.quick

N, M, D, S = 6, 3, 8, 20.0


def unit(*shape: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def naive_ce(logits: np.ndarray, target: int) -> float:
    finite = logits[np.isfinite(logits)]
    return float(np.log(np.exp(finite - finite.max()).sum()) + finite.max() - logits[target])


def naive_info_nce(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([naive_ce(S * b @ a[i], i) for i in range(len(a))]))


def features(**changes: object) -> Features:
    base = {
        "image": unit(N, D, seed=1),
        "text": unit(N, D, seed=2),
        "image_aug": unit(N, D, seed=3),
        "text_aug": unit(N, D, seed=4),
        "positive": unit(M, D, seed=5),
        "negative": unit(M, 2, D, seed=6),
        "selected": torch.tensor([0, 2, 5]),
        "negative_mask": torch.ones(M, 2, dtype=torch.bool),
        "logit_scale": S,
    }
    return Features(**{**base, **changes})


def naive_subtext(f: Features, text_to_text: bool) -> float:
    image, text = f.image[f.selected].numpy(), f.text[f.selected].numpy()
    positive, negative = f.positive.numpy(), f.negative.numpy()
    masked = np.zeros((M, M), bool) if f.false_negative is None else f.false_negative.numpy()
    total = 0.0
    for i in range(M):
        negatives = [negative[i, k] for k in range(negative.shape[1]) if f.negative_mask[i, k]]
        for query in (image[i], text[i]) if text_to_text else (image[i],):
            columns = [S * query @ positive[j] if j == i or not masked[i, j] else -np.inf for j in range(M)]
            total += naive_ce(np.array(columns + [S * query @ k for k in negatives]), i)
        columns = [S * positive[i] @ image[j] if j == i or not masked[j, i] else -np.inf for j in range(M)]
        total += naive_ce(np.array(columns), i)
    return total / (3 * M)


def test_info_nce_equals_naive() -> None:
    a, b = unit(N, D, seed=1), unit(N, D, seed=2)
    assert info_nce(a, b, S).item() == pytest.approx(naive_info_nce(a.numpy(), b.numpy()), rel=1e-5)


def test_info_nce_of_no_rows_is_zero() -> None:
    assert info_nce(torch.zeros(0, D), torch.zeros(0, D), S).item() == 0.0


def test_clip_loss_is_the_mean_of_both_directions() -> None:
    f = features()
    image, text = f.image.numpy(), f.text.numpy()
    expected = (naive_info_nce(image, text) + naive_info_nce(text, image)) / 2
    assert clip_loss(f).item() == pytest.approx(expected, rel=1e-5)


def test_in_modal_loss_queries_with_the_original() -> None:
    f = features()
    expected = naive_info_nce(f.image.numpy(), f.image_aug.numpy()) + naive_info_nce(f.text.numpy(), f.text_aug.numpy())
    assert in_modal_loss(f).item() == pytest.approx(expected / 2, rel=1e-5)


def test_in_modal_loss_needs_views() -> None:
    with pytest.raises(ValueError, match="image_aug"):
        in_modal_loss(features(image_aug=None))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("text_to_text", [False, True])
def test_subtext_loss_equals_naive(masked: bool, padded: bool, text_to_text: bool) -> None:
    changes: dict[str, object] = {}
    if masked:
        changes["false_negative"] = torch.tensor([[True, True, False], [False, True, False], [True, False, True]])
    if padded:
        changes["negative_mask"] = torch.tensor([[True, False], [True, True], [False, False]])
    f = features(**changes)
    assert subtext_loss(f, text_to_text).item() == pytest.approx(naive_subtext(f, text_to_text), rel=1e-5)


@pytest.mark.parametrize("temperatures", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25), (0.07, 0.2)])
def test_reviewed_subtext_loss_equals_naive(temperatures: tuple[float, float]) -> None:
    f = features(negative=unit(M, D, seed=9)[:, None], negative_mask=None)
    image, positive, negative = (x.numpy().astype(float) for x in (f.image[f.selected], f.positive, f.negative[:, 0]))
    t_p, t_n = (t or 1 / S for t in temperatures)
    total = 0.0
    for i in range(M):
        false = M * np.exp(image[i] @ negative[i] / t_n)
        true = np.exp(image[i] @ positive[i] / t_p)
        total -= np.log(true / (np.exp(positive @ image[i] / t_p).sum() + false))
        total -= np.log(true / (np.exp(image @ positive[i] / t_p).sum() + false))
    assert reviewed_subtext_loss(f, *temperatures).item() == pytest.approx(total / (2 * M), rel=1e-5)
    masked = features(**{**vars(f), "false_negative": torch.ones(M, M, dtype=torch.bool)})
    assert reviewed_subtext_loss(masked, *temperatures).item() == reviewed_subtext_loss(f, *temperatures).item()


def test_reviewed_subtext_loss_needs_one_negative_for_each_pair() -> None:
    with pytest.raises(ValueError, match="one negative"):
        reviewed_subtext_loss(features())
    padded = {"negative": unit(M, D, seed=9)[:, None], "negative_mask": torch.tensor([[True], [True], [False]])}
    with pytest.raises(ValueError, match="one negative"):
        reviewed_subtext_loss(features(**padded))
    nothing = {"positive": torch.zeros(0, D), "negative": torch.zeros(0, 0, D), "negative_mask": None}
    assert reviewed_subtext_loss(features(**nothing, selected=torch.zeros(0, dtype=torch.long))).item() == 0.0


def test_subtext_loss_never_masks_the_diagonal() -> None:
    everything = torch.ones(M, M, dtype=torch.bool)
    f = features(false_negative=everything, negative_mask=torch.zeros(M, 2, dtype=torch.bool))
    assert subtext_loss(f).item() == 0.0


def test_subtext_loss_of_no_drawn_pair_is_exactly_zero() -> None:
    f = features(
        positive=torch.zeros(0, D),
        negative=torch.zeros(0, 0, D),
        selected=torch.zeros(0, dtype=torch.long),
        negative_mask=torch.zeros(0, 0, dtype=torch.bool),
        false_negative=torch.zeros(0, 0, dtype=torch.bool),
    )
    assert subtext_loss(f).item() == 0.0


def test_subtext_loss_without_negatives() -> None:
    f = features(negative=None, negative_mask=None)
    all_masked = features(negative_mask=torch.zeros(M, 2, dtype=torch.bool))
    assert subtext_loss(f).item() == pytest.approx(subtext_loss(all_masked).item())


def test_subtext_loss_gradient_is_finite_under_masks() -> None:
    image = unit(N, D, seed=1).requires_grad_()
    f = features(image=image, negative_mask=torch.tensor([[True, False], [True, True], [False, False]]))
    subtext_loss(f).backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad[[1, 3, 4]].abs().sum() == 0


@pytest.mark.parametrize("tau", [0.5, 2.15, 4.0])
def test_par_loss_cuts_the_batch_mean_at_tau(tau: float) -> None:
    f, reference = features(), features(image=unit(N, D, seed=8), text=unit(N, D, seed=9))
    expected = clip_loss(f).item()
    for now, before in ((f.image, reference.image), (f.text, reference.text)):
        d = float(np.mean([np.sum((x - y) ** 2) for x, y in zip(now.numpy(), before.numpy(), strict=True)]))
        expected -= 0.5 * (d if d <= tau else 0.0)
    assert par_loss(f, reference=reference, tau=tau).item() == pytest.approx(expected, rel=1e-5)


def test_pad_rows_fills_up_to_the_largest_count() -> None:
    rows = torch.arange(1.0, 7.0).reshape(3, 2)
    padded, mask = pad_rows(rows, [1, 0, 2])
    assert padded.tolist() == [[[1, 2], [0, 0]], [[0, 0], [0, 0]], [[3, 4], [5, 6]]]
    assert mask.tolist() == [[True, False], [False, False], [True, True]]
    nothing, no_mask = pad_rows(rows[:0], [])
    assert (nothing.shape, no_mask.shape) == ((0, 0, 2), (0, 0))
