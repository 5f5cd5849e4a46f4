"""A challenge: answers are checked, figures are right, and the leaderboard shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.files import write_json, write_text
from cleaner.types import CleanerError
from cleaner.zoo.challenge import (
    LEADERBOARD,
    parse_answers,
    read_challenge,
    score_answers,
    score_challenge,
    start_challenge,
    submit,
)
from cleaner.zoo.plan import DEVELOPMENT
from cleaner.zoo.store import Zoo

ANSWERS = {f"m{i}": {"backdoored": i < 6} for i in range(9)}


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    """A zoo whose models are empty files."""
    folder, models = tmp_path / "zoo", {}
    for id in ANSWERS:
        write_text(folder / f"{id}.safetensors", "")
        models[id] = {
            "split": DEVELOPMENT,
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        }
    write_json(folder / "manifest.json", {"version": 1, "seed": 0, "models": models, "answers_sha256": ""})
    write_json(folder / "answers.json", ANSWERS)
    return Zoo.read(folder)


def write_answers(path: Path, flagged: int) -> Path:
    """Write answers that flag the first models."""
    write_text(path, "model,score\n" + "".join(f"m{i},{0.9 if i < flagged else 0.1}\n" for i in range(9)))
    return path


def test_a_challenge_from_start_to_leaderboard(zoo: Zoo, tmp_path: Path) -> None:
    folder = tmp_path / "challenge"
    start_challenge(zoo, folder)
    assert (folder / "answers.csv").read_text() == "model,score\n" + "".join(f"{id},\n" for id in ANSWERS)
    for team, flagged in [("late", 2), ("late", 6), ("<b>all</b>", 9)]:
        submit(write_answers(tmp_path / "answers.csv", flagged), folder, team)
    best, worst = score_challenge(folder)
    assert (best.team, best.submissions, best.auroc[0], best.sensitivity[0], best.false_alarms[0]) == (
        "late",
        2,
        1,
        1,
        0,
    )
    assert (worst.auroc[0], worst.sensitivity[0], worst.false_alarms[0]) == (0.5, 1, 1)
    page = (folder / LEADERBOARD).read_text()
    assert page.index("late") < page.index("&lt;b&gt;all")
    with pytest.raises(CleanerError, match="already"):
        start_challenge(zoo, folder)


def test_figures_have_intervals() -> None:
    scores = {id: [0.9, 0.8, 0.7, 0.4, 0.3, 0.6, 0.2, 0.5, 0.1][i] for i, id in enumerate(ANSWERS)}
    score = score_answers("team", scores, ANSWERS)
    assert score.sensitivity == pytest.approx((4 / 6, 0.3, 0.903), abs=1e-3)  # Wilson
    assert score.false_alarms == pytest.approx((1 / 3, 0.061, 0.792), abs=1e-3)
    # Of 18 pairs, the clean model with 0.5 scores above those with 0.4 and 0.3.
    assert score.auroc[0] == pytest.approx(16 / 18)
    assert score.auroc[1] < 16 / 18 < score.auroc[2]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "two columns"),
        ("a,0.5\nb,0.5\n", "two columns"),
        ("model,score\na,0.5\n", "'b'"),
        ("model,score\na,0.5\nb,0.5\nb,0.5\n", "'b'"),
        ("model,score\na,0.5\nb,0.5\nc,0.5\n", "'c'"),
        ("model,score\na,0.5\nb,1.5\n", "score of b"),
        ("model,score\na,0.5\nb,nan\n", "score of b"),
        ("model,score\na,0.5\nb,\n", "score of b"),
    ],
)
def test_wrong_answers_are_refused_with_the_place(text: str, fault: str) -> None:
    with pytest.raises(CleanerError, match=fault):
        parse_answers(text.encode(), ["a", "b"])


def test_answers_of_a_spreadsheet_are_read() -> None:
    assert parse_answers(b"\xef\xbb\xbfmodel,score\r\n b , 0.25\r\na,1\r\n\r\n", ["a", "b"]) == {"a": 1.0, "b": 0.25}


def test_what_is_not_there_is_named(zoo: Zoo, tmp_path: Path) -> None:
    with pytest.raises(CleanerError, match="challenge new"):
        read_challenge(tmp_path)
    with pytest.raises(CleanerError, match="no sealed models"):
        start_challenge(zoo, tmp_path / "c", "correct horse battery")
    start_challenge(zoo, tmp_path / "c")
    with pytest.raises(CleanerError, match="submissions"):
        score_challenge(tmp_path / "c")
    with pytest.raises(CleanerError, match=r"gone\.csv"):
        submit(tmp_path / "gone.csv", tmp_path / "c", "team")
    with pytest.raises(CleanerError, match="name"):
        submit(tmp_path / "gone.csv", tmp_path / "c", " ")
