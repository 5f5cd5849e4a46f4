"""Sealed answers: only the passphrase opens them, and the published hash belongs to them."""

from __future__ import annotations

import pytest

from cleaner.types import CleanerError
from cleaner.zoo.sealing import derive_seal

ANSWERS = {"a1": {"backdoored": True}, "b2": {"backdoored": False}}


def test_the_passphrase_opens_the_answers_and_another_one_does_not() -> None:
    pytest.importorskip("cryptography")
    seal = derive_seal("correct horse battery", 0)
    sealed, sha256 = seal.close(ANSWERS)
    assert b"backdoored" not in sealed
    assert derive_seal("correct horse battery", 0).open(sealed, sha256) == ANSWERS
    with pytest.raises(CleanerError, match="passphrase"):
        derive_seal("correct horse batterz", 0).open(sealed, sha256)
    with pytest.raises(CleanerError, match="published"):
        seal.open(seal.close({"a1": {"backdoored": False}})[0], sha256)


def test_the_hash_commits_to_the_answers_without_telling_them() -> None:
    """There are few possible answers: without a salt, anyone could hash them all."""
    pytest.importorskip("cryptography")
    first, second = (derive_seal("correct horse battery", seed) for seed in (0, 1))
    assert first.close(ANSWERS)[1] == first.close(ANSWERS)[1] != second.close(ANSWERS)[1]
    assert len({first.secret, first.salt, first.key.decode(), second.secret}) == 4


def test_short_passphrases_are_refused() -> None:
    with pytest.raises(CleanerError, match="12"):
        derive_seal("short", 0)
