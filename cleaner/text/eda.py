"""Easy data augmentation (arXiv:1901.11196), CleanCLIP's text augmentation (arXiv:2303.03323)."""

import string
from functools import lru_cache
from random import Random

from cleaner.seed import derive_seed
from cleaner.text.lexicon import load_lexicon
from cleaner.text.tables import read_set

_STOPWORDS = read_set("grammar", "stopwords")
_PUNCTUATION = string.punctuation + "“”‘’…"


def eda(caption: str, seed: int = 0, alpha: float = 0.1) -> str:
    """Return the caption after one of four operations, drawn by the seed, on max(1, alpha * words) words.

    Synonym replacement, insertion of a synonym, swap of two words, deletion of each word with probability alpha.
    Synonyms are of a word's likeliest sense as each part of speech ("dog": hound, chase), from the lexicon; case,
    digits and punctuation stay. CleanCLIP's code takes all senses of WordNet, reduces plurals, may insert a synonym
    of a stop word, and first lower-cases the caption and drops its digits and punctuation.
    """
    tokens = caption.split()
    if not tokens or alpha <= 0:
        return caption
    rng = Random(derive_seed(seed, "eda", caption))
    n = max(1, int(alpha * len(tokens)))
    operation = (_replace, _insert, _swap)[rng.randrange(3)] if rng.random() < 0.75 else None
    new = operation(tokens, n, rng) if operation else _delete(tokens, alpha, rng)
    return " ".join(new) if new else caption


@lru_cache(maxsize=16384)
def _synonyms(word: str) -> tuple[str, ...]:
    lexicon = load_lexicon()
    lower = word.lower()
    return tuple(sorted({s for pos in "nvar" for s in lexicon.synonyms(pos, lower)} - {lower}))


@lru_cache(maxsize=16384)
def _split_edges(token: str) -> tuple[str, str, str]:
    """Return the punctuation before a word, the word and the punctuation after it: "", "grapes", ","."""
    word = token.strip(_PUNCTUATION)
    start = token.index(word)
    return token[:start], word, token[start + len(word) :]


def _words_with_synonyms(tokens: list[str]) -> list[str]:
    """Return the different words that have synonyms, stop words excepted."""
    words = {_split_edges(token)[1] for token in tokens}
    return sorted({w for w in words if w.lower() not in _STOPWORDS and _synonyms(w)})


def _replace(tokens: list[str], n: int, rng: Random) -> list[str]:
    """Replace up to n different words, stop words excepted, by a synonym at every occurrence."""
    replaceable = _words_with_synonyms(tokens)
    chosen = {w: rng.choice(_synonyms(w)) for w in rng.sample(replaceable, min(n, len(replaceable)))}
    return [before + chosen.get(w, w) + after for before, w, after in map(_split_edges, tokens)]


def _insert(tokens: list[str], n: int, rng: Random) -> list[str]:
    """Insert a synonym of a random word at a random position, n times."""
    sources = _words_with_synonyms(tokens)
    new = list(tokens)
    for _ in range(n if sources else 0):
        new.insert(rng.randrange(len(new) + 1), rng.choice(_synonyms(rng.choice(sources))))
    return new


def _swap(tokens: list[str], n: int, rng: Random) -> list[str]:
    """Swap two random words, n times."""
    new = list(tokens)
    for _ in range(n if len(new) > 1 else 0):
        i, j = rng.sample(range(len(new)), 2)
        new[i], new[j] = new[j], new[i]
    return new


def _delete(tokens: list[str], alpha: float, rng: Random) -> list[str]:
    """Delete each word with probability alpha, but keep at least one."""
    return [w for w in tokens if rng.random() >= alpha] or [rng.choice(tokens)]
