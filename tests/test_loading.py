"""cleaner.loading: what is loaded once stays out of garbage collections, which work as before afterwards."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from cleaner.loading import loading_libraries


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    frozen = gc.get_freeze_count()
    yield
    gc.unfreeze()
    if frozen:
        gc.freeze()


def test_nothing_is_collected_while_libraries_load_and_they_are_frozen() -> None:
    gc.unfreeze()
    with loading_libraries():
        loaded = [[number] for number in range(5000)]
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > len(loaded)
    assert not any(item is loaded for item in gc.get_objects())


class Node:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_garbage_of_an_earlier_run_is_not_kept() -> None:
    with loading_libraries():
        pass
    garbage = weakref.ref(Node())
    with loading_libraries():
        assert garbage() is not None
    assert garbage() is None


def test_a_collector_that_is_off_stays_off_and_an_error_turns_it_on() -> None:
    gc.disable()
    try:
        with loading_libraries(), loading_libraries():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ImportError), loading_libraries():
        raise ImportError
    assert gc.isenabled()
