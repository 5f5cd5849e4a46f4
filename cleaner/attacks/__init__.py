"""Attacks: one trigger per file, found through `TRIGGERS`."""

from cleaner.attacks.base import TRIGGERS, Trigger, load_trigger

__all__ = ["TRIGGERS", "Trigger", "load_trigger"]
