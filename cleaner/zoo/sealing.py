"""Sealed answers: encrypted with a passphrase, with a hash that is published before anybody answers."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from cleaner.types import CleanerError

MIN_PASSPHRASE = 12
COST = {"n": 2**16, "r": 8, "p": 1, "maxmem": 2**27}
"""Work of scrypt: 64 MiB and a fifth of a second for each guess."""
WRONG = "the passphrase does not open these answers: give the one that the zoo was built with."


@dataclass(frozen=True)
class Seal:
    """What a passphrase gives: the key of the answers, the secret of the plan, and the salt of the published hash."""

    key: bytes
    secret: str
    salt: str

    def close(self, answers: dict[str, Any]) -> tuple[bytes, str]:
        """Return the encrypted answers, and the SHA-256 (hex) that commits to them."""
        from cryptography.fernet import Fernet

        content = json.dumps({"answers": answers, "salt": self.salt}, sort_keys=True).encode()
        return Fernet(self.key).encrypt(content), hashlib.sha256(content).hexdigest()

    def open(self, sealed: bytes, sha256: str) -> dict[str, Any]:
        """Return the answers. Raises `CleanerError` for another passphrase or hash."""
        from cryptography.fernet import Fernet, InvalidToken

        try:
            content = Fernet(self.key).decrypt(sealed)
        except InvalidToken as error:
            raise CleanerError(WRONG) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise CleanerError("the sealed answers are not those whose hash was published: restore sealed.bin.")
        answers: dict[str, Any] = json.loads(content)["answers"]
        return answers


def derive_seal(passphrase: str, seed: int) -> Seal:
    """Return the seal of a passphrase, by scrypt; the same one each time, so that a zoo can be built again.

    Raises `CleanerError` for a short passphrase.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise CleanerError(f"the passphrase must have at least {MIN_PASSPHRASE} characters: choose a longer one.")
    salt = f"ta-cleaner zoo {seed}".encode()
    content = hashlib.scrypt(passphrase.encode(), salt=salt, dklen=96, **COST)
    return Seal(base64.urlsafe_b64encode(content[:32]), content[32:64].hex(), content[64:].hex())
