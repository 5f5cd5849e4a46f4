"""A class at once on one server: python -m benchmarks.classroom

Each student has an ID of a course without models, signs in, and goes through quiz and exercises, starting with
different ones: open, commit a prediction, check answers. Counted are actions and problems: an error on a page or in the
server's log, a script error, an ID or a number of another student on a page. Measured are the seconds until each page
is drawn. Measure on an idle machine; it needs Chromium.
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
from benchmarks.sessions import ERROR_MARKS, copy_example, write_row
from benchmarks.visitors import ERRORS_JS, OWN_TEXT_JS, SETTLE_SECONDS, Visitor, open_visitors
from cleaner.exercises import course, student
from cleaner.exercises.content import Field, read_exercises

RESULT_PATH = RESULTS_DIR / "classroom.json"
MAX_SECONDS = 5.0
"""Seconds that nobody should wait for a page."""
FIRST_MARK = 7001
"""Number that the first student answers wherever a number is asked; each student has another one."""
TEXTS = {"sort": "tff" * 4, "run": "example-badnet"}
"""Answers that must have a form, by field."""


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
    return write_row(row, options.out)


def measure(options: Options) -> dict[str, Any]:
    """Return the row of the result file."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        runs, folder = Path(place) / "runs", Path(place) / "course"
        names = [f"pupil{i:02d}" for i in range(options.students)]
        key = course.create_course(folder, names, with_models=False)
        ids = [line["id"] for line in key["students"].values()]
        os.environ[student.CLASS] = str(folder / "students")
        for number in range(options.students):
            copy_example(runs, number)
        log = Path(place) / "server.log"
        with start_server(runs, log=log) as (_, address):
            pupils = asyncio.run(work(options, address, ids))
        problems = [problem for pupil in pupils for problem in pupil.visitor.problems]
        lines = log.read_text("utf-8", "replace").splitlines()
        problems += [line for line in lines if any(mark in line for mark in ERROR_MARKS)]
        entries = [student.view_exercise(pupil.folder, name).entry for pupil in pupils for name in read_exercises()]
        seconds = [s for pupil in pupils for s in pupil.visitor.page_seconds]
        return {
            "suite": "classroom",
            "students": options.students,
            "minutes": options.minutes,
            "pause_seconds": options.pause,
            "actions": len(seconds),
            "predictions": sum("before" in entry for entry in entries),
            "answers": sum("after" in entry for entry in entries),
            "failures": len(problems),
            "problems": problems[:20],
            "median_seconds": round(median(seconds), 2),
            "slow_seconds": round(quantiles(seconds, n=20)[-1], 2),
            "slowest_seconds": round(max(seconds), 2),
            "over_limit": sum(s > MAX_SECONDS for s in seconds),
        }


async def work(options: Options, address: str, ids: list[str]) -> list[Pupil]:
    """Let all students sign in and act until the time is over; return them."""
    async with open_visitors(options.students, address) as visitors:
        pupils = [Pupil(visitor, ids) for visitor in visitors]
        await asyncio.gather(*(pupil.sign_in() for pupil in pupils))
        end, delay = time.monotonic() + 60 * options.minutes, options.pause / options.students
        await asyncio.gather(*(p.act_until(end, options.pause, i * delay) for i, p in enumerate(pupils)))
        return pupils


class Pupil:
    """A visitor who works on exercises."""

    def __init__(self, visitor: Visitor, ids: list[str]) -> None:
        self.visitor, self.own = visitor, ids[visitor.number]
        self.folder = student.find_student(self.own)
        marks = {each: str(FIRST_MARK + number) for number, each in enumerate(ids)}
        self.mark = marks.pop(self.own)
        self.others = [*marks, *marks.values()]

    async def sign_in(self) -> None:
        """Open the page as the student."""
        page = self.visitor.page
        await self.visitor.open_page("Exercises")
        await page.get_by_label("ID", exact=True).fill(self.own)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.get_by_role("button", name="Sign out").wait_for()
        await self.visitor.wait_drawn()

    async def act_until(self, end: float, pause: float, delay: float) -> None:
        """Open an exercise, commit in it and check in it, one of these every `pause` seconds."""
        await asyncio.sleep(delay)
        number, names = 0, list(read_exercises())
        start_at = self.visitor.number % len(names)
        names = names[start_at:] + names[:start_at]
        while (start := time.monotonic()) < end:
            try:
                await self._act(names[number // 3 % len(names)], is_form=number % 3 > 0)
                await self._check()
            except Exception as error:  # a timeout, a closed page: each is one failure of this student
                self.visitor.report(f"{type(error).__name__}: {error}")
            number += 1
            await asyncio.sleep(max(0.0, start + pause - time.monotonic()))

    async def _act(self, name: str, *, is_form: bool) -> None:
        page, view = self.visitor.page, student.view_exercise(self.folder, name)
        target = page.locator('[data-testid="stButtonGroup"] button').filter(has_text=view.exercise.title)
        if is_form:
            target = page.get_by_test_id("stFormSubmitButton").get_by_role("button")
            for field in view.fields:
                await self._fill(field)
        start = time.monotonic()
        await target.first.click()
        await asyncio.sleep(SETTLE_SECONDS)
        await self.visitor.wait_drawn()
        self.visitor.page_seconds.append(time.monotonic() - start)

    async def _fill(self, field: Field) -> None:
        form = self.visitor.page.get_by_test_id("stForm")
        if field.kind != "choice":
            await form.get_by_label(field.label, exact=True).fill(TEXTS.get(field.name, self.mark))
        elif await (radio := form.get_by_role("radiogroup", name=field.label, exact=True)).count():
            await radio.get_by_text(field.choices[0], exact=True).click()
        else:
            await form.get_by_role("combobox", name=field.label).click()
            await self.visitor.page.get_by_role("option").first.click()

    async def _check(self) -> None:
        """Report errors, and what belongs to another student."""
        for error in await self.visitor.page.evaluate(ERRORS_JS):
            self.visitor.report(f"error on the page: {error}")
        text = await self.visitor.page.evaluate(OWN_TEXT_JS)
        for other in self.others:
            if other in text:
                self.visitor.report(f"shows {other} of another student")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
