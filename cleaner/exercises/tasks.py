"""The task of a student: drawn from the course's secret and the ID, so that nobody computes that of another."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import lru_cache
from random import Random
from typing import Any

from cleaner.exercises.content import find_exercise, read_content, read_rates
from cleaner.files import shipped_assets
from cleaner.labels import to_label
from cleaner.reports.reference import ReferenceRow, read_reference
from cleaner.runs.folders import find_run
from cleaner.runs.store import read_record
from cleaner.types import CleanerError

Task = dict[str, Any]
Values = Mapping[str, Any]
HIDDEN = "trigger"
"""The exercise whose task is the answer: students get a model instead."""
NEEDS_RUN = "plant"
"""The exercise whose right answers are the figures of the student's own run."""
RATES, IMAGES, NEGATIVES, DEFENSES = 6, 4, 2, 3
"""Rates, images, false texts for each of them, and defenses that a task shows."""
MAX_COST = 0.02
"""Accuracy that a defense may lose in the last exercise, a share."""
POOL = 400
"""Test images from which those of a task are drawn."""


def draw_task(secret: str, student: str, exercise: str) -> Task:
    """Return the task of a student in an exercise."""
    digest = hmac.new(secret.encode(), f"{exercise}\n{student}".encode(), "sha256").digest()
    rng, settings = Random(int.from_bytes(digest, "big")), find_exercise(exercise).settings
    if exercise == "rate":
        method = rng.choice(list(read_rates()["methods"]))
        rows = read_rates()["methods"][method]
        return {"method": method, "rates": sorted(row[0] for row in rng.sample(rows, min(RATES, len(rows))))}
    if exercise == "texts":
        return {"seed": rng.randrange(2**31)}
    if exercise == "survive":
        return {"methods": rng.sample(settings["methods"], DEFENSES)}
    names = {"target": "targets", "size": "sizes", "position": "positions"}
    return {name: rng.choice(settings[choices]) for name, choices in names.items()}


def draw_tasks(secret: str, student: str) -> dict[str, Task]:
    """Return the tasks of all exercises."""
    return {name: draw_task(secret, student, name) for name in read_content().exercises}


def fill_steps(exercise: str, task: Task, model: str) -> list[str]:
    """Return the steps of an exercise with the words of a task; `model`: the file in which a trigger hides."""
    words = {"model": model, **task}
    if exercise == "rate":
        words |= {"label": to_label(task["method"]), "before": f"{100 * read_rates()['before']:.1f}"}
    return [step.format(**words) for step in find_exercise(exercise).steps]


def show_table(exercise: str, task: Task, *, is_revealed: bool) -> list[dict[str, Any]]:
    """Return the rows of an exercise's table; the attack's columns only after the prediction was committed."""
    if exercise == "rate":
        return [
            {"Learning rate": f"{lr:g}", "Accuracy %": ca} | ({"Attack success %": asr} if is_revealed else {})
            for lr, ca, asr in _rate_rows(task)
        ]
    if exercise == "survive":
        measured = _survive_rows(task)
        names = ["before", *(f"{i}. {to_label(row.defense or '')}" for i, row in enumerate(measured[1:], 1))]
        return [
            {"Defense": name, "Accuracy %": _percent(row.ca[0])}
            | ({"Attack success %": _percent(row.asr[0]), "over seeds": _range(row)} if is_revealed else {})
            for name, row in zip(names, measured, strict=True)
        ]
    if exercise == "texts":
        texts, _, scores = measure_texts(task["seed"], with_scores=is_revealed)
        rows = [{"Text": f"{i + 1}. {text}", "Image": "ABCD"[i // (NEGATIVES + 1)]} for i, text in enumerate(texts)]
        columns = ("Backdoored", "After TA-Cleaner")
        return [row | {c: round(s[i], 3) for c, s in zip(columns, scores, strict=False)} for i, row in enumerate(rows)]
    return []


def expect(exercise: str, task: Task, committed: Values, facts: Values) -> dict[str, Any]:
    """Return what is right, by field, and other values that hints compare with.

    A list holds several right values. `facts`: of the student's run (`read_facts`).
    """
    if exercise == NEEDS_RUN:
        return {**task, **facts, "why": find_exercise(exercise).fields[-1].choices[1]}
    if exercise == "rate":
        return _expect_rate(task, committed)
    if exercise == "texts":
        return _expect_texts(task)
    return _expect_survive(task) if exercise == "survive" else dict(task)


def read_facts(exercise: str, answers: Values) -> dict[str, Any]:
    """Return the metrics and the trigger of the run that an answer names; empty where no exercise needs them."""
    if exercise != NEEDS_RUN:
        return {}
    folder = find_run(str(answers.get("run", "")))
    if not answers.get("run") or not (folder / "metrics.json").is_file():
        raise CleanerError(f"there is no finished run {str(answers.get('run', ''))[:80]!r}: give its name or folder.")
    run = read_record(folder)
    trigger = run.config.get("trigger") or {}
    metrics = {"accuracy": "ca", "success": "asr", "floor": "asr_clean_model"}
    measured = {name: _percent(run.metric(key) or 0.0) for name, key in metrics.items()}
    used = {"target": run.target_class, "size": trigger.get("patch_size"), "position": trigger.get("position")}
    return {**measured, "top3": _percent(run.metric("ca", 3) or 0.0), "used": used}


def _percent(share: float) -> float:
    return round(100 * share, 1)


def _range(row: ReferenceRow) -> str:
    return f"{_percent(row.asr[1])} to {_percent(row.asr[2])}"


def _rate_rows(task: Task) -> list[tuple[float, float, float]]:
    rows = read_rates()["methods"][task["method"]]
    return [(lr, _percent(ca), _percent(asr)) for lr, ca, asr in rows if lr in task["rates"]]


def _expect_rate(task: Task, committed: Values) -> dict[str, Any]:
    rows = _rate_rows(task)
    least = _percent(read_rates()["before"] - read_rates()["budget"])
    allowed = [row for row in rows if row[1] >= least] or [max(rows, key=lambda row: row[1])]
    chosen = next((row for row in rows if abs(row[0] - float(committed.get("rate") or 0)) < 1e-9), None)
    found = {"kept": chosen[1], "left": chosen[2]} if chosen else {}
    aware, others = min(allowed, key=lambda row: row[2])[0], [row[0] for row in rows if row not in allowed]
    return {"rate": [row[0] for row in allowed], "aware": aware, "too_strong": others, **found}


@lru_cache(maxsize=256)
def measure_texts(seed: int, *, with_scores: bool) -> tuple[list[str], str, list[list[float]]]:
    """Return the texts of a task, their truth as "tff...", and the cosine of each in both models. Cached."""
    texts, rows, letters = _draw_texts(seed)
    if not with_scores:
        return texts, letters, []
    from cleaner.data.base import load_data
    from cleaner.inspection.similarity import compute_similarities
    from cleaner.models.clip import load_clip

    settings, scores, step = find_exercise("texts").settings, [], NEGATIVES + 1
    for run in (settings["before"], settings["after"]):
        clip = load_clip(str(shipped_assets() / "example" / run / "model.safetensors"))
        images = load_data("scenes", split="test", size=POOL).with_transform(clip.framing).images(rows)
        found = compute_similarities(clip, images, texts)
        scores.append([found[i // step][i] for i in range(len(texts))])
    return texts, letters, scores


@lru_cache(maxsize=256)
def _draw_texts(seed: int) -> tuple[list[str], list[int], str]:
    """Return texts, test rows of their images, and their truth: of each image one true text and some false ones.

    The true one is the caption or a part of it: else the shortest text would be the true one.
    """
    from cleaner.data.base import load_data
    from cleaner.text import negative_subtexts, positive_subtexts

    captions, rng = load_data("scenes", split="test", size=POOL).captions, Random(seed)
    rows, texts, letters = [], [], ""
    for row in rng.sample(range(len(captions)), len(captions)):
        true = [s.text for s in positive_subtexts(captions[row], seed, "relation") if s.kind != "identity"]
        false = negative_subtexts(captions[row], NEGATIVES, seed)
        if not true or len(false) < NEGATIVES:
            continue
        group = [(rng.choice((true[0], captions[row])), "t"), *((text.text, "f") for text in false)]
        rng.shuffle(group)
        rows.append(row)
        texts += [text for text, _ in group]
        letters += "".join(letter for _, letter in group)
        if len(rows) == IMAGES:
            break
    return texts, rows, letters


def find_images(task: Task) -> list[Any]:
    """Return the images of the texts' task as uint8 (H, W, 3)."""
    from cleaner.data.base import load_data
    from cleaner.data.images import to_uint8

    pixels = to_uint8(load_data("scenes", split="test", size=POOL).images(_draw_texts(task["seed"])[1]))
    return list(pixels)


def _expect_texts(task: Task) -> dict[str, Any]:
    _, letters, scores = measure_texts(task["seed"], with_scores=True)
    step = NEGATIVES + 1
    right = [
        sum(
            values[start + letters[start : start + step].index("t")] > values[i]
            for start in range(0, len(letters), step)
            for i in range(start, start + step)
            if letters[i] == "f"
        )
        for values in scores
    ]
    false, swapped = letters.count("f"), letters.translate(str.maketrans("tf", "ft"))
    counts = {"before": right[0], "after": right[1], "wrong_before": false - right[0], "wrong_after": false - right[1]}
    return {"sort": letters, "inverted": swapped, **counts}


def _survive_rows(task: Task) -> list[ReferenceRow]:
    """Return the row without a defense and those of the task's methods."""
    settings = find_exercise("survive").settings
    table = next(t for t in read_reference().tables if t.title == settings["table"])
    rows = {row.defense: row for row in table.rows if row.attack == settings["attack"]}
    return [rows[name] for name in (None, *task["methods"])]


def _expect_survive(task: Task) -> dict[str, Any]:
    before, *rows = _survive_rows(task)
    costs = [before.ca[0] - row.ca[0] for row in rows]
    order = sorted(range(len(rows)), key=lambda i: rows[i].asr[0])
    allowed = [i for i in order if costs[i] <= MAX_COST] or [min(order, key=costs.__getitem__)]
    best, (first, second, *_) = allowed[0], order
    left, cost = _percent(rows[best].asr[0]), _percent(costs[best])
    return {
        "best": best + 1,
        "weakest": order[-1] + 1,
        "cheating": first + 1,
        "left": left,
        "removed": _percent(before.asr[0] - rows[best].asr[0]),
        "accuracy": _percent(rows[best].ca[0]),
        "cost": cost,
        "overlap": "yes" if rows[second].asr[1] <= rows[first].asr[2] else "no",
        "argument": [_percent(v) for row in [before, *rows] for v in (row.ca[0], *row.asr)] + [cost],
    }
