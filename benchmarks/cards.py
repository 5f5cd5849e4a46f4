"""Measure the built-in models again, as this version measures: python -m benchmarks.cards

What a card says of the training stays; the weights must be those that it was written for.
"""

from __future__ import annotations

from cleaner.files import assets, read_json, write_json
from cleaner.models.architectures import BUILT_IN
from cleaner.models.clip import load_clip
from cleaner.pretrain import measure_for_card


def main() -> None:
    """Rewrite the figures of each card."""
    for name in BUILT_IN:
        path, clip = assets() / name / "card.json", load_clip(name)
        card = read_json(path)
        if clip.sha256() != card["sha256"]:
            raise SystemExit(
                f"{path} was written for other weights: train the model again (python -m cleaner pretrain)."
            )
        write_json(path, {**card, **measure_for_card(clip, "scenes", {})})


if __name__ == "__main__":
    main()
