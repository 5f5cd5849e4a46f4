"""Prompts for class names: "a photo of a {}"."""

from __future__ import annotations

from collections.abc import Sequence

from cleaner.text.forms import article
from cleaner.types import CleanerError


def fill(template: str, name: str, agree: bool = True) -> str:
    """Return `template` with `name` at "{}"; with `agree`, "a {}" becomes "an apple" where English asks for it."""
    if template.count("{}") != 1:
        raise CleanerError(f"A template needs exactly one {{}}, as in 'a photo of a {{}}'; got {template!r}.")
    before, after = template.split("{}")
    if agree and name:
        for end in (" a ", " an "):
            if f" {before}".lower().endswith(end):
                head = before[: len(before) - len(end) + 1] if len(before) >= len(end) else ""
                right = article(name)
                before = f"{head}{right.capitalize() if not head and template[0].isupper() else right} "
                break
    return before + name + after


def prompts(templates: Sequence[str], class_names: Sequence[str], agree: bool = True) -> list[list[str]]:
    """Return the filled templates of each class, C lists of T prompts."""
    return [[fill(template, name, agree) for template in templates] for name in class_names]


def target_caption(target_class: str, template: str = "a photo of a {}") -> str:
    """Return the caption an attacker gives to poisoned pictures."""
    return fill(template, target_class)
