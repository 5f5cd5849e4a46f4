"""The app's frame comes up without torch and its friends: they cost seconds before the first paint."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "open_clip", "captum", "umap", "nltk", "textblob", "torchvision")
SHARED = sorted((ROOT / "pages" / "_shared").rglob("*.py"))
CACHE = ROOT / "pages" / "_shared" / "cache"


def test_shared_modules_load_without_torch() -> None:
    names = ", ".join(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SHARED)
    heavy = f"[name for name in {HEAVY!r} if name in sys.modules]"
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {names}, cleaner.plots.charts; print({heavy})"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip().splitlines()[-1] == "[]"


def test_pandas_is_whole_before_any_chart() -> None:
    """Plotly takes pandas from the loaded modules, and fails if another thread is at importing it."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import pages._shared.frame; sys.modules['pandas'].Series"
    subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)


def test_first_page_loads_without_torch() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pages._shared import cache\ncache.warm = lambda: True\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(ROOT / 'app.py')!r}, default_timeout=300).run()\n"
        "assert not app.exception and app.title[0].value == 'Overview'\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", sorted((ROOT / "pages").rglob("*.py")), ids=lambda path: path.stem)
def test_pages_never_import_heavy_libraries(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not {name.partition(".")[0] for name in names} & set(HEAVY)


@pytest.mark.parametrize("path", sorted((ROOT / "pages").rglob("*.py")), ids=lambda path: path.stem)
def test_only_cache_caches_and_nothing_is_unsafe(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert "unsafe_allow" not in source
    assert CACHE in path.parents or "st.cache_" not in source


def test_app_is_small() -> None:
    assert len((ROOT / "app.py").read_text(encoding="utf-8").splitlines()) < 40
