"""The printable sheet of a student: one offline HTML page with all exercises and the quiz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cleaner.exercises.content import read_content
from cleaner.exercises.course import PLAYGROUND, list_steps, read_task
from cleaner.exercises.tasks import find_images, show_table

TEMPLATE = Path(__file__).with_name("sheet.html.jinja")


def render_sheet(folder: Path, pin: str = "") -> str:
    """Return the sheet of the student in a folder; it loads nothing from outside."""
    from jinja2 import Environment

    from cleaner.plots.images import to_data_uri

    exercises = []
    for name, exercise in read_content().exercises.items():
        task = read_task(folder, name)
        rows: list[dict[str, Any]] = show_table(name, task, is_revealed=False)
        images = [to_data_uri(image) for image in find_images(task)] if "seed" in task else []
        exercises.append((name, exercise, list_steps(folder, name), rows, images))
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        student=folder.name, pin=pin, exercises=exercises, quiz=read_content().quiz, playground=f"../{PLAYGROUND}"
    )
