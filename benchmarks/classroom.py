"""A class at once on one server: python -m benchmarks.classroom

Each student has an ID of a course without models, signs in, opens one exercise after the other, and commits a
prediction in each. Counted are actions and problems: an error on a page or in the server's log, a script error, the
code of another student's prediction on a page. Measured are the seconds until each page is drawn. Measure on an idle
machine; it needs Chromium.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.browser import start_server
from benchmarks.sessions import ERROR_MARKS, copy_example
from benchmarks.visitors import ERRORS_JS, OWN_TEXT_JS, SETTLE_SECONDS, Visitor, open_visitors
from cleaner.exercises import course
from cleaner.exercises.content import Field, read_content

RESULT_PATH = RESULTS_DIR / "classroom.json"
MAX_SECONDS = 5.0
"""Seconds that nobody should wait for a page."""


@dataclass(frozen=True)
class Options:
    """Let the students work, count and measure, and write the result file."""

    students: int = 20
    """Students at once."""
    minutes: float = 10.0
    """Minutes from the moment all have signed in."""
    pause: float = 15.0
    """Seconds from one action of a student to the next."""
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> int:
    """Measure, print and write; return 1 if there was a problem."""
    protocol.read_started_commit()
    row = measure(options)
    protocol.write_result(options.out, seeds=[], rows=[row])
    print(*(f"{name}: {value}" for name, value in row.items()), sep="\n")
    return int(bool(row["failures"]))


def measure(options: Options) -> dict[str, Any]:
    """Return the row of the result file."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        runs, folder = Path(place) / "runs", Path(place) / "course"
        ids = [f"pupil{i:02d}" for i in range(options.students)]
        key = course.create_course(folder, ids, with_models=False)
        os.environ[course.CLASS] = str(folder / "students")
        for number in range(options.students):
            copy_example(runs, number)
        log = Path(place) / "server.log"
        with start_server(runs, log=log) as (_, address):
            students = asyncio.run(work(options, address, [(i, key["students"][i]["pin"]) for i in ids]))
        problems = [problem for student in students for problem in student.visitor.problems]
        lines = log.read_text("utf-8", "replace").splitlines()
        problems += [line for line in lines if any(mark in line for mark in ERROR_MARKS)]
        committed = sum(len(course.read_entry(folder / "students" / i, name)) > 0 for i in ids for name in exercises())
        seconds = [s for student in students for s in student.visitor.page_seconds]
        return {
            "suite": "classroom",
            "students": options.students,
            "minutes": options.minutes,
            "pause_seconds": options.pause,
            "actions": len(seconds),
            "predictions": committed,
            "failures": len(problems),
            "problems": problems[:20],
            "median_seconds": round(median(seconds), 2),
            "slow_seconds": round(quantiles(seconds, n=20)[-1], 2),
            "slowest_seconds": round(max(seconds), 2),
            "over_limit": sum(s > MAX_SECONDS for s in seconds),
        }


def exercises() -> list[str]:
    """Return the names of the exercises."""
    return list(read_content().exercises)


async def work(options: Options, address: str, ids: list[tuple[str, str]]) -> list[Student]:
    """Let all students sign in and act until the time is over; return them."""
    async with open_visitors(options.students, address) as visitors:
        students = [Student(visitor, *each) for visitor, each in zip(visitors, ids, strict=True)]
        await asyncio.gather(*(student.sign_in() for student in students))
        end, delay = time.monotonic() + 60 * options.minutes, options.pause / options.students
        await asyncio.gather(*(s.act_until(end, options.pause, i * delay) for i, s in enumerate(students)))
        return students


class Student:
    """A visitor who works on exercises.

    Attributes:
        codes: of the predictions of all students, by ID.
    """

    codes: dict[str, str] = {}  # noqa: RUF012  # shared: every student looks for those of the others

    def __init__(self, visitor: Visitor, student: str, pin: str) -> None:
        self.visitor, self.student, self.pin = visitor, student, pin

    async def sign_in(self) -> None:
        """Open the page as the student."""
        page = self.visitor.page
        await self.visitor.open_page("Exercises")
        await page.get_by_label("ID", exact=True).fill(self.student)
        await page.get_by_label("Code", exact=True).fill(self.pin)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.get_by_role("button", name="Sign out").wait_for()
        await self.visitor.wait_drawn()

    async def act_until(self, end: float, pause: float, delay: float) -> None:
        """Open an exercise and commit or check in it, once every `pause` seconds."""
        await asyncio.sleep(delay)
        number = 0
        while (start := time.monotonic()) < end:
            try:
                await self._act(exercises()[number // 2 % len(exercises())], is_form=bool(number % 2))
                await self._check()
            except Exception as error:  # a timeout, a closed page: each is one failure of this student
                self.visitor.report(f"{type(error).__name__}: {error}")
            number += 1
            await asyncio.sleep(max(0.0, start + pause - time.monotonic()))

    async def _act(self, name: str, *, is_form: bool) -> None:
        page, exercise = self.visitor.page, read_content().exercises[name]
        target = page.locator('[data-testid="stButtonGroup"] button').filter(has_text=exercise.title)
        if is_form:
            target = page.get_by_role("button", name="Commit prediction")
            if not await target.count():
                return
            for field in exercise.list_fields(is_prediction=True):
                await self._fill(field)
        start = time.monotonic()
        await target.first.click()
        await asyncio.sleep(SETTLE_SECONDS)
        await self.visitor.wait_drawn()
        self.visitor.page_seconds.append(time.monotonic() - start)

    async def _fill(self, field: Field) -> None:
        page = self.visitor.page
        if field.kind == "choice":
            await page.get_by_test_id("stForm").get_by_role("combobox").first.click()
            await page.get_by_role("option").first.click()
            return
        text = {"sort": "tff" * 4, "rate": self._first_rate()}.get(field.name, "5")
        await page.get_by_label(field.label, exact=True).fill(text)

    def _first_rate(self) -> str:
        folder = Path(os.environ[course.CLASS]) / self.student
        return f"{course.read_task(folder, 'rate')['rates'][0]:g}"

    async def _check(self) -> None:
        """Report errors, and what belongs to another student."""
        for error in await self.visitor.page.evaluate(ERRORS_JS):
            self.visitor.report(f"error on the page: {error}")
        text = await self.visitor.page.evaluate(OWN_TEXT_JS)
        folder = Path(os.environ[course.CLASS]) / self.student
        own = [course.read_entry(folder, name).get("code", "") for name in exercises()]
        self.codes.update((code, self.student) for code in own if code)
        for code, owner in self.codes.items():
            if code in text and owner != self.student:
                self.visitor.report(f"shows the code {code} of {owner}")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
