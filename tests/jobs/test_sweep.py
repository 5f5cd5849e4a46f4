"""Sweeps: one run after the other without a page, no run twice, missing runs added, metrics of finished runs."""

from __future__ import annotations

import json
import os
import shlex
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from cleaner.__main__ import main
from cleaner.cli.sweep import Sweep, _split_spec, format_progress, format_rows, watch_sweep
from cleaner.config import FinetuneConfig
from cleaner.jobs import local, sweep
from cleaner.models.clip import save_clip
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from cleaner.runs.status import ACTIVE, Status, read_status, write_status
from cleaner.runs.store import create_run, remove_run_folder
from cleaner.types import CleanerError
from tests.conftest import make_clip
from tests.data.files import write_table
from tests.pages.conftest import run_workers_in_threads
from tests.pages.runs import make_runs

CONFIG = FinetuneConfig(epochs=1, batch_size=16, precision="fp32", device="cpu", augmentation="none")
METHODS = ({"name": "finetune"}, {"name": "cleanclip"})


@pytest.fixture
def base(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A small defense of a tiny suspicious model; workers are threads of this process."""
    run_workers_in_threads(monkeypatch)
    return Request("defended", "scenes", 48, CONFIG, tiny_model, test_size=40, film=False)


class Terminal(StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def states(name: str) -> list[str]:
    return [entry.status.state for entry in sweep.list_sweep_runs(name)]


def wait_until_stopped(name: str) -> list[RunRecord]:
    """Wait until a sweep is no longer active; return its runs."""
    end = time.monotonic() + 120
    while sweep.is_active(entries := sweep.list_sweep_runs(name)):
        assert time.monotonic() < end
        assert sum(entry.status.state in ACTIVE for entry in entries) <= 1
        time.sleep(0.02)
    return entries


def test_the_id_tells_apart_what_every_run_of_a_sweep_has_in_common(base: Request) -> None:
    same = replace(base, defense={"name": "cleanclip"}, finetune=replace(base.finetune, lr=1e-3, seed=7))
    assert sweep.compute_sweep_id(same) == sweep.compute_sweep_id(base)
    for other in (replace(base, film=True), replace(base, pairs=65), replace(base, parent="q")):
        assert sweep.compute_sweep_id(other) != sweep.compute_sweep_id(base)


def test_runs_are_done_one_by_one_and_a_second_call_adds_only_missing_ones(base: Request) -> None:
    requests = sweep.grid(base, METHODS, rates=[1e-4, 1e-3], seeds=[0])
    name = sweep.start_sweep(requests)
    rows = sweep.make_rows(sweep.list_sweep_runs(name))
    assert [(r.defense, r.lr, r.seed) for r in rows] == [
        ("cleanclip", 1e-4, 0),
        ("cleanclip", 1e-3, 0),
        ("finetune", 1e-4, 0),
        ("finetune", 1e-3, 0),
    ]
    assert all(row.metric("ca") is None for row in rows if row.status.state != "done")
    first = wait_until_stopped(name)
    assert states(name) == ["done"] * 4
    assert all(row.metric("ca") is not None and row.status.progress == 1 for row in sweep.make_rows(first))
    order = [e.folder.name for e in sorted(first, key=lambda e: e.status.updated)]
    assert order == [e.folder.name for e in first]

    remove_run_folder(first[1].folder)
    requests += sweep.grid(base, METHODS[:1], rates=[1e-4], seeds=[1])
    assert sweep.start_sweep(requests) == name
    again = wait_until_stopped(name)
    assert states(name) == ["done"] * 5
    assert {e.folder for e in first} - {first[1].folder} <= {e.folder for e in again}
    other = replace(base, pairs=32)
    assert sweep.compute_sweep_id(other) != name


def test_cancel_leaves_finished_runs_and_resume_restarts_the_others(base: Request) -> None:
    long = replace(base, finetune=replace(CONFIG, epochs=900))
    requests = sweep.grid(long, METHODS, rates=[1e-4, 1e-3], seeds=[0])
    done = create_run(replace(requests[0], sweep=sweep.compute_sweep_id(long)))
    write_status(done, replace(read_status(done), state="done"))
    name = sweep.start_sweep(requests)
    (active,) = set(states(name)) - {"done", "new"}
    assert active in ("queued", "running")
    assert states(name).count("new") == 2
    sweep.cancel(name)
    wait_until_stopped(name)
    assert sorted(states(name)) == ["cancelled", "cancelled", "cancelled", "done"]
    sweep.resume(name)
    assert sorted(states(name))[:3] != ["cancelled"] * 3
    sweep.pause(name)
    entries = wait_until_stopped(name)
    assert sorted(states(name)) == ["done", "new", "new", "paused"]
    assert sweep.seconds_left(entries) is None
    sweep.cancel(name)
    assert sorted(states(name)) == ["cancelled"] * 3 + ["done"]


def test_stopped_runs_that_were_not_requested_stay_stopped(base: Request) -> None:
    requests = sweep.grid(base, METHODS, rates=[1e-4], seeds=[0])
    stopped = create_run(replace(requests[1], sweep=sweep.compute_sweep_id(base)))
    write_status(stopped, replace(read_status(stopped), state="cancelled"))
    name = sweep.start_sweep(requests[:1])
    wait_until_stopped(name)
    assert sorted(states(name)) == ["cancelled", "done"]


def test_the_time_left_leaves_out_what_a_worker_did_before(base: Request) -> None:
    requests = sweep.grid(base, METHODS[:1], rates=[1e-4, 1e-3], seeds=[0, 1])
    folders = [create_run(replace(request, sweep=sweep.compute_sweep_id(base))) for request in requests]
    now = time.time()
    write_status(folders[0], Status("done", started=now - 3600, begun=now - 30))
    write_status(folders[1], Status("running", started=now - 3600, begun=now - 10, pid=os.getpid()))
    seconds = sweep.seconds_left(sweep.list_sweep_runs(sweep.compute_sweep_id(base)))
    assert seconds == pytest.approx(20 + 2 * 30, abs=5)


def test_the_time_left_leaves_out_waiting_for_the_device(base: Request) -> None:
    requests = sweep.grid(base, METHODS[:1], rates=[1e-4, 1e-3], seeds=[0, 1])
    folders = [create_run(replace(request, sweep=sweep.compute_sweep_id(base))) for request in requests]
    now = time.time()
    write_status(folders[0], Status("done", queued=now - 3600, started=now - 3600, begun=now - 30))
    for own, seconds in (
        (Status("running", queued=now - 3600, started=now - 3600, begun=now - 10, pid=os.getpid()), 20 + 2 * 30),
        (Status("queued", queued=now - 30), 3 * 30),
    ):
        write_status(folders[1], own)
        left = sweep.seconds_left(sweep.list_sweep_runs(sweep.compute_sweep_id(base)))
        assert left == pytest.approx(seconds, abs=5)


def test_a_sweep_that_stopped_has_no_time_left(base: Request) -> None:
    name = sweep.compute_sweep_id(base)
    requests = sweep.grid(base, METHODS[:1], rates=[1e-4, 1e-3, 1e-2], seeds=[0])
    folders = [create_run(replace(request, sweep=name)) for request in requests]
    now = time.time()
    write_status(folders[0], Status("done", queued=now - 30, started=now - 30))
    write_status(folders[1], Status("queued", queued=now))
    assert "left" in format_progress(sweep.list_sweep_runs(name))
    for state in ("paused", "cancelled"):
        write_status(folders[1], Status(state))
        if state == "cancelled":
            write_status(folders[2], Status(state))
        assert format_progress(sweep.list_sweep_runs(name)) == "1 of 3 runs done"


def test_ctrl_c_pauses_a_sweep_on_this_machine(base: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    name, paused = sweep.compute_sweep_id(base), []
    (request,) = sweep.grid(base, METHODS[:1], rates=[1e-4], seeds=[0])
    write_status(create_run(replace(request, sweep=name)), Status("queued", queued=time.time()))
    monkeypatch.setattr(time, "sleep", interrupt)
    monkeypatch.setattr(sweep, "pause", paused.append)
    with pytest.raises(KeyboardInterrupt, match="Paused: "):
        watch_sweep(name)
    assert paused == [name]


def test_a_long_table_is_redrawn_in_place(base: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    name = sweep.compute_sweep_id(base)
    requests = sweep.grid(base, METHODS, rates=[1e-4, 1e-3], seeds=range(3))
    folders = [create_run(replace(request, sweep=name)) for request in requests]
    write_status(folders[0], Status("queued", queued=time.time()))
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(time, "sleep", lambda _: [write_status(folder, Status("cancelled")) for folder in folders])
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "10")
    watch_sweep(name)
    first, second = terminal.getvalue().split("\x1b[9F\x1b[J")
    for block in (first, second):
        assert block.count("\n") == 9
        assert max(map(len, block.splitlines())) == 59


def test_a_run_that_ends_during_cancel_does_not_stop_the_cancel(base: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    name = sweep.compute_sweep_id(base)
    folders = [create_run(replace(r, sweep=name)) for r in sweep.grid(base, METHODS[:1], rates=[1e-4, 1e-3], seeds=[0])]
    for folder in folders:
        write_status(folder, replace(read_status(folder), state="queued", queued=time.time()))
    asked = []

    def cancel(folder: Path) -> None:
        if local.poll_status(folder).state == "done":
            raise CleanerError("there is nothing to cancel.")
        asked.append(folder)
        write_status(folders[1], replace(read_status(folders[1]), state="done"))

    monkeypatch.setattr(local, "cancel", cancel)
    sweep.cancel(name)
    assert asked == folders[:1]


def test_runs_of_one_defense_are_named_by_what_differs(base: Request) -> None:
    kinds = [{"name": "ta_cleaner", "share": share} for share in (0.1, 1.0)] + [{"name": "finetune"}]
    for request in sweep.grid(base, kinds, rates=[1e-4], seeds=[0]):
        create_run(replace(request, sweep="two"))
    entries = sweep.list_sweep_runs("two")
    assert [row.defense for row in sweep.make_rows(entries)] == ["finetune", "ta_cleaner K 10 %", "ta_cleaner K 100 %"]
    assert len({line[0] for line in format_rows(entries)}) == 3


def test_a_name_holds_no_content_of_a_file(base: Request) -> None:
    kinds = [{"name": "unlearn_trigger", "path": "x.png", "png": png * 300, "png_path": "x.png"} for png in "AB"]
    for request in sweep.grid(base, kinds, rates=[1e-4], seeds=[0]):
        create_run(replace(request, sweep="inverted"))
    names = {str(row.defense) for row in sweep.make_rows(sweep.list_sweep_runs("inverted"))}
    assert len(names) == 2
    assert max(map(len, names)) < 40


def test_a_sweep_is_not_resumed_on_another_run_of_the_same_name(base: Request, tmp_path: Path) -> None:
    parent, _ = make_runs(tmp_path)
    of_run = replace(base, model=None, parent=parent.name)
    requests = sweep.grid(of_run, METHODS[:1], rates=[1e-4], seeds=[0])
    name = sweep.start_sweep(requests)
    (first,) = wait_until_stopped(name)
    assert first.status.state == "done"
    assert sweep.start_sweep(requests) == name
    path = parent / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created": "2027-01-01T00:00:00Z"}))
    with pytest.raises(CleanerError, match=f"older run named {parent.name}.*rename the folder"):
        sweep.start_sweep(requests)


def test_a_sweep_is_not_resumed_on_other_weights(base: Request, tmp_path: Path) -> None:
    model = save_clip(make_clip(), tmp_path / "epoch_10.safetensors")
    requests = sweep.grid(replace(base, model=str(model)), METHODS[:1], rates=[1e-4], seeds=[0])
    wait_until_stopped(sweep.start_sweep(requests))
    sweep.start_sweep(requests)
    save_clip(make_clip(seed=1), model)
    with pytest.raises(CleanerError, match=r"other weights of .*epoch_10"):
        sweep.start_sweep(requests)


def test_an_incomplete_suspect_is_refused_before_any_run_is_created(
    base: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = create_run(replace(base, stage="backdoored", trigger={"name": "badnet"}), tmp_path / "elsewhere")
    assert main(["sweep", str(waits), "--defenses", "finetune", "--lrs", "1e-4", "--background"]) == 2
    assert "is not started" in capsys.readouterr().err
    assert local.poll_entries() == []


def test_a_failed_run_does_not_stop_the_others(base: Request) -> None:
    name = sweep.start_sweep(sweep.grid(base, [{"name": "gone"}, {"name": "finetune"}], rates=[1e-4], seeds=[0]))
    wait_until_stopped(name)
    assert states(name) == ["done", "failed"]


def test_a_defense_with_a_path_of_windows() -> None:
    assert _split_spec(r"unlearn_trigger path=C:\t\trigger.png") == ["unlearn_trigger", r"path=C:\t\trigger.png"]


def test_bad_grids_and_unknown_sweeps(base: Request, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CleanerError, match="one learning rate and one seed"):
        sweep.grid(base, METHODS, rates=[1e-4], seeds=[])
    with pytest.raises(CleanerError, match="lr must be"):
        sweep.grid(base, METHODS, rates=[7.0], seeds=[0])
    assert sweep.list_sweep_runs("") == []
    for option in ("--status", "--cancel"):
        assert main(["sweep", str(base.model), option]) == 2
        message = " ".join(capsys.readouterr().err.split())
        assert "there is no sweep of" in message
        assert f"start one without {option}." in message
    assert main(["sweep", "scenes-none"]) == 2
    assert main(["sweep", str(base.model), "--defenses", "finetune lr=3"]) == 2
    assert main(["sweep", str(base.model), "--defenses", "ta_cleaner share='1"]) == 2
    assert "share='1\"" in capsys.readouterr().err
    assert main(["sweep", str(base.model), "--defenses", "ta_cleaner", "share=1.0"]) == 2
    assert "'share=1.0' is not a defense: put a defense and its options in quotes" in capsys.readouterr().err
    assert local.poll_entries() == []


def test_unusable_options_are_refused_before_any_run_is_created(
    base: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", str(base.model), "--defenses", "finetune", "--lrs", "1e-4"]
    for options, message in (
        (["--pairs", "0"], "the number of pairs must be at least 1, not 0"),
        (["--test-pairs", "-1"], "--test-pairs must be at least 0, not -1"),
        (["--data", str(write_table(tmp_path))], "name the classes with classes="),
        (
            ["--defenses", "unlearn_trigger", "--pairs", "48", "--test-pairs", "40"],
            "unlearn_trigger needs an inverted trigger",
        ),
    ):
        assert main([*command, *options]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert local.poll_entries() == []
    monkeypatch.setattr(Sweep, "_probe_data", lambda *_: None)
    assert main([*command, "--pairs", "0"]) == 2
    assert (
        "1 of 1 runs are not done (the number of pairs must be at least 1, not 0.)"
        in capsys.readouterr().err.splitlines()[-1]
    )


def test_command_line(base: Request, capsys: pytest.CaptureFixture[str]) -> None:
    command = shlex.split(
        f"sweep {shlex.quote(str(base.model))} --defenses finetune 'cleanclip in_modal_weight=0.5' --lrs 1e-4"
        " --seeds 0 1 --pairs 48 --test-pairs 40 --epochs 1 --batch-size 16 --precision fp32 --device cpu"
        " --augmentation none"
    )
    assert main([*command, "--json"]) == 0
    printed = capsys.readouterr()
    (result,) = json.loads(printed.out)
    assert [(run["defense"], run["seed"], run["state"]) for run in result["runs"]] == [
        ("cleanclip", 0, "done"),
        ("cleanclip", 1, "done"),
        ("finetune", 0, "done"),
        ("finetune", 1, "done"),
    ]
    assert all(run["metrics"]["n"] > 0 for run in result["runs"])
    assert "4 of 4 runs done" in printed.err
    assert main(command) == 0  # nothing is missing
    assert len(local.poll_entries()) == 4
    assert main(["sweep", str(base.model), "--status"]) == 0
    shown = capsys.readouterr().out
    assert "cleanclip  0.0001         1     done   100%" in shown
    assert "95% Wilson interval" in shown
