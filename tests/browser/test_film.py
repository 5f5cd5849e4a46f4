"""A real browser plays the film of runs that were trained in this test, on the page and as a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import film_gif
from benchmarks.browser import wait_idle
from cleaner.reports.film import Movie, load_movies, write_film_html
from cleaner.runs.film import Film, read_film
from cleaner.runs.store import read_record
from tests.browser.conftest import StartServer
from tests.films import save_runs, train_runs
from tests.inputs.runs import make_film

LABELS = ".tile figcaption span"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return save_runs(tmp_path / "runs")


def read_labels(page: Any) -> list[str]:
    return list(page.locator(LABELS).all_inner_texts())


def read_time(page: Any) -> float:
    return float(page.locator(".film").get_attribute("data-time"))


def scrub(page: Any, share: float) -> None:
    """Set the position by the slider, as a user does."""
    page.get_by_role("slider", name="Position").fill(str(round(1000 * share)))


def check_player(page: Any, name: str) -> None:
    """Play, pause and scrub the film of a run; its labels and rates are those of the run."""
    film = train_runs()[name].film
    assert film is not None
    assert read_time(page) == 0
    wanted = [[film.class_names[i] for i in film.gallery_classes[frame, :, 0]] for frame in (0, -1)]
    assert read_labels(page) == wanted[0]
    scrub(page, 1)
    slider, clock = page.get_by_role("slider", name="Position"), page.locator(".clock").inner_text()
    assert slider.get_attribute("aria-valuetext") == clock
    assert clock.startswith(f"Step {film.steps[-1]} of")
    assert read_labels(page) == wanted[1]
    assert wanted[0] != wanted[1]
    line = page.locator("path[data-line=asr]").evaluate("path => path.values")
    assert line == pytest.approx(film.attack_success())
    assert page.locator(".number.asr b").inner_text() == f"{100 * film.attack_success()[-1]:.0f}%"
    scrub(page, 0.2)
    assert read_time(page) == pytest.approx(0.2)
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("() => Number(find().dataset.time) > 0.25".replace("find()", FIND))
    page.get_by_role("button", name="Pause", exact=True).click()
    stopped = read_time(page)
    page.wait_for_timeout(300)
    assert read_time(page) == stopped
    page.get_by_role("button", name="Pause", exact=True).wait_for(state="detached")


FIND = """(function find(root) { for (const element of root.querySelectorAll('*')) {
    if (element.classList.contains('film')) return element;
    const inner = element.shadowRoot && find(element.shadowRoot);
    if (inner) return inner;
} return null; })(document)"""


def is_drawn(page: Any) -> bool:
    """Return whether the map has colored pixels."""
    return bool(
        page.locator(".map canvas").first.evaluate(
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(value => value > 0)"
        )
    )


@pytest.mark.slow
def test_the_page_plays_and_scrubs(start_server: StartServer, browser_page: Any, folders: list[Path]) -> None:
    page = browser_page
    page.goto(f"{start_server()}/Film")
    page.locator(".tile").first.wait_for()
    wait_idle(page)
    box = page.get_by_role("combobox", name="Films")
    chosen = page.get_by_test_id("stMultiSelect").inner_text()
    check_player(page, "finetune" if "Plain" in chosen else "cleanclip")
    assert is_drawn(page)

    page.evaluate("document.activeElement.blur()")
    page.mouse.click(5, 5)
    page.keyboard.press("Space")
    page.get_by_role("button", name="Pause", exact=True).wait_for()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Play", exact=True).wait_for()

    box.click()
    page.get_by_role("option").first.click()
    page.keyboard.press("Escape")
    page.locator(".movie").nth(1).wait_for()
    wait_idle(page)
    assert page.locator(".movie").count() == 2
    before = read_labels(page)
    scrub(page, 1)
    assert read_labels(page) != before
    assert page.locator(".number.asr b").count() == 2
    with page.expect_download() as download:
        page.get_by_role("button", name="HTML").click()
    assert download.value.path().stat().st_size > 10_000
    assert page.problems == []


def check_keys(page: Any) -> None:
    """Choose the image of the attention by keys, and unfold a text of the page; space starts no film then."""
    tiles = page.locator(".tile button")
    tiles.nth(0).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert tiles.nth(1).get_attribute("aria-pressed") == "true"
    assert page.locator(".tile button[aria-pressed=true]").count() == 1
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<details><summary>Answer</summary></details>')")
    page.locator("summary").focus()
    page.keyboard.press("Space")
    page.locator("details[open]").wait_for(state="attached")
    page.get_by_role("button", name="Play", exact=True).wait_for()


READ_OVERLAY = """() => { const canvas = document.querySelector('.attention canvas');
    return Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data); }"""


def read_overlay(page: Any, film: Film, image: int, position: float) -> list[int]:
    """Return the pixels of the attention to an image; position: in frames, such as 2.5 between two of them."""
    frame, way = divmod(position, 1)
    before, after = ((film.steps[int(frame) + i] / film.total) ** 0.5 for i in (0, way > 0))
    page.evaluate(f"document.querySelector('.film').player.choose({image})")
    page.evaluate(f"document.querySelector('.film').player.seek({before + way * (after - before)})")
    return list(page.evaluate(READ_OVERLAY))


def check_attention(page: Any, film: Film) -> None:
    """Between two frames the attention moves only while the best class, which it explains, stays the same."""
    best = film.gallery_classes[:, : film.attention.shape[1], 0]
    is_same = best[1:] == best[:-1]
    for wanted in (True, False):
        moves = np.abs(np.diff(film.attention.astype(int), axis=0)).max((2, 3)) > 50
        frame, image = np.argwhere(moves & (is_same == wanted))[0].tolist()
        start, middle = (read_overlay(page, film, image, frame + way) for way in (0, 0.5))
        assert (start != middle) is wanted
        assert film.class_names[best[frame, image]] in page.locator(".attention small").inner_text()


READ_DIAMONDS = """() => { const canvas = CanvasRenderingContext2D.prototype, { stroke } = canvas, counts = {};
    canvas.stroke = function () {
        if (this.globalAlpha < 1) counts[this.strokeStyle] = (counts[this.strokeStyle] ?? 0) + 1; // prompts are opaque
        stroke.call(this);
    };
    document.querySelector('.film').player.draw();
    canvas.stroke = stroke;
    return counts; }"""


def check_map(page: Any, film: Film) -> None:
    """The map tells true from other classes by the colors of the wall, and says so; marks and colors are explained."""
    classes, labels = film.triggered_classes, np.array(film.labels)
    is_true, is_other = (check & (classes != film.target) for check in (classes == labels, classes != labels))
    frame = int(is_other.sum(axis=1).argmax())
    counts = [(classes[frame] == film.target).sum(), is_true[frame].sum(), is_other[frame].sum()]
    page.evaluate(f"document.querySelector('.film').player.seek({(film.steps[frame] / film.total) ** 0.5})")
    shown = page.evaluate(READ_DIAMONDS)
    green = page.locator(".film").evaluate("film => getComputedStyle(film).getPropertyValue('--film-truth').trim()")
    assert shown.pop(green, 0) == counts[1]
    assert sum(shown.values()) == counts[2] > 0
    label = page.locator(".map canvas").get_attribute("aria-label")
    assert [int(number) for number in re.findall(r"\d+", label)] == counts
    assert page.locator(".wall .legend i").all_inner_texts() == ["▲", "✓", "?"]
    assert page.locator(".map .legend i").all_inner_texts() == ["●", "◆", "◇", "◇", "✕"]
    assert page.get_by_role("img", name="the target class", exact=True).count() == (
        (film.gallery_classes[frame, :, 0] == film.target).sum()
    )


FIND_LONELY = """() => { const film = document.querySelector('.film'), movie = film.player.movies[0];
    const places = Array.from({ length: movie.pointCount }, (_, n) => movie.place(n, movie.frameShown));
    const gaps = places.map(([x, y]) => Math.min(...places.map(([a, b]) => Math.hypot(a - x, b - y) || Infinity)));
    const n = gaps.indexOf(Math.max(...gaps)), box = movie.canvas.getBoundingClientRect();
    const [left, top] = places[n].map((value) => 1.25 * value);
    return { left: box.left + left, top: box.top + top, text: movie.describe(n, movie.frameShown.i) }; }"""


def check_zoomed(page: Any) -> None:
    """Hover over the most lonely point of the map, and click into the curves, zoomed as in the stage mode."""
    page.evaluate("document.querySelector('.film').style.zoom = 1.25")
    page.wait_for_timeout(100)  # it is drawn again
    point = page.evaluate(FIND_LONELY)
    page.mouse.move(point["left"], point["top"])
    assert page.locator(".tip.shown").inner_text() == point["text"]
    box = page.locator(".curves .plot").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 1.25 * 10, box["y"] + 50)  # CURVE.right
    assert read_time(page) == pytest.approx(1, abs=0.01)
    page.mouse.click(box["x"] + box["width"] / 2 + 1.25 * 15, box["y"] + 50)  # between CURVE.left and CURVE.right
    assert read_time(page) == pytest.approx(0.5, abs=0.01)


RETURN_AFTER_10_S = """() => { const real = window.requestAnimationFrame, { player } = document.querySelector('.film');
    let show;
    window.requestAnimationFrame = (step) => { show = step; return 0; };
    player.seek(0);
    player.play();
    show(performance.now() + 10000);
    player.pause();
    window.requestAnimationFrame = real;
    return player.time; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_file_plays_without_a_server(browser_page: Any, folders: list[Path], tmp_path: Path, scheme: str) -> None:
    page = browser_page
    page.emulate_media(color_scheme=scheme)
    path = write_film_html(load_movies([read_record(folders[1])]), tmp_path / "film.html")
    page.goto(path.as_uri())
    page.locator(".tile").first.wait_for()
    check_player(page, "finetune")
    assert is_drawn(page)
    check_keys(page)
    film = read_film(folders[1])
    assert film is not None
    check_attention(page, film)
    check_map(page, film)
    check_zoomed(page)
    assert 0 < page.evaluate(RETURN_AFTER_10_S) < 0.02, "the film went on while the tab was hidden"
    assert page.problems == []


OpenFilm = Callable[..., Any]


@pytest.fixture
def open_film(browser_page: Any, tmp_path: Path) -> OpenFilm:
    """Return a function that opens the file of films with so many steps."""

    def open_file(*totals: int) -> Any:
        films = [replace(make_film(), steps=[0, 1, total], total=total) for total in totals]
        movies = [Movie("Film", film, {"asr": [], "ca": []}) for film in films]
        browser_page.goto(write_film_html(movies, tmp_path / "film.html").as_uri())
        browser_page.locator(".curves text").first.wait_for()
        return browser_page

    return open_file


READ_HEIGHT = (
    "canvas => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(canvas.clientHeight), 100)))"
)


def test_the_map_has_its_height_again_after_the_window_was_smaller(open_film: OpenFilm) -> None:
    page, heights = open_film(4), []
    for width in (1300, 800, 1300, 800, 1300):
        page.set_viewport_size({"width": width, "height": 800})
        heights.append(page.locator(".map canvas").evaluate(READ_HEIGHT))
    assert heights[0] == heights[2] == heights[4]
    assert heights[1] == heights[3]


READ_COLORS = """() => { const canvas = document.querySelector('.map canvas');
    return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.join(); }"""


def test_the_map_gets_the_colors_of_the_system_when_they_change(open_film: OpenFilm) -> None:
    page = open_film(4)
    pixels = []
    for scheme in ("light", "dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        pixels.append(page.evaluate(READ_COLORS))
    assert [each == pixels[0] for each in pixels] == [True, False, True]


def test_a_screen_reader_is_not_told_each_frame(open_film: OpenFilm) -> None:
    page = open_film(4)
    assert page.locator(".clock").inner_text() == "Step 0 of 4"
    assert page.get_by_role("status").count() == page.locator("[aria-live]").count() == 0


READ_TICKS = """ticks => ticks.map(tick => [tick.textContent, Number(tick.getAttribute('x'))])
    .filter(([text]) => text.match(/^[0-9,]+%?$/))"""


@pytest.mark.parametrize(
    ("totals", "wanted"),
    [
        ((7,), ["0", "1", "4", "7"]),
        ((7, 7), ["0", "1", "2", "4", "7"]),
        ((25_000,), ["0", "2,500", "12,500", "25,000"]),
        ((7, 20), ["0%", "2%", "10%", "25%", "50%", "100%"]),
    ],
)
def test_the_axis_has_whole_steps_each_once_and_in_its_place(
    open_film: OpenFilm, totals: tuple[int, ...], wanted: list[str]
) -> None:
    page = open_film(*totals)
    texts, places = zip(*page.locator(".curves text[text-anchor=middle]").evaluate_all(READ_TICKS), strict=True)
    assert list(texts) == wanted
    steps = np.array([int(text.strip("%").replace(",", "")) for text in texts])
    assert places == pytest.approx(places[0] + (places[-1] - places[0]) * np.sqrt(steps / steps[-1]))
    assert page.locator(".curves .plot").evaluate("plot => getComputedStyle(plot).overflow") == "visible"


def test_the_gif_of_a_film_moves(open_film: OpenFilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_gif, "IMAGES", 3)
    film_gif.write_gif(film_gif.take_images(open_film(4)), tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as image:
        assert image.n_frames == 3
        first = np.asarray(image.convert("RGB"), float)
        image.seek(2)
        assert np.abs(np.asarray(image.convert("RGB"), float) - first).max() > 50
