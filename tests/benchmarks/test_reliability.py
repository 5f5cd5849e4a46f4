"""Counts of the slow suites, from JUnit's report to the table."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import reliability as program
from benchmarks.reliability import Options, add_counts, count

REPORT = """<testsuites><testsuite>
<testcase name="a" time="1.6"><properties><property name="cases" value="100"/></properties></testcase>
<testcase name="b" time="2"><properties><property name="cases" value="25"/></properties><failure/></testcase>
<testcase name="c" time="0.1"><properties><property name="kills" value="9"/></properties></testcase>
</testsuite></testsuites>"""


def test_counts_add_up() -> None:
    counts = count(ET.fromstring(REPORT))
    assert counts == {"tests": 3, "failures": 1, "seconds": 4, "cases": 125, "kills": 9}


def test_an_interrupted_count_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run_tests(names: list[str]) -> dict[str, int]:
        if len(ran) == 1:
            raise KeyboardInterrupt
        ran.append(names)
        return {"tests": len(names), "failures": 0, "seconds": 1, "cases": 100 * len(names)}

    monkeypatch.setattr(program, "GROUP_SIZE", 2)
    monkeypatch.setattr(program, "list_tests", lambda suite, select: [f"t::{i}" for i in range(5)])
    monkeypatch.setattr(program, "run_tests", run_tests)
    monkeypatch.setattr(program.results, "read_git_commit", lambda: "abc")
    options = Options(suites=("inputs",), out=tmp_path / "reliability.json")
    with pytest.raises(KeyboardInterrupt):
        program.main(options)
    ran.append([])  # from here on, no interruption
    assert program.main(options) == 0
    assert ran == [["t::0", "t::1"], [], ["t::2", "t::3"], ["t::4"]]
    (row,) = json.loads(options.out.read_text())["rows"]
    assert (row["tests"], row["cases"], row["commit"]) == (5, 500, "abc")
    assert [path.name for path in tmp_path.iterdir()] == ["reliability.json"]


def test_two_calls_keep_the_counts_of_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_suite(suite: str, options: Options) -> dict[str, Any]:
        if suite == "inputs":  # the other call ends before this one
            program.main(replace(options, suites=("kills",)))
        return {"suite": suite, "failures": 0}

    monkeypatch.setattr(program, "run_suite", run_suite)
    options = Options(suites=("inputs",), out=tmp_path / "reliability.json")
    assert program.main(options) == 0
    assert [row["suite"] for row in json.loads(options.out.read_text())["rows"]] == ["inputs", "kills"]


def test_counts_that_some_groups_lack_are_added() -> None:
    assert add_counts([{"tests": 1, "cases": 5}, {"tests": 2, "kills": 3}]) == {"tests": 3, "cases": 5, "kills": 3}
