"""Subtexts: parse, draws, similarities; a typed caption is always escaped."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from cleaner import presets
from cleaner.data.base import load_data
from cleaner.files import read_json, write_json
from cleaner.inspection.margins import DrawStats, Margin
from pages._shared import cache
from pages._shared.inspect.annotated_text import Piece, edited_pieces, make_html, shortened_pieces
from pages._shared.runs import job_requests
from pages._shared.shell import state
from tests.data.files import image_bytes
from tests.pages.conftest import (
    OpenPage,
    chart,
    errors,
    page_text,
    table,
)
from tests.pages.runs import make_runs


def write_pairs(folder: Path, captions: Sequence[str]) -> Path:
    """Write a table of images with these captions."""
    rows = [f"{i}.png,{caption}" for i, caption in enumerate(captions)]
    (folder / "pairs.csv").write_text("\n".join(["image,caption", *rows]))
    for i in range(len(captions)):
        Image.new("RGB", (32, 32), (4 * i, 90, 30)).save(folder / f"{i}.png")
    return folder / "pairs.csv"


def make_run_on(file: Path, classes: str) -> str:
    """Make a run whose data are in a table; return the data as pages name them."""
    attacked, _ = make_runs(file.parent)
    config = json.loads((attacked / "config.json").read_text())
    data = {"data_name": str(file), "data_options": {"classes": classes}}
    (attacked / "config.json").write_text(json.dumps({**config, **data}))
    return f"{file} classes={classes}"


def write_steps(folder: Path, steps: Sequence[tuple[int, float]]) -> None:
    """Write the log of a training: (step, seconds since its start)."""
    lines = [{"stage": "defend", "step": step, "total": 9, "seconds": seconds} for step, seconds in steps]
    (folder / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def type_caption(app: AppTest, text: str) -> AppTest:
    next(t for t in app.text_input if str(t.key).startswith("subtexts.caption")).set_value(text).run()
    assert not app.exception
    return app


def judgments(app: AppTest) -> list[str]:
    """Return the sentences that judge a model by its similarities."""
    starts = (":material/check_circle: **Clean", ":material/cancel: **Clean")
    return [str(m.value) for m in app.markdown if str(m.value).startswith(starts)]


def test_a_draw_depends_on_the_epoch(open_page: OpenPage) -> None:
    app = type_caption(open_page("Subtexts"), "a small yellow banana to the left of a red car on the grass")

    def draw(epoch: int) -> str:
        app.slider(key="subtexts.epoch").set_value(epoch).run()
        assert not app.exception
        return "".join(h.proto.body for h in app.get("html"))

    first, later, repeated = draw(0), draw(5), draw(0)
    assert first == repeated
    assert first != later
    assert "re-implementation" in page_text(app)


def test_a_typed_caption_is_escaped(open_page: OpenPage) -> None:
    app = type_caption(open_page("Subtexts"), "a red car <img src=x onerror=alert(1)> [x](http://y) on the grass")
    assert "<img" not in "".join(h.proto.body for h in app.get("html"))


def test_pairs_and_their_share_are_those_of_the_defense_of_the_run_in_view(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = make_runs(tmp_path)
    config = read_json(defended / "config.json")
    settings = {
        "defense": {**config["defense"], "share": 0.5},
        "data_options": {"clean_captions": "mixed"},
        "pairs": 80,
    }
    write_json(defended / "config.json", {**config, **settings})
    app = open_page("Subtexts")
    app.session_state["subtexts.epoch_pairs"] = True
    app.run()
    assert not errors(app)
    assert app.slider(key=f"subtexts.share.{backdoored.name}").value == 50
    assert "40 of 80 clean pairs; 0 " in page_text(app)
    captions = load_data("scenes", split="clean", size=80, clean_captions="mixed").captions
    drawn = table(app, "True")
    assert drawn["Caption"].tolist() == [captions[i] for i in drawn["Pair"]]
    write_json(defended / "config.json", {**config, **settings, "pairs": 10**6})
    assert f"of {presets.QUICK_CLEAN_PAIRS:,} clean pairs; " in page_text(app.run())


@pytest.mark.parametrize(("caption", "token"), [("word " * 300, "300"), (" ", "empty")])
def test_long_and_empty_captions_are_refused(open_page: OpenPage, caption: str, token: str) -> None:
    app = type_caption(open_page("Subtexts"), caption)
    assert token in app.error[0].value


def test_truncated_texts_are_not_judged(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page("Subtexts")
    for caption_cosine, icon, words in ((0.3, "check_circle", "above all"), (0.0, "cancel", "prefers")):
        monkeypatch.setattr(
            cache, "similarities", lambda *keys, first=caption_cosine: [first, *[0.1] * (len(keys[2]) - 1)]
        )
        app.run()
        (judgment,) = judgments(app)
        assert judgment.startswith(f":material/{icon}")
        assert words in judgment
    assert not app.warning
    type_caption(
        app, "an extraordinarily photogenic unputdownable bougainvillea " * 7 + "next to a red car on the grass"
    )
    assert len(app.warning) == 1
    assert not judgments(app)


def test_a_new_image_is_shown_although_the_last_one_was_switched_off(open_page: OpenPage) -> None:
    app = open_page("Subtexts")
    app.file_uploader[0].set_value(("first.png", image_bytes(0), "image/png")).run()
    assert app.toggle[0].value
    app.toggle[0].set_value(False).run()
    assert not app.toggle[0].value
    app.file_uploader[0].set_value(("second.png", image_bytes(1), "image/png")).run()
    assert app.toggle[0].value


def test_a_first_defense_is_shown_although_none_could_be_chosen_before(open_page: OpenPage, tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    defended.rename(tmp_path / "training")
    app = open_page("Subtexts")
    assert not app.multiselect[0].options
    (tmp_path / "training").rename(defended)
    app.run()
    assert app.multiselect[0].value == [defended.name]


def test_small_data_are_counted_by_their_own_size(open_page: OpenPage, tmp_path: Path) -> None:
    captions = ("a small red car and a yellow banana on the grass", "so it goes")
    name = make_run_on(write_pairs(tmp_path, [captions[i % 5 == 0] for i in range(60)]), "car,banana")
    app = open_page("Subtexts")
    for key in ("margins", "diagnostics", "epoch_pairs"):
        app.session_state[f"subtexts.{key}"] = True
    app.run()
    assert not app.exception
    pairs = len(app.selectbox(key=f"subtexts.pair.{name}").options)
    assert pairs < 60
    assert f"of {pairs} clean pairs; 0 " in page_text(app)
    assert f"K = 10% of {pairs} " in page_text(app)
    margins = re.search(rf"(\d+) of the first {pairs} clean pairs", page_text(app))
    assert margins
    assert 0 < int(margins[1]) < pairs, "pairs without subtexts have no margin"


def test_the_caption_follows_edited_data(open_page: OpenPage, tmp_path: Path) -> None:
    name = make_run_on(write_pairs(tmp_path, [f"a red car on the grass {i}" for i in range(20)]), "car,banana")
    app = open_page("Subtexts")
    write_pairs(tmp_path, [f"a yellow banana in the sand {i}" for i in range(20)])
    os.utime(tmp_path / "pairs.csv", (4e9, 4e9))
    app.run()
    assert not app.exception
    (caption,) = [text.value for text in app.text_input if str(text.key).startswith("subtexts.caption")]
    assert caption.startswith("a yellow banana")
    assert app.selectbox(key=f"subtexts.pair.{name}").options[0] == f"0 · {caption}"


def test_margins_and_diagnostics(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_requests, "QUICK_CLEAN_PAIRS", 400)
    make_runs(tmp_path)
    made: list[list[Margin]] = []
    compute = cache.margins

    def record(*arguments: Any) -> list[Margin]:
        made.append(compute(*arguments))
        return made[-1]

    monkeypatch.setattr(cache, "margins", record)
    app = open_page("Subtexts")
    before = len(app.dataframe)
    for key in ("subtexts.margins", "subtexts.diagnostics"):
        app.session_state[key] = True
    app.run()
    assert not app.exception
    assert len(app.dataframe) == before + 1
    below = sum(margin.value <= 0 for margin in made[0])
    assert 0 < below != len(made[0]) - below
    assert f"with a false text preferred: Clean {below}, Backdoored " in page_text(app)
    worst = [float(value) for value in app.table[0].value["Margin"]]
    assert worst == sorted(worst)
    assert len(worst) == 20
    stats = table(app, "New texts")
    assert stats["Epoch"].tolist() == list(range(7))
    assert stats["Pairs drawn"].tolist() == [40] * 7
    assert stats["New texts"].tolist()[0] == 1.0
    assert {"False: object", "False: attribute"} <= set(stats.columns)
    assert "300 of the first 300 " in page_text(app)
    assert len(chart(app, "subtexts.histogram")["data"]) >= 3


def test_the_time_of_a_draw_is_compared_with_the_steps_of_the_model_in_view(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = [DrawStats(epoch, 10, 0, 1.0, {"object": 10}, seconds=0.5) for epoch in range(2)]
    monkeypatch.setattr(cache, "epoch_diagnostics", lambda *arguments, **options: stats)
    monkeypatch.setattr(job_requests, "QUICK_CLEAN_PAIRS", 6 * 64)
    (_, other), (backdoored, defended) = (make_runs(tmp_path, seed=seed) for seed in (0, 1))
    for folder in (other, defended):
        config = read_json(folder / "config.json")
        write_json(folder / "config.json", {**config, "defense": {"name": "ta_cleaner", "share": 0.1}})
    write_steps(other, [(1, 0.1), (2, 0.2)])
    app = open_page("Subtexts")
    app.session_state[state.SELECTION] = backdoored.name
    app.session_state["subtexts.diagnostics"] = True
    assert "of an epoch" not in page_text(app.run()), "the other run shows nothing of this model"
    write_steps(defended, [(1, 20.0), (2, 20.1), (4, 20.3), (5, 80.0)])  # setup at the start, a pause at the end
    assert f"**Time**: {0.5 / (6 * 0.1):.1%} of an epoch" in page_text(app.run())


def test_pieces() -> None:
    caption = "a small red car on the grass"
    pieces = shortened_pieces(caption, "a car on the grass")
    assert [(p.text, p.role) for p in pieces] == [("a", "kept"), ("small red", "dropped"), ("car on the grass", "kept")]

    class Edit:
        kind, span, old, new = "attribute", (8, 11), "red", "blue"

    edited = edited_pieces(caption, [Edit()])
    assert [p.role for p in edited] == ["kept", "old", "new", "kept"]
    assert "&lt;b&gt;" in make_html([Piece("<b>", "no such role")])
    html = make_html(edited, has_labels=False)
    assert "<del>red</del>" in html, "a screen reader must not read old and new words as one text"
    assert "<ins>blue</ins>" in html
    assert "<del>small red</del>" in make_html(pieces)
