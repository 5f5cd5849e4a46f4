"""Sealed answers: only the passphrase opens them, and the published hash belongs to them."""

from __future__ import annotations

import pytest

from cleaner.types import CleanerError
from cleaner.zoo.sealing import derive, seal, unseal

ANSWERS = {"a1": {"backdoored": True}, "b2": {"backdoored": False}}
PASSPHRASE = "correct horse battery"


def test_the_passphrase_opens_the_answers_and_another_one_does_not() -> None:
    sealed, sha256 = seal(ANSWERS, PASSPHRASE)
    assert b"backdoored" not in sealed
    assert unseal(sealed, PASSPHRASE, sha256) == ANSWERS
    with pytest.raises(CleanerError, match="passphrase"):
        unseal(sealed, "correct horse batterz", sha256)
    for place in (0, len(sealed) // 2, len(sealed) - 1):
        damaged = bytearray(sealed)
        damaged[place] ^= 1
        with pytest.raises(CleanerError, match="published"):
            unseal(bytes(damaged), PASSPHRASE, sha256)


def test_the_hash_commits_to_the_answers_without_telling_them() -> None:
    """There are few possible answers: without a secret salt, anyone could hash them all."""
    (first, sha256), (again, repeated) = seal(ANSWERS, PASSPHRASE), seal(ANSWERS, PASSPHRASE)
    assert sha256 == repeated
    assert first != again  # two files under one pad would give their XOR away
    assert sha256 != seal(ANSWERS, "another passphrase")[1]
    assert sha256 != seal(ANSWERS | {"b2": {"backdoored": True}}, PASSPHRASE)[1]


def test_short_passphrases_are_refused() -> None:
    with pytest.raises(CleanerError, match="12"):
        derive("short", b"salt")
