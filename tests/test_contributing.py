"""The examples in examples/ work: added to a copy of the repository, they pass its whole suite there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
FILES = {
    path.relative_to(EXAMPLES).as_posix(): path.read_text(encoding="utf-8")
    for folder in ("cleaner", "pages", "tests")
    for path in sorted((EXAMPLES / folder).rglob("*.py"))
}
FOLDERS = ("cleaner", "tests", "pages", "benchmarks", "docs", "examples", ".ci", ".github", ".streamlit")
PAGE_FILE = "pages/13_Runs.py"
METRIC, METRIC_TEST = EXAMPLES / "metric.diff", "tests/evaluation/test_margin.py"
"""A metric is three edits instead of a file."""
NEW_NAMES = ("checker", "image_views", "swatches", "saliency", "center_distance")
CONTRACTS = tuple(f"{layer}/test_contract.py" for layer in ("attacks", "defenses", "explain", "detectors"))
"""Tests over the registries of which only the cases of the new names run."""
REGISTRY_TESTS = (
    *("test_registry.py", "test_presets.py", "test_labels.py", "test_architecture.py", "evaluation/test_result.py"),
    *("pages/test_imports.py", "pages/test_stage.py", "plots/test_styles.py"),
)
"""Tests over registries, pages and metrics that run as a whole."""
SUITE_SECONDS = 3 * 3600


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository with the examples added."""
    copy = tmp_path_factory.mktemp("contributing") / "repository"
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "results")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    for path in (path for path in ROOT.iterdir() if path.is_file()):
        shutil.copy(path, copy)
    (copy / "assets").symlink_to(ROOT / "assets")
    (copy / "benchmarks" / "results").symlink_to(ROOT / "benchmarks" / "results")
    for name, content in FILES.items():
        assert not (copy / name).exists()
        (copy / name).write_text(content, encoding="utf-8")
    subprocess.run(
        ["git", "apply", METRIC], cwd=copy, env={**os.environ, "GIT_CEILING_DIRECTORIES": str(copy.parent)}, check=True
    )
    return copy


def run(repository: Path, *arguments: str, seconds: float = 600) -> None:
    """Run Python in the copy; its output is shown if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(repository), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.run(
        [sys.executable, *arguments], cwd=repository, env=environment, capture_output=True, text=True, timeout=seconds
    )
    assert process.returncode == 0, process.stdout[-5000:] + process.stderr[-3000:]


def test_every_example_is_one_file_and_one_test() -> None:
    sources = [Path(name) for name in FILES if name.startswith("cleaner/")]
    assert sorted(source.stem for source in sources) == sorted(NEW_NAMES)
    tests = [f"tests/{source.parent.name}/test_{source.name}" for source in sources]
    page = {PAGE_FILE, "tests/pages/test_runs.py"}
    assert set(FILES) == {*(source.as_posix() for source in sources), *tests, *page, METRIC_TEST}


TABLES_AND_TESTS = """
import sys, pytest
from benchmarks import tables
tables.main(tables.Options())
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_examples_are_added_to_the_docs_and_pass_the_contracts_and_the_tests_of_the_registries(
    repository: Path,
) -> None:
    """`make tables` and pytest, in one process, which loads torch once."""
    own_tests = [name for name in FILES if name.startswith("tests/")]
    paths = [*own_tests, *(f"tests/{name}" for name in (*CONTRACTS, *REGISTRY_TESTS))]
    selected = " or ".join((*NEW_NAMES, *(Path(name).stem for name in REGISTRY_TESTS)))
    run(repository, "-c", TABLES_AND_TESTS, "-q", "-p", "no:cacheprovider", *paths, "-k", selected)
    text = "".join(path.read_text(encoding="utf-8") for path in repository.glob("**/*.md"))
    for table, name in (("attacks", "checker"), ("defenses", "image_views"), ("detectors", "center_distance")):
        blocks = re.findall(rf"<!-- table:{table} -->(.*?)<!-- /table -->", text, re.DOTALL)
        assert blocks
        assert all(f"| `{name}` |" in block for block in blocks)


@pytest.mark.slow
def test_the_whole_suite_passes_with_all_examples(repository: Path) -> None:
    """With the tables of the docs, as the test above leaves them; without this file, which makes the copy."""
    run(repository, "-m", "benchmarks.tables")
    suite = ["-q", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-p", "no:cacheprovider"]
    run(repository, "-m", "pytest", *suite, "--ignore=tests/test_contributing.py", seconds=SUITE_SECONDS)


def test_examples_pass_the_linters(repository: Path) -> None:
    run(repository, "-m", "ruff", "check", "--no-cache", *FILES)
    run(repository, "-m", "ruff", "format", "--no-cache", "--check", *FILES)
    # With the cache of the repository, which `make test` has filled: seconds instead of minutes.
    run(
        repository,
        "-m",
        "mypy",
        f"--cache-dir={ROOT / '.mypy_cache'}",
        *(f for f in FILES if not f.startswith("tests/")),
    )


def test_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page draws its title and a line per run; the frame, which needs the whole app, is replaced."""
    testing = pytest.importorskip("streamlit.testing.v1")
    from pages._shared.shell import frame

    @contextmanager
    def bare_page(title: str, lead: str, picture: str = "") -> Iterator[None]:
        import streamlit as st

        st.title(title)
        st.markdown(lead)
        yield

    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    monkeypatch.setattr(frame, "page", bare_page)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"stage": "defended", "defense": {"name": "cleanclip"}}')
    app = testing.AppTest.from_string(FILES[PAGE_FILE], default_timeout=60).run()
    assert not app.exception, [e.message for e in app.exception]
    assert [t.value for t in app.title] == ["Runs"]
    assert "CleanCLIP" in app.markdown[1].value
    assert "defended" in app.markdown[1].value
