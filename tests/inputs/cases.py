"""The registry of hostile inputs: (format, kind of fault) -> a function that writes one and returns how to read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

T = TypeVar("T")


def drawing(count: int, is_repeatable: bool) -> settings:
    """Return the settings with which hypothesis draws `count` cases: always the same ones, or always others."""
    return settings(
        max_examples=count,
        derandomize=is_repeatable,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a case that hangs would be repeated for minutes while it is made smaller
        print_blob=True,
    )


@dataclass(frozen=True)
class Case:
    """What a builder of one case gets: its folder, the format, and values drawn by hypothesis."""

    kind: str
    folder: Path
    data: st.DataObject

    def draw(self, strategy: st.SearchStrategy[T]) -> T:
        return self.data.draw(strategy)

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def pick(self, *values: T) -> T:
        return self.draw(st.sampled_from(values))

    @property
    def random(self) -> Random:
        """A generator with a drawn seed, for noise that nobody wants to see shrunk."""
        return Random(self.integer(0, 2**32))

    def noise(self, size: int) -> bytes:
        return self.random.randbytes(size)

    def mutate(self, content: bytes) -> bytes:
        """Return bytes after one to six edits: flipped bits, deleted, repeated, inserted, overwritten parts."""
        edited = bytearray(content)
        for _ in range(self.integer(1, 6)):
            start = self.integer(0, max(len(edited) - 1, 0))
            length = self.integer(1, 64)
            match self.integer(0, 5):
                case 0:
                    edited[start : start + 1] = bytes(b ^ (1 << self.integer(0, 7)) for b in edited[start : start + 1])
                case 1:
                    del edited[start : start + length]
                case 2:
                    edited[start:start] = edited[start : start + length]
                case 3:
                    edited[start:start] = self.noise(length)
                case 4:
                    edited[start : start + length] = bytes([self.pick(0, 255, 127, 128)]) * length
                case _:
                    edited[start : start + 4] = self.noise(4)
        return bytes(edited)

    def truncate(self, content: bytes) -> bytes:
        """Return the start of some bytes, never all of them."""
        return content[: self.integer(0, max(len(content) - 1, 0))]


Read = Callable[[], object]
"""Reads the input of a case: returns after its own checks of the result, or raises `CleanerError`."""
Builder = Callable[[Case], Read]
CASES: dict[tuple[str, str], Builder] = {}


def case(kinds: str, fault: str) -> Callable[[Builder], Builder]:
    """Register a builder for a fault of each of some formats, separated by blanks."""

    def register(builder: Builder) -> Builder:
        for kind in kinds.split():
            assert (kind, fault) not in CASES
            CASES[kind, fault] = builder
        return builder

    return register


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ODD_NUMBERS: st.SearchStrategy[Any] = st.sampled_from(
    [
        float("nan"),
        float("inf"),
        float("-inf"),
        -1,
        0,
        -0.0,
        1e308,
        -1e308,
        5e-324,
        2**31,
        2**63,
        -(2**63),
        10**400,
        0.5,
    ]
)
ODD_NAMES: st.SearchStrategy[str] = st.sampled_from(
    [
        *("../../secret.png", "/etc/hostname", "..\\..\\secret.png", "C:\\secret.png", "a/../../../b.png", "//x/y.png"),
        *("http://localhost/x.png", "file:///etc/passwd", "s3://bucket/x.png", "pipe:touch owned", "|touch owned"),
        *("a\0b.png", "a\nb.png", "\x1b[31mred.png", "x" * 300 + ".png", ".", "..", "", " ", "~", "~root/x.png", "-rf"),
        *("<img src=x onerror=alert(1)>.png", "[a](javascript:alert(1)).png", "$(touch owned).png", "=1+1.png", "%s%n"),
        *("\u202egnp.exe", "\ud800.png", "Ａ.png", "é.png", "e\u0301.png", "con.png", "a:b.png", "*.png", "{0..9}.png"),
    ]
) | st.text(max_size=20)
