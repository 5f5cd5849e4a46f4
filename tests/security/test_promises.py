"""SECURITY.md: beside each promise the tests that hold it; all of them exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISES = TEXT.partition("## Promises")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (?!Promise|---)(.+?) \| (.+) \|$", PROMISES, re.MULTILINE)
TESTS = sorted({name for _, cell in ROWS for name in re.findall(r"`(tests/[^`]+)`", cell)})


@pytest.mark.parametrize("name", TESTS)
def test_a_named_test_exists(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_promise_names_a_test() -> None:
    assert len(ROWS) >= 12
    for promise, cell in ROWS:
        assert "`tests/" in cell, promise
