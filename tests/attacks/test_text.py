"""text: the words in white at 50 %, and nothing between the letters."""

import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.types import CleanerError

BLACK = torch.zeros(1, 3, 64, 64)


def test_letters_are_blended_and_gaps_are_untouched() -> None:
    trigger = TRIGGERS["text"]()
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    letters = trigger.pattern(64, 64).expand(3, -1, -1)[None]
    triggered = trigger(picture)
    assert torch.allclose(triggered[letters > 0], (0.5 * picture + 0.5 * letters)[letters > 0])
    assert torch.equal(triggered[letters == 0], picture[letters == 0])
    assert 0.1 < trigger.mask(picture).mean() < 0.7
    assert trigger.pattern(64, 64).max() > 0.8


def test_other_words_are_another_pattern_and_too_many_are_refused() -> None:
    assert not torch.equal(TRIGGERS["text"](words="HELLO")(BLACK), TRIGGERS["text"](words="WORLD")(BLACK))
    for words in (" ", "x" * 25):
        with pytest.raises(CleanerError, match="1 to 24 letters"):
            TRIGGERS["text"](words=words)


@pytest.mark.parametrize("letter", ["é", "\N{GRINNING FACE}", "\0"])
def test_letters_that_the_font_lacks_are_refused(letter: str) -> None:
    with pytest.raises(CleanerError, match="which its font lacks: use English letters"):
        TRIGGERS["text"](words=f"caf{letter}")
