"""The Challenge page: a team probes three models, commits its verdicts, and only then sees the answers."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from cleaner.files import shipped_assets
from cleaner.zoo.game import Game
from cleaner.zoo.plan import DEVELOPMENT
from tests.pages.conftest import OpenPage, errors, link_labels, page_text

EVIL = "<b>x</b> [evil](javascript:alert(1))"


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception, [e.message for e in app.exception]


def test_a_round(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_ASSETS", str(shipped_assets()))
    app = open_page("Challenge")
    press(app, "Play")
    assert "needs a name" in errors(app)[0]
    app.text_input[0].set_value(EVIL)
    press(app, "Play")
    game = Game(EVIL)
    answers, ids = game.zoo.read_answers(DEVELOPMENT), game.next_round()
    letter = "ABC"[[answers[id]["backdoored"] for id in ids].index(True)]
    app.segmented_control(key="challenge.model").set_value(letter).run()
    press(app, "Probe")
    found = app.dataframe[0].value
    assert found["Model"].tolist() == [letter]
    assert found["Trigger"].tolist() == ["BadNet patch"]
    press(app, f"Put model {letter} in view")
    assert f"Investigate model {letter}" in link_labels(app)
    assert f"{letter}: 2" in page_text(app)
    press(app, "Commit and see the answers")
    assert "Judge each model first" in page_text(app)
    assert Game(EVIL).judged == {}
    for radio in app.radio:
        radio.set_value("Backdoored")
    press(app, "Commit and see the answers")
    table = app.dataframe[0].value
    assert (table["It is"] == "Backdoored").tolist() == [answers[id]["backdoored"] for id in ids]
    assert set(table["Outcome"]) <= {"Right", "False alarm"}
    assert app.dataframe[1].value["Probes"].tolist() == [2]
    assert "[evil](" not in "\n".join(str(element.value) for element in [*app.markdown, *app.caption])
    press(app, "Next round")
    assert len(app.radio) == 3
    assert "A: 0 · B: 0 · C: 0" in page_text(app)
