"""Models in memory, shared by all sessions: those that were used last, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from pages._shared.cache.background import import_library

if TYPE_CHECKING:
    from cleaner.models.clip import Clip

MAX_MODEL_BYTES = 2_000_000_000
"""Most bytes of models in memory: three ViT-B-32. The model used last stays, whatever its size."""


class ModelCache:
    """The models used last; the oldest ones leave when a new one exceeds `MAX_MODEL_BYTES`."""

    def __init__(self) -> None:
        self._models: OrderedDict[tuple[str, float], Clip] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: WeakValueDictionary[tuple[str, float], threading.Lock] = WeakValueDictionary()

    def get(self, key: tuple[str, float], load: Callable[[str], Clip]) -> Clip:
        """Return the model of a key (name, file time); `load` reads it by name."""
        with self._lock:
            if (clip := self._find(key)) is not None:
                return clip
            loading = self._loading.setdefault(key, threading.Lock())  # stays while a session uses it
        with loading:  # two sessions that need the same model read it once; those that need others do not wait
            with self._lock:
                if (clip := self._find(key)) is not None:
                    return clip
            clip = load(key[0])
            with self._lock:
                self._insert(key, clip)
        from cleaner.models.devices import release_freed_memory

        release_freed_memory()
        return clip

    def _find(self, key: tuple[str, float]) -> Clip | None:
        if key in self._models:
            self._models.move_to_end(key)
        return self._models.get(key)

    def _insert(self, key: tuple[str, float], clip: Clip) -> None:
        """Add a model; drop those of older files of its name, and the oldest ones above `MAX_MODEL_BYTES`."""
        from cleaner.models.weights import count_bytes

        for other in [other for other in self._models if other[0] == key[0]]:
            del self._models[other]
        self._models[key] = clip
        sizes = {key: count_bytes(clip.model) for key, clip in self._models.items()}
        while len(sizes) > 1 and sum(sizes.values()) > MAX_MODEL_BYTES:
            key, _ = self._models.popitem(last=False)
            del sizes[key]

    def snapshot(self) -> dict[str, Clip]:
        """Return name -> model of those in memory."""
        with self._lock:
            return {name: clip for (name, _), clip in self._models.items()}

    @property
    def names(self) -> list[str]:
        """Names of the models in memory, the one used last at the end."""
        return [name for name, _ in self._models]


@cache  # not Streamlit's, which is emptied whenever a file of data or of a run changes
def shared_models() -> ModelCache:
    """Return the models of this server."""
    return ModelCache()


def load_model_file(name: str, mtime: float) -> Clip:
    """Return a model by name or path, on the CPU in fp32. Raises `CleanerError` if it cannot be loaded."""
    import_library()
    from cleaner.models.clip import load_clip

    return shared_models().get((name, mtime), load_clip)
