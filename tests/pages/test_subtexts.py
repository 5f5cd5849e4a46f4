"""Subtexts: parse, draws, similarities; a typed caption is text and never markup."""

import json
from pathlib import Path

from PIL import Image

from pages._shared.annotated_text import Piece, edited_pieces, markup, shortened_pieces
from tests.pages.conftest import OpenPage, page_text
from tests.pages.runs import make_runs


def test_draw_changes_with_the_epoch_and_comes_back(open_page: OpenPage) -> None:
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
    assert "re-implementation" in page_text(app)


def test_own_caption_is_escaped(open_page: OpenPage) -> None:
    app = open_page("Subtexts")
    caption = next(t for t in app.text_input if t.key.startswith("subtexts.caption"))
    caption.set_value("a red car <img src=x onerror=alert(1)> [x](http://y) on the grass").run()
    assert not app.exception
    assert "<img" not in "".join(h.proto.body for h in app.get("html"))


def test_long_and_empty_captions_are_refused(open_page: OpenPage) -> None:
    app = open_page("Subtexts")
    caption = next(t for t in app.text_input if t.key.startswith("subtexts.caption"))
    caption.set_value("word " * 300).run()
    assert not app.exception
    assert "shorten it" in app.error[0].value
    next(t for t in app.text_input if t.key.startswith("subtexts.caption")).set_value(" ").run()
    assert "is empty" in app.error[0].value


def test_what_the_models_do_not_read_is_not_judged(open_page: OpenPage) -> None:
    app = open_page("Subtexts")
    assert "caption above all false" in page_text(app) or "prefers to it" in page_text(app)
    long = "an extraordinarily photogenic unputdownable bougainvillea " * 7 + "beside a red car on the grass"
    next(t for t in app.text_input if t.key.startswith("subtexts.caption")).set_value(long).run()
    assert not app.exception
    assert "longer than the models read" in app.warning[0].value
    assert "caption above all false" not in page_text(app)
    assert "prefers to it" not in page_text(app)


def test_data_of_few_pairs_are_counted_as_they_are(open_page: OpenPage, tmp_path: Path) -> None:
    rows = [f"{i}.png,a small red car and a yellow banana on the grass" for i in range(60)]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,caption", *rows]))
    for i in range(60):
        Image.new("RGB", (32, 32), (4 * i, 90, 30)).save(tmp_path / f"{i}.png")
    own = {"data_name": str(tmp_path / "pairs.csv"), "data_options": {"classes": "car,banana"}}
    attacked, _ = make_runs(tmp_path)
    config = json.loads((attacked / "config.json").read_text())
    (attacked / "config.json").write_text(json.dumps({**config, **own}))
    app = open_page("Subtexts")
    app.session_state["subtexts.margins"] = app.session_state["subtexts.signs"] = True
    app.run()
    assert not app.exception
    pairs = len(app.selectbox(key=f"subtexts.pair.{tmp_path / 'pairs.csv'} classes=car,banana").options)
    assert pairs < 60
    assert f"of {pairs} clean pairs; 0 drawn" in page_text(app)
    assert f"K = 10 % of {pairs} clean pairs" in page_text(app)
    assert f"The first {pairs} clean pairs" in page_text(app)


def test_margins_of_many_pairs_and_signs_of_failure(open_page: OpenPage, tmp_path: Path) -> None:
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
    assert "The first 300 clean pairs with the texts of epoch 0" in page_text(app)


def test_pieces() -> None:
    caption = "a small red car on the grass"
    short = shortened_pieces(caption, "a car on the grass")
    assert [(p.text, p.role) for p in short] == [("a", "kept"), ("small red", "dropped"), ("car on the grass", "kept")]

    class Edit:
        kind, span, old, new = "attribute", (8, 11), "red", "blue"

    edited = edited_pieces(caption, [Edit()])  # type: ignore[list-item]
    assert [p.role for p in edited] == ["kept", "old", "new", "kept"]
    assert "&lt;b&gt;" in markup([Piece("<b>", "no such role")])
