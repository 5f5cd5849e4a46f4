"""The Chromium that draws plots and screenshots."""

from __future__ import annotations

import importlib.util
import shutil

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


def find_chromium() -> str:
    """Return the path of Chromium; raises `SystemExit` with the remedy if it or playwright is missing."""
    if importlib.util.find_spec("playwright") is None:
        raise SystemExit("playwright is missing: pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("Chromium is missing: apt-get install --no-install-recommends chromium")
    return path
