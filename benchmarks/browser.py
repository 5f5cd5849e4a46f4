"""The Chromium that draws plots and opens the pages."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


@contextmanager
def run_server(folder: Path) -> Iterator[str]:
    """Yield the address of a server of the app, with this process's environment; its log goes to `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    app = Path(__file__).resolve().parent.parent / "app.py"
    command = [sys.executable, "-m", "streamlit", "run", str(app), "--server.port", port]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_for_server(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _wait_for_server(address: str, server: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The server did not start: see its log.")


@contextmanager
def open_page(url: str, width: int = 1280, height: int = 720) -> Iterator[Any]:
    """Yield a page of headless Chromium at `url`."""
    executable = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(url)
        yield page
        browser.close()
