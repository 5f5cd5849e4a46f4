"""The table of trigger inversion: right and wrong suspects, false alarms of clean models, ranges over seeds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import inversion
from benchmarks.inversion import describe
from benchmarks.markdown import inversion_tables
from cleaner.runs.inversion_result import Inversion
from tests.benchmarks.result_files import write_result


def make_row(trigger: str | None, seed: int, *, suspect: str | None, iou: float | None) -> dict[str, Any]:
    target = None if trigger is None else "a"
    asr, values = (None, {"a": 4.0, "b": 4.0, "c": 5.0}) if suspect is None else (0.9, {"a": 1.0, "b": 4.0, "c": 5.0})
    found = Inversion(
        model="m",
        data="d",
        classes=values,
        suspect=suspect,
        settings={"images": 1000},
        seconds=20.0,
        asr=asr,
        interval=None,
        n=250,
        masked_share=0.01,
        target_class=target,
        iou=iou,
        inside=iou,
        true_asr=0.99,
    )
    origin = {"device": "cpu", "commit": f"abc{seed}", "command": "python -m benchmarks.inversion --seeds 5"}
    return {"model": "scenes-lite", "trigger": trigger, "seed": seed, **describe(found), **origin}


def test_a_line_per_attack_and_the_clean_model(tmp_path: Path) -> None:
    rows = [
        make_row("badnet", 0, suspect="a", iou=0.25),
        make_row("badnet", 1, suspect="b", iou=0.75),
        make_row(None, 0, suspect=None, iou=None),
    ]
    write_result(tmp_path, "inversion.json", rows=rows, commit="the last")
    lines = inversion_tables.inversion(tmp_path).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:4]]
    assert cells[0][:4] == ["`scenes-lite`", "BadNet patch", "1 of 2", "2.0 [2.0, 2.0]"]
    assert cells[0][7:] == ["0.50 [0.25, 0.75]", "0.50 [0.25, 0.75]", "0.010 [0.010, 0.010]", "20"]
    assert cells[1][1:5] == ["none (clean model)", "-", "0.0", "no"]
    assert cells[1][5:8] == ["-", "0.99", "-"]
    assert lines[-1].endswith(f"cpu; commit abc0 / abc1; `{inversion_tables.COMMAND}`.")


def test_success_and_accuracy_before_and_after_unlearning(tmp_path: Path) -> None:
    def figures(asr: float, ca: float) -> dict[str, Any]:
        return {"asr": {"1": asr}, "ca": {"1": ca}, "lr": 1e-4}

    after = {"unlearn_trigger": figures(0.1, 0.8), "finetune": figures(0.7, 0.85)}
    rows = [
        make_row("badnet", 0, suspect="a", iou=0.25) | {"metrics": figures(0.9, 0.95), "after": after},
        make_row(None, 0, suspect=None, iou=None),
    ]
    write_result(tmp_path, "inversion.json", rows=rows, commit="the last")
    header, _, line, _, note = inversion_tables.unlearning(tmp_path).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")][3:6] == [
        "ASR backdoored",
        "ASR unlearned",
        "ASR finetuned",
    ]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:] == ["BadNet patch", "yes", "0.900", "0.100", "0.700", "0.950", "0.800", "0.850"]
    assert "both at 0.0001" in note
    assert note.endswith(f"cpu; commit abc0; `{inversion_tables.COMMAND}`.")


def test_unlearning_states_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    defended = SimpleNamespace(metrics=SimpleNamespace(to_dict=dict), config={"precision": "bf16"})
    monkeypatch.setattr(inversion, "load_data", lambda *_, **__: None)
    monkeypatch.setattr(inversion, "defend_quickly", lambda *_, **__: defended)
    found = Inversion(
        model="m", data="d", classes={"a": 1.0, "b": 2.0}, suspect="a", settings={}, seconds=0.0, png="AAAA"
    )
    suspect: Any = SimpleNamespace(config={"model": "scenes-lite"})
    after = inversion.train_away(suspect, found, "badnet 3")
    assert {name: row["precision"] for name, row in after.items()} == {"unlearn_trigger": "bf16", "finetune": "bf16"}


def test_a_row_has_no_image() -> None:
    found = Inversion(
        model="m", data="d", classes={"a": 1.0, "b": 2.0}, suspect="a", settings={}, seconds=0.0, png="AAAA"
    )
    assert describe(found)["inversion"]["png"] == ""


def test_the_stored_models_of_protocol_2_are_found_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    inversion.main(inversion.Options(seeds=()))
    inversion.main(inversion.Options(seeds=(), threads=2))
    assert threads == [1, 2]
