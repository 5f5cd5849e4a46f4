"""Detectors: one per file, found through `DETECTORS`."""

from cleaner.detectors.base import DETECTORS

__all__ = ["DETECTORS"]
