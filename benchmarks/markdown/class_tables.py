"""The tables of the instructor's manual: what students should find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.exercise_models import SECRET
from benchmarks.markdown.cells import describe_origin, markdown_table, read_measurement
from cleaner.exercises.content import read_content, read_rates
from cleaner.exercises.tasks import NEEDS_RUN, Task, draw_task, expect
from cleaner.labels import to_label
from cleaner.reports.reference import read_reference

STUDENT = "s01"
"""The student whose key the manual shows; the secret is public, so no course may use it."""


def class_key(root: Path) -> str:
    """Return task and right answers of a student, as `check` computes them."""
    lines = []
    for name, exercise in read_content().exercises.items():
        task = draw_task(SECRET, STUDENT, name)
        lines.append((f"{exercise.title} (`{name}`)", _describe_task(task), _describe_right(name, task)))
    return markdown_table(("exercise", f"task of {STUDENT}", "right answers"), lines)


def _describe_task(task: Task) -> str:
    shown = {key: value for key, value in task.items() if key != "rates"}
    if "method" in task:
        shown["method"] = to_label(task["method"])
    if "methods" in task:
        shown["methods"] = "; ".join(map(to_label, task["methods"]))
    return ", ".join(f"{key} {value}" for key, value in shown.items())


def _describe_right(name: str, task: Task) -> str:
    if name == NEEDS_RUN:
        row = next(r for t in read_reference().tables if t.title == "Quick setting" for r in t.rows if not r.defense)
        figures = f"accuracy {_spread(row.ca)}, success {_spread(row.asr)}, floor below 1"
        return f"as the run says; with the default patch, over {len(row.seeds)} seeds: {figures}"
    right = expect(name, task, {}, {})
    if name == "rate":
        right |= expect(name, task, {"rate": right["aware"]}, {})
    asked = {field.name for field in read_content().exercises[name].fields} - {"argument"}
    return ", ".join(f"{key} {_format(value)}" for key, value in right.items() if key in asked)


def _spread(values: Any) -> str:
    return f"{100 * values[1]:.1f} to {100 * values[2]:.1f}%"


def _format(value: Any) -> str:
    return " or ".join(f"{each:g}" for each in value) if isinstance(value, list) else str(value)


def class_models(root: Path) -> str:
    """Return whether the hidden trigger of a student's model stands out in the scans of the exercise."""
    result = read_measurement(root, "exercise_models.json")
    lines = [
        (
            row["student"],
            f"{row['target']}, {row['position']}, {row['size']} px",
            f"{row['accuracy']:.1f}%",
            f"{row['success']:.1f}%",
            f"{100 * row['rise']:+.0f}",
            f"{100 * row['other_rise']:+.0f} ({row['other']})",
            f"{100 * row['elsewhere_rise']:+.0f}",
        )
        for row in result["rows"]
    ]
    header = ("ID", "hidden", "accuracy", "attack success", "increase", "best wrong setting", "best wrong corner")
    return f"{markdown_table(header, lines)}\n\nIncrease in points, 200 images. {describe_origin(result)}"


def class_rates(root: Path) -> str:
    """Return what each learning rate of the third exercise costs and leaves."""
    rates = read_rates()
    lines = [
        (to_label(method), "; ".join(f"{lr:g}: {100 * ca:.1f} / {100 * asr:.1f}" for lr, ca, asr in rows))
        for method, rows in rates["methods"].items()
    ]
    note = f"Before: {100 * rates['before']:.1f}%; the rule allows {100 * (rates['before'] - rates['budget']):.1f}%."
    return f"{markdown_table(('defense', 'rate: accuracy % / attack success %'), lines)}\n\n{note}"
