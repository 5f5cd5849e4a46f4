"""Subtexts: parse, draws, similarities; a typed caption is text and never markup."""

from pathlib import Path

from pages._shared.words import Piece, edited_pieces, markup, shortened_pieces
from tests.pages.conftest import Open, texts
from tests.pages.runs import make_runs


def test_draw_changes_with_the_epoch_and_comes_back(open_page: Open) -> None:
    app = open_page("Subtexts")
    caption = next(t for t in app.text_input if t.key.startswith("subtexts.caption"))
    caption.set_value("a small yellow banana to the left of a red car on the grass").run()

    def drawn(epoch: int) -> str:
        app.slider(key="subtexts.epoch").set_value(epoch).run()
        assert not app.exception
        return "".join(h.proto.body for h in app.get("html"))

    first, later, again = drawn(0), drawn(5), drawn(0)
    assert first == again
    assert first != later
    assert "re-implementation" in texts(app)


def test_own_caption_is_escaped(open_page: Open) -> None:
    app = open_page("Subtexts")
    caption = next(t for t in app.text_input if t.key.startswith("subtexts.caption"))
    caption.set_value("a red car <img src=x onerror=alert(1)> [x](http://y) on the grass").run()
    assert not app.exception
    assert "<img" not in "".join(h.proto.body for h in app.get("html"))


def test_long_and_empty_captions_are_refused(open_page: Open) -> None:
    app = open_page("Subtexts")
    caption = next(t for t in app.text_input if t.key.startswith("subtexts.caption"))
    caption.set_value("word " * 300).run()
    assert not app.exception
    assert "shorten it" in app.error[0].value
    next(t for t in app.text_input if t.key.startswith("subtexts.caption")).set_value(" ").run()
    assert "is empty" in app.error[0].value


def test_margins_of_many_pairs_and_signs_of_failure(open_page: Open, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Subtexts")
    before = len(app.dataframe)
    for key in ("subtexts.margins", "subtexts.signs"):
        app.session_state[key] = True
    app.run()
    assert not app.exception
    tables = {tuple(d.value.columns)[-1]: d.value for d in app.dataframe}
    assert len(tables) == before + 2
    worst = tables["Margin"]["Margin"].tolist()
    assert worst == sorted(worst)
    assert len(worst) == 20
    (signs,) = (d.value for d in app.dataframe if "New texts" in d.value)
    assert signs["Epoch"].tolist() == list(range(7))
    assert signs["Pairs drawn"].tolist() == [100] * 7
    assert signs["New texts"].tolist()[0] == 1.0
    assert {"False: object", "False: attribute"} <= set(signs.columns)
    assert "The first 300 clean pairs with the texts of epoch 0" in texts(app)


def test_pieces() -> None:
    caption = "a small red car on the grass"
    short = shortened_pieces(caption, "a car on the grass")
    assert [(p.text, p.role) for p in short] == [("a", "kept"), ("small red", "dropped"), ("car on the grass", "kept")]

    class Edit:
        kind, span, old, new = "attribute", (8, 11), "red", "blue"

    edited = edited_pieces(caption, [Edit()])  # type: ignore[list-item]
    assert [p.role for p in edited] == ["kept", "old", "new", "kept"]
    assert "&lt;b&gt;" in markup([Piece("<b>", "no such role")])
