"""Counts of the slow suites, from JUnit's report to the table."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import reliability as program
from benchmarks.markdown.reliability_tables import protocol2_processors, reliability, sessions
from benchmarks.protocol2 import plan
from benchmarks.protocol2.records import results_path
from benchmarks.protocol2.tasks import Task
from benchmarks.reliability import Options, add_counts, count
from tests.benchmarks.result_files import write_lines, write_result

REPORT = """<testsuites><testsuite>
<testcase name="a" time="1.6"><properties><property name="cases" value="100"/></properties></testcase>
<testcase name="b" time="2"><properties><property name="cases" value="25"/></properties><failure/></testcase>
<testcase name="c" time="0.1"><properties><property name="kills" value="9"/></properties></testcase>
</testsuite></testsuites>"""


def test_counts_add_up() -> None:
    counts = count(ET.fromstring(REPORT))
    assert counts == {"tests": 3, "failures": 1, "seconds": 4, "cases": 125, "kills": 9}


def test_the_table_has_a_line_for_each_suite(tmp_path: Path) -> None:
    older = {"suite": "inputs", "tests": 3, "failures": 1, "seconds": 4, "cases": 12_345}
    row = {"suite": "kills", "tests": 1, "failures": 0, "seconds": 5, "kills": 9, "commit": "def"}
    write_result(tmp_path, "reliability.json", rows=[older, row], commit="def", command="of the last call")
    text = reliability(tmp_path)
    assert "| 12,345 | – | – | 1 | 4 |" in text
    assert text.endswith("; commit not recorded (inputs) / def; `python -m benchmarks.reliability`.")


def test_the_sessions_are_described_as_measured(tmp_path: Path) -> None:
    row = {
        "sessions": 20,
        "minutes": 12.0,
        "pause_seconds": 15.0,
        "actions": 930,
        "failures": 1,
        "median_page_seconds": 1.2,
        "slow_page_seconds": 4.5,
        "median_control_seconds": 0.8,
        "server_mb_start": 500,
        "server_mb_half": 1000,
        "server_mb_end": 1050,
        "models": 41,
        "models_changed": 0,
        "trainings_at_once": 1,
    }
    write_result(tmp_path, "sessions.json", rows=[row])
    text = sessions(tmp_path)
    for part in ("20 for 12 minutes, an action every 15 s", "930; 1", "1.2 s (median), 4.5 s (95%)", "+5%", "41; 0"):
        assert part in text


def test_the_same_training_on_other_processors_is_compared(tmp_path: Path) -> None:
    def line(task: Task, maker: str, kernels: str, asr: float, ca: float) -> dict[str, Any]:
        metrics = {"asr": {"1": asr}, "ca": {"1": ca}}
        return {"task": asdict(task), "processor": {"name": f"{maker} X", "kernels": kernels}, "metrics": metrics}

    control, other = (Task("cell", "badclip", "key", 3, method, lr=1e-3) for method in (plan.CONTROL, "cleanclip"))
    lines = [
        line(control, "AMD", "AVX2", 0.30, 0.95),
        line(control, "Intel(R)", "AVX512", 0.42, 0.96),
        line(control, "AMD", "AVX512", 0.37, 0.97),
        line(other, "AMD", "AVX2", 0.90, 0.95),
        line(other, "AMD", "AVX512", 0.94, 0.95),
        line(replace(other, lr=3e-3), "AMD", "AVX512", 0.1, 0.1),  # measured once
        line(replace(other, method=""), "AMD", "AVX2", 0.9, 0.9),
        line(replace(other, method=""), "AMD", "AVX512", 0.1, 0.1),
    ]
    write_lines(tmp_path, results_path("scenes-lite").name, lines)
    text = protocol2_processors(tmp_path)
    assert "2 defended models were measured on 2 or 3 of 3 kinds" in text
    assert "(AMD with AVX2, AMD with AVX512, Intel with AVX512)" in text
    assert "median of 8.0 points and at most 12.0, clean accuracy by 1.0 and 2.0" in text
    assert "(1 models) ASR@1 differs by 12.0 to 12.0 points" in text


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
