"""Losses: pure functions of `Features`, each a scalar."""

from cleaner.losses.classification import class_loss
from cleaner.losses.clip import clip_loss
from cleaner.losses.feature_repelling import feature_repelling_loss
from cleaner.losses.in_modal import in_modal_loss
from cleaner.losses.info_nce import Features, info_nce
from cleaner.losses.par import par_loss, push_loss
from cleaner.losses.reviewed_subtext import reviewed_subtext_loss
from cleaner.losses.subtext import subtext_loss
from cleaner.losses.unified import unified_loss

__all__ = [
    "Features",
    "class_loss",
    "clip_loss",
    "feature_repelling_loss",
    "in_modal_loss",
    "info_nce",
    "par_loss",
    "push_loss",
    "reviewed_subtext_loss",
    "subtext_loss",
    "unified_loss",
]
