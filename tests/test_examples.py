"""examples/: each script and the cells of each notebook run as they are, and print measured numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
MAX_LINES, MAX_BYTES = 40, 400_000
SHARE = re.compile(r"\b[01]\.\d{3}\b")


def run_code(path: Path, folder: Path) -> str:
    """Run a script with runs and cache in `folder`; return what it prints."""
    places = {"CLEANER_RUNS": folder / "runs", "CLEANER_CACHE": folder / "cache", "PYTHONPATH": ROOT}
    variables = {**os.environ, **{name: str(place) for name, place in places.items()}, "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, path], cwd=folder, env=variables, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def read_cells(notebook: Path) -> list[dict[str, object]]:
    cells: list[dict[str, object]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_says_what_it_shows(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) <= MAX_LINES


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs_anywhere(path: Path, tmp_path: Path) -> None:
    assert SHARE.search(run_code(path, tmp_path))


@pytest.mark.slow
def test_the_first_example_cleans_what_it_poisoned(tmp_path: Path) -> None:
    printed = run_code(ROOT / "examples" / "poison_clean_measure.py", tmp_path)
    (_, attacked), (accuracy, left) = [
        [float(value) for value in SHARE.findall(line)] for line in printed.splitlines()[-2:]
    ]
    assert attacked > 0.9
    assert left < 0.5
    assert accuracy > 0.8


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_small_with_its_pictures_and_without_errors(notebook: Path) -> None:
    cells = read_cells(notebook)
    outputs = [output for cell in cells for output in cell["outputs"]]  # type: ignore[attr-defined]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert notebook.stat().st_size < MAX_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_anywhere(notebook: Path, tmp_path: Path) -> None:
    script = tmp_path / "notebook.py"
    script.write_text("\n".join("".join(cell["source"]) for cell in read_cells(notebook)), encoding="utf-8")  # type: ignore[arg-type]
    assert "banana" in run_code(script, tmp_path)
