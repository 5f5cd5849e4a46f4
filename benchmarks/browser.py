"""The Chromium that draws plots and opens the pages, and a server for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cleaner.files import app_file, child_environment

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

MISSING_IMAGES_JS = (
    "[...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src)"
)


def find_chromium() -> str:
    """Return the path of Chromium; raises `SystemExit` with the remedy if it or playwright is missing."""
    if importlib.util.find_spec("playwright") is None:
        raise SystemExit("playwright is missing: pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("Chromium is missing: apt-get install --no-install-recommends chromium")
    return path


def wait_idle(page: Any) -> None:
    """Wait until a page of the app is fully drawn; fail on an exception box or an image that was not loaded."""
    while True:
        page.wait_for_function(IS_IDLE_JS)
        page.wait_for_timeout(150)
        if page.evaluate(IS_IDLE_JS):
            break
    boxes = page.query_selector_all('[data-testid="stException"]')
    assert not boxes, boxes[0].inner_text()
    missing = page.evaluate(MISSING_IMAGES_JS)
    assert not missing, missing


@contextmanager
def start_server(
    runs: str | Path, *, module: str = "streamlit", log: Path | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Yield a server of the app with its address; end it afterwards.

    module: takes the arguments of Streamlit's command. log: file for the output, which is else dropped.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", module, "run", str(app_file()), "--server.port", port]
    options = ["--server.address", "127.0.0.1", "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    with open(log or os.devnull, "wb") as output:
        process = subprocess.Popen(
            [*command, *options, "--server.fileWatcherType", "none"],
            env={**child_environment(), "CLEANER_RUNS": str(runs)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(900):
            with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as response:
                if response.status == 200:
                    break
            time.sleep(0.2)
        yield process, address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:  # a busy machine
            process.kill()


def set_hidden(page: Any, hidden: bool = True) -> None:
    """Tell a page that its tab was hidden or shown; headless Chromium has no tab bar."""
    page.evaluate(
        """hidden => {
            for (const [name, value] of [["hidden", hidden], ["visibilityState", hidden ? "hidden" : "visible"]])
                Object.defineProperty(document, name, { value, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def launch_options(*flags: str) -> dict[str, Any]:
    """Return playwright's options for headless Chromium with shared memory as on a user's machine.

    Playwright's default puts it into files, and writing these to disk takes a third of a core while a page changes. It
    stays where there is little shared memory, as in a container: tabs would crash.
    """
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free >= 2**30
    return {
        "executable_path": find_chromium(),
        "args": [*CHROMIUM_FLAGS, *flags],
        "ignore_default_args": ["--disable-dev-shm-usage"] if has_room else None,
    }


@contextmanager
def open_browser(*flags: str) -> Iterator[Any]:
    """Yield headless Chromium, see `launch_options`."""
    find_chromium()  # says what is missing
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch_options(*flags))
        yield browser
        browser.close()


@contextmanager
def open_page(url: str, width: int = 1280, height: int = 720) -> Iterator[Any]:
    """Yield a page of headless Chromium at `url`."""
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(url)
        yield page
