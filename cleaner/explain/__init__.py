"""Explainers: one per file, found through `EXPLAINERS`."""

from cleaner.explain.base import EXPLAINERS

__all__ = ["EXPLAINERS"]
