"""Tasks: drawn from the course's secret and an ID, shown without the attack at first, with their right answers."""

import hmac
from collections.abc import Mapping
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

from cleaner.exercises.content import FOLDER, read_exercises
from cleaner.files import read_json_cached, shipped_assets
from cleaner.runs.folders import find_run
from cleaner.runs.store import read_record
from cleaner.types import CleanerError

Task = dict[str, Any]
Row = dict[str, Any]
Values = Mapping[str, Any]
HIDDEN = "trigger"
"""The exercise whose task is the answer: students get a model instead."""
IMAGES, TEXTS = 4, 3
"""Images of a task, and texts of each image, one of them true."""
POOL = 400
"""Test images from which those of a task are drawn."""


class Figures(NamedTuple):
    """What a student reads of a model, in percent; low, high: of its attack success over seeds."""

    label: str
    accuracy: float
    success: float
    low: float
    high: float


class TaskKind:
    """How the task of an exercise is drawn, shown and answered. This one: a trigger, which is also the answer."""

    def draw(self, rng: Random, settings: Values) -> Task:
        return {name: rng.choice(settings[f"{name}s"]) for name in ("target", "size", "position")}

    def show(self, task: Task, *, is_revealed: bool) -> tuple[list[Row], list[Any]]:
        """Return the table, with the attack's columns only after a prediction, and images (uint8, (H, W, 3))."""
        return [], []

    def expect(self, task: Task, before: Values, facts: Values) -> Values:
        """Return the right answers by field, and other values that hints compare with; a list has several."""
        return {**task, **facts}


class Measured(TaskKind):
    """Choose among defenses by accuracy, then see the attack success that each leaves.

    Allowed is what costs at most `budget` points of accuracy; if nothing qualifies, what costs least.
    """

    def draw(self, rng: Random, settings: Values) -> Task:
        groups = read_figures()[settings["table"]]
        group = rng.choice(list(groups))
        labels = [row[0] for row in groups[group][1:]]
        chosen = rng.sample(labels, min(settings["count"], len(labels)))
        table = {name: settings[name] for name in ("table", "budget")}
        return {**table, "group": group, "choices": sorted(chosen, key=labels.index)}

    def show(self, task: Task, *, is_revealed: bool) -> tuple[list[Row], list[Any]]:
        measured = self._measure(task)
        rows: list[Row] = [{"Choice": row.label, "Accuracy %": row.accuracy} for row in measured]
        for row, values in zip(rows, measured if is_revealed else (), strict=False):
            row["Attack success %"] = values.success
            if any(each.low < each.high for each in measured):
                row["Over seeds"] = f"{values.low} to {values.high}"
        return rows, []

    def expect(self, task: Task, before: Values, facts: Values) -> Values:
        start, *rows = self._measure(task)
        costs = {row: round(start.accuracy - row.accuracy, 1) for row in rows}
        allowed = [row for row in rows if costs[row] <= task["budget"]] or [min(rows, key=costs.__getitem__)]
        first, second, *_, last = sorted(rows, key=lambda row: row.success)
        best = min(allowed, key=lambda row: row.success)
        subject = next((row for row in rows if row.label == before.get("rate")), best)
        return {
            "rate": [row.label for row in allowed],
            "too_strong": [row.label for row in rows if row not in allowed],
            "best": best.label,
            "weakest": last.label,
            "left": subject.success,
            "accuracy": subject.accuracy,
            "removed": round(start.success - subject.success, 1),
            "cost": costs[best],
            "overlap": "yes" if second.low <= first.high else "no",
            "argument": [costs[best], *(value for row in (start, *rows) for value in row[1:])],
        }

    def _measure(self, task: Task) -> list[Figures]:
        """Return the figures without a defense, then those of each choice."""
        start, *rows = (Figures(*row) for row in read_figures()[task["table"]][task["group"]])
        return [start, *(row for row in rows if row.label in task["choices"])]


class Texts(TaskKind):
    """True and false texts of test images, and their cosines in two models of the shipped example."""

    def draw(self, rng: Random, settings: Values) -> Task:
        return {"seed": rng.randrange(2**31)}

    def show(self, task: Task, *, is_revealed: bool) -> tuple[list[Row], list[Any]]:
        from cleaner.data.images import to_uint8

        texts, scores = _draw_texts(task["seed"]), _score_texts(task["seed"]) if is_revealed else ()
        columns = dict(zip(("Backdoored", "After TA-Cleaner"), scores, strict=False))
        rows = [
            {"Image": "ABCD"[i // TEXTS], "Text": f"{i + 1}. {text}"}
            | {name: round(values[i], 3) for name, values in columns.items()}
            for i, (_, text, _) in enumerate(texts)
        ]
        return rows, [*to_uint8(_load_pool().images([row for row, _, _ in texts[::TEXTS]]))]

    def expect(self, task: Task, before: Values, facts: Values) -> Values:
        letters = "".join("t" if is_true else "f" for _, _, is_true in _draw_texts(task["seed"]))
        true = [letters.index("t", i - i % TEXTS) for i in range(len(letters))]
        right = [sum(s[true[i]] > s[i] for i in range(len(letters))) for s in _score_texts(task["seed"])]
        wrong = [letters.count("f") - count for count in right]
        counts = dict(zip(("before", "after", "wrong_before", "wrong_after"), right + wrong, strict=True))
        return {"sort": letters, "inverted": letters.translate(str.maketrans("tf", "ft")), **counts}


KINDS = {"plant": TaskKind(), HIDDEN: TaskKind(), "rate": Measured(), "texts": Texts(), "survive": Measured()}
"""Exercises with a task; the quiz is the same for all students."""


def draw_tasks(secret: str, student: str) -> dict[str, Task]:
    """Return the tasks of all exercises: without the secret, nobody computes those of another student."""
    tasks = {}
    for name, kind in KINDS.items():
        digest = hmac.new(secret.encode(), f"{name}\n{student}".encode(), "sha256").digest()
        tasks[name] = kind.draw(Random(int.from_bytes(digest, "big")), read_exercises()[name].settings)
    return tasks


def expect(name: str, task: Task, before: Values, facts: Values) -> dict[str, Any]:
    """Return what is right, by field, and other values that hints compare with. `facts`: of the student's run."""
    fixed = {field.name: field.choices[field.right - 1] for field in read_exercises()[name].fields if field.right}
    return {**fixed, **KINDS[name].expect(task, before, facts)}


def read_run(name: str) -> tuple[Values, Values]:
    """Return the trigger's settings of a finished run, and its metrics in percent. Raises `CleanerError` without it."""
    if not (find_run(name) / "metrics.json").is_file():
        raise CleanerError(f"there is no finished run {name[:80]!r}: give its name or folder.")
    run = read_record(find_run(name))
    trigger = run.config.get("trigger") or {}
    metrics = {"accuracy": ("ca", 1), "success": ("asr", 1), "floor": ("asr_clean_model", 1), "top3": ("ca", 3)}
    used = {"target": run.target_class, "size": trigger.get("patch_size"), "position": trigger.get("position")}
    return used, {name: round(100 * (run.metric(*key) or 0.0), 1) for name, key in metrics.items()}


def read_figures() -> dict[str, Any]:
    """Return table -> group -> rows of `Figures` (benchmarks/exercise_figures.py), first the one without a defense."""
    return read_json_cached(FOLDER / "figures.json")


def _load_pool() -> Any:
    from cleaner.data.base import load_data

    return load_data("scenes", split="test", size=POOL)


@lru_cache(maxsize=256)
def _draw_texts(seed: int) -> list[tuple[int, str, bool]]:
    """Return test row, text, and whether it is true, of each text; each image has one true text.

    This is the caption or a part of it: else the shortest text would be the true one.
    """
    from cleaner.text import draw_subtexts

    captions, rng, found = _load_pool().captions, Random(seed), []
    for row in rng.sample(range(POOL), POOL):
        pair = draw_subtexts(captions[row], seed=seed, epoch=0, index=row, n=TEXTS - 1, style="relation")
        if pair.positive is not None and pair.positive.kind != "identity" and len(pair.negatives) == TEXTS - 1:
            true = rng.choice((pair.positive.text, captions[row]))
            found += rng.sample([(row, true, True), *((row, text.text, False) for text in pair.negatives)], TEXTS)
        if len(found) == IMAGES * TEXTS:
            break
    return found


@lru_cache(maxsize=2)  # both stay: loading takes seconds of a class that works on the same exercise
def _load_example(run: str) -> Any:
    from cleaner.runs.run import load_run_clip

    return load_run_clip(shipped_assets() / "example" / run)


@lru_cache(maxsize=256)
def _score_texts(seed: int) -> list[list[float]]:
    """Return the cosine of each text with its image, in the backdoored model and after the defense."""
    from cleaner.inspection.similarity import compute_similarities

    drawn, scores = _draw_texts(seed), []
    rows, texts = [row for row, _, _ in drawn[::TEXTS]], [text for _, text, _ in drawn]
    for run in read_exercises()["texts"].settings["runs"]:
        clip = _load_example(run)
        found = compute_similarities(clip, _load_pool().with_transform(clip.framing).images(rows), texts)
        scores.append([found[i // TEXTS][i] for i in range(len(texts))])
    return scores
