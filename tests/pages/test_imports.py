"""Imports of the app: no heavy library before the first paint, layers without cycles, caches in one place; its menu."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cleaner.plots import charts
from pages._shared.shell.menu import MENU, OTHER_PAGES, menu_groups, titles
from tests.plots.test_styles import contrast

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "open_clip", "captum", "umap", "nltk", "textblob", "torchvision")
SHARED_FOLDER = ROOT / "pages" / "_shared"
SHARED = sorted(SHARED_FOLDER.rglob("*.py"))
CACHE = SHARED_FOLDER / "cache"
PAGE_FILES = sorted((ROOT / "pages").rglob("*.py"))
LAYERS = (
    {"external_model", "defense_results", "sweeps", "benchmark_results"},
    {"audit_view"},
    {"attention_slider", "pair_detection", "image_detection", "inversion_view", "trigger_scan"},
    {"live_jobs", "map_view", "gallery", "run_table", "background_work"},
    {"live_charts"},
    {"forms", "sources", "pickers", "cards", "curves", "fragments"},
    {"downloads", "uploads"},
    {"frame", "cancel", "run_buttons"},
    {"warm", "address"},
    {"lesson", "job_requests", "durations", "stage_mode", "playground"},
    {"progress"},
    {"cache", "jobs", "access", "path_field"},
    {
        "state",
        "sample",
        "annotated_text",
        "plotly_charts",
        "pixels",
        "film_player",
        "before_after",
        "model_names",
        "ticker",
    },
    {"wording", "times", "menu", "visitors"},
)
"""Modules of pages/_shared from top to bottom; each imports lower layers only. The pages are above all of them."""
THEME = tomllib.loads((ROOT / ".streamlit/config.toml").read_text(encoding="utf-8"))["theme"]
TEXT_CONTRAST = 4.5
"""Of text and its background (WCAG AA)."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    """Return the names of the files in pages/ that a file imports, anywhere in its source."""
    modules = {module_name(other) for other in PAGE_FILES}
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names & modules - {module_name(path)}


def layer_of(module: str) -> int:
    """Return the layer of a module of pages/_shared; 0 is the top one, -1 is above: a page."""
    parts = module.split(".")
    if parts[1] != "_shared":
        return -1
    name = parts[2] if parts[2] == "cache" else parts[3]
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def mix(color: str, share: float, background: str) -> str:
    """Return the color that is seen where `share` of a color covers the background."""
    pairs = zip(bytes.fromhex(color[1:]), bytes.fromhex(background[1:]), strict=True)
    return "#" + bytes(round(share * over + (1 - share) * under) for over, under in pairs).hex()


def read_style(path: Path, pattern: str) -> float:
    """Return the number that a pattern finds in a style sheet, exactly once."""
    (number,) = re.findall(pattern, path.read_text(encoding="utf-8"))
    return float(number)


def run_script(script: str) -> str:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def list_call_keywords(method: str) -> list[set[str | None]]:
    """Return the keywords of each call of a method in the pages, of which there is one at least."""
    keywords = [
        {keyword.arg for keyword in node.keywords}
        for path in PAGE_FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method
    ]
    assert keywords
    return keywords


@pytest.mark.parametrize("path", PAGE_FILES, ids=lambda path: path.stem)
def test_imports_go_downward_only(path: Path) -> None:
    layer = layer_of(module_name(path))
    package = "pages._shared.cache" if CACHE in path.parents else None
    upward = [
        name
        for name in imported_modules(path)
        if layer_of(name) <= layer and not (package and name.startswith(package))
    ]
    assert not upward


def test_segmented_controls_keep_a_segment() -> None:
    """A click on the chosen segment must not clear it: the page would go on to show it unmarked."""
    assert all("required" in keywords for keywords in list_call_keywords("segmented_control"))


def test_images_have_a_text_for_screen_readers() -> None:
    assert all("alt" in keywords for keywords in list_call_keywords("image"))


def test_shared_modules_load_without_torch() -> None:
    names = ", ".join(module_name(path) for path in SHARED)
    heavy = f"[name for name in {HEAVY!r} if name in sys.modules]"
    assert run_script(f"import {names}, cleaner.plots.charts; print({heavy})").splitlines()[-1] == "[]"


def test_pandas_is_imported_before_any_chart() -> None:
    """Plotly reads pandas from `sys.modules` and fails while another thread is still importing it."""
    run_script("import pages._shared.shell.frame; sys.modules['pandas'].Series")


def test_first_page_loads_without_torch() -> None:
    output = run_script(
        "from pages._shared import cache\ncache.warm_up = cache.warm_inspection = lambda *keys: True\n"
        "cache.find_playground = lambda *runs: None\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(ROOT / 'app.py')!r}, default_timeout=300).run()\n"
        "assert not app.exception and app.title[0].value == 'Overview'\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert output.splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", PAGE_FILES, ids=lambda path: path.stem)
def test_only_cache_caches_and_no_html_is_unsafe(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert "unsafe_allow" not in source
    assert CACHE in path.parents or "st.cache_" not in source


def test_every_page_is_in_a_group_of_the_menu() -> None:
    groups = {group: tuple(pages) for group, pages in menu_groups().items()}
    assert list(groups) == [*MENU, OTHER_PAGES]
    assert {group: groups[group] for group in MENU} == MENU
    assert groups[OTHER_PAGES][:2] == ("Detect", "Trigger search"), "pages of no group come by number"
    files = {path.stem.partition("_")[2].replace("_", " ") for path in (ROOT / "pages").glob("*.py")}
    assert sorted(titles()) == sorted(files)


def test_colors_of_the_style_are_those_of_the_charts() -> None:
    """States of the pipeline have the colors of stages; word roles have colors that no stage has, but the suspect's."""
    style = (SHARED_FOLDER / "shell" / "style.css").read_text(encoding="utf-8")
    state_colors = dict(re.findall(r'step-(done|failed)"\] \{\s*border-top-color: (#\w+)', style))
    expected = {"done": charts.STAGE_COLORS["defended"], "failed": charts.STAGE_COLORS["backdoored"]}
    assert state_colors == expected
    role_colors = set(re.findall(r"#[0-9A-Fa-f]{6}", style.partition(".annotated-text {")[2]))
    assert role_colors
    assert not role_colors & (set(charts.STAGE_COLORS.values()) - {charts.STAGE_COLORS["suspect"]})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_primary_color_is_readable_as_letters_and_under_white_ones(theme: str) -> None:
    primary, page = THEME[theme]["primaryColor"], THEME[theme]["backgroundColor"]
    assert contrast(primary, page) >= TEXT_CONTRAST
    assert contrast(primary, mix(primary, 0.1, page)) >= TEXT_CONTRAST  # Streamlit's chosen segment
    shade = read_style(SHARED_FOLDER / "shell" / "style.css", r"gradient\(rgb\(0 0 0 / (\d+)%\)") / 100
    assert contrast("#ffffff", mix("#000000", shade, primary)) >= TEXT_CONTRAST
    kept = read_style(ROOT / "cleaner/plots/component.css", r"primary-color\) (\d+)%, black") / 100
    assert contrast("#ffffff", mix(primary, kept, "#000000")) >= TEXT_CONTRAST


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_captions_are_readable_on_page_menu_and_lesson(theme: str) -> None:
    style = SHARED_FOLDER / "shell" / "style.css"
    opacity = read_style(style, r'\n\[data-testid="stCaptionContainer"\] \{\s*opacity: ([\d.]+)')
    blue = read_style(style, r"background: color-mix\(in srgb, #56B4E9 (\d+)%, var") / 100
    text, page = THEME[theme]["textColor"], THEME[theme]["backgroundColor"]
    for background in (page, THEME[theme]["sidebar"]["backgroundColor"], mix("#56B4E9", blue, page)):
        assert contrast(mix(text, opacity, background), background) >= TEXT_CONTRAST
