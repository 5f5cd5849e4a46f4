"""Scripts and styles of drawings that run in the browser, each with the part that all share (component.js, .css)."""

from functools import cache
from pathlib import Path

SHARED = Path(__file__).with_name("component.js")


@cache
def read_script(path: Path) -> str:
    """Return a script that defines the class `View`, after the shared part, which defines `mount`."""
    return SHARED.read_text(encoding="utf-8") + path.read_text(encoding="utf-8")


@cache
def read_component(path: Path) -> str:
    """Return such a script as a module whose default export is the component, as Streamlit expects it."""
    return f"{read_script(path)}\nexport default mount(View);\n"


@cache
def read_style(path: Path) -> str:
    """Return a style sheet after the shared colors and controls."""
    return SHARED.with_suffix(".css").read_text(encoding="utf-8") + path.read_text(encoding="utf-8")
