"""Tables of the attacks, the defenses and the detectors, from the attributes of their classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cleaner.attacks import TRIGGERS
from cleaner.defenses import DEFENSES
from cleaner.detectors import DETECTORS
from cleaner.labels import to_label
from cleaner.published import Method
from cleaner.registry import Registry


def attacks(root: Path) -> str:
    """Return a Markdown table of the attacks; `root` is not read."""
    return format_methods("attack", TRIGGERS)


def defenses(root: Path) -> str:
    """Return a Markdown table of the defenses; `root` is not read."""
    return format_methods("defense", DEFENSES)


def detectors(root: Path) -> str:
    """Return a Markdown table of the detectors; `root` is not read."""
    return format_methods("detector", DETECTORS)


def format_methods(kind: str, registry: Registry[Any]) -> str:
    """Return one row per registered class: name, label, first line of its docstring, source."""
    header = (kind, "label", "definition", "source")
    rows = [
        (f"`{name}`", to_label(name), define(registry[name]), registry[name].source or "this project")
        for name in registry
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def define(method: type[Method]) -> str:
    """Return what a class states about itself, escaped for a Markdown table."""
    return method.describe().replace("|", r"\|")
