"""The pairs that a backdoored model was trained on, rebuilt from its run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData, load_data
from cleaner.data.poison import PoisonedData
from cleaner.models.framing import ImageTransform
from cleaner.runs.manifest import get_requested_pairs, read_manifest, validate_manifest
from cleaner.runs.request import get_test_data, trains_on_all
from cleaner.runs.run import load_run_trigger, read_complete_config
from cleaner.types import CleanerError, OnStep


def load_training_pairs(folder: Path, framing: ImageTransform, on_step: OnStep | None = None) -> PoisonedData:
    """Return the poisoned training pairs of a run, with images as its model sees them (`framing`)."""
    config, manifest = read_complete_config(folder), read_manifest(folder)
    name, options, _ = get_test_data(config)
    split = "all" if trains_on_all(config) else "train"
    data = load_data(name, split=split, size=get_requested_pairs(config), on_step=on_step, **options)
    return rebuild_training_pairs(data.with_transform(framing), load_run_trigger(folder), manifest)


def rebuild_training_pairs(data: CaptionData, trigger: Trigger | None, manifest: Mapping[str, Any]) -> PoisonedData:
    """Return `data`, if they are those that were poisoned, with the pairs that a manifest lists."""
    validate_manifest(manifest)
    if trigger is None:
        raise CleanerError("the trigger of this run is unknown: choose a run made by poison.")
    changed = CleanerError(
        f"these are not the pairs that this run was trained on: {data.name} has changed since, or the run took a part "
        "of it. Restore the data, or poison again."
    )
    if len(data) != manifest["pairs"]:
        raise changed
    pairs = PoisonedData(
        data,
        trigger,
        target_class=str(manifest.get("target_class")),
        poison_rate=manifest["poison_rate"],
        seed=manifest["seed"],
        clean_label=bool(manifest.get("clean_label")),
    )
    rebuilt = {
        "poison_indices": pairs.poison_indices.tolist(),
        "captions_before": [data.captions[i] for i in pairs.poison_indices.tolist()],
    }
    if any(manifest.get(name, values) != values for name, values in rebuilt.items()):
        raise changed
    # Rebuilt without the model that cuts captions, and by another version, they may be others than were trained on.
    if isinstance(captions := manifest.get("captions_after"), list):
        for index, caption in zip(rebuilt["poison_indices"], captions, strict=False):
            pairs.captions[index] = str(caption)
    return pairs
