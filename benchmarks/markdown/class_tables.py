"""The tables of the instructor's manual: what students should find."""

from __future__ import annotations

from pathlib import Path

from benchmarks.exercise_models import SECRET
from benchmarks.markdown.cells import describe_origin, markdown_table, read_measurement
from cleaner.exercises.content import read_exercises
from cleaner.exercises.tasks import draw_tasks, expect
from cleaner.reports.reference import read_reference

STUDENT = "s01"
"""The student whose key the manual shows; the secret is public, so no course may use it."""
SHOWN = ("target", "size", "position", "group", "choices", "seed")
"""What the manual shows of a task."""


def class_key(root: Path) -> str:
    """Return task and right answers of a student, as `check` computes them."""
    lines = []
    for name, task in draw_tasks(SECRET, STUDENT).items():
        exercise = read_exercises()[name]
        right = expect(name, task, {}, {})
        asked = [f.name for f in exercise.fields if f.when != "run" and f.kind != "argument"]
        answers = [f"{field} {_join(right[field])}" for field in asked if right.get(field) is not None]
        shown = [f"{key} {_join(task[key])}" for key in SHOWN if key in task]
        lines.append((f"{exercise.title} (`{name}`)", ", ".join(shown), ", ".join(answers)))
    row = next(r for t in read_reference().tables if t.title == "Quick setting" for r in t.rows if not r.defense)
    accuracy, success = (f"{100 * low:.1f} to {100 * high:.1f}%" for _, low, high in (row.ca, row.asr))
    note = f"Exercise 1 with the default patch, over {len(row.seeds)} seeds: accuracy {accuracy}, success {success}."
    table = markdown_table(("exercise", f"task of {STUDENT}", "right answers"), lines)
    return f"{table}\n\nSeveral right answers are separated by a slash. {note}"


def _join(value: object) -> str:
    return " / ".join(map(str, value)) if isinstance(value, list) else str(value)


def class_room(root: Path) -> str:
    """Return what was measured with a class on one server."""
    result = read_measurement(root, "classroom.json")
    (row,) = result["rows"]
    return (
        f"Measured with {row['students']} students at once for {row['minutes']:g} minutes, an action of each every "
        f"{row['pause_seconds']:g} s: {row['actions']:,} actions with {row['failures']:,} failures; a page is drawn "
        f"after {row['median_seconds']} s (median), at most {row['slowest_seconds']} s. {describe_origin(result)}"
    )


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
        )
        for row in result["rows"]
    ]
    header = ("ID", "hidden", "accuracy", "attack success", "increase", "best wrong setting")
    return f"{markdown_table(header, lines)}\n\nIncrease in points, 200 images. {describe_origin(result)}"
