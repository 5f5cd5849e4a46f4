"""A real browser walks the guided lesson with a run of its own: trains, looks inside, reloads, reads the verdict."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.browser import wait_idle
from cleaner.jobs import local
from cleaner.labels import to_label
from cleaner.reports.verdict import describe_attack, describe_defenses
from cleaner.runs.record import RunRecord
from cleaner.runs.status import ACTIVE
from cleaner.runs.store import list_entries
from pages._shared.shell.lesson import STEPS, VERDICT_PAGE
from tests.browser.conftest import StartServer
from tests.browser.test_poison_defend import menu, slide_to_start, type_number

LONG = 1000
"""Epochs of a training that is canceled."""
ATTACK_EPOCHS = 20
"""With 100 of 500 pairs poisoned, success is 0.76: below 0.5 the verdict would name no defense."""
DEFENSES = ("ta_cleaner", "cleanclip", "cleanclip_short")
"""Defenses that the page starts with, in its order."""


def arrive(page: Any, number: int) -> None:
    """Wait for a step on its page."""
    page.get_by_role("heading", name=STEPS[number].page, exact=True).wait_for()
    page.get_by_text(f"Lesson, step {number + 1} of 7").wait_for()
    wait_idle(page)


def press(page: Any, name: str) -> None:
    page.locator(".st-key-lesson").get_by_role("button", name=name, exact=True).click()


IS_STEADY_JS = """() => {
 const area = document.querySelector('.js-plotly-plot .nsewdrag');
 if (area !== window.lassoArea) [window.lassoArea, window.lassoSince] = [area, performance.now()];
 return area && performance.now() - window.lassoSince > 1000 }"""


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
    """Draw a lasso around the middle of the map, once it is no longer redrawn: Plotly fails on a map that goes away."""
    page.wait_for_function(IS_STEADY_JS)
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


def read_report(page: Any, download: Any) -> None:
    """Open a downloaded report; it draws its plots and asks for nothing."""
    report, urls = page.context.browser.new_page(), []
    report.on("request", lambda request: urls.append(request.url))
    file = Path(download.path()).with_suffix(".html")
    download.save_as(file)
    report.goto(file.as_uri())
    report.get_by_role("cell", name="TA-Cleaner").first.wait_for()
    report.locator(".js-plotly-plot").first.wait_for()
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []
    report.close()


def find_run(folder: Path, stage: str) -> RunRecord:
    return next(run for run in list_entries(folder / "runs") if run.stage == stage)


def list_done_defenses(folder: Path) -> dict[str, RunRecord]:
    """Return label -> run of the defenses that have finished, one of each, in the order of the verdict."""
    runs = [run for run in list_entries(folder / "runs") if (run.stage, run.status.state) == ("defended", "done")]
    found = {(run.defense or "").partition(" ")[0]: run for run in runs}
    assert (len(runs), set(found)) == (len(DEFENSES), set(DEFENSES))
    return {to_label(name): found[name] for name in DEFENSES}


@pytest.mark.slow
def test_the_lesson_with_the_student_s_own_run(start_server: StartServer, browser_page: Any, tmp_path: Path) -> None:
    page = browser_page
    page.goto(start_server())
    page.get_by_role("heading", name="Overview", exact=True).wait_for()
    wait_idle(page)
    page.get_by_role("button", name="Start lesson").click()

    arrive(page, 0)
    answer = page.get_by_text(STEPS[0].answer[:40])
    assert not answer.is_visible()
    page.locator(".st-key-lesson").get_by_role("button", name="Predict").click()
    page.get_by_text(STEPS[0].question).wait_for()
    page.get_by_text("Answer", exact=True).click()
    answer.wait_for(state="visible")
    page.keyboard.press("Escape")
    slide_to_start(page, "Training pairs")
    slide_to_start(page, "Test images")
    page.get_by_role("slider", name="Poison rate").press("End")
    page.get_by_text("100 of 500 pairs are poisoned").wait_for()
    wait_idle(page)
    type_number(page, "Epochs", ATTACK_EPOCHS)
    page.get_by_role("button", name="Train model").click()
    page.get_by_role("heading", name="Did the attack succeed?").wait_for(timeout=600_000)
    wait_idle(page)
    press(page, "Next")

    arrive(page, 1)
    slide_to_start(page, "Clean pairs")
    type_number(page, "Epochs", LONG)
    page.get_by_role("button", name="Start defenses").click()
    page.get_by_text("Finetuning: step").first.wait_for()
    press(page, "Next")

    own = find_run(tmp_path, "backdoored")
    for number in (2, 3, 4):  # while the defenses train, on the student's own backdoored model
        arrive(page, number)
        page.get_by_text((STEPS[number].early_task or STEPS[number].task).replace("**", "")[:20]).first.wait_for()
        assert f"run={own.id}" in page.url
        page.locator(".js-plotly-plot").first.wait_for()
        wait_idle(page)
        if number == 2:
            lasso(page)
            wait_idle(page)
            page.reload()  # loses neither the lesson nor the model
            arrive(page, number)
            page.locator(".st-key-lesson").get_by_text("hourglass_top").wait_for()
            assert f"run={own.id}" in page.url
            menu(page, "Try it")  # the bar follows and links back
            page.get_by_text("Lesson, step 3 of 7").wait_for()
            page.locator(".st-key-lesson").get_by_role("link", name="Go to Embeddings").click()
            arrive(page, number)
        if number < 4:
            press(page, "Next")
    for entry in list_entries(tmp_path / "runs"):
        if entry.status.state in ACTIVE:
            local.cancel(entry.folder)
    page.locator(".st-key-lesson").get_by_text("hourglass_top").wait_for(state="detached")

    for number in (3, 2, 1):
        page.locator(".st-key-lesson").get_by_role("button", name="arrow_back icon").click()
        arrive(page, number)
    type_number(page, "Epochs", 1)
    page.get_by_role("button", name="Start defenses").click()
    page.get_by_text("Finetuning: step").or_(page.get_by_text("Starting")).first.wait_for()
    press(page, "Next")
    arrive(page, 2)
    page.get_by_role("button", name="See your result").click()
    arrive(page, 1)
    page.get_by_role("heading", name="Is the backdoor gone").wait_for()
    wait_idle(page)
    press(page, "Step 3")
    arrive(page, 2)
    press(page, "Next")
    arrive(page, 3)
    press(page, "Next")
    arrive(page, 4)
    page.get_by_role("slider", name="Epoch").press("ArrowRight")
    page.get_by_role("heading", name="Subtexts of epoch 1").wait_for()
    wait_idle(page)
    press(page, "Next")

    arrive(page, 5)
    with page.expect_download() as download:
        page.get_by_role("button", name="Report (HTML)").click()
    read_report(page, download.value)
    press(page, "Next")

    page.get_by_role("heading", name=VERDICT_PAGE, exact=True).wait_for()
    wait_idle(page)
    page.locator(".film .tile").first.wait_for()  # the film of the student's own run
    bar = page.locator(".st-key-lesson").inner_text()
    defended = list_done_defenses(tmp_path)
    verdict = " ".join([describe_attack(own), *describe_defenses(own, defended)]).replace("**", "")
    assert all(f"{label} " in verdict for label in defended)
    assert verdict in bar
    press(page, "Finish")
    page.locator(".st-key-lesson").wait_for(state="detached")
    wait_idle(page)
    assert page.problems == []
