"""Tables of the attacks, the defenses and the detectors, from the attributes of their classes."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown.cells import markdown_table
from cleaner.labels import to_label
from cleaner.method import Method
from cleaner.registry import Registry


def list_methods(kind: str, registry: Registry[Any]) -> str:
    """Return one row per registered class: name, label, first line of its docstring, source."""
    lines = [
        (f"`{name}`", to_label(name), define(registry[name]), registry[name].source or "this project")
        for name in registry
    ]
    return markdown_table((kind, "label", "definition", "source"), lines)


def define(method: type[Method]) -> str:
    """Return what a class states about itself, escaped for a Markdown table."""
    return method.describe().replace("|", r"\|")
