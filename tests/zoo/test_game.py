"""The game of a class: rounds of three, counted probes, verdicts that stay, and the table of all teams."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.types import CleanerError
from cleaner.zoo.game import ROUND, Game, list_scores
from cleaner.zoo.plan import DEVELOPMENT


def test_a_game_to_its_end(tmp_path: Path) -> None:
    game = Game("  Team\nA ", tmp_path)
    truth = {id: answer["backdoored"] for id, answer in game.zoo.read_answers(DEVELOPMENT).items()}
    assert (game.team, len(game.order)) == ("Team A", len(truth))
    assert list_scores(tmp_path) == []
    seen: list[str] = []
    while ids := game.next_round():
        assert len(ids) == ROUND
        seen += ids
        game.count_probe(ids[0])
        game.count_probe(ids[0])
        game = Game("Team A", tmp_path)  # as after a reload
        assert game.next_round() == ids
        game.judge({id: True for id in ids})
        assert game.last_round() == ids
    assert sorted(seen) == sorted(truth)
    backdoored = sum(truth.values())
    row = {"Team": "Team A", "Right": f"{backdoored} of 12", "Found": f"{backdoored} of {backdoored}"}
    assert list_scores(tmp_path) == [row | {"False alarms": f"{12 - backdoored} of {12 - backdoored}", "Probes": 8}]


def test_the_table_has_the_best_team_first(tmp_path: Path) -> None:
    for team, is_right, probes in [("wrong", False, 0), ("slow", True, 5), ("fast", True, 1)]:
        game = Game(team, tmp_path)
        truth = game.zoo.read_answers(DEVELOPMENT)
        for _ in range(probes):
            game.count_probe(game.next_round()[0])
        game.judge({id: truth[id]["backdoored"] is is_right for id in game.next_round()})
    rows = list_scores(tmp_path)
    assert [(row["Team"], row["Right"], row["Probes"]) for row in rows] == [
        ("fast", "3 of 3", 1),
        ("slow", "3 of 3", 5),
        ("wrong", "0 of 3", 0),
    ]


def test_verdicts_stay_and_teams_get_other_rounds(tmp_path: Path) -> None:
    game = Game("a", tmp_path)
    first = game.next_round()
    game.judge(dict.fromkeys(first, False))
    with pytest.raises(CleanerError, match="of this round"):
        game.judge(dict.fromkeys(first, True))
    with pytest.raises(CleanerError, match="this round is over"):
        game.count_probe(first[0])
    assert len({tuple(Game(team, tmp_path).order) for team in "abcdef"}) == 6


def test_names_of_teams_are_checked_and_a_public_server_has_no_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", " \n", "x" * 61):
        with pytest.raises(CleanerError, match="a name of at most"):
            Game(name, tmp_path)
    Game("../../evil", tmp_path).judge(dict.fromkeys(Game("../../evil", tmp_path).next_round(), True))
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path]
    monkeypatch.setenv("CLEANER_PUBLIC", "1")
    with pytest.raises(CleanerError, match="public server"):
        Game("a", tmp_path)
