"""Tables of cases: a tab-separated file in the folder `cases` next to the test that reads it, a case a line."""

from __future__ import annotations

from pathlib import Path


def read_cases(test_file: str, name: str) -> list[tuple[str, ...]]:
    """Return the fields of each line of `cases/<name>.tsv` next to a test file."""
    text = Path(test_file).with_name("cases").joinpath(f"{name}.tsv").read_text(encoding="utf-8")
    return [tuple(line.split("\t")) for line in text.splitlines()]
