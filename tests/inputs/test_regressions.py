"""Defects that hostile inputs found, one small test each."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from cleaner import load_clip, load_data
from cleaner.config import FinetuneConfig
from cleaner.data.images import read_image_file
from cleaner.files import read_json
from cleaner.models.clip import save_clip
from cleaner.presets import is_pretrained
from cleaner.runs.progress import read_new_progress, read_progress
from cleaner.runs.request import Request, get_test_data, load_request, make_retrain_request, parse_data
from cleaner.runs.store import LOG_TAIL_BYTES, last_lines, list_entries
from cleaner.training.checkpoint import TrainingCheckpoint
from cleaner.types import CleanerError
from pages._shared.cache.loaders import read_model_mtime, read_mtime
from pages._shared.shell.wording import escape_markdown
from tests.conftest import make_clip

REPORT = {"stage": "poison", "step": 1, "total": 2, "seconds": 0.5, "losses": {"total": 1.0}, "metrics": {}}


def test_a_pipe_in_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    for name in ("config.json", "status.json", "progress.jsonl", "x.csv", "x.zip", "x.png", "x.pt", "log.txt"):
        os.mkfifo(tmp_path / name)
    assert read_json(tmp_path / "config.json") == {}
    states = {entry.folder: entry.status.state for entry in list_entries(tmp_path.parent)}
    assert states[tmp_path] == "unreadable"
    assert read_progress(tmp_path) == read_new_progress(tmp_path).reports == []
    assert last_lines(tmp_path / "log.txt") == ""
    for read, name in ((load_data, "x.csv"), (load_data, "x.zip"), (read_image_file, "x.png"), (load_clip, "x.pt")):
        with pytest.raises(CleanerError, match="not a regular file"):
            read(str(tmp_path / name))


@pytest.mark.parametrize("path", ["a\0b.png", "~nobody-of-this-name/x.png", "x" * 5000, ""])
def test_an_impossible_path_of_an_image_is_one_sentence(path: str) -> None:
    with pytest.raises(CleanerError, match=r"(cannot be read \(.+\): check its path|not a regular file: .*)\.$"):
        read_image_file(path)


@pytest.mark.parametrize("error", [errno.EACCES, errno.ENAMETOOLONG])
def test_a_path_that_cannot_be_looked_at_is_no_file(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    look = os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        if "/closed" in os.fspath(path):
            raise OSError(error, os.strerror(error), path)
        return look(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    assert is_pretrained("/closed/model.pt")
    assert read_mtime("/closed/model.pt") == read_mtime("ViT-B-32:/closed/model.pt") == 0
    assert read_model_mtime("/closed") == read_model_mtime("x" * 300) == 0
    for name, message in (
        ("/closed/pairs.csv", "no data set or file '/closed/pairs.csv'"),
        ("cifar10:/closed", "CIFAR10 is not in /closed"),
        ("coco:/closed annotations=/closed/captions.json", "give the image folder and the caption file"),
    ):
        source, options = parse_data(name)
        with pytest.raises(CleanerError, match=message):
            load_data(source, **options)


def test_numbers_that_no_float_holds_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": NaN, "b": -Infinity, "c": 1e999, "d": ' + "9" * 400 + ', "e": 1e308, "f": -7}')
    assert read_json(path) == {"a": None, "b": None, "c": None, "d": None, "e": 1e308, "f": -7}


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"step": "1"}, 0),
        ({"losses": []}, 0),
        ({"seconds": None}, 0),
        ({"new": 1}, 1),
        ({"losses": {"total": None}}, 1),
    ],
)
def test_progress_lines_with_other_types_are_skipped(change: dict[str, Any], count: int, tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_text(json.dumps({**REPORT, **change}) + "\n")
    assert len(read_progress(tmp_path)) == len(read_new_progress(tmp_path).reports) == count
    assert all(None not in report["losses"].values() for report in read_progress(tmp_path))


@pytest.mark.parametrize(
    ("change", "name"), [({"pairs": "9"}, "pairs"), ({"data_options": []}, "data_options"), ({"map": 1}, "map")]
)
def test_a_request_with_other_types_names_the_field(change: dict[str, Any], name: str) -> None:
    request = Request("backdoored", "scenes", 9, FinetuneConfig())
    assert load_request({"request": asdict(request)}) == request
    with pytest.raises(CleanerError, match=f"invalid {name}"):
        load_request({"request": {**asdict(request), **change}})


def test_test_data_of_an_edited_config_have_defaults() -> None:
    assert get_test_data({"data_options": [[]], "test_size": "x"}) == ("scenes", {}, 2000)
    assert get_test_data({"test_size": None}) == ("scenes", {}, None), "all of the split, as from the command line"
    assert make_retrain_request({"finetune": {}, "test_size": "x"}, "run", [], "dao", total=9).test_size == 2000


def test_a_variance_below_zero_is_refused(tmp_path: Path) -> None:
    clip = make_clip("rn")
    clip.model.state_dict()["visual.bn1.running_var"][0] = -1.0
    with pytest.raises(CleanerError, match="a variance below 0"):
        load_clip(str(save_clip(clip, tmp_path / "x.safetensors")))


@pytest.mark.parametrize("part", ["history", "model", "optimizer", "cpu_seconds"])
@pytest.mark.parametrize("value", [None, [], "x", [{"step": 7}]])
def test_an_edited_checkpoint_is_one_sentence(part: str, value: object, tmp_path: Path) -> None:
    clip, path = make_clip(), tmp_path / "checkpoint.pt"
    optimizer = torch.optim.AdamW(clip.model.parameters())
    state = TrainingCheckpoint(path, clip, optimizer, {})
    state.save([], 1.0)
    if part == "history" and value == []:
        assert state.resume() == ([], 1.0)
        return
    torch.save({**torch.load(path, weights_only=True), part: value}, path)
    with pytest.raises(CleanerError, match="cannot be read"):
        state.resume()


def test_only_the_end_of_a_log_is_read(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"x" * 10 * LOG_TAIL_BYTES + b"\nlast")
    assert last_lines(tmp_path / "log.txt") == "last"


def test_a_carriage_return_is_no_line_of_markdown() -> None:
    assert escape_markdown("a\r===\r\nb") == "a ===  b"
