"""Scripts and styles of the playground, for its file and for the pages of the app."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from cleaner.plots.component import SHARED

FOLDER = Path(__file__).parent
STYLE = FOLDER / "playground.css"
WORKER = ("pixels.js", "engine.js", "tasks.js")
"""Scripts of the Web Worker, in this order."""
PARTS = ("pixels.js", "dom.js", "state.js", "app.js", "bars.js", "stage.js", "drag.js")
"""Scripts of the image with its trigger and of what the models see."""
PAGE = (*PARTS, "slider.js", "maps.js", "quiz.js", "main.js")
EMBED = (*PARTS, "embed.js")


@cache
def read_scripts(names: Iterable[str]) -> str:
    """Return scripts, one after another."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


@cache
def read_page_script() -> str:
    """Return the script of the file."""
    return f"{SHARED.read_text(encoding='utf-8')}\n{read_scripts(PAGE)}"


@cache
def read_embedded() -> str:
    """Return the module that Streamlit mounts as a component."""
    worker = f"const WORKER = {json.dumps(read_scripts(WORKER))};"
    return "\n".join([SHARED.read_text(encoding="utf-8"), worker, read_scripts(EMBED), "export default mount(View);\n"])
