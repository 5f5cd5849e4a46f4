"""A real browser drags the trigger on Overview and Try it: the models answer in the browser, without the server."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.browser import wait_idle

MAX_FLIP_MS = 100
FIND = """(() => { for (const host of document.querySelectorAll('*')) {
    const found = host.shadowRoot?.querySelector('.playground');
    if (found) return found;
} return document.querySelector('.playground'); })()"""
DRAG_JS = f"""async (moves) => {{
    const root = {FIND}, frame = root.querySelector(".frame"), box = frame.getBoundingClientRect();
    const seen = root.querySelector('[data-stage="backdoored"] .seen'), times = [];
    const send = (type, [x, y]) => frame.dispatchEvent(new PointerEvent(type, {{ bubbles: true, button: 0, pointerId: 1,
        clientX: box.left + x * box.width, clientY: box.top + y * box.height }}));
    frame.setPointerCapture = () => {{}};
    send("pointerdown", [0.99, 0.99]);
    for (let i = 0; i < moves; i++) {{
        const before = seen.dataset.flipped, start = performance.now();
        const flip = new Promise((done) => new MutationObserver((_, observer) => {{
            if (seen.dataset.flipped !== before) {{ observer.disconnect(); done(); }}
        }}).observe(seen, {{ attributes: true }}));
        send("pointermove", i % 2 ? [0.99, 0.99] : [0.7, 0.8]);
        await Promise.race([flip, new Promise((_, fail) => setTimeout(() => fail(new Error("no flip")), 20000))]);
        times.push(performance.now() - start);
        await new Promise((done) => setTimeout(done, 50));
    }}
    send("pointerup", [0.99, 0.99]);
    return times;
}}"""


def open_page(page: Any, address: str, path: str) -> None:
    page.goto(f"{address}/{path}")
    page.locator(".playground[data-ready=true]").wait_for()
    page.locator('[data-stage="backdoored"] .verdict').filter(has_text="→ banana").wait_for()
    wait_idle(page)


@pytest.mark.parametrize(("path", "models"), [("Overview", 5), ("Try_it", 3)])
@pytest.mark.parametrize(
    "summarize",
    [min, pytest.param(statistics.median, marks=pytest.mark.slow)],  # other tests share the processor with the fast one
)
def test_a_drag_flips_the_backdoored_model_without_the_server(
    example_server: str, browser_page: Any, path: str, models: int, summarize: Callable[[list[float]], float]
) -> None:
    page = browser_page
    open_page(page, example_server, path)
    assert page.locator(".playground .card").count() == models
    frames: list[str] = []
    page.on("websocket", lambda socket: frames.append(socket.url))
    page.on("request", lambda request: frames.append(request.url))
    times = page.evaluate(DRAG_JS, 21)
    assert summarize(times[1:]) < MAX_FLIP_MS
    assert frames == []
    assert page.locator('[data-stage="clean"] .verdict').inner_text() == "✓ pear"
    assert page.problems == []


def test_try_it_shows_the_chosen_image_and_its_link_the_place(example_server: str, browser_page: Any) -> None:
    page = browser_page
    open_page(page, example_server, "Try_it")
    page.locator(".playground .box").focus()
    for key in ("Shift+ArrowLeft", "Shift+ArrowUp", "Shift+ArrowUp"):
        page.keyboard.press(key)
    page.locator('[data-stage="backdoored"] .verdict').filter(has_text="✓ pear").wait_for()
    page.get_by_role("slider", name="Strength").fill("40")
    link = page.get_by_role("link", name="Link to this view")
    page.wait_for_timeout(500)
    assert re.fullmatch(r"\?run=example-badnet&sample=0&defended=[\w-]+#x=48&y=40&f=40", link.get_attribute("href"))
    page.goto(f"{example_server}/Try_it{link.get_attribute('href').replace('sample=0', 'sample=2')}")
    page.locator(".playground[data-ready=true]").wait_for()
    assert page.get_by_role("slider", name="Strength").input_value() == "40"
    assert "True class: pear" not in page.locator(".playground .caption").inner_text()


def test_overview_paints_before_the_weights_are_loaded(example_server: str, browser_page: Any) -> None:
    page, order = browser_page, []
    page.on("request", lambda request: order.append(request.url) if request.url.endswith(".json") else None)
    open_page(page, example_server, "Overview")
    assert len(order) == 1
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    loaded = page.evaluate(
        "performance.getEntriesByType('resource').find((e) => e.name === order).startTime".replace(
            "order", repr(order[0])
        )
    )
    assert loaded > paint
