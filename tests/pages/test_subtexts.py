"""Subtexts: parse, draws, similarities; a typed caption is text and never markup."""

from pages._shared.words import Piece, edited_pieces, markup, shortened_pieces
from tests.pages.conftest import Open, texts


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


def test_pieces() -> None:
    caption = "a small red car on the grass"
    short = shortened_pieces(caption, "a car on the grass")
    assert [(p.text, p.role) for p in short] == [("a", "kept"), ("small red", "dropped"), ("car on the grass", "kept")]

    class Edit:
        kind, span, old, new = "attribute", (8, 11), "red", "blue"

    edited = edited_pieces(caption, [Edit()])  # type: ignore[list-item]
    assert [p.role for p in edited] == ["kept", "old", "new", "kept"]
    assert "&lt;b&gt;" in markup([Piece("<b>", "no such role")])
