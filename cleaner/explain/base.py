"""Explainer: which pixels or words a similarity comes from. A new method is one file with one subclass."""

from __future__ import annotations

from typing import Any

from cleaner.registry import Registry

EXPLAINERS: Registry[Any] = Registry("explainer", "cleaner.explain")
