"""Sealed answers: encrypted with a passphrase, with a hash that is published before anybody answers."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from cleaner.types import CleanerError

MIN_PASSPHRASE, SALT_BYTES = 12, 16


def derive(passphrase: str, salt: bytes, size: int = 32) -> bytes:
    """Return `size` bytes that only a passphrase gives, by scrypt: 64 MiB and a fifth of a second for each guess.

    Raises `CleanerError` for a short passphrase.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise CleanerError(f"the passphrase must have at least {MIN_PASSPHRASE} characters: choose a longer one.")
    return hashlib.scrypt(passphrase.encode(), salt=salt, dklen=size, n=2**16, r=8, p=1, maxmem=2**27)


def seal(answers: dict[str, Any], passphrase: str) -> tuple[bytes, str]:
    """Return the encrypted answers, and the SHA-256 (hex) that commits to them; equal answers give equal hashes.

    The content is XORed with scrypt's output under a new salt, as long as the content. The hash covers a second, secret
    salt: there are few possible answers, and without it anyone could hash them all.
    """
    secret = derive(passphrase, b"ta-cleaner zoo: hash").hex()
    content = json.dumps({"answers": answers, "salt": secret}, sort_keys=True).encode()
    salt = os.urandom(SALT_BYTES)
    return salt + _encrypt(content, passphrase, salt), hashlib.sha256(content).hexdigest()


def unseal(sealed: bytes, passphrase: str, sha256: str) -> dict[str, Any]:
    """Return the answers. Raises `CleanerError` for another passphrase, or others than those that were published."""
    content = _encrypt(sealed[SALT_BYTES:], passphrase, sealed[:SALT_BYTES])
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CleanerError(
            "the passphrase does not open these answers, or they are not those whose hash was published: give the "
            "passphrase that the zoo was built with, or restore sealed.bin."
        )
    answers: dict[str, Any] = json.loads(content)["answers"]
    return answers


def _encrypt(content: bytes, passphrase: str, salt: bytes) -> bytes:
    """Return the XOR of content and pad, which is its own inverse."""
    return bytes(a ^ b for a, b in zip(content, derive(passphrase, salt, len(content) + 1), strict=False))
