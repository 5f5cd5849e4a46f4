"""The Chromium that draws plots and opens the pages."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

CHROMIUM_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

IS_IDLE_JS = """() => { const app = document.querySelector('[data-testid="stApp"]');
 return app && app.getAttribute('data-test-connection-state') === 'CONNECTED'
 && app.getAttribute('data-test-script-state') === 'notRunning'
 && !document.querySelector('[data-testid="stSkeleton"]') }"""


def find_chromium() -> str:
    """Return the path of Chromium; raises `SystemExit` with the remedy if it or playwright is missing."""
    if importlib.util.find_spec("playwright") is None:
        raise SystemExit("playwright is missing: pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("Chromium is missing: apt-get install --no-install-recommends chromium")
    return path


def wait_idle(page: Any) -> None:
    """Wait until a page of the app is fully drawn; fail on an exception box."""
    while True:
        page.wait_for_function(IS_IDLE_JS)
        page.wait_for_timeout(150)
        if page.evaluate(IS_IDLE_JS):
            break
    boxes = page.query_selector_all('[data-testid="stException"]')
    assert not boxes, boxes[0].inner_text()
