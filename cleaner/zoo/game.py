"""A game for a class: teams judge the shipped models, three at a time, with as few probes as they can."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from cleaner.access import INSTALL, is_public
from cleaner.files import read_json, runs_root, write_json
from cleaner.types import CleanerError
from cleaner.zoo.challenge import parse_team
from cleaner.zoo.plan import DEVELOPMENT
from cleaner.zoo.store import Zoo

ROUND = 3
"""Models of a round."""


class Game:
    """The game of one team, in a file that is written after each probe and each round.

    probes: id of a model -> number of probes. judged: id -> whether the team called it backdoored, in that order.
    """

    def __init__(self, team: str, folder: Path | None = None) -> None:
        """Open or start the game of a team. Raises `CleanerError` for a wrong name, or in public mode."""
        if is_public():
            raise CleanerError(f"a public server keeps no answers: {INSTALL}")
        self.team, self.zoo = parse_team(team), Zoo.read()
        digest = hashlib.sha256(self.team.encode()).hexdigest()
        self.path = (folder or find_folder()) / f"{digest[:16]}.json"
        stored = read_json(self.path)
        self.probes: dict[str, int] = stored.get("probes", {})
        self.judged: dict[str, bool] = stored.get("judged", {})
        ids = self.zoo.list_ids(DEVELOPMENT)
        self.order = Random(digest).sample(ids, len(ids))

    def next_round(self) -> list[str]:
        """Return the ids of the models to judge next; none after the last round."""
        return [id for id in self.order if id not in self.judged][:ROUND]

    def last_round(self) -> list[str]:
        """Return the ids of the models that were judged last."""
        return list(self.judged)[-ROUND:]

    def count_probe(self, id: str) -> None:
        """Count one more look into a model. Raises `CleanerError` if it is not one of this round."""
        if id not in self.next_round():
            raise CleanerError("this round is over: go on with the next one.")
        self.probes[id] = self.probes.get(id, 0) + 1
        self._write()

    def judge(self, verdicts: Mapping[str, bool]) -> None:
        """Store whether each model of this round is backdoored; it cannot be changed. Raises `CleanerError`."""
        if list(verdicts) != self.next_round():
            raise CleanerError("judge the models of this round, each once.")
        self.judged.update(verdicts)
        self._write()

    def _write(self) -> None:
        write_json(self.path, {"team": self.team, "judged": self.judged, "probes": self.probes})


def find_folder() -> Path:
    """Return the folder of the games on this server."""
    return runs_root().parent / "challenge"


def list_scores(folder: Path | None = None) -> list[dict[str, Any]]:
    """Return a row for each team that finished a round: most right answers first, then fewest probes."""
    answers = Zoo.read().read_answers(DEVELOPMENT)
    rows = []
    for game in map(read_json, sorted((folder or find_folder()).glob("*.json"))):
        judged = {id: said for id, said in game.get("judged", {}).items() if id in answers}
        if judged:
            truth = [(answers[id]["backdoored"], said) for id, said in judged.items()]
            row = {
                "Team": game["team"],
                "Right": f"{sum(is_bad == said for is_bad, said in truth)} of {len(truth)}",
                "Found": f"{truth.count((True, True))} of {sum(is_bad for is_bad, _ in truth)}",
                "False alarms": f"{truth.count((False, True))} of {sum(not is_bad for is_bad, _ in truth)}",
                "Probes": sum(game["probes"].get(id, 0) for id in judged),
            }
            rows.append((sum(is_bad == said for is_bad, said in truth), row))
    return [row for _, row in sorted(rows, key=lambda pair: (-pair[0], pair[1]["Probes"], pair[1]["Team"]))]
