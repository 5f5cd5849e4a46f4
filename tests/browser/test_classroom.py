"""Three students at once on one server: benchmarks/classroom.py, shorter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks import classroom
from cleaner.exercises import student
from tests.browser.conftest import find_chromium

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_students_do_not_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    find_chromium()
    monkeypatch.setenv(student.CLASS, "replaced by the benchmark")
    options = classroom.Options(students=3, minutes=1, pause=6)
    with ThreadPoolExecutor(1) as thread:  # the browser of the tests before keeps an event loop in this thread
        row = thread.submit(classroom.measure, options).result()
    assert row["problems"] == []
    assert row["predictions"] >= row["answers"] >= 3
