"""Keep Python's garbage collector away from what a process loads once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading_libraries() -> Iterator[None]:
    """Collect no garbage in the block, a sixth of the time to load torch; leave its objects out later."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        freeze_garbage_collection()
        if was_enabled:
            gc.enable()


def freeze_garbage_collection() -> None:
    """Leave all objects of this process out of later garbage collections, and the garbage among them out of memory.

    With torch and the parses of 8,000 captions a full collection takes 0.5 s, and a training of a minute has five. The
    first call saves that time too: imports leave hardly any garbage.
    """
    if gc.get_freeze_count():
        gc.collect()
    gc.freeze()
