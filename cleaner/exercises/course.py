"""A course: a folder for each student, the teacher's key in a folder apart, and the statistics of the quiz."""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import correlation, pstdev
from typing import Any

from cleaner import presets
from cleaner.exercises.content import read_exercises
from cleaner.exercises.student import MODEL, PLAYGROUND, TASK, validate_name, write_student
from cleaner.exercises.tasks import HIDDEN, Task, draw_tasks, expect
from cleaner.files import read_json, write_json
from cleaner.runs.store import list_shipped_runs
from cleaner.types import OnStep

KEY = Path("teacher", "key.json")
"""The key in the folder of a course; the students' folders are in `students`."""
ITEM_COLUMNS = ("item", "n", "before", "after", "gained", "lost", "discrimination")


def create_course(
    folder: Path, names: Sequence[str], *, with_models: bool = True, on_step: OnStep | None = None
) -> dict[str, Any]:
    """Write a course, or add students to it; return the key. What is there already stays."""
    from cleaner.playground.export import write_playground

    root = folder / "students"
    key: dict[str, Any] = read_json(folder / KEY) or {"secret": secrets.token_hex(16), "students": {}}
    for name in names:
        validate_name(name)
    if with_models and not (root / PLAYGROUND).is_file():
        write_playground([run.folder for run in reversed(list_shipped_runs())], root / PLAYGROUND)
    for name in names:
        own, line = root / name, key["students"].setdefault(name, describe_key(key["secret"], name))
        write_json(folder / KEY, key)  # before the training, which can be interrupted
        if not (own / TASK).is_file():
            write_student(own, key["secret"], line["id"].rpartition("-")[2])
        if with_models and not (own / MODEL).is_file():
            line["attack"] = train_model(own / MODEL, line["tasks"][HIDDEN], on_step)
            write_json(folder / KEY, key)
    return key


def describe_key(secret: str, name: str) -> dict[str, Any]:
    """Return ID, tasks and right answers of a student; without those that depend on the own run or prediction.

    The ID opens the student's page: it ends with digits that nobody else can guess.
    """
    tasks, code = draw_tasks(secret, name), hmac.new(secret.encode(), name.encode(), "sha256").hexdigest()[:6]
    right = {exercise: expect(exercise, task, {}, {}) for exercise, task in tasks.items()}
    return {"id": f"{name}-{code}", "tasks": tasks, "right": right}


def train_model(path: Path, task: Task, on_step: OnStep | None = None) -> dict[str, float]:
    """Backdoor the quick model with a hidden task and write it; return its accuracy and attack success, in percent."""
    from cleaner.attacks import TRIGGERS
    from cleaner.data.base import load_data
    from cleaner.models.clip import load_clip, save_clip
    from cleaner.workflow import poison

    setting = presets.settings_for(presets.QUICK_MODEL, "badnet", "quick")
    assert setting.poison_rate is not None
    run = poison(
        load_clip(presets.QUICK_MODEL),
        load_data("scenes", split="train", size=setting.pairs),
        TRIGGERS["badnet"](patch_size=task["size"], position=task["position"]),
        task["target"],
        poison_rate=setting.poison_rate,
        config=replace(setting.finetune, eval_every=0),
        test=load_data("scenes", split="test", size=1000),
        on_step=on_step,
    )
    save_clip(run.clip, path)
    assert run.metrics is not None
    assert run.metrics.asr is not None
    return {"accuracy": round(100 * run.metrics.ca[1], 1), "success": round(100 * run.metrics.asr[1], 1)}


def summarize_quiz(folder: Path) -> list[dict[str, float | None]]:
    """Return one row per item of the quiz, over the students in a folder who answered both rounds.

    before, after: share of right answers; gained, lost: students from wrong to right, and back; discrimination:
    correlation of the item with the sum of the others, after, or None where one of them does not vary.
    """
    found = (read_json(path).get("quiz") for path in sorted(folder.rglob("*.json")))
    entries = [entry for entry in found if isinstance(entry, dict) and "after" in entry]
    right, n, rows = {f.name: f.choices[f.right - 1] for f in read_exercises()["quiz"].fields}, len(entries), []
    before, after = ([{i: int(e[r].get(i) == right[i]) for i in right} for e in entries] for r in ("before", "after"))
    for item in right:
        old, new = [row[item] for row in before], [row[item] for row in after]
        rest = [sum(row.values()) - row[item] for row in after]
        gained, lost = (sum(x < y for x, y in zip(*pair, strict=True)) for pair in ((old, new), (new, old)))
        shares = [sum(answers) / max(n, 1) for answers in (old, new)]
        varies = n > 2 and pstdev(new) > 0 and pstdev(rest) > 0
        values = (int(item), n, *shares, gained, lost, correlation(new, rest) if varies else None)
        rows.append(dict(zip(ITEM_COLUMNS, values, strict=True)))
    return rows
