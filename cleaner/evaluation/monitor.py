"""The monitor of a training: a few metrics on validation images while it runs."""

from collections.abc import Callable
from functools import partial

import torch

from cleaner.attacks.base import Trigger
from cleaner.config import FinetuneConfig
from cleaner.data.base import CaptionData
from cleaner.evaluation.evaluate import evaluate, validate_eval_data
from cleaner.models.clip import Clip

MONITOR_IMAGES = 256
"""Enough for a curve; more would make the validation passes a tenth of a short training."""
TARGET_IMAGES = 32
"""Images of the target among them, for a trigger in the text alone."""


def build_monitor(
    config: FinetuneConfig,
    validation: CaptionData | None,
    data: CaptionData,
    trigger: Trigger | None,
    target_class: str | None,
) -> Callable[[Clip], dict[str, float]] | None:
    """Return clip -> metrics on at most `MONITOR_IMAGES` validation images; None without any, or if eval_every is 0."""
    if not config.eval_every:
        return None
    validation = validation or data.load_split("validation")
    if validation is None:
        return None
    rows = validation.labeled_rows()
    if len(rows) == 0:
        return None
    if trigger is not None and target_class is not None:
        index, is_text = validation.class_index(target_class), "image" not in trigger.modalities
        if is_text:
            # Texts must have images of the target to find, and the first rows of many classes may show none.
            is_target = validation.labels[rows] == index
            rows = torch.cat([rows[is_target][:TARGET_IMAGES], rows[~is_target]])
        is_target = validation.labels[rows[:MONITOR_IMAGES]] == index
        if is_target.all() or (is_text and not is_target.any()):  # a small validation split: accuracy alone is watched
            trigger = target_class = None
    chosen = validation.subset(rows[:MONITOR_IMAGES])
    return partial(
        _measure_validation, validate_eval_data(chosen, target_class, trigger=trigger), trigger, target_class
    )


def _measure_validation(
    data: CaptionData, trigger: Trigger | None, target_class: str | None, clip: Clip
) -> dict[str, float]:
    metrics = evaluate(clip, data, trigger, target_class, ks=(1,), counterfactual=False, use_store=False)
    return {"ca": metrics.ca[1]} | ({"asr": metrics.asr[1]} if metrics.asr else {})
