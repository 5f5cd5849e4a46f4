"""The first view of each page on the shipped example: the main picture comes first, in the lesson too."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.browser import wait_idle
from cleaner.reports import talk
from pages._shared.shell.lesson import STEPS, VERDICT, VERDICT_PAGE
from pages._shared.shell.menu import PAGES_DIR, titles
from tests.plots.test_styles import contrast

SIZES = ((1280, 720), (1920, 1080))
MAX_FRAME = 150
"""Height of strip, lead and lesson together, px."""
VISIBLE_SHARE = {SIZES[0]: 0.5, SIZES[1]: 1.0}
"""Window -> share of the main picture that is visible without scrolling."""
FAST_PAGES = ("Defend",)


def find_picture(path: Path) -> tuple[str, str]:
    """Return the title of a page and the selector of its main picture; "" if it names none."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    (page,) = (call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "page")
    options = {keyword.arg: keyword.value for keyword in page.keywords}
    return ast.literal_eval(page.args[0]), ast.literal_eval(options.get("picture", ast.Constant("")))


PICTURES = dict(map(find_picture, PAGES_DIR.glob("*.py")))
PAGES = [
    title if title in FAST_PAGES else pytest.param(title, marks=pytest.mark.slow)
    for title in titles()
    if PICTURES[title]
]
STEP_OF_PAGE = {step.page: i for i, step in enumerate(STEPS)} | {VERDICT_PAGE: VERDICT}
MEASURE = """selectors => Object.fromEntries(Object.entries(selectors).map(([name, selector]) => {
    const box = document.querySelector(selector)?.getBoundingClientRect();
    return [name, box ? [box.top, box.bottom] : [0, 0]];
}))"""


READ_LETTERS = """() => Object.fromEntries([...document.querySelectorAll('.main-svg text')].map(text =>
    [text.textContent, getComputedStyle(text).fill]))"""
READ_WEIGHTS = (
    """() => [...document.querySelectorAll('.st-key-pipeline a p')].map(p => getComputedStyle(p).fontWeight)"""
)
READ_GAP = """() => { const title = document.querySelector('[data-testid=stMarkdown] h2');
    const next = title.closest('[data-testid=stElementContainer]').nextElementSibling;
    return next.getBoundingClientRect().top - title.getBoundingClientRect().bottom; }"""


def open_page(page: Any, address: str, title: str, query: str) -> dict[str, list[float]]:
    """Open a page; return the top and the bottom of its parts, px."""
    page.goto(f"{address}/{title.replace(' ', '_')}{query}")
    page.locator(PICTURES[title]).first.wait_for()
    return measure(page, title)


def measure(page: Any, title: str) -> dict[str, list[float]]:
    """Return the top and the bottom of the parts of a page once it is drawn, px."""
    wait_idle(page)
    parts = {
        "strip": ".st-key-pipeline",
        "head": ".st-key-head",
        "picture": PICTURES[title],
        "bar": '[data-testid="stBottom"] > div',
    }
    return dict(page.evaluate(MEASURE, parts))


@pytest.mark.parametrize("title", PAGES)
def test_the_main_picture_comes_first(title: str, example_server: str, browser_page: Any) -> None:
    page = browser_page
    open_page(page, example_server, title, f"?lesson={STEP_OF_PAGE.get(title, 0) + 1}")
    assert page.title() == f"{title} · TA-Cleaner Lab"
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(300)  # charts take the new width
        found = measure(page, title)
        top, bottom = found["picture"]
        visible = min(bottom, found["bar"][0]) - top
        frame = sum(end - start for start, end in (found[name] for name in ("strip", "head", "bar")))
        share = visible / (bottom - top)
        print(f"{title} {width}x{height}: y {top:.0f} to {bottom:.0f}, visible {share:.0%}, frame {frame:.0f} px")
        assert share >= VISIBLE_SHARE[width, height], title
        assert frame <= MAX_FRAME, title
        shown = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert shown <= page.evaluate("document.querySelector('[data-testid=stMain]').clientWidth"), "scrolls sideways"
    assert page.problems == []


@pytest.mark.slow
def test_stage_mode_shows_one_picture_that_fits_and_keys_change_it(example_server: str, browser_page: Any) -> None:
    page = browser_page
    order = [note.page for note in talk.write_notes(None, [])]
    open_page(page, example_server, order[0], "?stage=1")
    for title in order:
        page.locator(".st-key-stage").get_by_role("heading", name=title, exact=True).wait_for()
        page.locator(PICTURES[title]).first.wait_for()
        for size in SIZES:
            check_stage(page, title, *size)
        page.keyboard.press("ArrowRight")
    wait_idle(page)
    page.locator(".st-key-stage").get_by_role("heading", name=order[-1], exact=True).wait_for()  # the talk ends here
    page.keyboard.press("ArrowLeft")
    page.locator(".st-key-stage").get_by_role("heading", name=order[-2], exact=True).wait_for()
    wait_idle(page)
    page.keyboard.press("n")
    page.locator(".st-key-notes").wait_for()
    page.keyboard.press("n")
    page.locator(".st-key-notes").wait_for(state="detached")
    wait_idle(page)
    page.keyboard.press("Escape")
    page.locator(".st-key-stage").wait_for(state="detached")
    wait_idle(page)
    assert page.get_by_test_id("stSidebar").is_visible()
    assert page.problems == []


def check_stage(page: Any, title: str, width: int, height: int) -> None:
    """Check that stage mode fits a window of this size: the page's main picture and four figures, nothing else."""
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(500)  # the height of the window is on its way to the server
    found = measure(page, title)
    top, bottom = found["picture"]
    print(f"{title} {width}x{height}: picture y {top:.0f} to {bottom:.0f}")
    assert top < 0.3 * height, title
    assert min(bottom, height) - top >= 0.5 * (bottom - top), title
    charts = page.locator(PICTURES[title]).locator(".main-svg")
    widths = charts.evaluate_all("charts => charts.map(chart => chart.getBoundingClientRect().right)")
    assert all(right <= width for right in widths), (title, "a chart is cut off")
    assert page.get_by_test_id("stSidebar").is_hidden(), title
    assert page.locator(".st-key-pipeline").is_hidden(), title
    assert page.get_by_test_id("stSelectbox").locator("visible=true").count() == 0, title
    figures = page.locator(".st-key-stage [data-testid=stMetricValue]")
    assert figures.count() == 4, title
    assert figures.first.evaluate("e => parseFloat(getComputedStyle(e).fontSize)") >= 44, title


def test_cards_line_up(example_server: str, browser_page: Any) -> None:
    page = browser_page
    open_page(page, example_server, "Defend", "")
    for kind in ("headline-asr-1", "figure-ca-1", "figure-ra-1", "figure-asr-3"):
        cells = page.locator(f'[class*="st-key-{kind}-"]')
        rows = cells.evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().top)")
        assert len(rows) == 4, kind
        assert max(rows) - min(rows) <= 1, (kind, rows)
    sizes = {
        kind: page.locator(f'[class*="st-key-{kind}-"] [data-testid=stMetricValue]').first.evaluate(
            "e => parseFloat(getComputedStyle(e).fontSize)"
        )
        for kind in ("headline", "figure")
    }
    assert sizes["headline"] >= 1.5 * sizes["figure"]


@pytest.mark.parametrize("width", [800, 1120])
def test_a_narrow_window_cuts_no_number_off(width: int, example_server: str, browser_page: Any) -> None:
    page = browser_page
    page.set_viewport_size({"width": width, "height": 1000})
    for title, cards in (("Defend", ".st-key-cards"), ("Trigger search", ".st-key-search-figures")):
        open_page(page, example_server, title, "")
        columns = page.locator(cards).get_by_test_id("stColumn")
        places = columns.evaluate_all("all => all.map(e => e.getBoundingClientRect()).map(box => [box.left, box.top])")
        assert [len(set(values)) for values in zip(*places, strict=True)] == [2, 2], title
        numbers = page.locator(cards).locator("[data-testid=stMetricValue] p")
        cut = numbers.evaluate_all("all => all.filter(p => p.scrollWidth > p.clientWidth).map(p => p.textContent)")
        assert cut == [], title


def test_a_narrow_window_has_the_results_below_the_settings(example_server: str, browser_page: Any) -> None:
    page = browser_page
    page.set_viewport_size({"width": 800, "height": 1000})
    open_page(page, example_server, "Subtexts", "")
    seed, heading = (
        page.get_by_label("Seed", exact=True).first,
        page.get_by_role("heading", name="Scores of the models"),
    )
    assert seed.bounding_box()["y"] < heading.bounding_box()["y"]


def test_letters_of_charts_are_readable_on_a_light_page(example_server: str, browser_page: Any) -> None:
    open_page(browser_page, example_server, "Overview", "")
    letters = browser_page.evaluate(READ_LETTERS)
    assert {"Share of test data", "100%", "99%"} <= set(letters), "axis title, tick and value of a bar"
    for text, color in letters.items():
        red, green, blue = map(int, re.findall(r"\d+", color))
        assert contrast(f"#{red:02x}{green:02x}{blue:02x}", "#ffffff") >= 4.5, text


def test_only_the_current_step_is_bold_and_titles_have_room(example_server: str, browser_page: Any) -> None:
    open_page(browser_page, example_server, "Poison", "")
    weights = browser_page.evaluate(READ_WEIGHTS)
    assert [int(weight) >= 600 for weight in weights] == [False, True, False, False, False]
    assert browser_page.evaluate(READ_GAP) >= 6


@pytest.mark.slow
def test_the_triggered_images_stay_in_view_next_to_the_settings(example_server: str, browser_page: Any) -> None:
    page = browser_page
    page.set_viewport_size({"width": 1280, "height": 720})
    open_page(page, example_server, "Poison", "")
    page.get_by_test_id("stMain").locator("summary").filter(has_text="Trigger").click()
    seed = page.get_by_label("Seed", exact=True).first
    seed.wait_for()
    wait_idle(page)
    page.wait_for_timeout(1000)  # while the expander opens, scrolling to a field in it has no effect
    assert seed.bounding_box()["y"] > 720
    seed.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    assert 0 < seed.bounding_box()["y"] < 720
    row = page.locator(".st-key-gallery-row-1").bounding_box()
    assert row["y"] >= 0
    assert row["y"] + row["height"] <= 720
    assert page.problems == []
