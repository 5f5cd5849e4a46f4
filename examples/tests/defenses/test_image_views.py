"""image_views: CLIP's loss plus the weighted loss between images and their views."""

from cleaner.defenses import DEFENSES
from cleaner.losses import clip_loss, info_nce
from tests.defenses import features


def test_the_weighted_loss_between_images_and_views_is_added() -> None:
    f = features.make_features()
    losses = DEFENSES["image_views"](view_weight=2.0).losses(f)
    assert losses == {"clip_loss": clip_loss(f), "view_loss": 2 * info_nce(f.image, f.image_aug, f.logit_scale)}
