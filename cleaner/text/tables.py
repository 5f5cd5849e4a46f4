"""Word tables: assets/lexicon/words.toml, which says how words, phrases, families and tables are written."""

import tomllib
from functools import cache
from typing import Any

from cleaner.files import shipped_assets
from cleaner.types import CleanerError

WORDS_PATH = shipped_assets() / "lexicon" / "words.toml"
Family = tuple[tuple[str, ...], ...]
"""Groups of words: those of one group are too close to replace each other, those of different groups are exclusive."""


@cache
def _read() -> dict[str, dict[str, Any]]:
    if not WORDS_PATH.is_file():
        raise CleanerError(f"The word tables are missing: restore {WORDS_PATH}, or install TA-Cleaner Lab again.")
    return tomllib.loads(WORDS_PATH.read_text(encoding="utf-8"))


def read_words(section: str, name: str) -> tuple[str, ...]:
    """Return the words of an entry, in order."""
    return split_words(_read()[section][name])


def read_set(section: str, *names: str) -> frozenset[str]:
    """Return the words of some entries of a section."""
    return frozenset(word for name in names for word in read_words(section, name))


def read_family(section: str, name: str) -> Family:
    """Return an entry's groups of words; of phrases, each is its own group."""
    return _parse_family(_read()[section][name])


def read_families(section: str) -> dict[str, Family]:
    """Return name -> family of a whole section."""
    return {name: _parse_family(text) for name, text in _read()[section].items()}


def read_groups(section: str, name: str) -> Family:
    """Return the words of each line of an entry."""
    return tuple(map(split_words, _read()[section][name].splitlines()))


def read_table(section: str, name: str) -> dict[str, tuple[str, ...]]:
    """Read "a/b: c d, e: f" as a and b -> (c, d), e -> (f,)."""
    table: dict[str, tuple[str, ...]] = {}
    for entry in _read()[section][name].split(","):
        keys, _, values = entry.partition(":")
        for key in keys.strip().split("/"):
            table[key] = (*table.get(key, ()), *split_words(values))
    return table


def read_phrases(section: str, name: str) -> dict[str, tuple[str, ...]]:
    """Return phrase -> phrases of a section within a section."""
    return {phrase: tuple(others.split(", ")) for phrase, others in _read()[section][name].items()}


def read_tags() -> dict[str, str]:
    """Return word -> tag."""
    return {word: tag for tag, words in _read()["tags"].items() for word in split_words(words)}


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of a text that blanks separate."""
    return tuple(text.split())


def _parse_family(text: str) -> Family:
    return tuple(tuple(" ".join(word.split()) for word in group.split("/")) for group in text.split(","))
