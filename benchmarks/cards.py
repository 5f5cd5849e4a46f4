"""Measure the built-in models with this version: python -m benchmarks.cards

Rewrites the metrics of each model card, on the data that the model was trained on, and keeps its training record. The
weights must match the card; a model without weights is left out.
"""

from __future__ import annotations

from cleaner.files import assets, read_json, write_json
from cleaner.models.architectures import BUILT_IN
from cleaner.models.clip import load_clip
from cleaner.presets import home_data
from cleaner.pretrain import measure_for_card


def main() -> None:
    """Rewrite the metrics of each card."""
    for name in BUILT_IN:
        path = assets() / name / "card.json"
        if not path.exists():
            continue
        card, clip = read_json(path), load_clip(name)
        if clip.sha256() != card["sha256"]:
            raise SystemExit(
                f"{path} belongs to other weights: train the model again (python -m cleaner pretrain --model {name})."
            )
        write_json(path, {**card, **measure_for_card(clip, home_data(name), {})})


if __name__ == "__main__":
    main()
