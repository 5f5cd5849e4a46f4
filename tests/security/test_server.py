"""The running server: it listens on this machine only, and answers no other site's requests."""

from __future__ import annotations

import ast
import http.client
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from streamlit import config

from pages._shared.shell import uploads
from tests.ports import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


class Server:
    """A server of the app on a free port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        places = {name: str(folder / name) for name in ("CLEANER_RUNS", "CLEANER_CACHE")}
        command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.port", str(self.port)]
        self.process = subprocess.Popen(
            command, env={**os.environ, **places}, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )

    def is_ready(self) -> bool:
        try:
            return self.ask("GET", "/_stcore/health") == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> int:
        """Return the status of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body or None, headers or {})
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        wait_until(lambda: server.process.poll() is not None or server.is_ready(), timeout=120)
        assert server.process.poll() is None, "the server ended"
        yield server
    finally:
        server.process.terminate()
        server.process.wait(20)


def test_it_listens_on_this_machine_only(server: Server) -> None:
    listening = [c for c in psutil.Process(server.process.pid).net_connections("inet") if c.status == "LISTEN"]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1", "127.0.0.1", 101),
        ("127.0.0.1", "evil.example", 403),
        ("evil.example", "evil.example", 403),  # a name that its owner points to this machine
    ],
)
def test_another_site_cannot_open_a_session(server: Server, host: str, origin: str, status: int) -> None:
    headers = {**WEBSOCKET, "Host": f"{host}:{server.port}", "Origin": f"http://{origin}:{server.port}"}
    assert server.ask("GET", "/_stcore/stream", headers) == status


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_uploads_need_the_token_of_the_page(server: Server, method: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\nabc\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert server.ask(method, "/_stcore/upload_file/session/file", headers, body) == 403


@pytest.mark.parametrize("path", ["/../app.py", "/static/../../../etc/passwd", "/media/../x", "/%2e%2e/app.py"])
def test_no_file_of_the_machine_is_served(server: Server, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    # An unknown path is answered with the frame of the app, whatever its name.
    assert answer.status >= 400 or b"<!doctype html>" in text.lower()
    assert b"root:" not in text
    assert b"set_page_config" not in text


def test_the_configuration_keeps_the_limits() -> None:
    options: dict[str, Any] = {
        "server.address": "127.0.0.1",
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.allowedHosts": ["localhost", "127.0.0.1"],
        "server.maxUploadSize": 500,
        "server.enableStaticServing": False,
        "browser.gatherUsageStats": False,
    }
    text = (ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8")
    for option, value in options.items():
        name = option.partition(".")[2]
        stated = re.search(rf"^{name} = ([^#\n]+)", text, re.MULTILINE)
        default = config._config_options_template[option].default_val
        parsed = default if stated is None else {"true": True, "false": False}.get(stated[1].strip(), stated[1].strip())
        assert str(parsed).replace('"', "'").strip("'") == str(value), option


def test_every_image_upload_is_limited() -> None:
    """By the box, except for the one that also takes archives; a photo is limited when it is kept."""
    assert uploads.MAX_UPLOAD_MB == 50
    limits = []
    for path in (ROOT / "pages").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("file_uploader", "camera_input"):
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                is_photo = ast.unparse(node.func).endswith("camera_input")
                limits.append(options.get("on_change" if is_photo else "max_upload_size", path.name))
    assert sorted(limits) == ["MAX_UPLOAD_MB", "sources.py", "uploads.MAX_UPLOAD_MB", "uploads.keep_own_image"]


def test_a_large_photo_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = SimpleNamespace(getvalue=lambda: bytes(uploads.MAX_UPLOAD_MB * 2**20 + 1))
    session = {"photo": photo}
    monkeypatch.setattr(uploads.st, "session_state", session)
    uploads.keep_own_image("photo", "camera.jpg")
    assert "at most 50 MB" in str(session["uploads.error"])
    assert uploads.OWN_IMAGE not in session
