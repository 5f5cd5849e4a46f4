"""The options that `ta-cleaner app` gives to Streamlit."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from cleaner.__main__ import BROKEN_PIPE_STATUS, main
from cleaner.cli import app
from cleaner.files import app_file


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have replaced this process, on a machine without a display."""
    commands: list[list[str]] = []
    monkeypatch.setattr(app, "replace_process", commands.append)
    monkeypatch.setattr(app, "has_display", lambda: False)
    monkeypatch.setenv("CLEANER_PASSWORD", "correct horse")
    return commands


def values(command: list[str], option: str) -> list[str]:
    return [after for before, after in pairwise(command) if before == f"--server.{option}"]


def test_address_and_hosts_come_from_the_configuration_file(started: list[list[str]]) -> None:
    assert main(["app"]) == 0
    assert started[0][:6] == [sys.executable, "-P", "-m", "streamlit", "run", str(app_file())]
    assert started[0][6:] == ["--server.headless", "true"]


def test_further_arguments_come_last_and_so_win(started: list[list[str]]) -> None:
    assert main(["app", "--port", "9000", "--", "--server.port", "9001", "--theme.base=dark"]) == 0
    assert values(started[0], "port") == ["9000", "9001"]
    assert started[0][-1] == "--theme.base=dark"


@pytest.mark.parametrize(("arguments", "headless"), [([], "false"), (["--headless"], "true")])
def test_browser_opens_where_there_is_a_display(
    arguments: list[str], headless: str, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "has_display", lambda: True)
    assert main(["app", *arguments]) == 0
    assert values(started[0], "headless") == [headless]


@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [
        (["--address", "192.168.1.5"], ["localhost", "127.0.0.1", "192.168.1.5"]),
        (["--address", "0.0.0.0", "--allow-host", "lab.example"], ["localhost", "127.0.0.1", "lab.example"]),
        (["--allow-host", "*"], ["localhost", "127.0.0.1", "*"]),
    ],
)
def test_hosts_follow_the_address(arguments: list[str], hosts: list[str], started: list[list[str]]) -> None:
    assert main(["app", *arguments]) == 0
    assert values(started[0], "allowedHosts") == hosts


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_every_interface_requires_a_host(
    address: str, started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["app", "--address", address]) == 2
    assert "--allow-host" in capsys.readouterr().err
    assert started == []


def test_the_app_starts_without_loading_torch() -> None:
    code = (
        "import sys; from cleaner import __main__; from cleaner.cli import app\n"
        "app.replace_process = lambda command: None\n"
        "__main__.main(['app']); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_film_command_loads_neither_models_nor_attacks() -> None:
    code = (
        "import sys; from cleaner import __main__\n"
        "__main__.main(['film', 'missing']); print('torch' in sys.modules, 'open_clip' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, "missing" in done.stderr) == ("False False\n", True)


@pytest.mark.parametrize("arguments", [pytest.param(["list"], marks=pytest.mark.slow), ["--help"], ["app", "--help"]])
def test_a_closed_pipe_ends_a_command_without_a_traceback(arguments: list[str]) -> None:
    """As in `ta-cleaner list | head -1`."""
    command = subprocess.Popen(
        [sys.executable, "-m", "cleaner", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()
    with command.stderr as errors:
        assert errors.read() == ""
    assert command.wait() == BROKEN_PIPE_STATUS


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("arguments", [["--help"], ["runs"]])
def test_a_full_disk_ends_a_command_with_one_sentence(arguments: list[str]) -> None:
    """A long output is written, and fails, before its end."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cleaner", *arguments], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the output cannot be written (")
    assert len(done.stderr.splitlines()) == 1
