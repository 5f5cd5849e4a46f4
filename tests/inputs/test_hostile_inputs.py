"""Hostile inputs end as a right result or as one sentence, within the limits of `guard`.

The fast suite runs a few cases of each pair of format and fault, always the same ones; the slow suite at least 100 of
each, always others. `record_property` counts them for `python -m benchmarks.reliability`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cleaner.types import CleanerError
from tests.inputs import archives, captions, images, models, parquet, runs, tables  # noqa: F401  # they register their cases
from tests.inputs.cases import CASES, Case, drawing
from tests.inputs.guard import guarded

FAST_CASES, SLOW_CASES = 3, int(os.environ.get("SLOW_CASES", "100"))
PAIRS = [pytest.param(*pair, id="-".join(pair)) for pair in CASES]


def run_cases(pair: tuple[str, str], place: Path, count: int, is_repeatable: bool) -> int:
    """Run `count` cases of a pair of format and fault in new folders in `place`; return how many ran."""
    done = 0
    (place / "secret.png").write_bytes(images.SECRET)
    (place / "neighbor").mkdir()
    (place / "neighbor" / "config.json").write_text("{}")

    @drawing(count, is_repeatable)
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        nonlocal done
        folder = place / "case"
        folder.mkdir()
        try:
            data.draw(st.integers(0, 2**64))  # cases with few choices must not end early
            read = CASES[pair](Case(pair[0], folder, data))
            with guarded(folder):
                expect_result_or_sentence(read)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        done += 1

    run()
    return done


def expect_result_or_sentence(read: Callable[[], object]) -> None:
    try:
        read()
    except CleanerError as error:
        message = str(error)
        assert len(message) > 10


@pytest.mark.parametrize(("kind", "fault"), PAIRS)
def test_a_few_of_each(kind: str, fault: str, tmp_path: Path) -> None:
    assert run_cases((kind, fault), tmp_path, FAST_CASES, is_repeatable=True) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "fault"), PAIRS)
def test_a_hundred_of_each(
    kind: str, fault: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    done = run_cases((kind, fault), tmp_path, SLOW_CASES, is_repeatable=False)
    record_property("cases", done)
    assert done >= SLOW_CASES


def test_there_are_enough_cases() -> None:
    assert len(CASES) * FAST_CASES >= 500
    assert len(CASES) * SLOW_CASES >= 10_000
