"""Browser sessions that act on their own: each opens pages and moves controls, and checks that it sees its own run."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.browser import IS_IDLE_JS, launch_options
from cleaner.files import app_file

LISTS_ALL_RUNS = ("Overview", "Compare")
"""Pages that name the runs of other sessions too."""
LOCAL_ADDRESSES = ("http://127.0.0.1:", "data:", "blob:")
TIMEOUT_MILLISECONDS = 300_000.0
POLL_MILLISECONDS = 50
# The server needs some milliseconds before it reports that the page runs again.
SETTLE_SECONDS = 0.15
OWN_TEXT_JS = """() => [document.body.innerText,
 ...[...document.querySelectorAll('input')].map(input => input.value)].join('\\n')"""
ERRORS_JS = """() => [...document.querySelectorAll('[data-testid="stException"], [data-testid="stAlertContentError"]')]
 .map(box => box.innerText)"""


class Visitor:
    """One session: its browser page, the seconds of its actions, and what went wrong.

    Attributes:
        number: position of the session, which is in the names of its runs.
        page_seconds: from a click on the menu until that page is drawn; control_seconds: the same for a control.
    """

    def __init__(self, number: int, page: Any) -> None:
        self.number, self.page = number, page
        self.problems: list[str] = []
        self.page_seconds: list[float] = []
        self.control_seconds: list[float] = []
        titles = list_titles()
        self.titles = [*titles[number % len(titles) :], *titles[: number % len(titles)]]
        self._present = "Try it"
        page.on("pageerror", lambda error: self.report(f"script error: {error}"))
        page.on("request", lambda request: self._check_address(request.url))

    def report(self, problem: str) -> None:
        """Add a problem."""
        self.problems.append(f"session {self.number}, {self._present}: {problem}"[:500])

    def _check_address(self, url: str) -> None:
        if not url.startswith(LOCAL_ADDRESSES):
            self.report(f"requests another host: {url}")

    async def open(self, address: str) -> None:
        """Open the app with the session's own run in view."""
        await self.page.goto(f"{address}/Try_it?run=session-{self.number:02d}")
        await self._wait("Try it")

    async def queue_a_run(self) -> None:
        """Start a training with another poison rate than other sessions; one trains already."""
        await self.open_page("Poison")
        await self.page.locator("summary").filter(has_text="Poisoning").click()
        rate = self.page.get_by_role("slider", name="Poison rate")
        await rate.focus()
        for _ in range(1 + self.number):
            await rate.press("ArrowRight")
        await asyncio.sleep(SETTLE_SECONDS)
        await self._wait("Poison")
        await self.page.get_by_role("button", name="Train model").click()
        await self.page.get_by_text("queued").first.wait_for()

    async def check_place_in_queue(self, ahead: int) -> None:
        """Check that the Poison page shows a queued run with that many runs ahead of it."""
        await self.open_page("Poison")
        text = f"queued, {ahead} run" + "s" * (ahead > 1)
        if await self.page.get_by_text(text).count() == 0:
            self.report(f"no run is shown as {text!r} ahead")

    async def act_until(self, end: float, pause: float, delay: float) -> None:
        """Act once every `pause` seconds, first after `delay`; an action that takes longer delays the next."""
        await asyncio.sleep(delay)
        number = 0
        while (start := time.monotonic()) < end:
            try:
                await self._act(number)
                await self._check()
            except Exception as error:  # a timeout, a closed page: each is one failure of this session
                self.report(f"{type(error).__name__}: {error}")
            number += 1
            await asyncio.sleep(max(0.0, start + pause - time.monotonic()))

    async def _act(self, number: int) -> None:
        """Open the next page and move a control on it, in turn."""
        if number % 2 == 0:
            self.page_seconds.append(await self.open_page(self.titles[number // 2 % len(self.titles)]))
        elif (seconds := await self._move_control()) is not None:
            self.control_seconds.append(seconds)

    async def open_page(self, title: str) -> float:
        """Open a page from the menu; return the seconds until it is drawn."""
        link = self.page.get_by_test_id("stSidebar").get_by_test_id("stPageLink").filter(has_text=title)
        await link.wait_for()
        start = time.monotonic()
        self._present = title
        await link.click()
        await self._wait(title)
        return time.monotonic() - start

    async def _move_control(self) -> float | None:
        """Move the first slider, else press the last option; return the seconds, None without either."""
        main = self.page.get_by_test_id("stMain")
        sliders = main.get_by_role("slider")
        options = main.locator('[data-testid="stButtonGroup"] button:visible')
        start = time.monotonic()
        if await sliders.count():
            await sliders.first.focus()
            await sliders.first.press("ArrowRight")
        elif await options.count():
            await options.last.click()
        else:
            return None
        await asyncio.sleep(SETTLE_SECONDS)
        await self._wait(self._present)
        return time.monotonic() - start

    async def _wait(self, title: str) -> None:
        """Wait until a page is drawn."""
        await self.page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        await self.wait_drawn()

    async def wait_drawn(self) -> None:
        """Wait until nothing of the page runs or is missing."""
        await self.page.wait_for_function(IS_IDLE_JS, polling=POLL_MILLISECONDS)

    async def _check(self) -> None:
        """Report errors on the page, and runs of other sessions."""
        for error in await self.page.evaluate(ERRORS_JS):
            self.report(f"error on the page: {error}")
        text = await self.page.evaluate(OWN_TEXT_JS)
        named = {int(number) for number in re.findall(r"[Ss]ession[ -](\d\d)", text)}
        if self.number not in named:
            self.report(f"its own run is not named at {self.page.url}: {' '.join(text.split())[:200]!r}")
        if self._present not in LISTS_ALL_RUNS and named - {self.number}:
            self.report(f"names runs of sessions {sorted(named)}")


def list_titles() -> list[str]:
    """Return the titles of all pages, by their number."""
    names = [path.stem.partition("_") for path in (app_file().parent / "pages").glob("[0-9]*_*.py")]
    return [title.replace("_", " ") for _, _, title in sorted(names, key=lambda name: int(name[0]))]


@asynccontextmanager
async def open_visitors(count: int, address: str) -> AsyncIterator[list[Visitor]]:
    """Yield sessions that have opened the app, in contexts of one Chromium."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**launch_options())
        visitors = []
        for number in range(count):
            context = await browser.new_context(viewport={"width": 1280, "height": 720})
            context.set_default_timeout(TIMEOUT_MILLISECONDS)
            visitors.append(Visitor(number, await context.new_page()))
        await asyncio.gather(*(visitor.open(address) for visitor in visitors))
        yield visitors
        await browser.close()
