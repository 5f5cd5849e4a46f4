"""PAR: frozen reference model and temperature, published schedule, stateless noise and squares."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from open_clip import OPENAI_DATASET_MEAN

from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.losses import Features, par_loss
from cleaner.models.clip import Clip
from cleaner.training.loop import finetune
from cleaner.types import StepReport
from tests.conftest import make_clip, make_toy_data

PAR = DEFENSES["par"]()
PLAIN = DEFENSES["par"](noise_share=0.0, erase_share=0.0)
CONFIG = FinetuneConfig(lr=3e-3, epochs=2, batch_size=16, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def plain_history() -> list[StepReport]:
    """The steps of PAR without noise and squares."""
    return finetune(make_clip(), make_toy_data(), PLAIN, CONFIG).history


def test_first_step_compares_with_the_model_itself(plain_history: list[StepReport]) -> None:
    # Without dropout a ViT is the same in train and eval mode: the first distance is 0, then it grows.
    assert plain_history[0].losses["push_loss"] == pytest.approx(0, abs=1e-6)
    assert -4 <= plain_history[-1].losses["push_loss"] < -1e-3


def test_reference_is_in_eval_mode(toy_data: TensorData) -> None:
    clip = make_clip("rn")
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    history = finetune(clip, toy_data, PLAIN, CONFIG).history
    assert history[0].losses["push_loss"] < -1e-3  # only the trained ResNet uses batch statistics
    assert all(torch.equal(value, before[name]) for name, value in clip.model.state_dict().items())


def test_losses_sum_to_par_loss_and_stop_at_tau() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = [torch.nn.functional.normalize(torch.randn(5, 8, generator=draw), dim=-1) for _ in range(4)]
    reference = Features(rows[2], rows[3])
    f = Features(rows[0], rows[1], logit_scale=10.0, reference=reference)
    for tau in (0.1, 4.0):
        losses = DEFENSES["par"](tau=tau).losses(f)
        assert sum(losses.values()).item() == pytest.approx(par_loss(f, reference, tau).item())
        assert (losses["push_loss"].item() == 0) == (tau == 0.1)
    with pytest.raises(ValueError, match="reference"):
        PAR.losses(Features(rows[0], rows[1]))


def test_learning_rate_has_the_published_shape(plain_history: list[StepReport]) -> None:
    factors = [PAR.lr_factor(step, 100) for step in range(100)]
    assert factors[0] == 1
    assert factors[25] == pytest.approx(0.55)
    assert factors[50] == pytest.approx(0.1)
    assert factors[75] == pytest.approx(0.05, abs=1e-3)
    assert factors[99] < 1e-3
    rates = [report.lr for report in plain_history]
    assert rates == pytest.approx([CONFIG.lr * PLAIN.lr_factor(step, 6) for step in range(6)])


def test_published_optimizer_settings_are_used(tiny_clip: Clip, toy_data: TensorData) -> None:
    adapted = PAR.adapt(replace(CONFIG, beta1=0.5))
    assert (adapted.weight_decay, adapted.beta1, adapted.beta2, adapted.lr) == (1e-4, 0.9, 0.98, CONFIG.lr)
    strong_decay = finetune(tiny_clip, toy_data, DEFENSES["par"](decay=1.0), CONFIG).clip.sha256()
    assert strong_decay != finetune(tiny_clip, toy_data, PAR, CONFIG).clip.sha256()


def test_temperature_stays_fixed(tiny_clip: Clip, toy_data: TensorData) -> None:
    trained = finetune(tiny_clip, toy_data, PAR, CONFIG).clip.model
    assert torch.equal(trained.logit_scale, tiny_clip.model.logit_scale)


def test_noise_and_squares_are_a_function_of_seed_epoch_and_index() -> None:
    gray = torch.full((200, 3, 32, 32), 0.2)
    perturbed = PAR.perturb(gray, 1, 2, range(200))
    assert (gray == 0.2).all()
    assert torch.equal(PAR.perturb(gray[50:60], 1, 2, range(50, 60)), perturbed[50:60])
    for seed, epoch in ((1, 3), (0, 2)):
        assert not torch.equal(PAR.perturb(gray, seed, epoch, range(200)), perturbed)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_shares_of_noisy_and_erased_images(share: float) -> None:
    gray = torch.full((200, 3, 64, 64), 0.2)
    erased = DEFENSES["par"](noise_share=0.0, erase_share=share).perturb(gray, 0, 0, range(200)) != gray
    assert erased.flatten(1).any(dim=1).float().mean().item() == pytest.approx(share, abs=0.08)
    noisy = DEFENSES["par"](noise_share=share, erase_share=0.0).perturb(gray, 0, 0, range(200)) != gray
    assert noisy.flatten(1).any(dim=1).float().mean().item() == pytest.approx(share, abs=0.08)


def test_noise_and_square_are_drawn_apart() -> None:
    gray = torch.full((200, 3, 64, 64), 0.2)
    changed = (PAR.perturb(gray, 0, 0, range(200)) != gray).any(dim=1).float().mean(dim=(1, 2))
    is_small = changed < 0.02  # a square covers less, noise more
    for kind in (changed == 0, (changed > 0) & is_small, ~is_small):
        assert kind.sum() > 30


def test_noise_brightens_half_of_the_pixels() -> None:
    gray = torch.full((50, 3, 64, 64), 0.2)
    added = DEFENSES["par"](noise_share=1.0, erase_share=0.0).perturb(gray, 0, 0, range(50)) - 0.2
    assert (added > 0).float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert added.min() == 0
    assert added.square().mean().sqrt().item() == pytest.approx(0.2 / 2**0.5, abs=0.005)


def test_erased_squares_have_the_mean_color() -> None:
    images = DEFENSES["par"](noise_share=0.0, erase_share=1.0).perturb(torch.zeros(200, 3, 64, 64), 0, 0, range(200))
    for image in images:
        mask = image.any(dim=0)
        rows, columns = (int(mask.any(dim=d).sum()) for d in (1, 0))
        assert rows == columns == round(int(mask.sum()) ** 0.5)
        assert torch.allclose(image[:, mask], torch.tensor(OPENAI_DATASET_MEAN)[:, None], atol=1e-4)
    area = images.any(dim=1).float().mean(dim=(1, 2))
    assert area.min() > 0.004
    assert area.max() < 0.011
    assert area.mean().item() == pytest.approx(0.0075, abs=0.001)


def test_squares_lie_on_the_noise_anywhere() -> None:
    both = DEFENSES["par"](noise_share=1.0, erase_share=1.0).perturb(
        torch.full((200, 3, 64, 64), 0.2), 0, 0, range(200)
    )
    covered = ((both - torch.tensor(OPENAI_DATASET_MEAN).view(3, 1, 1)).abs() < 1e-4).all(dim=1)
    assert covered.float().mean(dim=(1, 2)).min() > 0.004
    corners = [tuple(mask.nonzero()[0].tolist()) for mask in covered]
    assert sum(top != left for top, left in corners) > 150, "row and column are drawn apart"
