"""The commands zoo and challenge: build models with sealed answers, and score who finds the backdoored ones."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cleaner.cli.folders import check_writable
from cleaner.cli.options import stated_default, validate_minima
from cleaner.cli.output import Progress, format_table
from cleaner.types import CleanerError

PASSPHRASE = "CLEANER_PASSPHRASE"
"""Environment variable with the passphrase of the sealed answers."""


def read_passphrase() -> str:
    """Return the passphrase of the sealed answers: from the environment, else asked for."""
    if PASSPHRASE in os.environ:
        return os.environ[PASSPHRASE]
    if not sys.stdin.isatty():
        raise CleanerError(f"the sealed answers need a passphrase: set {PASSPHRASE}.")
    from getpass import getpass

    return getpass("Passphrase of the sealed answers: ")


@dataclass(frozen=True)
class Zoo:
    """Build a zoo: clean and backdoored models with sealed answers. A build that was stopped goes on.

    A third of the models have public answers. Those of the others are encrypted with the passphrase in
    CLEANER_PASSPHRASE, from which these models are also drawn.
    """

    action: Annotated[Literal["build"], tyro.conf.Positional, tyro.conf.arg(help="What to do.")]
    models: Annotated[int, tyro.conf.arg(help="How many; up to 12, all have public answers.")] = 96
    seed: Annotated[int, tyro.conf.arg(help="Seed of the plan.")] = 0
    out: Annotated[Path, tyro.conf.arg(help="Folder for OUT/work, with all answers, OUT/zoo and OUT/zoo.zip.")] = Path(
        "zoo-build"
    )

    def run(self) -> None:
        import torch

        from cleaner.zoo.build import build
        from cleaner.zoo.plan import CUT_SIZE, DEVELOPMENT, SEALED

        validate_minima(self, models=1)
        check_writable(self.out)
        torch.set_num_threads(1)  # sums in another order would be other models
        passphrase = read_passphrase() if self.models > CUT_SIZE else ""
        zoo = build(self.out, self.models, self.seed, passphrase, Progress())
        counts = f"{len(zoo.list_ids(DEVELOPMENT))} models with public answers, {len(zoo.list_ids(SEALED))} sealed"
        print(f"Zoo: {zoo.folder} ({counts})")
        if sha256 := zoo.manifest["answers_sha256"]:
            print(f"SHA-256 of the sealed answers, to publish now: {sha256}")


@dataclass(frozen=True)
class Challenge:
    """Run a challenge on a zoo: new starts it, submit records a team's answers, score writes the leaderboard."""

    action: Annotated[Literal["new", "submit", "score"], tyro.conf.Positional, tyro.conf.arg(help="What to do.")]
    answers: Annotated[
        Path | None, tyro.conf.Positional, stated_default(metavar="ANSWERS", help="submit: CSV file: model, score.")
    ] = None
    folder: Annotated[Path, tyro.conf.arg(help="Folder of the challenge.")] = Path("challenge")
    zoo: Annotated[Path | None, stated_default(help="new: folder of a zoo. Default: the shipped one.")] = None
    host: Annotated[bool, tyro.conf.arg(help="new: on the sealed models; needs the passphrase.")] = False
    team: Annotated[str, tyro.conf.arg(help="submit: name on the leaderboard.")] = "anonymous"

    def run(self) -> None:
        from cleaner.zoo import challenge
        from cleaner.zoo.store import Zoo as Models

        check_writable(self.folder, option="--folder")
        if self.action == "new":
            zoo = Models.read(self.zoo)
            new = challenge.start_challenge(zoo, self.folder, read_passphrase() if self.host else "")
            print(
                f"{len(new['models'])} models in {zoo.folder}. Fill in {self.folder / challenge.TEMPLATE}, submit it."
            )
            if new["answers_sha256"]:
                print(f"SHA-256 of the answers, to publish now: {new['answers_sha256']}")
        elif self.action == "submit":
            if self.answers is None:
                raise CleanerError("challenge submit needs ANSWERS: name the CSV file.")
            print(f"Submitted: {challenge.submit(self.answers, self.folder, self.team)}")
        else:
            is_sealed = bool(challenge.read_challenge(self.folder)["answers_sha256"])
            scores = challenge.score_challenge(self.folder, read_passphrase() if is_sealed else "")
            columns = ("team", "AUROC", "sensitivity", "false alarms", "submissions")
            print(format_table([score.cells for score in scores], columns))
            print(f"Leaderboard: {self.folder / challenge.LEADERBOARD}")
