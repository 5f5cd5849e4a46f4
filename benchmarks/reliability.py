"""Count hostile inputs and kills that the project survives: python -m benchmarks.reliability

Runs the slow tests of tests/inputs (generated inputs) and tests/faults (kill -9 at random moments) and counts cases,
kills, failures and seconds. `--suites inputs` runs one of them; the others keep their counts in the result file. Tests
run in groups, whose counts are kept as they end: the same call continues after an interruption, unless code changed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from filelock import FileLock

from benchmarks import RESULTS_DIR, protocol
from benchmarks.tasks import lock_path
from cleaner.files import read_json, write_json
from cleaner.reports import results

RESULT_PATH = RESULTS_DIR / "reliability.json"
ROOT = Path(__file__).resolve().parent.parent
SUITES = {"inputs": "tests/inputs", "kills": "tests/faults"}
COUNTS = ("cases", "kills", "kills_in_a_write")
"""Properties that the tests record."""
GROUP_SIZE = 16
"""Tests in one process of pytest."""
ADDED = ("tests", "failures", "seconds", *COUNTS)


@dataclass(frozen=True)
class Options:
    """Run the slow suites, count, and write the result file."""

    suites: tuple[str, ...] = tuple(SUITES)
    """Suites to run: inputs, kills."""
    select: str = ""
    """Run only tests whose names match, as with `pytest -k`, to try this program; give another --out too."""
    out: Path = RESULT_PATH
    """Result file."""


def main(options: Options) -> int:
    """Run, print and write; return 1 if a test failed."""
    for suite in options.suites:
        counted = run_suite(suite, options)
        with FileLock(lock_path(options.out, "append")):  # another call may have counted another suite meanwhile
            rows = {row["suite"]: row for row in read_json(options.out).get("rows", [])} | {suite: counted}
            ordered = [rows[name] for name in SUITES if name in rows]
            protocol.write_result(options.out, seeds=[], rows=ordered)
    for row in ordered:
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    return int(any(row["failures"] for row in ordered))


def run_suite(suite: str, options: Options) -> dict[str, Any]:
    """Run the slow tests of a suite that have not run yet; return the counts of all."""
    partial = options.out.with_name(f".{options.out.stem}-{suite}.json")
    key = {"commit": results.read_git_commit(), "select": options.select}
    state = read_json(partial)
    groups = state.get("groups", []) if key.items() <= state.items() else []
    done = {test for group in groups for test in group["names"]}
    missing = [test for test in list_tests(suite, options.select) if test not in done]
    for first in range(0, len(missing), GROUP_SIZE):
        names = missing[first : first + GROUP_SIZE]
        groups.append({"names": names, **run_tests(names)})
        write_json(partial, {**key, "groups": groups})
    partial.unlink(missing_ok=True)
    return {"suite": suite, **add_counts(groups), "commit": key["commit"]}


def list_tests(suite: str, select: str) -> list[str]:
    """Return the ids of the slow tests of a suite."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "slow", SUITES[suite]]
    command += ["-k", select] if select else []
    listed = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    tests = [line for line in listed.stdout.splitlines() if "::" in line]
    if not tests:
        raise SystemExit(f"no test was found: {listed.stdout[-500:]}{listed.stderr[-500:]}")
    return tests


def run_tests(tests: Sequence[str]) -> dict[str, Any]:
    """Run some tests in one process; return their counts."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", "-o", "junit_family=xunit1"]
        subprocess.run([*command, f"--junitxml={report}", *tests], cwd=ROOT, check=False)
        # A process that died has no report.
        counts = count(ET.parse(report).getroot() if report.exists() else ET.Element("none"))
        return counts | {"failures": counts["failures"] + len(tests) - counts["tests"], "tests": len(tests)}


def add_counts(groups: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the sums of the counts of some groups."""
    names = [name for name in ADDED if any(name in group for group in groups)]
    return {name: sum(group.get(name, 0) for group in groups) for name in names}


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
