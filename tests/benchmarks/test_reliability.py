"""Counts of the slow suites, from JUnit's report to the table."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.markdown.reliability_tables import reliability
from benchmarks.reliability import count

REPORT = """<testsuites><testsuite>
<testcase name="a" time="1.6"><properties><property name="cases" value="100"/></properties></testcase>
<testcase name="b" time="2"><properties><property name="cases" value="25"/></properties><failure/></testcase>
<testcase name="c" time="0.1"><properties><property name="kills" value="9"/></properties></testcase>
</testsuite></testsuites>"""


def test_counts_add_up() -> None:
    counts = count(ET.fromstring(REPORT))
    assert counts == {"tests": 3, "failures": 1, "seconds": 4, "cases": 125, "kills": 9}


def test_the_table_has_a_line_for_each_suite(tmp_path: Path) -> None:
    assert reliability(tmp_path).startswith("Not measured yet. Run `python -m benchmarks.reliability`")
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    rows = [{"suite": "inputs", "tests": 3, "failures": 1, "seconds": 4, "cases": 12_345}]
    result = {"rows": rows, "device": "cpu", "commit": "abc", "command": "python -m benchmarks.reliability"}
    (folder / "reliability.json").write_text(json.dumps(result))
    assert "| 12,345 | – | – | 1 | 4 |" in reliability(tmp_path)
