"""Scripts of components: one shared part, one default export, and no name defined twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cleaner.plots.component import read_component
from cleaner.reports.film import SCRIPT

pytestmark = pytest.mark.quick

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [
    SCRIPT,
    *(ROOT / "pages" / "_shared").rglob("*.js"),
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_one_module(path: Path) -> None:
    module = read_component(path)
    assert re.findall(r"^export .*", module, re.M) == ["export default mount(View);"]
    names = re.findall(r"^(?:class|function|const) (\w+)", module, re.M)
    assert "View" in names
    assert len(set(names)) == len(names)
