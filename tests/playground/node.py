"""Run the scripts of the playground under node; skipped where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from cleaner.playground.scripts import FOLDER


def run_node(scripts: tuple[str, ...], body: str, value: object) -> Any:
    """Return what the JavaScript function body `body` returns for `value`, after the scripts of the playground."""
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        pytest.skip("node is missing: apt-get install --no-install-recommends nodejs")
    source = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in scripts)
    code = f"""{source}
    (async (value) => {{ {body} }})(JSON.parse(require("fs").readFileSync(0, "utf8")))
        .then((result) => process.stdout.write(JSON.stringify(result)));"""
    done = subprocess.run([node, "-e", code], input=json.dumps(value), capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
