"""The scripts of the page: types (tsc), and addresses that strangers wrote."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from cleaner.playground import export
from tests.playground.node import run_node

PAGE = {
    "spec": {"side": 64},
    "models": [{}] * 4,
    "scenes": {"labels": [1, 0, 2]},
    "target": 1,
    "trigger": {"width": 8},
}
READ = "return value.hashes.map((hash) => readState(hash, value.page));"
ROUND_TRIP = "return formatState(readState(value.hash, value.page), value.page);"
SCRIPTS = ("engine.js", "pixels.js", "state.js")


def find_tsc() -> list[str]:
    """Return the command of the TypeScript compiler, or skip."""
    if shutil.which("tsc"):
        return ["tsc"]
    npx = shutil.which("npx")
    if npx and not subprocess.run([npx, "--offline", "tsc", "--version"], capture_output=True).returncode:
        return [npx, "--offline", "tsc"]
    pytest.skip("tsc is missing: npm install --global typescript")


@pytest.mark.parametrize(
    ("scripts", "library"), [(export.PAGE, "dom,dom.iterable"), (export.WORKER, "webworker")], ids=["page", "worker"]
)
def test_types(scripts: tuple[str, ...], library: str) -> None:
    options = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022", "--types", ""]
    command = [*find_tsc(), *options, "--lib", f"es2022,{library}", *scripts]
    done = subprocess.run(command, cwd=export.FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_script_is_in_the_page() -> None:
    assert {path.name for path in export.FOLDER.glob("*.js")} == {*export.PAGE, *export.WORKER}


def test_an_address_reopens_the_view() -> None:
    text = "t=where&s=2&x=12&y=0&z=11&o=0&m=5&w=135&c=2"
    assert run_node(SCRIPTS, ROUND_TRIP, {"hash": f"#{text}", "page": PAGE}) == text
    assert run_node(SCRIPTS, ROUND_TRIP, {"hash": "", "page": PAGE}) == ""


def test_values_that_make_no_sense_are_ignored() -> None:
    hostile = [
        "#t=<img>&s=99&x=-5&y=1e3&z=0&o=7&m=0&w=999&c=1",
        "#__proto__=1&constructor=2",
        "#s=%3Cscript%3E",
        "#" + "9" * 5000,
    ]
    first, *others = run_node(SCRIPTS, READ, {"hashes": ["", *hostile], "page": PAGE})
    assert first["scene"] == 1, "the first scene of another class than the target"
    assert others == [first] * len(hostile)
