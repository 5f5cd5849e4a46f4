"""Attack x defense at the full setting: python -m benchmarks.attack_defense --protocol 2

The second protocol (benchmarks/protocol2, benchmarks/results/protocol.json). The command can be resumed, and several
processes may run it at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro

from benchmarks import protocol
from benchmarks.protocol2 import command


@dataclass(frozen=True)
class Options:
    """Measure missing cells."""

    model: str = "scenes-lite"
    """Built-in model."""
    protocol: Literal[2] = 2
    """2, the only one left: drawn targets, a full grid, five seeds."""
    parts: tuple[str, ...] = ()
    """Parts to measure, all if empty."""
    threads: int = 1
    """Threads of this process."""
    limit: int = 0
    """Measurements after which to stop; 0: all."""
    list: bool = False
    """Only list what is missing."""


def main(options: Options) -> None:
    """Run missing cells."""
    protocol.start()
    command.run(options.model, options.parts, threads=options.threads, limit=options.limit, only_list=options.list)


if __name__ == "__main__":
    main(tyro.cli(Options))
