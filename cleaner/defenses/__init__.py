"""Defenses: one per file, found through `DEFENSES`."""

from cleaner.defenses.base import DEFENSES, Defense, load_defense

__all__ = ["DEFENSES", "Defense", "load_defense"]
