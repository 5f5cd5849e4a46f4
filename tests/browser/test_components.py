"""Components in a real browser, each on an empty page of its own without a server."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cleaner.plots.charts import MARKERS
from cleaner.plots.component import read_script
from cleaner.plots.styles import FILLS, find_styles

FOLDER = Path(__file__).resolve().parents[2] / "pages" / "_shared"
HARNESS = """
const sent = [];
const send = (name, value) => sent.push([name, value]);
const component = mount(View);
const receive = (data) => component({ data, parentElement: document.body, setTriggerValue: send, setStateValue: send });
"""
Mount = Callable[..., Any]


@pytest.fixture
def mount(browser_page: Any) -> Mount:
    """Return a function that opens a page with a component; its scripts call `receive` and read `sent`."""

    def open_page(script: Path, html: str = "") -> Any:
        style = script.with_suffix(".css")
        browser_page.set_content(f"<style>{style.read_text() if style.exists() else ''}</style>{html}")
        browser_page.add_script_tag(content=read_script(script) + HARNESS)
        return browser_page

    return open_page


def test_a_key_of_the_stage_mode_counts_once_and_not_after_its_end(mount: Mount) -> None:
    page = mount(FOLDER / "shell" / "stage_mode.js")
    stops = page.evaluate_handle("() => [1, 2].map((height) => receive({ height, handled: 0 }))")
    page.evaluate("sent.length = 0")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("sent") == [["keys", "1 next"]]
    stops.evaluate("stops => stops[0]()")
    page.keyboard.press("ArrowRight")
    page.set_viewport_size({"width": 800, "height": 400})
    assert page.evaluate("sent") == [["keys", "1 next"]]


def test_keys_pressed_while_the_app_is_busy_are_sent_until_they_were_handled(mount: Mount) -> None:
    page = mount(FOLDER / "shell" / "stage_mode.js")
    page.evaluate("() => { receive({ height: innerHeight, handled: 0 }); }")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.evaluate("sent") == [["keys", "1 next"]], "the others wait until the app has handled it"
    page.evaluate("() => { sent.length = 0; receive({ height: innerHeight, handled: 1 }); }")
    assert page.evaluate("sent") == [["keys", "3 next previous"]]
    page.evaluate("() => { sent.length = 0; receive({ height: innerHeight, handled: 3 }); }")
    page.keyboard.press("n")
    assert page.evaluate("sent") == [["keys", "4 notes"]]


def test_keys_leave_the_stage_mode_alone_while_an_image_fills_the_window(mount: Mount) -> None:
    page = mount(FOLDER / "shell" / "stage_mode.js")
    page.evaluate("() => { receive({ height: innerHeight, handled: 0 }); document.body.style.overflow = 'hidden'; }")
    for key in ("Escape", "ArrowRight"):
        page.keyboard.press(key)
    assert page.evaluate("sent") == []
    page.evaluate("document.body.style.overflow = 'unset'")  # as Streamlit leaves it
    page.keyboard.press("Escape")
    assert page.evaluate("sent") == [["keys", "1 exit"]]


def test_a_focused_slider_keeps_its_arrows_from_the_stage_mode_and_a_text_field_all_keys(mount: Mount) -> None:
    page = mount(FOLDER / "shell" / "stage_mode.js", '<input type="range"><input type="text">')
    page.evaluate("() => { receive({ height: innerHeight, handled: 0 }); }")
    for kind, wanted in (("text", []), ("range", [["keys", "1 notes"]])):
        for key in ("ArrowRight", "n", "Escape"):
            page.locator(f"input[type={kind}]").press(key)
        assert page.evaluate("sent") == wanted


STAGE_HTML = """
<div data-testid="stMainBlockContainer"><div data-testid="stLayoutWrapper"><div data-testid="stColumn">
  <div data-testid="stElementContainer" id="form">Settings</div>
  <div data-testid="stElementContainer" id="message"><div data-testid="stAlert">No runs yet.</div></div>
</div></div></div>
"""
PICTURE_HTML = '<div data-testid="stElementContainer" class="st-key-pareto" id="picture">Plot</div>'


def test_stage_mode_shows_the_picture_or_why_there_is_none(browser_page: Any) -> None:
    style = (FOLDER / "shell" / "stage_mode.css").read_text().replace("PICTURE", ".st-key-pareto")

    def visible(html: str) -> list[str]:
        browser_page.set_content(f"<style>{style}</style>{html}")
        return [e.get_attribute("id") for e in browser_page.locator("[id]").all() if e.is_visible()]

    assert visible(STAGE_HTML) == ["message"]
    assert visible(STAGE_HTML.replace("</div></div></div>\n", f"</div></div>{PICTURE_HTML}</div>\n")) == ["picture"]


LINK_HTML = """
<style>a.streamlit:focus { outline: none } a.streamlit:focus-visible { background-color: gray }</style>
<div class="st-key-pipeline"><a class="streamlit" href="#">Model</a></div>
"""


def test_a_link_of_the_pipeline_shows_that_it_has_the_focus(browser_page: Any) -> None:
    style = (FOLDER / "shell" / "style.css").read_text(encoding="utf-8")
    browser_page.set_content(f"{LINK_HTML}<style>{style}</style>")
    link, read = browser_page.locator("a"), "link => getComputedStyle(link).outlineStyle"
    assert link.evaluate(read) == "none"
    browser_page.keyboard.press("Tab")
    assert link.evaluate(read) == "solid"


CHARTS_HTML = """
<div data-testid="stApp" data-test-script-state="running"><div class="frame"><div class="charts"></div></div></div>
"""
RECEIVE_POINTS = """([first, last, title]) => receive({
milliseconds: 1, layout: title, is_single: false, charts: [{ id: "loss", title }], runs: [{
    id: "a", since: first > 1 ? `${first - 1}` : "", cursor: `${last}`, totals: { loss: 10000 },
    lines: [{ id: "sum", chart: "loss", name: "Sum", color: "#000000", dash: "solid",
              points: Array.from({ length: last - first + 1 }, (_, i) => [first + i, 1]) }],
}] })"""


def test_a_long_line_is_thinned_evenly_and_has_its_newest_point(mount: Mount) -> None:
    page = mount(FOLDER / "runs" / "live_charts.js", CHARTS_HTML)
    for first in range(1, 10_000, 271):
        page.evaluate(RECEIVE_POINTS, [first, first + 270, "Loss"])
    steps = page.locator("path.line").evaluate("path => path.points.map(point => point[0])")
    assert steps[-1] == first + 270
    assert 1000 < len(steps) <= 2001
    assert {after - before for before, after in pairwise(steps[:-1])} == {8}


def test_a_chart_has_the_title_of_its_newest_runs(mount: Mount) -> None:
    page = mount(FOLDER / "runs" / "live_charts.js", CHARTS_HTML)
    for title in ("Loss", "Loss (terms differ)"):
        page.evaluate(RECEIVE_POINTS, [1, 2, title])
        assert page.locator(".title").inner_text() == title
    assert page.locator("svg[role=img]").get_attribute("aria-label").startswith("Loss (terms differ), step 2")


READ_ENDS = """plot => [plot, [...plot.querySelectorAll('text')].find((text) => text.textContent === '10,000')]
    .map((element) => element.getBoundingClientRect().right)"""


def test_the_last_number_of_the_axis_is_not_cut_off(mount: Mount) -> None:
    page = mount(FOLDER / "runs" / "live_charts.js", CHARTS_HTML)
    page.evaluate(RECEIVE_POINTS, [1, 2, "Loss"])
    plot = page.locator("svg[role=img]")
    plot_end, number_end = plot.evaluate(READ_ENDS)
    assert number_end > plot_end
    assert plot.evaluate("plot => getComputedStyle(plot).overflow") == "visible"


def test_a_single_point_is_seen_until_there_is_a_line(mount: Mount) -> None:
    page = mount(FOLDER / "runs" / "live_charts.js", CHARTS_HTML)
    for last, marks in ((1, 1), (2, 0)):
        page.evaluate(RECEIVE_POINTS, [last, last, "Loss"])
        assert page.locator("svg[role=img] path:not(.line)").count() == marks


def test_the_tip_follows_new_points_under_a_pointer_at_rest(mount: Mount) -> None:
    page = mount(FOLDER / "runs" / "live_charts.js", CHARTS_HTML)
    page.evaluate(RECEIVE_POINTS, [1, 50, "Loss"])
    tip, guide = page.locator(".tip"), page.locator(".guide")
    page.locator("svg[role=img]").hover()
    assert tip.inner_text().startswith("Step 50\n")
    page.evaluate(RECEIVE_POINTS, [51, 60, "Loss"])
    assert tip.inner_text().startswith("Step 60\n")
    assert guide.count() == 1
    page.locator(".title").hover()
    page.evaluate(RECEIVE_POINTS, [61, 70, "Loss"])
    assert (tip.is_visible(), guide.count()) == (False, 0)


RECEIVE_RUNS = """runs => receive({
    layout: "", is_single: false, charts: [{ id: "validation", title: "", is_share: true }], runs,
})"""
READ_MARKS = "samples => samples.map(sample => sample.innerHTML)"


def test_runs_of_one_defense_have_different_marks(mount: Mount) -> None:
    page = mount(FOLDER / "runs" / "live_charts.js", CHARTS_HTML)
    runs = []
    for i, style in enumerate(find_styles(["cleanclip"] * len(FILLS))):
        line = {"id": "asr", "chart": "validation", "color": style.color, "marker": style.mark, "points": [[1, 0.5]]}
        runs.append({"id": f"{i}", "since": "", "cursor": "1", "totals": {}, "lines": [line]})
    page.evaluate(RECEIVE_RUNS, runs)
    assert len(set(page.locator(".legend svg").evaluate_all(READ_MARKS))) == len(FILLS)
    for place in (".legend", "svg[role=img]"):
        dots = page.locator(f"{place} circle").evaluate_all("dots => dots.map(dot => dot.getAttribute('fill'))")
        assert dots == ["var(--st-background-color)", style.color]


@pytest.mark.parametrize(("stage", "asks"), [("", True), ('<div class="st-key-stage"></div>', False)])
def test_only_keys_of_the_stage_mode_stop_the_clock(mount: Mount, stage: str, asks: bool) -> None:
    page = mount(FOLDER / "runs" / "live_charts.js", CHARTS_HTML.replace("running", "notRunning") + stage)
    page.evaluate("document.addEventListener('keydown', (event) => event.preventDefault())")
    page.evaluate(RECEIVE_POINTS, [1, 2, "Loss"])
    page.wait_for_function("sent.length")
    page.keyboard.press("ArrowDown")
    page.evaluate("sent.length = 0")
    page.evaluate(RECEIVE_POINTS, [3, 4, "Loss"])
    page.wait_for_timeout(1000)
    assert bool(page.evaluate("sent.length")) is asks


def test_finished_runs_ask_for_nothing(mount: Mount) -> None:
    page = mount(FOLDER / "runs" / "live_charts.js", CHARTS_HTML.replace("running", "notRunning"))
    page.evaluate(RECEIVE_RUNS, [])
    page.wait_for_timeout(500)
    assert not page.evaluate("sent.length")


def test_charts_that_are_mounted_again_are_drawn_once(mount: Mount) -> None:
    page = mount(FOLDER / "runs" / "live_charts.js", CHARTS_HTML)
    for _ in range(2):
        page.evaluate(f"points => {{ ({RECEIVE_POINTS})(points)(); }}", [1, 2, "Loss"])
    assert page.locator(".chart").count() == 1


PANEL = {
    "key": "a",
    "start": 0.5,
    "labels": ["Clean", "Triggered"],
    "colors": ["#ff0000", "#0000ff"],
    "signs": ["●", "◆"],
    "panels": [{"kind": "image", "title": "", "layers": [{}, {}]}],
}
LISTEN = """document.querySelector('canvas').addEventListener(
    'pointerdown', (event) => { window.pointer = event.pointerId; })"""
POINTER = """(canvas, [name, options]) => canvas.dispatchEvent(new PointerEvent(
    name, { pointerId: window.pointer, isPrimary: true, ...options }))"""


@pytest.fixture
def panel(mount: Mount) -> Any:
    """A page with one panel of 200 px under a slider in its middle."""
    page = mount(FOLDER / "inspect" / "before_after.js", '<div class="before-after" style="width: 200px"></div>')
    page.evaluate("data => receive(data)", PANEL)
    page.evaluate(LISTEN)
    page.wait_for_function("document.querySelector('.before-after').dataset.share")
    return page


def test_a_panel_that_is_mounted_again_is_drawn_once(mount: Mount) -> None:
    page = mount(FOLDER / "inspect" / "before_after.js", '<div class="before-after"></div>')
    for _ in range(2):
        page.evaluate("data => { receive(data)(); }", PANEL)
    assert (page.locator(".bar").count(), page.locator("canvas").count()) == (1, 1)


def test_a_screen_reader_gets_the_kind_of_a_panel_and_the_share_of_the_slider(panel: Any) -> None:
    slider = panel.get_by_role("slider", name="Before and after")
    assert panel.get_by_role("img", name="Image", exact=True).count() == 1
    assert slider.get_attribute("aria-valuetext") == "50% Clean"
    slider.fill("250")
    assert slider.get_attribute("aria-valuetext") == "25% Clean"


def test_labels_have_a_colored_sign_and_plain_letters(panel: Any) -> None:
    assert panel.locator(".before, .after").all_inner_texts() == ["● Clean", "◆ Triggered"]
    colors = [
        panel.locator(selector).evaluate("e => getComputedStyle(e).color") for selector in (".before i", ".before")
    ]
    assert colors == ["rgb(255, 0, 0)", "rgb(0, 0, 0)"]


def test_a_drag_is_where_it_is_seen_on_a_zoomed_page(panel: Any) -> None:
    panel.evaluate("document.querySelector('.before-after').style.zoom = 1.25")
    panel.wait_for_timeout(100)  # it is drawn again
    box = panel.locator("canvas").bounding_box()
    panel.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    panel.mouse.down()
    panel.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"], steps=3)
    assert float(panel.locator(".before-after").get_attribute("data-share")) == pytest.approx(0.25, abs=0.02)


def test_only_the_main_button_and_the_first_finger_move_things(panel: Any) -> None:
    canvas, root = panel.locator("canvas"), panel.locator(".before-after")
    box = canvas.bounding_box()
    y = box["y"] + 20
    for button in ("middle", "right"):
        panel.mouse.move(box["x"] + box["width"] / 2, y)
        panel.mouse.down(button=button)
        panel.mouse.move(box["x"] + 20, y, steps=3)
        panel.mouse.up(button=button)
        assert root.get_attribute("data-share") == "0.500"
    panel.mouse.move(box["x"] + box["width"] / 2, y)
    panel.mouse.down()
    second = {"pointerId": 99, "isPrimary": False, "buttons": 1, "clientX": box["x"] + 10, "clientY": y}
    for name in ("pointerdown", "pointermove", "pointerup"):
        canvas.evaluate(POINTER, [name, second])
    assert root.get_attribute("data-share") == "0.500"
    panel.mouse.move(box["x"] + 0.75 * box["width"], y, steps=3)
    assert float(root.get_attribute("data-share")) == pytest.approx(0.75, abs=0.02)
    canvas.evaluate(POINTER, ["pointermove", {"buttons": 0, "clientX": box["x"] + 10, "clientY": y}])  # no pointerup
    canvas.evaluate(POINTER, ["pointermove", {"buttons": 1, "clientX": box["x"] + 10, "clientY": y}])
    assert float(root.get_attribute("data-share")) == pytest.approx(0.75, abs=0.02)


def test_fingers_scroll_the_page_until_a_panel_is_zoomed(panel: Any) -> None:
    read = "canvas => getComputedStyle(canvas).touchAction"
    assert panel.locator("canvas").evaluate(read) == "pan-y"
    panel.get_by_role("button", name="Zoom in").click()
    assert panel.locator("canvas").evaluate(read) == "none"


def test_arrow_keys_move_a_zoomed_panel(panel: Any) -> None:
    read = "canvas => { const { scale, x, y } = canvas.panel.zoom; return [scale, x, y]; }"
    panel.evaluate("() => { window.heard = []; addEventListener('keydown', ({ key }) => heard.push(key)); }")
    canvas = panel.locator("canvas")
    canvas.focus()
    canvas.press("ArrowRight")
    assert canvas.evaluate(read) == [1, 0, 0]
    assert panel.evaluate("heard") == ["ArrowRight"]
    panel.get_by_role("button", name="Zoom in").click()
    scale, x, y = canvas.evaluate(read)
    for key, dx, dy in (("ArrowRight", -0.1, 0), ("ArrowDown", 0, -0.1), ("ArrowLeft", 0.1, 0), ("ArrowUp", 0, 0.1)):
        canvas.press(key)
        x, y = x + dx, y + dy
        assert canvas.evaluate(read) == pytest.approx([scale, x, y])
    for _ in range(20):
        canvas.press("ArrowLeft")
    assert canvas.evaluate(read) == pytest.approx([scale, 0, y])
    assert panel.evaluate("heard") == ["ArrowRight"]


READ_POINTS = """(canvas, points) => points.map(([x, y]) => {
    const [left, top] = [x * canvas.clientWidth - 8, y * canvas.clientHeight - 8];
    return canvas.getContext("2d").getImageData(left, top, 16, 16).data.join();
})"""


def test_a_map_and_its_legend_draw_each_symbol_in_its_own_shape(mount: Mount) -> None:
    page = mount(FOLDER / "inspect" / "before_after.js", '<div class="before-after" style="width: 402px"></div>')
    points = [((1 + i % 4) / 5, (1 + i // 4) / 5) for i in range(len(MARKERS))]
    looks = [{"name": symbol, "color": "#0072B2", "edge": "#004F7C", "symbol": symbol} for symbol in MARKERS]
    groups = [look | {"points": [point]} for look, point in zip(looks, points, strict=True)]
    panel = {"kind": "map", "title": "", "legend": looks}
    styles = {"labels": ["Clean", "Defended"], "colors": ["#ff0000", "#0000ff"], "signs": ["●", "◆"]}
    page.evaluate(
        "data => receive(data)",
        {"key": "a", "start": 1, **styles, "panels": [panel | {"layers": [{"groups": groups}]}]},
    )
    assert len(set(page.locator("canvas").evaluate(READ_POINTS, points))) == len(MARKERS)
    drawn = page.locator(".legend path").evaluate_all("paths => paths.map(path => path.getAttribute('d'))")
    assert len(set(drawn)) == len(MARKERS)
    assert page.get_by_role("img", name="Map", exact=True).count() == 1
    assert page.locator('.legend path[stroke="#004F7C"]').count() == len(MARKERS)
    assert page.locator(".legend > span").all_inner_texts() == list(MARKERS)
