"""A server on a free port with a tiny untrained model, and headless Chromium; skipped without Chromium."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.browser import find_chromium as require_chromium
from benchmarks.browser import open_browser
from tests.ports import free_port

CAMERA_FLAGS = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
# Streamlit first requests _stcore relative to the page, and forgets the images of a page that is left before they are
# loaded; an image that is missing on the page in view fails in wait_idle. ReadPixels: a performance hint of Chromium.
IGNORED_MESSAGES = ("_stcore/health", "_stcore/host-config", "/media/", "ReadPixels")
LOCAL_ADDRESS = "http://127.0.0.1:"
StartServer = Callable[..., str]
ROOT = Path(__file__).resolve().parents[2]


def find_chromium() -> str:
    """Return the path of Chromium, or skip."""
    try:
        return require_chromium()
    except SystemExit as reason:
        pytest.skip(str(reason))


def server_folders(folder: Path) -> dict[str, str]:
    """Return the environment variables that name the folders of a server."""
    return {f"CLEANER_{name.upper()}": str(folder / name) for name in ("runs", "cache", "assets")}


@contextmanager
def run_servers(folder: Path) -> Iterator[StartServer]:
    """Yield a function that starts a server on the runs of `folder` and returns its address; end all servers.

    `start(shipped=True)`: with the built-in models and the shipped example instead of a tiny model.
    """
    from cleaner.data.scenery.store import default_cache_dir
    from cleaner.jobs import process as jobs_process
    from cleaner.models.clip import save_clip
    from cleaner.runs import store
    from tests.conftest import make_clip

    find_chromium()
    clip = make_clip()
    clip.name = "scenes-rn"
    save_clip(clip, folder / "assets" / "scenes-rn" / "model.safetensors", metadata={"stage": "clean"})
    rendered = default_cache_dir()  # images that another test has drawn
    rendered.mkdir(parents=True, exist_ok=True)
    (folder / "cache").mkdir()
    (folder / "cache" / "scenes").symlink_to(rendered)
    running: list[subprocess.Popen[bytes]] = []
    folders = server_folders(folder)

    def start(shipped: bool = False) -> str:
        variables = {name: value for name, value in folders.items() if not (shipped and name == "CLEANER_ASSETS")}
        port = str(free_port())
        command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.port", port]
        log = (folder / f"server-{port}.log").open("wb")
        running.append(
            subprocess.Popen(
                command, env={**os.environ, **variables}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        )
        address = f"{LOCAL_ADDRESS}{port}"
        for _ in range(900):
            if running[-1].poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as response:
                    if response.status == 200:
                        return address
            except OSError:
                time.sleep(0.2)
        raise AssertionError(f"the server did not start: {Path(log.name).read_text()}")

    start.running = running
    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
    for entry in store.list_entries(folder / "runs"):  # pytest shows this output on failure
        print(entry.folder.name, entry.status, store.last_lines(entry.folder / store.LOG_FILE, 20))
        if (worker := jobs_process.find_process(entry.folder, entry.status)) is not None:
            jobs_process.kill(worker)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Return the function that starts a server on the test's own runs, see `run_servers`."""
    with run_servers(tmp_path) as start:
        yield start


@pytest.fixture(scope="package")
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server without runs; the tests that share it start none."""
    with run_servers(tmp_path_factory.mktemp("server")) as start:
        yield start()


@pytest.fixture(scope="package")
def example_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the built-in models and the shipped example; its tests start no run."""
    with run_servers(tmp_path_factory.mktemp("server")) as start:
        yield start(shipped=True)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Chromium with a fake camera."""
    find_chromium()
    with open_browser(*CAMERA_FLAGS) as browser:
        yield browser


@pytest.fixture
def browser_page(browser: Any) -> Iterator[Any]:
    """A page of a real browser, in a context of its own.

    `page.problems` collects console errors, except known harmless ones, and requests to other hosts.
    """
    # Without a GPU, animations take a third of the time.
    context = browser.new_context(viewport={"width": 1280, "height": 1400}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(240_000)
    problems: list[str] = []

    def listen(message: Any) -> None:
        text = f"{message.text} {(message.location or {}).get('url', '')}"
        if message.type == "error" and not any(ignored in text for ignored in IGNORED_MESSAGES):
            problems.append(text)

    def watch(request: Any) -> None:
        if not request.url.startswith((LOCAL_ADDRESS, "data:", "blob:", "file:")):
            problems.append(f"requests another host: {request.url}")

    page.on("console", listen)
    page.on("request", watch)
    page.on("pageerror", lambda error: problems.append(f"{page.url}: {error.stack or error}"))
    page.problems = problems
    yield page
    print(page.url, page.inner_text("body")[:3000])
    context.close()
