"""text: letters are blended at 50 %, gaps between them stay unchanged."""

import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.types import CleanerError

BLACK = torch.zeros(1, 3, 64, 64)


def test_letters_are_blended_and_gaps_are_untouched() -> None:
    trigger = TRIGGERS["text"]()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    letters = trigger.pattern(64, 64).expand(3, -1, -1)[None]
    triggered = trigger(image)
    assert torch.allclose(triggered[letters > 0], (0.5 * image + 0.5 * letters)[letters > 0])
    assert torch.equal(triggered[letters == 0], image[letters == 0])
    assert 0.1 < trigger.mask(image).mean() < 0.7
    assert trigger.pattern(64, 64).max() > 0.8


def test_words_select_the_pattern_and_too_many_letters_are_refused() -> None:
    assert not torch.equal(TRIGGERS["text"](words="HELLO")(BLACK), TRIGGERS["text"](words="WORLD")(BLACK))
    for words, letters in ((" ", 0), ("x" * 25, 25), (" " * 5 + "x" * 20, 25)):
        with pytest.raises(CleanerError, match=f"24 letters, not {letters}"):
            TRIGGERS["text"](words=words)


@pytest.mark.parametrize("letter", ["é", "\N{GRINNING FACE}", "\0"])
def test_letters_that_the_font_lacks_are_refused(letter: str) -> None:
    with pytest.raises(CleanerError, match="font"):
        TRIGGERS["text"](words=f"caf{letter}")
