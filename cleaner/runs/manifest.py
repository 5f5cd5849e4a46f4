"""The manifest of a backdoored run: which training pairs were poisoned. Loads no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleaner.files import read_json
from cleaner.types import CleanerError

FIELDS = {"pairs": int, "seed": int, "poison_rate": float, "poison_indices": list, "captions_before": list}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a run. Raises `CleanerError` as `validate_manifest` does."""
    manifest = read_json(folder / "manifest.json")
    validate_manifest(manifest)
    return manifest


def validate_manifest(manifest: Mapping[str, Any]) -> None:
    """Raise `CleanerError` unless a manifest lists the poisoned pairs of a run."""
    if not all(isinstance(manifest.get(name), kind) for name, kind in FIELDS.items()):
        raise CleanerError(
            "this run does not list its poisoned pairs (manifest.json): choose a run made by poison, or poison again."
        )


def get_requested_pairs(config: Mapping[str, Any]) -> int:
    """Return how many pairs a run asked for; `pairs` of its config counts those whose images could be read."""
    request = config.get("request")
    pairs = request.get("pairs") if isinstance(request, Mapping) else None
    return pairs if isinstance(pairs, int) else int(config.get("pairs") or 0)
