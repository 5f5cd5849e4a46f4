"""Options of a data source: those its signature accepts, and conversion of strings to their types."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from cleaner.types import CleanerError

ANY_OPTION = "**"
"""Key of `accepted_options` for a source that accepts any further option."""


def accepted_options(source: Any) -> dict[str, Sequence[str]]:
    """Return option -> names of its types, also of options passed to the base; `ANY_OPTION` if any is taken."""
    classes = [vars(cls) for cls in source.__mro__] if isinstance(source, type) else [{"__init__": source}]
    accepted: dict[str, Sequence[str]] = {}
    for function in (members["__init__"] for members in classes if "__init__" in members):
        parameters = inspect.signature(function).parameters.values()
        for p in parameters:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self":
                annotation = p.annotation.__name__ if isinstance(p.annotation, type) else str(p.annotation)
                if p.annotation is p.empty and p.default is not p.empty:
                    annotation = type(p.default).__name__
                accepted.setdefault(p.name, annotation.split(" | "))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return accepted
    return {**accepted, ANY_OPTION: ()}


def _parse_bool(word: str) -> bool:
    return {"true": True, "false": False}[word.lower()]


_CONVERTERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (_parse_bool, "true or false"),
}


def convert_option(key: str, value: Any, types: Sequence[str]) -> Any:
    """Return an option's value as one of `types`: a column may be named 3, a seed must be a number."""
    if "str" in types:
        return str(value) if type(value) in (int, float) else value
    number_type = next((name for name in types if name in _CONVERTERS), None)
    if number_type is None or not isinstance(value, str):
        return value
    convert, expected = _CONVERTERS[number_type]
    try:
        return convert(value)
    except (ValueError, KeyError) as error:
        raise CleanerError(f"{key} takes {expected}, not {value[:40]!r}.") from error
