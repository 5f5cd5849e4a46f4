"""Features of full-size models, kept in a database in the cache folder: each image and prompt is encoded once.

A damaged, locked or full database costs the time to encode again, never a result. The file can be deleted at any time.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from cleaner.files import cache_root
from cleaner.models.clip import Clip

MAX_BYTES = 256_000_000
"""Size of the database; above it, the oldest eighth of its rows is deleted."""
PAGE_BYTES = 32_768
"""Page of a new database: a feature of a ViT-B-32 would leave half of SQLite's usual page empty."""
BUSY_SECONDS = 5.0
"""How long to wait for another process that writes."""
READ_ROWS = 500
"""Keys per query; SQLite limits the number of parameters."""
FORMAT = 1
"""Part of every key; raise it when the meaning of a row changes."""
SCHEMA = "CREATE TABLE IF NOT EXISTS features (id INTEGER PRIMARY KEY, key BLOB UNIQUE, value BLOB)"


def store_path() -> Path:
    """Return the file of the database."""
    return cache_root() / "features.sqlite"


_known_hashes: WeakKeyDictionary[nn.Module, tuple[list[float], str]] = WeakKeyDictionary()


def _hash_weights(clip: Clip) -> str:
    """Return `clip.sha256()`, which takes a second for a ViT-B-32; known until the weights change."""
    # Not the tensors' versions: a fused optimizer changes the values alone.
    sums = [float(tensor.sum(dtype=torch.float32)) for tensor in clip.model.state_dict().values()]
    known = _known_hashes.get(clip.model)
    if known is None or known[0] != sums:
        known = _known_hashes[clip.model] = sums, clip.sha256()
    return known[1]


class FeatureStore:
    """The stored features of one model: its weights, architecture, precision and device are part of every key."""

    def __init__(self, clip: Clip) -> None:
        facts = [FORMAT, _hash_weights(clip), asdict(clip.architecture), clip.image_size]
        facts += [clip.precision, clip.device.type, version("open_clip_torch")]
        self._model = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())

    def image_key(self, image: Tensor) -> bytes:
        """Return the key of an image (3, H, W), by its pixels: a trigger or another framing gives another key."""
        digest = self._model.copy()
        digest.update(f"image {tuple(image.shape)}".encode())
        digest.update(image.detach().cpu().contiguous().numpy().data)
        return digest.digest()

    def text_key(self, texts: Sequence[str]) -> bytes:
        """Return the key of the mean feature of some texts: the prompts of a class, or one caption."""
        digest = self._model.copy()
        digest.update(json.dumps(["texts", *texts]).encode())
        return digest.digest()

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """Return key -> feature (D,) of the keys that are stored."""
        found: dict[bytes, Tensor] = {}
        if not store_path().exists():
            return found
        with suppress(sqlite3.OperationalError), _discard_if_damaged(), closing(_connect()) as database:
            for start in range(0, len(keys), READ_ROWS):
                part = keys[start : start + READ_ROWS]
                marks = ",".join("?" * len(part))
                rows = database.execute(f"SELECT key, value FROM features WHERE key IN ({marks})", part)
                found |= {key: torch.from_numpy(np.frombuffer(value, np.float32).copy()) for key, value in rows}
        return found

    def write(self, features: Mapping[bytes, Tensor]) -> None:
        """Store features (D,) in one transaction; does nothing if the disk is full or read-only."""
        rows = [(key, feature.float().numpy().tobytes()) for key, feature in features.items()]
        with suppress(sqlite3.OperationalError, OSError), _discard_if_damaged():
            store_path().parent.mkdir(parents=True, exist_ok=True)
            with closing(_connect()) as database, database:
                database.execute(f"PRAGMA page_size={PAGE_BYTES}")  # without effect on an older file
                database.execute(SCHEMA)
                database.executemany("INSERT OR REPLACE INTO features (key, value) VALUES (?, ?)", rows)
                _delete_oldest(database)


def _connect() -> sqlite3.Connection:
    return sqlite3.connect(store_path(), timeout=BUSY_SECONDS)


def _delete_oldest(database: sqlite3.Connection) -> None:
    """Keep the used pages below `MAX_BYTES`; the file reuses the pages that become free."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    if (pages - free) * size > MAX_BYTES:
        first, last = database.execute("SELECT min(id), max(id) FROM features").fetchone()
        database.execute("DELETE FROM features WHERE id <= ?", (first + (last - first) // 8,))


@contextmanager
def _discard_if_damaged() -> Iterator[None]:
    """Delete a database that is damaged; errors that pass, such as a lock, are raised."""
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        with suppress(OSError):
            store_path().unlink(missing_ok=True)
