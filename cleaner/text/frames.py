"""Frames: a caption rewritten in a fixed syntactic form, with the same content words."""

from cleaner.text.parse import Parse, parse
from cleaner.text.tags import FINITE_TAGS

FRAMES = ("cleft", "clause")
"""cleft: "it is a cup that is seen on a table"; clause: "when you look, there is a cup on a table"."""


def rewrite(caption: str, frame: str) -> str:
    """Return a caption in one of the `FRAMES`, a function of the caption alone.

    The caption is split into its subject and the rest. A rest that begins with a finite verb ("a dog runs") gets no
    verb of the frame: "it is a dog that runs", "when you look, a dog runs". A caption that begins otherwise than with a
    noun phrase is taken as a whole: "when you look, there is there is a cup".
    """
    parsed = parse(caption)
    end = _find_subject_end(parsed)
    cut = parsed.tokens[end - 1].end if end else len(caption)
    subject, rest = caption[:cut].strip(), caption[cut:].strip()
    be = "are" if _is_plural(parsed, end) else "is"
    is_sentence = 0 < end < len(parsed.tokens) and parsed.tokens[end].tag in FINITE_TAGS
    if subject[:1].isupper() and subject[1:2] in (" ", *"abcdefghijklmnopqrstuvwxyz"):
        subject = subject[0].lower() + subject[1:]
    if frame == "clause":
        parts = ["when you look,", "" if is_sentence else f"there {be}", subject, rest]
    else:
        parts = ["it is", subject, "that" if is_sentence else f"that {be} seen", rest]
    return " ".join(part for part in parts if part)


def _find_subject_end(parsed: Parse) -> int:
    """Return the number of tokens of the first noun phrase with its "of" phrases and conjuncts; 0 if none is first."""
    chunks = parsed.chunks
    if not chunks or chunks[0].kind != "NP":
        return 0
    k = 1
    while k + 1 < len(chunks) and chunks[k + 1].kind == "NP" and chunks[k].text in ("of", "and", "or", "'s"):
        k += 2
    return chunks[k - 1].end


def _is_plural(parsed: Parse, end: int) -> bool:
    """Return whether the subject, the first `end` tokens, is plural: its first noun is, or "and" joins two."""
    if not end:
        return False
    first = parsed.chunks[0]
    is_joined = any(token.lower == "and" for token in parsed.tokens[first.end : end])
    return is_joined or parsed.tokens[first.head].tag in ("NNS", "NNPS")
