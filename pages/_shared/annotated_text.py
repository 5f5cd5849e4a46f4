"""Captions drawn as words: roles of a parse, and edits. The only HTML made from text: every word is escaped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from cleaner.text import Edit, Parse

ROLES = {
    "object": "thing",
    "attribute": "property",
    "relation": "relation",
    "verb": "action",
    "count": "number",
    "other": "",
    "kept": "",
    "dropped": "dropped",
    "old": "old",
    "new": "new",
}


@dataclass(frozen=True)
class Piece:
    """Some words and what they are."""

    text: str
    role: str = "kept"


def ribbon(pieces: Iterable[Piece], small: bool = False, notes: bool = True) -> None:
    """Draw pieces in a row that wraps; a word under each piece says its role."""
    st.html(markup(pieces, small, notes))


def markup(pieces: Iterable[Piece], small: bool = False, notes: bool = True) -> str:
    """Return the HTML of a ribbon. Text may come from anywhere: it is escaped here; roles come from `ROLES`."""
    spans = []
    for piece in pieces:
        role = piece.role if piece.role in ROLES else "other"
        note = f"<small>{ROLES[role]}</small>" if notes and ROLES[role] else ""
        spans.append(f'<span class="{role}"><b>{escape(piece.text)}</b>{note}</span>')
    return f'<div class="ribbon{" small" if small else ""}">{"".join(spans)}</div>'


def parsed_pieces(parse: Parse) -> list[Piece]:
    """Return a caption's words with their roles, prepositions and verb groups in one piece."""
    pieces: list[Piece] = []
    for chunk in parse.chunks:
        tokens = parse.tokens[chunk.start : chunk.end]
        if chunk.kind in ("REL", "VP"):
            role = "relation" if chunk.kind == "REL" else "verb"
            pieces.append(Piece(" ".join(token.text for token in tokens), role))
            continue
        for number, token in enumerate(tokens, start=chunk.start):
            role = "other"
            if chunk.kind == "NP":
                if number == chunk.head:
                    role = "object"
                elif number in chunk.attributes:
                    role = "attribute"
                elif number == chunk.count:
                    role = "count"
            pieces.append(Piece(token.text, role))
    return pieces


def shortened_pieces(caption: str, text: str) -> list[Piece]:
    """Return the caption's words, those that `text` lacks as dropped and those it adds as new."""
    before, after = caption.split(), text.split()
    lower = [word.lower() for word in before], [word.lower() for word in after]
    pieces: list[Piece] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, *lower, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece(" ".join(before[a:b])))
            continue
        if b > a:
            pieces.append(Piece(" ".join(before[a:b]), "dropped"))
        if d > c:
            pieces.append(Piece(" ".join(after[c:d]), "new"))
    return pieces


def edited_pieces(caption: str, edits: Sequence[Edit]) -> list[Piece]:
    """Return the caption with each edit as old words, then new ones."""
    pieces: list[Piece] = []
    at = 0
    for edit in sorted(edits, key=lambda e: e.span):
        start, end = edit.span
        pieces += [Piece(caption[at:start].strip()), Piece(edit.old, "old"), Piece(edit.new, "new")]
        at = end
    pieces.append(Piece(caption[at:].strip()))
    return [piece for piece in pieces if piece.text]
