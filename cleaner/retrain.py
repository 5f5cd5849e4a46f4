"""retrain_without(): poison again from the clean model, but without the pairs that a detector flagged."""

from dataclasses import replace
from typing import Unpack

import torch

from cleaner.config import FinetuneConfig
from cleaner.data.base import Indices, to_rows
from cleaner.data.poison import PoisonedData
from cleaner.defenses.base import DEFENSES
from cleaner.labels import FLAGGED_DEFENSE, format_count
from cleaner.runs.run import Run
from cleaner.types import CleanerError
from cleaner.workflow import RunOptions, defend

MIN_PAIRS = 2
"""Pairs that must remain: each is compared with others."""


def retrain_without(
    run: Run,
    pairs: PoisonedData,
    flagged: Indices,
    config: FinetuneConfig | None = None,
    *,
    detector: str,
    **options: Unpack[RunOptions],
) -> Run:
    """Train the model before poisoning on a run's training pairs without those at `flagged`; return a defended run.

    `flagged` are positions of pairs, or a bool mask of all. `config` defaults to that of the run on the device at hand,
    `detector` names what flagged the pairs. The result's `config["overlap"]` counts the poisoned pairs that remained.
    Other options as in `workflow.defend`. Raises `CleanerError` if the model before poisoning is gone, or for `flagged`
    that are no pairs or all of them.
    """
    clean_clip = run.require_clean_clip()
    is_kept = torch.ones(len(pairs), dtype=torch.bool)
    indices = to_rows(flagged, len(pairs))
    if len(indices) and (indices.min() < 0 or indices.max() >= len(pairs)):
        raise CleanerError(f"the flagged pairs must be numbers from 0 to {len(pairs) - 1}: detect them again.")
    is_kept[indices] = False
    if is_kept.sum() < MIN_PAIRS:
        raise CleanerError(f"{format_count(int(is_kept.sum()), 'pairs')} would remain: flag fewer.")
    if options.get("test") is None:  # without a test split, the unpoisoned training pairs, as in `poison`
        options["test"] = pairs.load_split("test") or pairs.base
    start = replace(run, clip=clean_clip, film=None, manifest={})  # without it, `defend` looks for no shared images
    kept = pairs.subset(is_kept.nonzero().flatten())
    # This machine may lack the device of the run.
    settings = config or replace(FinetuneConfig(**run.config["finetune"]), device="auto")
    trained = defend(start, DEFENSES["finetune"](), kept, settings, **options)
    choice = {"detector": detector, "flagged": int((~is_kept).sum())}
    # Counted by pair: the image of a poisoned caption can be in an ordinary pair, too.
    remaining = int(is_kept[pairs.poison_indices].sum())
    overlap = {"pairs": len(kept), "poisoned": len(pairs.poison_indices), "shared": remaining}
    trained.config |= {"defense": {"name": FLAGGED_DEFENSE, **choice}, "variant": choice, "overlap": overlap}
    return trained
