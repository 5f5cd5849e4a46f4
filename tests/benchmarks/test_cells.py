"""What the captions of tables say about the code behind their rows."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown.cells import describe_origins, describe_text_versions


def make_row(defense: dict[str, Any] | None, **stated: Any) -> dict[str, Any]:
    return {"config": {"pairs": 6000, "defense": defense}, "device": "cpu", "commit": "abc", **stated}


def test_text_versions_are_those_of_the_rows_on_subtexts() -> None:
    old, plain = make_row({"name": "ta_cleaner", "share": 0.1}), make_row({"name": "par"}, text_version=1)
    new = make_row({"name": "cleanclip_short", "share": 1.0}, text_version=1)
    assert describe_text_versions([make_row(None), plain, {"device": "cpu"}]) == ""
    assert describe_text_versions([plain, new, new]) == "; text version 1"
    assert describe_text_versions([old, old]) == "; text version not recorded"
    assert describe_origins([old, new]) == "cpu; commit abc; text version not recorded / 1"
