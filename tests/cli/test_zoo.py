"""The commands zoo and challenge."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.__main__ import main
from cleaner.files import write_text
from cleaner.zoo.plan import DEVELOPMENT
from cleaner.zoo.store import Zoo


def test_a_practice_challenge_on_the_shipped_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, answers = str(tmp_path / "challenge"), tmp_path / "mine.csv"
    assert main(["challenge", "new", "--folder", folder]) == 0
    truth = Zoo.read().read_answers(DEVELOPMENT)
    write_text(answers, "model,score\n" + "".join(f"{id},{int(truth[id]['backdoored'])}\n" for id in truth))
    assert main(["challenge", "submit", str(answers), "--team", "cheaters", "--folder", folder]) == 0
    assert main(["challenge", "score", "--folder", folder]) == 0
    assert "cheaters  1.00 [" in capsys.readouterr().out
    assert "cheaters" in (tmp_path / "challenge" / "leaderboard.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["zoo", "build", "--out", "{}"], "CLEANER_PASSPHRASE"),
        (["zoo", "build", "--models", "-1", "--out", "{}"], "at least 1"),
        (["challenge", "new", "--host", "--folder", "{}"], "CLEANER_PASSPHRASE"),
        (["challenge", "submit", "--folder", "{}"], "ANSWERS"),
        (["challenge", "score", "--folder", "{}"], "challenge new"),
    ],
)
def test_bad_input_is_answered_with_the_remedy(
    arguments: list[str],
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("CLEANER_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert main([word.format(tmp_path) for word in arguments]) == 2
    assert remedy in capsys.readouterr().err
