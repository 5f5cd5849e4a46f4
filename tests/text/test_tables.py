"""Word tables: how entries are read, and what must hold between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.text import kinds, rules, tables
from cleaner.types import CleanerError

TOML = """
[colors]
warm = "red/crimson, orange"
cold = "blue"

[verbs]
opposites = '''
open/unlock: close
shut, open: lock'''
animals = '''
dog cat
owl'''

[verbs.phrases]
"on top of" = "under, next to"

[tags]
DT = "the a"
JJ = "red"
"""


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "words.toml"
    path.write_text(TOML)
    monkeypatch.setattr(tables, "WORDS_PATH", path)
    tables._read.cache_clear()
    monkeypatch.setattr(tables, "_read", tables._read.__wrapped__)
    return path


@pytest.mark.usefixtures("file")
def test_each_notation_is_read() -> None:
    assert tables.read_families("colors") == {"warm": (("red", "crimson"), ("orange",)), "cold": (("blue",),)}
    assert tables.read_family("colors", "warm") == (("red", "crimson"), ("orange",))
    assert tables.read_table("verbs", "opposites") == {"open": ("close", "shut", "lock"), "unlock": ("close", "shut")}
    assert tables.read_words("verbs", "animals") == ("dog", "cat", "owl")
    assert tables.read_set("verbs", "animals") == {"dog", "cat", "owl"}
    assert tables.read_groups("verbs", "animals") == (("dog", "cat"), ("owl",))
    assert tables.read_phrases("verbs", "phrases") == {"on top of": ("under", "next to")}
    assert tables.read_tags() == {"the": "DT", "a": "DT", "red": "JJ"}


def test_a_missing_file_is_named(file: Path) -> None:
    file.unlink()
    with pytest.raises(CleanerError, match=r"words\.toml"):
        tables.read_words("nouns", "flowers")


def test_no_table_has_an_empty_word() -> None:
    words = [
        *(word for family in (kinds.ATTRIBUTES | kinds.MODIFIERS).values() for group in family for word in group),
        *(word for group in (*kinds.CONFUSABLE_NOUNS, *kinds.SUBSTITUTE_GROUPS) for word in group),
        *(word for table in (kinds.PERSONS, kinds.OPPOSITE_VERBS) for values in table.values() for word in values),
        *(phrase for phrases in rules.OPPOSITE_PREPOSITIONS.values() for phrase in phrases),
        *rules.COMPOUND_PREPOSITIONS,
    ]
    assert all(word and word == " ".join(word.split()) for word in words)


def test_no_word_replaces_itself() -> None:
    for table in (kinds.PERSONS, kinds.OPPOSITE_VERBS, kinds.OPPOSITE_PARTICIPLES, rules.OPPOSITE_PREPOSITIONS):
        assert not [word for word, others in table.items() if word in others]
