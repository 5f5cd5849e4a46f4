"""Names and texts of others in pages, report and exports: no HTML, no Markdown, no formula."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

from cleaner.files import read_json, runs_root, shipped_assets, write_json
from cleaner.inspection.pair_detection import locate_detection_file, read_detection, write_detection
from cleaner.reports.film import load_movies, render_film_html
from cleaner.reports.html import render_html
from cleaner.reports.tables import to_csv
from cleaner.runs.film import read_film, write_film
from cleaner.runs.store import annotate, list_runs, read_record
from pages._shared import cache
from pages._shared.shell.menu import titles
from pages._shared.shell.wording import WORD_JOINER, escape_markdown
from tests.films import save_runs
from tests.pages.conftest import OpenPage, builtin_model, go_to, open_page  # noqa: F401  # fixtures
from tests.pages.runs import make_runs

HTML = "<img src=x onerror=alert(1)>"
LINK = "[evil](javascript:alert(1))"
IMAGE = "![x](http://evil.example/x.png)"
EVIL = f"{HTML}{LINK}{IMAGE}\n# :material/home: $x$ `y` **z**"
PAGES_WITHOUT_NAMES = ("Film", "Detect", "Trigger search", "Exercises", "Challenge")
"""Pages that name nothing of a run that has no film and no manifest."""
FORMULAS = ("=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", "＋1", "－1", "＠x")


def poison_texts(folder: Path, valid: Iterable[str] = ()) -> None:
    """Put hostile text in every name of a run that a user or a file can set, but not in the `valid` ones."""
    config = read_json(folder / "config.json")
    hostile = {"target_class": EVIL, "model": EVIL, "clean_model": EVIL, "source": EVIL, "data": EVIL, "sweep": EVIL}
    hostile["trigger"] = {**config["trigger"], "name": EVIL}
    if config.get("defense"):
        hostile["defense"], hostile["variant"] = {"name": EVIL}, {EVIL: EVIL}
    hostile["created"] = EVIL
    write_json(folder / "config.json", config | {key: hostile[key] for key in hostile if key not in valid})
    metrics = read_json(folder / "metrics.json")
    write_json(folder / "metrics.json", {**metrics, "data": EVIL, "target_class": EVIL, "protocol": EVIL})
    annotate(folder, name=EVIL, note=EVIL, tags=[EVIL])


def drawn_markdown(app: AppTest | Block) -> list[str]:
    """Return every text of a page, or of a part of it, that the browser reads as Markdown."""
    kinds = ("markdown", "caption", "info", "error", "warning", "success", "title", "header", "subheader", "metric")
    texts = [str(element.value) for kind in kinds for element in app.get(kind)]
    for kind in ("button", "selectbox", "multiselect", "radio", "toggle", "text_input", "expander", "metric", "tab"):
        texts += [str(getattr(element, "label", "")) for element in app.get(kind)]
    texts += [link.proto.label for link in app.get("page_link")]
    return texts


def unescaped_charts(app: AppTest) -> list[str]:
    """Return the charts with HTML in a text; Plotly makes links and images of some."""
    specs = [json.dumps(json.loads(chart.proto.spec)) for chart in app.get("plotly_chart")]
    return [spec for spec in specs if "<img" in spec]


def is_harmless(text: str) -> bool:
    """Return whether the hostile parts of a text, if any, are escaped."""
    unescaped = r"(?<!\\)<img|(?<!\\)\]\(javascript|(?<!\\)!\[x|(?<!\\)\]\(http://evil"
    replaced = r"\\:(//|material)"  # Streamlit makes a link or an icon of it although it is escaped
    return not re.search(f"{unescaped}|{replaced}", text)


STREAMLIT = re.compile(
    r"https?://|www\.|[-.\w+]@[-\w]+\.[-\w]|:material[/_]\w+:|:streamlit:|(^|\s)(<->|->|<-|--|>=|<=|~=)(\s|$)", re.I
)
"""What Streamlit replaces in a text once its escapes are resolved."""


def shown(text: str) -> str:
    """Return an escaped text as Markdown shows it."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", escape_markdown(text))


@pytest.mark.parametrize(
    "text",
    [
        *("http://evil.example", "HTTPS://x.y", "see www.x.y", "a.b+c@d.com", ":material/home:", ":material_home:"),
        *(":streamlit:", "a cat -> a dog", "<- x", "x <->", "-- --", "x >= y", "<=", "~="),
    ],
)
def test_links_icons_and_arrows_stay_text(text: str) -> None:
    assert STREAMLIT.search(text)
    assert not STREAMLIT.search(shown(text))
    assert shown(text).replace(WORD_JOINER, "") == text


@pytest.mark.parametrize(
    "text", ["run--2 --force", "a->b", "hf-hub:org/name", "C:/x", "me@host", "1 - 2", "x: material"]
)
def test_other_text_can_be_copied_as_it_is(text: str) -> None:
    assert shown(text) == text


def test_the_check_finds_unescaped_text() -> None:
    assert not any(map(is_harmless, (HTML, LINK, IMAGE, EVIL)))
    assert is_harmless(escape_markdown(EVIL))


@pytest.mark.parametrize("title", titles())
def test_pages_escape_every_name_of_a_run(open_page: OpenPage, tmp_path: Path, title: str) -> None:  # noqa: F811
    for folder in make_runs(tmp_path):
        poison_texts(folder)
    app = open_page("Overview")
    app.session_state["run_table"] = True
    go_to(app, title)
    texts = drawn_markdown(app)
    assert any("onerror" in text for text in texts)
    assert [text for text in texts if not is_harmless(text)] == []
    for element in app.get("html"):
        assert HTML not in element.proto.body
    assert unescaped_charts(app) == []


@pytest.mark.parametrize("title", [title for title in titles() if title not in PAGES_WITHOUT_NAMES])
def test_pages_escape_the_names_of_a_run_that_they_load(open_page: OpenPage, tmp_path: Path, title: str) -> None:  # noqa: F811
    backdoored, defended = make_runs(tmp_path)
    valid = ["trigger", "clean_model", "defense", *(["target_class"] if title == "Embeddings" else [])]
    for folder in (backdoored, defended):
        poison_texts(folder, valid)
    config = read_json(defended / "config.json")
    suspect = {**config["suspect"], "created": EVIL}
    write_json(defended / "config.json", {**config, "parent": backdoored.name, "suspect": suspect})
    app = go_to(open_page("Overview"), title)
    assert not app.error
    texts = drawn_markdown(app.main)
    assert any("onerror" in text for text in texts)
    assert [text for text in texts if not is_harmless(text)] == []
    assert [element for element in app.get("html") if HTML in element.proto.body] == []
    assert unescaped_charts(app) == []


def test_notes_of_the_talk_escape_every_name(open_page: OpenPage, tmp_path: Path) -> None:  # noqa: F811
    for folder in make_runs(tmp_path):
        poison_texts(folder)
    app = open_page("Overview")
    app.button(key="stage.start").click().run()
    before = len([text for text in drawn_markdown(app) if "onerror" in text])
    app.button(key="stage.notes").click().run()
    texts = drawn_markdown(app)
    assert len([text for text in texts if "onerror" in text]) > before
    assert [text for text in texts if not is_harmless(text)] == []


def test_words_of_sentences_are_ours(tmp_path: Path) -> None:
    folder = make_runs(tmp_path)[0]
    metrics = read_json(folder / "metrics.json")
    for queries in ("images", "captions"):
        write_json(folder / "metrics.json", {**metrics, "queries": queries})
        assert read_record(folder).metric("asr") == metrics["asr"]["1"]
    write_json(folder / "metrics.json", {**metrics, "queries": IMAGE})
    record = read_record(folder)
    assert (record.queries, record.metric("asr")) == ("images", None), "the file is refused"


def test_detectors_of_a_stored_detection_are_ours(
    open_page: OpenPage,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = runs_root() / "copied"
    shutil.copytree(shipped_assets() / "example" / "example-badnet", folder)
    found = read_detection(folder)
    assert found is not None
    hostile = replace(found, scores={IMAGE: found.scores["dao"]}, auroc_by_size={IMAGE: []}, figures={})
    write_detection(hostile, locate_detection_file(folder))
    computed: list[Path] = []
    monkeypatch.setattr(cache, "make_detection", lambda folder, _: computed.append(folder))
    app = open_page("Detect")
    assert [text for text in drawn_markdown(app) if not is_harmless(text)] == []
    assert computed == [folder]


class Parsed(HTMLParser):
    """Tags of a page, and the attributes that could load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.risky: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            is_source = name in ("src", "href", "action", "data", "srcset") and not (value or "").startswith(
                "data:image/"
            )
            if name.startswith("on") or is_source:
                self.risky.append(f"{tag} {name}={value}")


def test_the_report_escapes_every_name_of_a_run(tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    clean = Parsed(render_html([read_record(folder) for folder in runs], "origin"))
    for folder in runs:
        poison_texts(folder)
    text = render_html([read_record(folder) for folder in runs], EVIL)
    hostile = Parsed(text)
    assert hostile.risky == clean.risky == []
    assert set(hostile.tags) <= set(clean.tags)
    assert text.count("<script") == render_html([read_record(folder) for folder in runs]).count("<script")
    assert "Content-Security-Policy" in text


def poison_film(folder: Path) -> None:
    """Put hostile text in every name in the film of a run."""
    film = read_film(folder)
    assert film is not None
    names = [f"{EVIL}</script>{i}" for i in range(len(film.class_names))]
    write_film(replace(film, class_names=names, data=EVIL, explainer=EVIL), folder)


def test_a_film_shows_every_name_as_text(tmp_path: Path) -> None:
    folders = save_runs(tmp_path / "runs")
    clean = Parsed(render_film_html(load_movies([read_record(folder) for folder in folders[:2]])))
    for folder in folders:
        poison_film(folder)
        poison_texts(folder)
    text = render_film_html(load_movies([read_record(folder) for folder in folders[:2]]))
    hostile = Parsed(text)
    assert hostile.risky == clean.risky == []
    assert hostile.tags == clean.tags
    assert "onerror" in text
    assert "default-src 'none'" in text


def test_the_film_page_shows_every_name_as_text(open_page: OpenPage, tmp_path: Path) -> None:  # noqa: F811
    for folder in save_runs(tmp_path / "runs"):
        poison_film(folder)
        poison_texts(folder)
    app = open_page("Film")
    texts = drawn_markdown(app)
    assert sum("onerror" in text for text in texts) >= 2
    assert [text for text in texts if not is_harmless(text)] == []


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_of_an_export_is_a_formula(formula: str, tmp_path: Path) -> None:
    folder = make_runs(tmp_path)[0]
    config: dict[str, Any] = read_json(folder / "config.json")
    config |= {"target_class": formula, "model": formula, "clean_model": formula, "created": formula}
    write_json(folder / "config.json", {**config, "trigger": {"name": formula}})
    metrics = read_json(folder / "metrics.json")
    write_json(folder / "metrics.json", {**metrics, "data": formula, "protocol": formula})
    _, *rows = csv.reader(io.StringIO(to_csv(list_runs(folder.parent))))
    cells = [cell for row in rows for cell in row]
    line = " ".join(formula.splitlines())
    assert sum(cell == f"'{line}" for cell in cells) >= 4
    assert [cell for cell in cells if cell.lstrip()[:1] in tuple("=+-@＝＋－＠")] == []
