"""A challenge: teams say how suspicious each model of a zoo is; scoring opens the answers and writes a leaderboard."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cleaner.evaluation.detection import measure_detection
from cleaner.evaluation.metrics import wilson_interval
from cleaner.files import read_json, read_limited, write_json, write_text
from cleaner.types import CleanerError
from cleaner.zoo.plan import DEVELOPMENT, SEALED
from cleaner.zoo.store import Zoo

CHALLENGE, TEMPLATE, LEADERBOARD = "challenge.json", "answers.csv", "leaderboard.html"
HEADER = ["model", "score"]
FLAGGED = 0.5
"""Score from which a model counts as flagged."""
MAX_ANSWER_BYTES, MAX_TEAM_LENGTH = 1_000_000, 60
Figure = tuple[float, float, float]


@dataclass(frozen=True)
class Score:
    """The figures of a team's newest submission, with 95% intervals (value, low, high), 0..1.

    auroc: interval by the bootstrap, the others by Wilson. submissions: how many the team made; each one reveals
    something about the answers. counts: backdoored and clean models.
    """

    team: str
    auroc: Figure
    sensitivity: Figure
    false_alarms: Figure
    submissions: int
    counts: tuple[int, int]

    @property
    def cells(self) -> tuple[str, ...]:
        """The fields but the last as text: "0.90 [0.60, 0.98]"."""
        figures = (self.auroc, self.sensitivity, self.false_alarms)
        return (self.team, *("{:.2f} [{:.2f}, {:.2f}]".format(*each) for each in figures), str(self.submissions))


def start_challenge(zoo: Zoo, folder: Path, passphrase: str = "") -> dict[str, Any]:
    """Write challenge.json and a template of the answers; return the former's content.

    With a passphrase, on the sealed models, whose answers it must open; else on those with public answers.
    """
    if (folder / CHALLENGE).exists():
        raise CleanerError(f"{folder} already holds a challenge: choose another folder.")
    split = SEALED if passphrase else DEVELOPMENT
    zoo.read_answers(split, passphrase)
    ids = zoo.list_ids(split)
    for id in ids:
        zoo.model_path(id)  # raises for a missing file
    challenge = {"zoo": str(zoo.folder.resolve()), "split": split, "models": ids, "started": _now()}
    challenge["answers_sha256"] = zoo.manifest["answers_sha256"] if split == SEALED else ""
    write_json(folder / CHALLENGE, challenge)
    write_text(folder / TEMPLATE, "".join(f"{row}\n" for row in (",".join(HEADER), *(f"{id}," for id in ids))))
    return challenge


def read_challenge(folder: Path) -> dict[str, Any]:
    """Return the content of challenge.json. Raises `CleanerError` if there is none."""
    if challenge := read_json(folder / CHALLENGE):
        return challenge
    raise CleanerError(f"{folder} has no challenge: start one with ta-cleaner challenge new.")


def parse_answers(content: bytes, ids: Sequence[str]) -> dict[str, float]:
    """Return id -> score of a CSV file with the columns model and score, one row for each of `ids`.

    Raises `CleanerError` for other columns, models or scores than from 0 to 1.
    """
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig", errors="replace"))))
    rows = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    if rows[:1] != [HEADER] or any(len(row) != len(HEADER) for row in rows):
        raise CleanerError(f"the answers need two columns, {' and '.join(HEADER)}: start from {TEMPLATE}.")
    counts, scores = Counter(id for id, _ in rows[1:]), dict.fromkeys(ids, math.nan)
    for id in (*ids, *counts):
        if id not in ids or counts[id] != 1:
            raise CleanerError(f"the answers have {counts[id]} rows for the model {id!r}: give one for each model.")
    for id, text in rows[1:]:
        with suppress(ValueError):
            scores[id] = float(text)
        if not 0 <= scores[id] <= 1:
            raise CleanerError(f"the score of {id} must be from 0 (clean) to 1 (backdoored), not {text!r}.")
    return scores


def parse_team(name: str) -> str:
    """Return the name of a team in one line. Raises `CleanerError` if it is empty or too long."""
    if not 0 < len(team := " ".join(name.split())) <= MAX_TEAM_LENGTH:
        raise CleanerError(f"the team needs a name of at most {MAX_TEAM_LENGTH} characters.")
    return team


def submit(answers: Path, folder: Path, team: str) -> Path:
    """Record a team's answers in the challenge's folder; return the file."""
    team, ids = parse_team(team), read_challenge(folder)["models"]
    try:
        scores = parse_answers(read_limited(answers, MAX_ANSWER_BYTES), ids)
    except OSError as error:
        raise CleanerError(f"{answers} cannot be read ({error.strerror}): check the path.") from error
    digest, number = hashlib.sha256(team.encode()).hexdigest()[:12], 1
    while (path := folder / "submissions" / f"{digest}-{number:04d}.json").exists():
        number += 1
    write_json(path, {"team": team, "submitted": _now(), "scores": scores})
    return path


def score_challenge(folder: Path, passphrase: str = "") -> list[Score]:
    """Score the newest submission of each team, write leaderboard.html, and return the scores, the best first."""
    challenge = read_challenge(folder)
    answers = Zoo.read(Path(challenge["zoo"])).read_answers(challenge["split"], passphrase)
    submissions = [read_json(path) for path in sorted((folder / "submissions").glob("*.json"))]
    if not submissions:
        raise CleanerError(f"{folder} has no submissions yet: add one with ta-cleaner challenge submit.")
    counts = Counter(submission["team"] for submission in submissions)
    newest = {submission["team"]: submission["scores"] for submission in submissions}  # sorted: the last one wins
    scores = [score_answers(team, newest[team], answers, submissions=counts[team]) for team in newest]
    scores.sort(key=lambda score: (-score.auroc[0], score.team))
    write_text(folder / LEADERBOARD, render_leaderboard(challenge, scores))
    return scores


def score_answers(
    team: str, scores: Mapping[str, float], answers: Mapping[str, Mapping[str, Any]], submissions: int = 1
) -> Score:
    """Return the figures of a team's scores. answers: id -> its answer, for the models that are scored."""
    clean, backdoored = (
        np.array([scores[id] for id in scores if answers[id]["backdoored"] is kind]) for kind in (False, True)
    )
    if not len(clean) or not len(backdoored):
        raise CleanerError("a challenge needs clean and backdoored models: build a zoo of at least 12.")
    shares = [(float((group >= FLAGGED).mean()), len(group)) for group in (backdoored, clean)]
    sensitivity, false_alarms = ((share, *wilson_interval(share, n)) for share, n in shares)
    ranking = measure_detection(clean, backdoored)
    auroc = (ranking.auroc, *ranking.interval)
    return Score(team, auroc, sensitivity, false_alarms, submissions, (len(backdoored), len(clean)))


def render_leaderboard(challenge: Mapping[str, Any], scores: Sequence[Score]) -> str:
    """Return a page with a row for each team; it loads nothing, and names of teams are escaped."""
    from jinja2 import Environment

    template = Path(__file__).with_name("leaderboard.html.jinja").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True).from_string(template)
    return page.render(challenge=challenge, scores=scores, flagged=FLAGGED, written=_now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
