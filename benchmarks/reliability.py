"""Count hostile inputs and kills that the project survives: python -m benchmarks.reliability

Runs the slow tests of tests/inputs (generated inputs) and tests/faults (kill -9 at random moments) and counts cases,
kills, failures and seconds. `--suites inputs` runs one of them; the others keep their counts in the result file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import protocol
from cleaner.files import read_json
from cleaner.reports import results

RESULT_PATH = results.RESULTS_DIR / "reliability.json"
ROOT = Path(__file__).resolve().parent.parent
SUITES = {"inputs": "tests/inputs", "kills": "tests/faults"}
COUNTS = ("cases", "kills", "kills_in_a_write", "runs")
"""Properties that the tests record."""


@dataclass(frozen=True)
class Options:
    """Run the slow suites, count, and write the result file."""

    suites: tuple[str, ...] = tuple(SUITES)
    """Suites to run: inputs, kills."""
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> int:
    """Run, print and write; return 1 if a test failed."""
    before = {row["suite"]: row for row in read_json(options.out).get("rows", [])}
    rows = {**before, **{suite: run_suite(suite) for suite in options.suites}}
    ordered = [rows[suite] for suite in SUITES if suite in rows]
    results.write_result(options.out, results.add_provenance(protocol.format_command_line(), seeds=[], rows=ordered))
    for row in ordered:
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    return int(any(row["failures"] for row in ordered))


def run_suite(suite: str) -> dict[str, Any]:
    """Run the slow tests of a suite; return its counts."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", "-o", "junit_family=xunit1", SUITES[suite]]
        subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT, check=False)
        return {"suite": suite, **count(ET.parse(report).getroot())}


def count(report: ET.Element) -> dict[str, Any]:
    """Return the counts in a JUnit report: tests, failures, seconds, and the properties that tests recorded."""
    cases = report.findall(".//testcase")
    counts: dict[str, Any] = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None or case.find("error") is not None for case in cases),
        "seconds": round(sum(float(case.get("time", 0)) for case in cases)),
    }
    for recorded in report.iter("property"):
        name = recorded.get("name", "")
        if name in COUNTS:
            counts[name] = counts.get(name, 0) + int(recorded.get("value", 0))
    return counts


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
