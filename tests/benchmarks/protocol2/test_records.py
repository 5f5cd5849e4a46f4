"""The result file: one line at a time, from several processes, even after a kill in the middle of a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.protocol2.records import append_row, claimed, describe_processor
from cleaner.files import read_json_lines

WRITER = """
import sys
from pathlib import Path
from benchmarks.protocol2.records import append_row
for i in range(40):
    append_row(Path(sys.argv[1]), {"writer": sys.argv[2], "i": i, "text": "x" * 20000})
"""
HOLDER = """
import sys, time
from pathlib import Path
from benchmarks.protocol2.records import claimed
with claimed(Path(sys.argv[1]), "a") as is_mine:
    print(is_mine, flush=True)
    time.sleep(60)
"""


def test_two_processes_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "ab"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    rows = read_json_lines(path)
    for name in "ab":
        assert [row["i"] for row in rows if row["writer"] == name] == list(range(40))


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_row(path, {"i": 1})
    with path.open("a") as file:
        file.write('{"i": 2, "cut')
    assert read_json_lines(path) == [{"i": 1}]
    append_row(path, {"i": 3})
    assert read_json_lines(path) == [{"i": 1}, {"i": 3}]
    assert read_json_lines(tmp_path / "missing.jsonl") == []


def test_a_claim_excludes_others_until_its_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "True"
    with claimed(path, "a") as is_mine, claimed(path, "b") as is_free:
        assert (is_mine, is_free) == (False, True)
    holder.kill()
    holder.wait(timeout=30)
    with claimed(path, "a") as is_mine:
        assert is_mine


def test_the_processor_is_described() -> None:
    described = describe_processor()
    assert described["name"]
    assert described["threads"] >= 1
