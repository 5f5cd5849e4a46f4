"""A real browser walks the guided lesson: trains, defends, draws a lasso, downloads the report and opens it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.browser import wait_idle
from pages._shared.lesson import STEPS
from tests.browser.conftest import StartServer
from tests.browser.test_poison_defend import menu, slide_to_start, type_number


def arrive(page: Any, number: int) -> None:
    """Wait for a step on its page."""
    page.get_by_role("heading", name=STEPS[number].page, exact=True).wait_for()
    page.get_by_text(f"Lesson, step {number + 1} of 6").wait_for()
    wait_idle(page)


def press(page: Any, name: str) -> None:
    page.locator(".st-key-lesson").get_by_role("button", name=name, exact=True).click()


def lasso(page: Any) -> None:
    """Draw a lasso around the middle of the map; retry if the map was redrawn meanwhile."""
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    for _ in range(3):
        draw_line(page)
        with suppress(PlaywrightTimeout):
            page.get_by_text("Points selected").wait_for(timeout=30_000)
            return
    raise AssertionError("a lasso around the middle of the map selects nothing")


def draw_line(page: Any) -> None:
    """Draw a lasso around the middle of the map."""
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    corners = [
        (box["x"] + box["width"] * x, box["y"] + box["height"] * y)
        for x, y in ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9), (0.1, 0.1))
    ]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=5)
    page.mouse.up()


def test_the_lesson_from_start_to_report(start_server: StartServer, browser_page: Any) -> None:
    page = browser_page
    page.goto(start_server())
    page.get_by_role("heading", name="Overview", exact=True).wait_for()
    wait_idle(page)
    page.get_by_role("button", name="Start lesson").click()

    arrive(page, 0)
    answer = page.get_by_text(STEPS[0].answer[:40])
    assert not answer.is_visible()
    page.get_by_text(STEPS[0].question).click()
    answer.wait_for(state="visible")
    slide_to_start(page, "Training pairs")
    slide_to_start(page, "Test images")
    type_number(page, "Epochs", 1)
    page.get_by_role("button", name="Train model").click()
    page.get_by_role("heading", name="Did the attack succeed?").wait_for()
    press(page, "Next")

    arrive(page, 1)
    slide_to_start(page, "Clean pairs")
    type_number(page, "Epochs", 1)
    page.get_by_role("button", name="Start defenses").click()
    page.get_by_role("heading", name="Is the backdoor gone").wait_for()
    press(page, "Next")

    arrive(page, 2)
    page.locator(".js-plotly-plot").first.wait_for()
    lasso(page)
    wait_idle(page)
    page.locator('[data-testid="stImage"] img').first.wait_for()
    menu(page, "Try it")  # the box follows and links back
    page.get_by_text("Lesson, step 3 of 6").wait_for()
    page.locator(".st-key-lesson").get_by_role("link", name="Go to Embeddings").click()
    arrive(page, 2)
    press(page, "Next")

    arrive(page, 3)
    page.locator(".js-plotly-plot").first.wait_for()
    press(page, "Next")

    arrive(page, 4)
    page.get_by_role("slider", name="Epoch").press("ArrowRight")
    page.get_by_role("heading", name="Subtexts of epoch 1").wait_for()
    wait_idle(page)
    press(page, "Next")

    arrive(page, 5)
    with page.expect_download() as download:
        page.get_by_role("button", name="Report (HTML)").click()
    report, urls = page.context.browser.new_page(), []
    report.on("request", lambda request: urls.append(request.url))
    file = Path(download.value.path()).with_suffix(".html")
    download.value.save_as(file)
    report.goto(file.as_uri())
    report.get_by_role("cell", name="TA-Cleaner").first.wait_for()
    report.locator(".js-plotly-plot").first.wait_for()
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []
    report.close()
    press(page, "Finish")
    page.get_by_text("Lesson, step").wait_for(state="detached")
    wait_idle(page)
    assert page.get_by_role("heading", name="Compare", exact=True).is_visible()
    assert page.problems == []
