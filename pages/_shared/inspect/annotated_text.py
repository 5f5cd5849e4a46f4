"""Draw captions with word roles and edits. The only HTML built from text: every word is escaped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from cleaner.text import Edit, Parse

ROLE_LABELS = {
    "object": "object",
    "attribute": "attribute",
    "relation": "relation",
    "verb": "verb",
    "count": "count",
    "other": "",
    "kept": "",
    "dropped": "dropped",
    "old": "old",
    "new": "new",
}
"""Role, which is also the CSS class -> label under the words."""
_EDIT_TAGS = {"old": "del", "dropped": "del", "new": "ins"}
"""Role -> tag that tells a screen reader of an edit; all others are <b>."""


@dataclass(frozen=True)
class Piece:
    """Adjacent words with one role."""

    text: str
    role: str = "kept"


def show_annotated_text(pieces: Iterable[Piece], *, is_small: bool = False, has_labels: bool = True) -> None:
    """Draw pieces in a row that wraps, each with the label of its role below."""
    st.html(make_html(pieces, is_small=is_small, has_labels=has_labels))


def make_html(pieces: Iterable[Piece], *, is_small: bool = False, has_labels: bool = True) -> str:
    """Return the HTML of annotated text. Escapes the text, which is untrusted; roles come from `ROLE_LABELS`."""
    spans = []
    for piece in pieces:
        role = piece.role if piece.role in ROLE_LABELS else "other"
        label = f"<small>{ROLE_LABELS[role]}</small>" if has_labels and ROLE_LABELS[role] else ""
        tag = _EDIT_TAGS.get(role, "b")
        spans.append(f'<span class="{role}"><{tag}>{escape(piece.text)}</{tag}>{label}</span>')
    return f'<div class="annotated-text{" small" if is_small else ""}">{"".join(spans)}</div>'


def parsed_pieces(parse: Parse) -> list[Piece]:
    """Return a caption's words with their roles; a relation or verb group is one piece."""
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
    """Return the caption's words as kept, dropped (not in `text`) or new (only in `text`)."""
    before, after = caption.split(), text.split()
    lowercase = [word.lower() for word in before], [word.lower() for word in after]
    pieces: list[Piece] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, *lowercase, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece(" ".join(before[a:b])))
            continue
        if b > a:
            pieces.append(Piece(" ".join(before[a:b]), "dropped"))
        if d > c:
            pieces.append(Piece(" ".join(after[c:d]), "new"))
    return pieces


def edited_pieces(caption: str, edits: Sequence[Edit]) -> list[Piece]:
    """Return the caption's words, each edit as its old words followed by its new ones."""
    pieces: list[Piece] = []
    position = 0
    for edit in sorted(edits, key=lambda e: e.span):
        start, end = edit.span
        pieces += [Piece(caption[position:start].strip()), Piece(edit.old, "old"), Piece(edit.new, "new")]
        position = end
    pieces.append(Piece(caption[position:].strip()))
    return [piece for piece in pieces if piece.text]
