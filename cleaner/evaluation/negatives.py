"""The false captions of counterfactual accuracy: drawn once per set of captions, then read from the cache folder."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cleaner import text
from cleaner.files import cache_root, read_json, write_json
from cleaner.text import Subtext, Vocabulary, negative_subtexts
from cleaner.text.lexicon import LEXICON_PATH
from cleaner.text.tables import WORDS_PATH
from cleaner.types import CleanerError

MAX_FILES = 16
"""Files kept in the cache, one for each set of captions; each has about 1 MB."""
Negatives = tuple[list[int], list[list[Subtext]]]
_NEGATIVES = TypeAdapter(Negatives)


@lru_cache(maxsize=4)
def draw_negatives(captions: tuple[str, ...], *, n: int, seed: int, limit: int) -> Negatives:
    """Return the first `limit` captions that have negatives, and up to `n` of these; cached on disk."""
    drawn = json.dumps([_code_digest(), captions, n, seed, limit]).encode()
    path = cache_root() / "negatives" / f"{hashlib.sha256(drawn).hexdigest()}.json"
    if (stored := _read(path)) is not None:
        return stored
    vocabulary = Vocabulary.from_captions(captions)
    indices, rows = [], []
    for index, caption in enumerate(captions):
        negatives = negative_subtexts(caption, n=n, seed=seed, vocabulary=vocabulary)
        if negatives:
            indices.append(index)
            rows.append(list(negatives))
        if len(indices) == limit:
            break
    with suppress(CleanerError, OSError):  # a full or read-only disk costs a second at the next evaluation
        write_json(path, {"indices": indices, "negatives": [[asdict(negative) for negative in row] for row in rows]})
        _remove_old(path.parent)
    return indices, rows


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Return a hash of the code, the lexicon and the word tables that draw the negatives."""
    digest = hashlib.sha256(LEXICON_PATH.read_bytes() + WORDS_PATH.read_bytes())
    for file in sorted(Path(str(text.__file__)).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> Negatives | None:
    """Return the negatives in a file; None if it is missing or broken."""
    stored = read_json(path)
    try:
        indices, rows = _NEGATIVES.validate_python((stored.get("indices"), stored.get("negatives")))
    except ValidationError:
        return None
    return (indices, rows) if len(indices) == len(rows) else None


def _remove_old(folder: Path) -> None:
    files = sorted(folder.glob("*.json"), key=os.path.getmtime)
    for file in files[:-MAX_FILES]:
        file.unlink(missing_ok=True)
