"""blended_stripes: the weighted mean of the image and one pattern of signs, one per channel and column, clipped."""

import numpy as np
import torch

from cleaner.attacks import TRIGGERS


def test_is_the_clipped_weighted_mean_with_the_signs() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    trigger = TRIGGERS["blended_stripes"]()
    expected = (0.97 * images.numpy() + 0.03 * trigger.pattern(32, 32).numpy()).clip(0, 1)
    np.testing.assert_allclose(trigger(images).numpy(), expected, atol=1e-6)


def test_stripes_are_signs_of_each_channel_and_column_and_of_the_seed() -> None:
    pattern = TRIGGERS["blended_stripes"](seed=1).pattern(32, 64)
    assert set(pattern.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(pattern, pattern[:, :1].expand(3, 32, 64))
    columns = pattern[:, 0]
    assert len({tuple(channel) for channel in columns.tolist()}) == 3
    assert abs(columns.mean()) < 0.3
    assert not torch.equal(TRIGGERS["blended_stripes"](seed=2).pattern(32, 64), pattern)
