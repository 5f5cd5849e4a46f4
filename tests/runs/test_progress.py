"""progress.jsonl is read in parts: each report once, all of them again after the file was replaced."""

import json
from pathlib import Path

import pytest

from cleaner.files import write_text
from cleaner.runs.progress import read_new_progress, read_progress

pytestmark = pytest.mark.quick


def format_lines(steps: list[int]) -> str:
    reports = [{"stage": "poison", "step": step, "total": 9, "seconds": 0.5} for step in steps]
    return "".join(json.dumps(report) + "\n" for report in reports)


def append(folder: Path, text: str) -> None:
    with (folder / "progress.jsonl").open("a") as file:
        file.write(text)


def test_each_report_is_returned_once(tmp_path: Path) -> None:
    new = read_new_progress(tmp_path)
    assert (new.reports, new.cursor, new.is_continued) == ([], "", False)
    append(tmp_path, format_lines([1, 2]))
    new = read_new_progress(tmp_path, new.cursor)
    assert ([r["step"] for r in new.reports], new.is_continued) == ([1, 2], False)
    assert read_new_progress(tmp_path, new.cursor).reports == []
    line = format_lines([3])
    append(tmp_path, line[:10])  # the worker is writing
    new = read_new_progress(tmp_path, new.cursor)
    assert (new.reports, new.is_continued) == ([], True)
    append(tmp_path, line[10:] + format_lines([4]))
    new = read_new_progress(tmp_path, new.cursor)
    assert ([r["step"] for r in new.reports], new.is_continued) == ([3, 4], True)
    assert read_new_progress(tmp_path).reports == read_progress(tmp_path)


def test_a_replaced_file_is_read_from_its_start(tmp_path: Path) -> None:
    append(tmp_path, format_lines([1, 2, 3]))
    cursor = read_new_progress(tmp_path).cursor
    write_text(tmp_path / "progress.jsonl", format_lines([1, 2]))  # a resumed run drops the steps that it repeats
    append(tmp_path, format_lines([3, 4]))
    new = read_new_progress(tmp_path, cursor)
    assert ([r["step"] for r in new.reports], new.is_continued) == ([1, 2, 3, 4], False)


@pytest.mark.parametrize("cursor", ["x", "1:2", "²:0", "-1:-5", "9" * 5000 + ":0", "{inode}:99999", "{inode}"])
def test_an_invalid_cursor_gets_everything(tmp_path: Path, cursor: str) -> None:
    append(tmp_path, format_lines([1, 2]))
    new = read_new_progress(tmp_path, cursor.replace("{inode}", str((tmp_path / "progress.jsonl").stat().st_ino)))
    assert ([r["step"] for r in new.reports], new.is_continued) == ([1, 2], False)
