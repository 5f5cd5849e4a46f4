"""The run store: files are complete or absent, runs are listed in any state, broken or newer folders say so."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import shutil
import socket
import weakref
from pathlib import Path
from typing import Any

import pytest

from cleaner import FinetuneConfig, files
from cleaner.__main__ import main
from cleaner.files import atomic_write, read_json, write_json, write_text
from cleaner.jobs import local
from cleaner.models.clip import load_clip
from cleaner.reports import tensorboard
from cleaner.runs import store
from cleaner.runs.folders import find_run, is_shipped, run_id, shipped_root
from cleaner.runs.parts import read_metrics
from cleaner.runs.record import SCHEMA_VERSION
from cleaner.runs.request import Request, load_request
from cleaner.runs.run import load_run, load_run_trigger, read_progress
from cleaner.runs.status import Status, read_status, write_status
from cleaner.runs.store import create_run, list_entries, list_runs, read_entry
from cleaner.types import CleanerError
from tests.pages.runs import make_runs

pytestmark = pytest.mark.quick

REQUEST = Request("backdoored", "scenes", 64, FinetuneConfig(), "scenes-rn", trigger={"name": "badnet"})


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_ASSETS", str(tmp_path / "assets"))
    return tmp_path / "runs"


def finished(folder: Path, **config: Any) -> Path:
    """Write the files of a finished run that lists read."""
    write_json(folder / "config.json", {"schema": SCHEMA_VERSION, "stage": "backdoored", **config})
    write_status(folder, Status("done"))
    return folder


def test_a_new_run_holds_its_request(root: Path) -> None:
    first, second = create_run(REQUEST), create_run(REQUEST)
    assert first != second
    assert first.parent == root
    assert load_request(read_json(first / "config.json")) == REQUEST
    assert [entry.status.state for entry in list_entries()] == ["new", "new"]
    assert list_runs() == []
    with pytest.raises(CleanerError, match=r"is not started: resume it with: python -m cleaner runs --resume"):
        load_run(first)
    write_status(first, Status("running"))
    with pytest.raises(CleanerError, match="is running: wait until it has ended"):
        load_run(first)


def test_an_invalid_request_is_refused() -> None:
    for config in ({}, {"request": None}, {"request": {"stage": "backdoored"}}, {"request": {**vars(REQUEST), "x": 1}}):
        with pytest.raises(CleanerError, match="no valid request"):
            load_request(config)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.json"
    write_text(path, "old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("ne")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["x.json"]


def refuse_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Make a function fail once, as on Windows while another program has the file open."""
    original, refusals = getattr(owner, name), [PermissionError(errno.EACCES, "in use")]

    def refuse(*arguments: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return original(*arguments)

    monkeypatch.setattr(owner, name, refuse)


def test_a_file_in_use_is_replaced_and_read_a_moment_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "IN_USE_POLL_SECONDS", 0.01)
    path = tmp_path / "x.json"
    write_json(path, {"state": "old"})
    refuse_once(monkeypatch, os, "replace")
    with pytest.raises(CleanerError, match="in use"):
        write_json(path, {"state": "new"})
    monkeypatch.setattr(files, "IN_USE_SECONDS", 1.0)
    refuse_once(monkeypatch, os, "replace")
    write_json(path, {"state": "new"})
    refuse_once(monkeypatch, Path, "read_bytes")
    assert read_json(path) == {"state": "new"}


@pytest.mark.parametrize("name", ["config.json", "status.json", "notes.json"])
def test_a_file_that_could_not_be_read_is_read_again(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished(root / "run")
    store.annotate(folder, name="a name")
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == name:
            raise PermissionError(errno.EACCES, "in use")
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        assert [entry.status.state for entry in list_entries()] == ["unreadable"]
        assert read_status(folder).state == ("failed" if name == "status.json" else "done")
    assert [(entry.status.state, entry.name) for entry in list_entries()] == [("done", "a name")]
    assert read_status(folder).state == "done"


def test_metrics_that_could_not_be_read_are_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished(root / "run")
    write_json(folder / "metrics.json", {"n": 10, "classes": 3, "data": "scenes", "ca": {"1": 0.5}})
    (entry,) = list_entries()

    def refuse(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        assert entry.metric("ca") is None
    (again,) = list_entries()
    assert again is entry
    assert again.metric("ca") == 0.5


def test_a_write_removes_the_temporary_files_of_dead_processes_of_this_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node")
    others = {
        ".x.json.node-4194305-4194306-1.tmp",  # of the machine node-4194305
        f".x.json.node-{os.getpid()}-1.tmp",  # of a living process
        ".y.json.node-4194305-1.tmp",
    }
    for name in (".x.json.node-4194305-1.tmp", *others):
        (tmp_path / name).touch()
    write_text(tmp_path / "x.json", "new")
    assert set(os.listdir(tmp_path)) == {"x.json", *others}


def test_a_temporary_file_that_is_still_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink

    def refuse(path: Path, **options: bool) -> None:
        if "4194305" in path.name:
            raise PermissionError(errno.EACCES, "in use")
        unlink(path, **options)

    (tmp_path / f".x.json.{socket.gethostname()}-4194305-1.tmp").touch()
    monkeypatch.setattr(Path, "unlink", refuse)
    write_text(tmp_path / "x.json", "new")
    assert (tmp_path / "x.json").read_text() == "new"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_one_error(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", refuse)
        with pytest.raises(CleanerError, match=rf"cannot be written \({os.strerror(code)}\).*CLEANER_RUNS"):
            write_text(path, "new")
        with pytest.raises(CleanerError, match=os.strerror(code)):
            create_run(REQUEST, tmp_path / "runs")
        assert os.listdir(tmp_path / "runs") == []
        (tmp_path / "runs").rmdir()
        patched.setattr(Path, "mkdir", refuse)
        with pytest.raises(CleanerError, match=os.strerror(code)):
            create_run(REQUEST)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize("below", ["", "runs"])
def test_a_folder_of_runs_below_a_broken_link_is_one_error(below: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CleanerError, match="cannot be written"):
        create_run(REQUEST, tmp_path / "link" / below)


def test_broken_and_newer_folders_are_listed_in_their_state(root: Path) -> None:
    finished(root / "whole")
    finished(root / "newer", schema=99)
    finished(root / "no-config").joinpath("config.json").unlink()
    (finished(root / "bad-config") / "config.json").write_text('{"stage": ')
    (finished(root / "bad-status") / "status.json").write_text("[]")
    (finished(root / "by-an-older-version", schema=1) / "status.json").unlink()
    (root / "empty").mkdir()
    (root / ".deleted-x").mkdir()
    (root / "a-file").write_text("")
    states = {entry.folder.name: entry.status.state for entry in list_entries()}
    assert states == {
        "whole": "done",
        "newer": "unreadable",
        "no-config": "unreadable",
        "bad-config": "unreadable",
        "bad-status": "failed",
        "by-an-older-version": "done",
    }
    assert {run.id for run in list_runs()} == {"whole", "by-an-older-version"}
    assert list_entries(root / "nowhere") == []
    for read in (load_run, store.read_record, lambda folder: tensorboard.export_runs([folder], root / "events")):
        with pytest.raises(CleanerError, match="newer version"):
            read(root / "newer")
    with pytest.raises(CleanerError, match=r"config\.json is missing"):
        load_clip(str(root / "no-config"))
    with pytest.raises(CleanerError, match="does not hold a complete run"):
        load_run(root / "whole")  # its model is gone
    (root / "whole" / "model.safetensors").touch()
    with pytest.raises(CleanerError, match=r"is a run, not a model: name the model in it, .*whole/model.safetensors"):
        load_clip(str(root / "whole"))


def test_a_run_edited_by_hand_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, folder = make_runs(tmp_path)
    config, metrics = read_json(folder / "config.json"), read_json(folder / "metrics.json")
    assert store.read_record(folder).metric("asr") == pytest.approx(0.1)
    for invalid in ({"trigger": "badnet"}, {"finetune": "x"}, {"defense": 1}, {"finetune": {"lr": "x"}}):
        write_json(folder / "config.json", {**config, **invalid})
        for read in (
            load_run,
            store.read_record,
            load_run_trigger,
            lambda folder: tensorboard.export_runs([folder], tmp_path / "out"),
        ):
            with pytest.raises(CleanerError, match=f"an invalid {next(iter(invalid))}: correct it"):
                read(folder)
        assert main(["runs"]) == 0
        assert "unreadable" in capsys.readouterr().out
    write_json(folder / "config.json", config)
    for change in ({"asr": "x"}, {"asr": {"1": None}}, {"asr": {"first": 0.1}}, {"n": "x"}, {"outcomes": {"ca": 1}}):
        write_json(folder / "metrics.json", {**metrics, **change})
        assert load_run(folder).metrics is None
        assert store.read_record(folder).protocol == "not measured"
    write_json(folder / "metrics.json", metrics)
    assert load_run(folder).metrics is not None
    write_json(folder / "status.json", {"state": "done", "updated": "y"})
    assert main(["runs"]) == 0
    assert "an invalid updated: delete it if the run is complete" in capsys.readouterr().out


def test_deeply_nested_json_is_a_broken_file(root: Path) -> None:
    for name in ("config.json", "metrics.json", "progress.jsonl"):
        (finished(root / name) / name).write_text("[" * 100_000)
    assert {entry.folder.name: entry.status.state for entry in list_entries()}["config.json"] == "unreadable"
    assert read_metrics(root / "metrics.json") == {}
    assert read_progress(root / "progress.jsonl") == []


def test_a_broken_last_line_of_progress_is_skipped(tmp_path: Path) -> None:
    line = json.dumps({"stage": "poison", "step": 1, "total": 2, "seconds": 0.5})
    (tmp_path / "progress.jsonl").write_text(f'{line}\n[]\n{{"stage": "poison"}}\n{line[:20]}')
    assert read_progress(tmp_path) == [{**json.loads(line), "losses": {}, "metrics": {}}]
    assert read_progress(tmp_path / "nowhere") == []


def test_notes_change_neither_config_nor_id(root: Path) -> None:
    folder = finished(root / "a")
    before = (folder / "config.json").read_text()
    store.annotate(folder, name=" My run ", note="worth a look", tags=["b", " a ", "a", ""])
    entry = list_entries()[0]
    assert (entry.name, entry.note, entry.tags) == ("My run", "worth a look", ["a", "b"])
    assert (folder / "config.json").read_text() == before
    assert run_id(folder) == "a"


def test_notes_do_not_bring_back_a_deleted_run(root: Path) -> None:
    folder = finished(root / "a")
    local.delete(folder)
    with pytest.raises(CleanerError, match="the run a is gone"):
        store.annotate(folder, name="My run")
    assert not folder.exists()


def test_a_parent_is_found_by_its_id_even_after_a_move(root: Path, tmp_path: Path) -> None:
    parent = finished(root / "p")
    elsewhere = finished(tmp_path / "elsewhere" / "q")
    assert find_run(run_id(parent)) == parent
    assert find_run(run_id(elsewhere)) == elsewhere
    moved, child = finished(tmp_path / "big" / "p"), finished(tmp_path / "big" / "c")
    assert find_run("p", sibling=child) == moved
    assert not find_run("gone", sibling=child).exists()
    assert find_run(str(elsewhere), sibling=child) == elsewhere
    assert find_run("/left/behind/p", sibling=child) == moved, "both were moved from there"
    assert find_run("C:\\runs\\p", sibling=child) == moved, "from a machine with Windows"


def test_delete_removes_run_folders_only(root: Path) -> None:
    folder = finished(root / "a")
    local.delete(folder)
    assert not folder.exists()
    assert os.listdir(root) == []
    (root / "images").mkdir()
    with pytest.raises(CleanerError, match="not a run folder"):
        store.remove_run_folder(root / "images")
    assert (root / "images").exists()


def test_a_link_to_a_run_is_not_deleted_in_its_place(root: Path, tmp_path: Path) -> None:
    target, link = finished(tmp_path / "elsewhere" / "a"), root / "link"
    root.mkdir()
    link.symlink_to(target, target_is_directory=True)
    with pytest.raises(CleanerError, match=f"is a link to {re.escape(str(target))}: delete that folder"):
        local.delete(link)
    assert os.listdir(root) == ["link"]


def test_a_deletion_ends_earlier_ones_that_were_interrupted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (finished(root / name) for name in "abc")
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *arguments, **options: None)
        local.delete(first)
    assert (root / ".deleted-a" / "config.json").exists()
    rmtree = shutil.rmtree

    def race(path: Path, **options: Any) -> None:
        rmtree(path)  # by another process
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", race)
    local.delete(second)
    assert os.listdir(root) == [third.name]


def test_a_list_of_many_runs_opens_few_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts files: two small ones for each run."""
    for number in range(20):
        folder = finished(root / f"run-{number}")
        for name in ("progress.jsonl", "manifest.json", "metrics.json", "model.safetensors", "log.txt"):
            (folder / name).write_text("x")
    opened: list[str] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or original(path))
    assert len(list_runs()) == 20
    assert sorted(set(opened)) == ["config.json", "status.json"]
    assert len(opened) == 40
    assert len(list_runs()) == 20
    assert len(opened) == 40  # nothing has changed since


def test_shipped_runs_are_found_and_read_only(root: Path) -> None:
    assert store.list_shipped_runs() == []
    first = finished(shipped_root() / "example")
    second = finished(shipped_root() / "example-1-finetune")
    own = finished(root / "own")
    assert [entry.folder for entry in store.list_shipped_runs()] == [second, first]
    assert [entry.folder for entry in list_entries()] == [own]
    assert [is_shipped(folder) for folder in (first, own)] == [True, False]
    assert run_id(first) == "example"
    assert find_run("example", sibling=own) == first
    for change in (store.remove_run_folder, local.delete, store.annotate):
        with pytest.raises(CleanerError, match="read only"):
            change(first)
    assert sorted(path.name for path in first.iterdir()) == ["config.json", "status.json"]


def test_only_the_newest_record_of_a_run_is_kept(tmp_path: Path) -> None:
    """A server that watches a training for hours must not grow with each step."""
    folder = tmp_path / "run"
    write_json(folder / "config.json", {"stage": "backdoored"})
    records = []
    for step in range(2):
        write_status(folder, Status("running", step=step, total=9))
        record = read_entry(folder)
        assert record is not None
        assert record is read_entry(folder)
        records.append(weakref.ref(record))
        del record
    gc.collect()
    assert [record() is None for record in records] == [True, False]
