"""The scripts of the page: types (tsc), and addresses that strangers wrote."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cleaner.playground import scripts as names
from cleaner.plots.component import SHARED
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
SCRIPTS = ("state.js",)


@pytest.mark.parametrize(
    ("scripts", "library"),
    [
        (("engine.js", str(SHARED), *names.PAGE), "dom,dom.iterable"),
        (("engine.js", str(SHARED), "worker.d.ts", *names.EMBED), "dom,dom.iterable"),
        (names.WORKER, "webworker"),
    ],
    ids=["page", "component", "worker"],
)
def test_types(scripts: tuple[str, ...], library: str, tmp_path: Path) -> None:
    """The page reads types of engine.js, too. Debian has TypeScript 4.9."""
    if shutil.which("tsc") is None:
        pytest.skip("tsc is missing: apt-get install --no-install-recommends node-typescript")
    (tmp_path / "worker.d.ts").write_text("declare const WORKER: string;")
    files = [str(tmp_path / name if name == "worker.d.ts" else names.FOLDER / name) for name in scripts]
    options = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022", "--lib", f"es2022,{library}"]
    done = subprocess.run(["tsc", *options, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_script_is_in_the_page() -> None:
    assert {path.name for path in names.FOLDER.glob("*.js")} == {*names.PAGE, *names.EMBED, *names.WORKER}


def test_an_address_reopens_the_view() -> None:
    text = "t=where&s=2&x=12&y=0&z=11&f=40&o=0&m=5&w=135&c=2"
    assert run_node(SCRIPTS, ROUND_TRIP, {"hash": f"#{text}", "page": PAGE}) == text
    assert run_node(SCRIPTS, ROUND_TRIP, {"hash": "", "page": PAGE}) == ""


def test_values_that_make_no_sense_are_ignored() -> None:
    hostile = [
        "#t=<img>&s=99&x=-5&y=1e3&z=0&f=101&o=7&m=0&w=999&c=1",
        "#__proto__=1&constructor=2",
        "#s=%3Cscript%3E",
        "#" + "9" * 5000,
    ]
    first, *others = run_node(SCRIPTS, READ, {"hashes": ["", *hostile], "page": PAGE})
    assert first["scene"] == 1, "the first scene of another class than the target"
    assert others == [first] * len(hostile)
