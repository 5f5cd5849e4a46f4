"""Measure the built-in models with this version: python -m benchmarks.cards

Rewrites the metrics of each model card and keeps its training record. The weights must match the card.
"""

from __future__ import annotations

from cleaner.files import assets, read_json, write_json
from cleaner.models.architectures import BUILT_IN
from cleaner.models.clip import load_clip
from cleaner.pretrain import measure_for_card


def main() -> None:
    """Rewrite the metrics of each card."""
    for name in BUILT_IN:
        path, clip = assets() / name / "card.json", load_clip(name)
        card = read_json(path)
        if clip.sha256() != card["sha256"]:
            raise SystemExit(
                f"{path} belongs to other weights: train the model again (python -m cleaner pretrain --model {name})."
            )
        write_json(path, {**card, **measure_for_card(clip, "scenes", {})})


if __name__ == "__main__":
    main()
