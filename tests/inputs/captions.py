"""Captions: empty, endless, from right to left, with emoji, control signs, markup, formulas."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import strategies as st

from cleaner.labels import to_label
from cleaner.models.tokenizer import load_tokenizer
from cleaner.reports.tables import to_csv
from cleaner.runs.record import RunRecord
from cleaner.text import draw_subtexts, eda, negative_subtexts, parse, positive_subtexts
from pages._shared.inspect.annotated_text import make_html, parsed_pieces
from pages._shared.shell.wording import escape_markdown
from tests.inputs.cases import Case, Read, case

WORDS = [
    "a",
    "red",
    "car",
    "on",
    "the",
    "grass",
    "two",
    "dogs",
    "next",
    "to",
    "an",
    "old",
    "blue",
    "house",
    "playing",
    "with",
    "3",
    "balls",
    "and",
    "no",
    "black",
    "cat",
]
MARKUP = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "![](http://x/y.png)",
)
MARKUP += ("</div><iframe src=//x>", "&lt;b&gt;", ":material/home:", "$\\href{javascript:alert(1)}{x}$", "`x`", "# x")
FORMULAS = ("=1+1", "+1", "-1", "@SUM(1)", '=HYPERLINK("http://x")', "\t=1", "\r=1", "=cmd|' /C calc'!A0", "＝1+1")


class Tags(HTMLParser):
    """Collects the tags of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def reader(caption: str) -> Read:
    """Return everything that is done to a caption: parsed, rewritten, encoded, drawn, exported."""

    def read() -> None:
        parsed = parse(caption)
        assert [i for chunk in parsed.chunks for i in range(chunk.start, chunk.end)] == list(range(len(parsed.tokens)))
        for subtext in (*positive_subtexts(caption, seed=1), *negative_subtexts(caption, n=3, seed=1)):
            assert isinstance(subtext.text, str)
        draw_subtexts(caption, seed=1, epoch=0, index=2)
        eda(caption, seed=1)
        tokens = load_tokenizer()([caption])
        assert tokens.shape == (1, 77)
        html = Tags(make_html(parsed_pieces(parsed)))
        assert html.tags <= {"div", "span", "b", "small"}
        assert html.attributes <= {"class"}
        assert is_escaped(escape_markdown(caption))
        check_csv(caption)
        to_label(caption)

    return read


def is_escaped(text: str) -> bool:
    """Return whether every sign of Markdown has a backslash of its own, and the text is one line."""
    rest = re.sub(r"\\[!-/:-@\[-`{-~]", "", text)
    return not set(rest) & set("`*_{}[]()<>#+-!|$:~&\\\n\r")


def check_csv(text: str) -> None:
    """Export a run with this text in place of every name; no spreadsheet may run a cell."""
    config = {"stage": "backdoored", "target_class": text, "model": text, "trigger": {"name": text}, "created": text}
    cells = list(csv.reader(io.StringIO(to_csv([RunRecord.from_config(Path("x"), config)]))))[1]
    for cell in cells:
        assert cell.lstrip()[:1] not in ("=", "+", "-", "@", "＝", "＋", "－", "＠"), cell


@case("caption", "empty")
def empty(case: Case) -> Read:
    blanks = st.text(st.sampled_from(" \t\n\r\u00a0\u2003\u200b\ufeff.,;!?-\"'"), max_size=12)
    return reader(case.draw(blanks))


@case("caption", "long")
def long(case: Case) -> Read:
    """Up to 10,000 words, and one word of 100,000 letters."""
    count, words = case.pick(100, 1_000, 10_000), case.random.choices(WORDS, k=300)
    if case.integer(0, 4) == 0:
        return reader(case.pick("a", "-", "'", "é", "1", ",") * case.pick(1_000, 100_000))
    return reader(case.pick(" ", ", ", " . ").join((words * 40)[:count]))


@case("caption", "right to left")
def right_to_left(case: Case) -> Read:
    parts = st.sampled_from(["\u202e", "\u2067", "\u2069", "\u200f", "שלום", "مرحبا", "cat", " ", "red", "٣"])
    return reader("".join(case.draw(st.lists(parts, min_size=1, max_size=20))))


@case("caption", "emoji")
def emoji(case: Case) -> Read:
    parts = st.sampled_from(["😀", "👩‍👩‍👧", "🏳️‍🌈", "🇩🇪", "\u200d", "\ufe0f", "e\u0301" * 5, "a cat", " ", "猫"])
    return reader("".join(case.draw(st.lists(parts, min_size=1, max_size=20))))


@case("caption", "control signs")
def control_signs(case: Case) -> Read:
    control = st.characters(categories=["Cc", "Cf", "Co", "Zl", "Zp"])
    parts = st.text(control, min_size=1, max_size=3) | st.sampled_from(WORDS)
    return reader(" ".join(case.draw(st.lists(parts, min_size=1, max_size=12))))


@case("caption", "any text")
def any_text(case: Case) -> Read:
    return reader(case.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=80)))


@case("caption", "markup")
def markup(case: Case) -> Read:
    parts = st.sampled_from(MARKUP) | st.text("<>&\"'`*_[]()!#|\\$:~/ab \n", max_size=12)
    return reader("".join(case.draw(st.lists(parts, min_size=1, max_size=4))))


@case("caption", "formula")
def formula(case: Case) -> Read:
    return reader(case.pick(*FORMULAS) + case.draw(st.text("=+-@\t\r\n 1a|", max_size=8)))
