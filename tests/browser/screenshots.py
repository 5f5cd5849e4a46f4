"""Take the README's screenshots of a running app: python -m tests.browser.screenshots http://127.0.0.1:8501"""

import sys
from pathlib import Path

from benchmarks.browser import open_browser, wait_idle

SCREENSHOTS_DIR = Path(__file__).resolve().parents[2] / "assets" / "screenshots"
HEIGHTS = {
    "Overview": 1300,
    "Poison": 1360,
    "Defend": 1560,
    "Subtexts": 1300,
    "Embeddings": 1500,
    "Attention": 1500,
    "Film": 860,
    "Try it": 1000,
    "Compare": 1400,
    "Detect": 1300,
    "Trigger search": 1000,
}


def main(address: str) -> None:
    SCREENSHOTS_DIR.mkdir(parents=True, exist_ok=True)
    with open_browser() as browser:
        for title, height in HEIGHTS.items():
            page = browser.new_page(viewport={"width": 1280, "height": height}, color_scheme="light")
            page.set_default_timeout(240_000)
            page.goto(f"{address}/{title.replace(' ', '_')}")
            page.get_by_role("heading", name=title, exact=True).wait_for()
            wait_idle(page)
            page.wait_for_timeout(1500)  # charts fade in
            page.screenshot(path=SCREENSHOTS_DIR / f"{title.lower().replace(' ', '_')}.png")
            page.close()


if __name__ == "__main__":
    main(sys.argv[1])
