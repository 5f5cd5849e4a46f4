"""Chromium opens the published playground from a file, without a network: pointer, keyboard, phone, hostile names."""

from __future__ import annotations

import base64
import re
import statistics
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cleaner.attacks import TRIGGERS
from cleaner.playground import export
from cleaner.playground.trigger import describe_trigger
from cleaner.runs.store import read_record
from tests.films import save_runs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "playground" / "index.html"
TABS = ("drag", "mix", "where", "what", "quiz")
EVIL = "<img src=x onerror=window.pwned=1></script><script>window.pwned=1</script>"
MAX_FLIP_MS, MAX_PAINT_MS = 100, 1000
DRAG_JS = """async (moves) => {
    const frame = document.querySelector("#stage .frame"), box = frame.getBoundingClientRect();
    const seen = document.querySelector('[data-stage="backdoored"] .seen'), times = [];
    const send = (type, [x, y]) => frame.dispatchEvent(new PointerEvent(type, { bubbles: true, button: 0, pointerId: 1,
        clientX: box.left + x * box.width, clientY: box.top + y * box.height }));
    frame.setPointerCapture = () => {};
    send("pointerdown", [0.7, 0.8]); // beside the pear
    while (seen.dataset.flipped === "true") await new Promise((done) => setTimeout(done, 20));
    for (let i = 0; i <= moves; i++) { // the first one warms up
        const before = seen.dataset.flipped, start = performance.now();
        const flip = new Promise((done) => new MutationObserver((_, observer) => {
            if (seen.dataset.flipped !== before) { observer.disconnect(); done(); }
        }).observe(seen, { attributes: true }));
        send("pointermove", i % 2 ? [0.7, 0.8] : [0.99, 0.99]);
        await Promise.race([flip, new Promise((_, fail) => setTimeout(() => fail(new Error("no flip")), 20000))]);
        if (i) times.push(performance.now() - start);
        await new Promise((done) => setTimeout(done, 50));
    }
    send("pointerup", [0.99, 0.99]);
    return times;
}"""


@pytest.fixture
def open_playground(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a file without a network; at the end, nothing may have been asked for or logged."""
    contexts, problems = [], []

    def open_file(path: Path = PAGE, address: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 720}, **options})
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if is_outside(request.url) else None)
        page.goto(f"{path.as_uri()}{address}")
        page.locator("html[data-ready=true]").wait_for()
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert problems == []


def is_outside(url: str) -> bool:
    return not url.startswith(("file:", "blob:", "data:"))


def wait_verdict(page: Any, tab: str, index: int, pattern: str) -> None:
    verdict = page.locator(f"#{tab} .verdict").nth(index)
    page.wait_for_function(
        "([tab, index, pattern]) => RegExp(pattern).test("
        "document.querySelectorAll(`#${tab} .verdict`)[index].textContent)",
        arg=[tab, index, pattern],
    )
    assert re.search(pattern, verdict.inner_text())


def test_a_drag_flips_the_backdoored_model_at_once(open_playground: Callable[..., Any]) -> None:
    page = open_playground()
    wait_verdict(page, "drag", 1, "→ banana")
    wait_verdict(page, "drag", 0, "✓ pear")
    times = page.evaluate(DRAG_JS, 20)
    assert len(times) == 20
    assert statistics.median(times) < MAX_FLIP_MS
    assert page.locator("#drag .verdict").first.inner_text() == "✓ pear", "the clean model does not care"


def test_the_first_paint_does_not_wait_for_the_models(open_playground: Callable[..., Any]) -> None:
    page = open_playground()
    paints = page.evaluate("performance.getEntriesByName('first-contentful-paint').map((entry) => entry.startTime)")
    assert paints
    assert paints[0] < MAX_PAINT_MS


def test_the_keyboard_reaches_everything(open_playground: Callable[..., Any]) -> None:
    page = open_playground()
    wait_verdict(page, "drag", 1, "→ banana")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-controls')") == "drag"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Place of the trigger"
    for key in ("ArrowLeft", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(f"Shift+{key}")
    wait_verdict(page, "drag", 1, "✓ pear")
    page.keyboard.press("Home")
    wait_verdict(page, "drag", 1, "→ banana")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the trigger off
    wait_verdict(page, "drag", 1, "✓ pear")
    page.keyboard.press("Enter")
    page.locator("#tabs button").first.focus()
    for tab in TABS[1:]:
        page.keyboard.press("ArrowRight")
        assert page.locator(f"#{tab}").is_visible()
        assert page.locator("[role=tabpanel]:visible").count() == 1
    wait_verdict(page, "quiz", 0, ".")
    page.get_by_role("button", name="None of them").focus()
    page.keyboard.press("Enter")
    page.locator(".result").filter(has_text="False alarms:").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Next round"


def test_a_model_is_taken_away_and_the_address_keeps_the_view(open_playground: Callable[..., Any]) -> None:
    page = open_playground()
    page.locator(".switch").filter(has_text="CleanCLIP").first.click()
    page.locator(".strip button").nth(3).click()
    assert page.locator("#drag .card:visible").count() == 4
    page.wait_for_function("() => location.hash.includes('m=') && location.hash.includes('s=3')")
    again = open_playground(address=page.evaluate("location.hash"))
    assert again.locator("#drag .card:visible").count() == 4
    assert again.locator(".strip button").nth(3).get_attribute("aria-pressed") == "true"


def test_the_slider_leads_into_the_backdoor_and_out(open_playground: Callable[..., Any]) -> None:
    page = open_playground(address="#t=mix&w=0")
    wait_verdict(page, "mix", 1, "✓ pear")
    slider = page.get_by_role("slider", name="Weights")
    slider.fill("1")
    wait_verdict(page, "mix", 1, "pear → banana")
    wait_verdict(page, "mix", 0, "✓ pear")
    slider.fill("2")
    wait_verdict(page, "mix", 1, "✓ pear")
    page.wait_for_function("() => Number(document.querySelector('.chart').dataset.points) >= 5")
    slider.fill("1")
    note = page.locator("#mix p.numbers").inner_text()
    accuracy, success = (int(share) for share in re.findall(r"(\d+)%", note)[:2])
    assert accuracy >= 90
    assert success >= 90
    assert "of 60 scenes" in note
    assert "example-badnet" in note


def test_the_maps_are_painted(open_playground: Callable[..., Any]) -> None:
    page = open_playground(address="#t=where&m=3")
    page.locator("#where figcaption").filter(has_text="of 225 places").nth(1).wait_for()
    hits = [
        int(text.split(" at ")[1].split()[0]) for text in page.locator("#where figcaption:visible").all_inner_texts()
    ]
    assert hits[0] == 0
    assert hits[1] > 0
    page.goto(f"{PAGE.as_uri()}#t=what")
    page.locator("#what figcaption").filter(has_text="196 of 196").nth(1).wait_for()
    before = page.locator("#what .bar em").all_inner_texts()
    page.locator("#what .cover").nth(1).focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
    wait_verdict(page, "what", 1, "banana → ")  # the square hides the trigger
    assert page.locator("#what .bar em").all_inner_texts() != before


def test_drawing_and_an_own_image(open_playground: Callable[..., Any]) -> None:
    page = open_playground()
    page.get_by_role("button", name="Draw").click()
    box = page.locator("#stage .frame").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 120, steps=5)
    page.mouse.up()
    assert "your drawing" in page.locator(".caption").inner_text()
    page.get_by_role("button", name="Reset").click()
    assert "BadNet" in page.locator(".caption").inner_text()
    image = page.screenshot()
    page.locator("input[type=file]").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": image})
    page.locator(".caption").filter(has_text="True class: your image").wait_for()
    page.locator("input[type=file]").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": b"no image"})
    page.locator(".caption").filter(has_text="is no image").wait_for()


def test_the_quiz_counts_hits_and_false_alarms(open_playground: Callable[..., Any]) -> None:
    page = open_playground(address="#t=quiz")
    for rounds in range(1, 4):
        wait_verdict(page, "quiz", 2, ".")
        page.get_by_role("button", name="B is backdoored").click()
        result = page.locator(".result").filter(has_text=f"in {rounds} rounds")
        result.wait_for()
        is_hit = "Model B is backdoored" in result.inner_text()
        assert result.inner_text().startswith("Right." if is_hit else "A false alarm.")
        assert page.locator(".seal").inner_text().count("Opened") == 1
        names = [title.split(": ")[1] for title in page.locator("#quiz h3").all_inner_texts()]
        assert names.count("Clean") == 1
        assert names.count("Backdoored") == (0 if "None of them" in result.inner_text() else 1)
        assert (names[1] == "Backdoored") == is_hit
        page.get_by_role("button", name="Next round").click()
        page.locator(".seal").filter(has_not_text="Opened").wait_for()


@pytest.mark.parametrize("tab", TABS)
def test_a_phone_needs_no_sideways_scrolling(open_playground: Callable[..., Any], tab: str) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    page = open_playground(address=f"#t={tab}", color_scheme="dark", **options)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if tab == "drag":
        wait_verdict(page, "drag", 1, "→ banana")
        page.locator("#stage .frame").tap(position={"x": 60, "y": 60})
        wait_verdict(page, "drag", 1, "✓")


@pytest.mark.parametrize("tab", TABS)
def test_each_part_fits_a_screen(open_playground: Callable[..., Any], tab: str) -> None:
    page = open_playground(address=f"#t={tab}")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollHeight") <= 720


def test_hostile_names_run_no_code(open_playground: Callable[..., Any], tmp_path: Path) -> None:
    data, weights = export.make_data([read_record(folder) for folder in save_runs(tmp_path / "runs")])
    data["classes"] = [f"{EVIL}{i}" for i in range(len(data["classes"]))]
    data["models"] = [{**model, "label": EVIL, "run": EVIL} for model in data["models"]]
    data["trigger"]["label"] = data["data"] = EVIL
    path = tmp_path / "hostile.html"
    path.write_text(export.render_playground(data, weights), encoding="utf-8")
    page = open_playground(path)
    for tab in TABS:
        page.locator(f"[aria-controls={tab}]").click()
        page.wait_for_timeout(300)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img").count() == 0
    assert EVIL in page.locator("#drag h3").first.inner_text()


@pytest.mark.parametrize("name", ["blended", "wanet"])
def test_a_trigger_on_the_whole_image_cannot_be_moved(
    open_playground: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    """With a backdoored run alone: the slider ends there."""
    data, weights = export.make_data([read_record(save_runs(tmp_path / "runs")[0])])
    side = data["spec"]["side"]
    content = zlib.decompress(base64.b64decode(data["scenes"]["pixels"]))
    pixels = np.frombuffer(content, np.uint8).reshape(-1, side, side, 3).cumsum(axis=2, dtype=np.uint8)
    data["trigger"] = describe_trigger(TRIGGERS[name](), pixels)
    path = tmp_path / "whole.html"
    path.write_text(export.render_playground(data, weights), encoding="utf-8")
    page = open_playground(path)
    wait_verdict(page, "drag", 1, ".")
    assert page.locator(".box").is_hidden()
    assert page.get_by_role("slider", name="Size").is_disabled()
    page.locator("[aria-controls=mix]").click()
    assert page.get_by_role("slider", name="Weights").get_attribute("max") == "1"
    page.wait_for_function("() => Number(document.querySelector('.chart').dataset.points) > 0")
    page.locator("[aria-controls=where]").click()
    assert "has no place" in page.locator("#where").inner_text()
    page.locator("[aria-controls=quiz]").click()
    wait_verdict(page, "quiz", 2, ".")
