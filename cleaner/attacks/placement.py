"""Placement: a trigger moved to another place of an image, and blended in."""

from torch import Tensor

from cleaner.attacks.base import PatternTrigger, Trigger


def find_trigger_box(image: Tensor, trigger: Trigger) -> tuple[int, int, int, int] | None:
    """Return left, top, width, height in px of a trigger's mask; None if it is empty or over half the image."""
    ys, xs = trigger.mask(image)[0, 0].nonzero(as_tuple=True)
    if len(ys) == 0:
        return None
    left, top = int(xs.min()), int(ys.min())
    width, height = int(xs.max()) + 1 - left, int(ys.max()) + 1 - top
    return None if width * height > image.shape[-1] * image.shape[-2] / 2 else (left, top, width, height)


def place_trigger(image: Tensor, trigger: Trigger, left: int, top: int, strength: float = 1.0) -> Tensor:
    """Return an image (1, 3, H, W) with the trigger moved to `left`, `top` px and blended in.

    A trigger without a box (`find_trigger_box`) is only blended in. strength: 0 = no trigger, 1 = the full trigger.
    """
    triggered = trigger(image)
    box = find_trigger_box(image, trigger)
    if box is None:
        return image + strength * (triggered - image)
    x0, y0, width, height = box
    x1, y1 = x0 + width, y0 + height
    top, left = min(max(top, 0), image.shape[-2] - height), min(max(left, 0), image.shape[-1] - width)
    opacity = trigger.mask(image)[..., y0:y1, x0:x1]
    if isinstance(trigger, PatternTrigger):  # its mask states where it blends, not how much
        opacity = opacity * trigger.blend_ratio
    result = image.clone()
    place = result[..., top : top + height, left : left + width]
    # The triggered box shows its own background through the trigger: exchange it for the one at the new place.
    moved = triggered[..., y0:y1, x0:x1] + (1 - opacity) * (place - image[..., y0:y1, x0:x1])
    place.lerp_(moved, strength)
    return result
