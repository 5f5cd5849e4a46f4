"""CSV and JSON of runs: headers that stay, values as measured, no formulas."""

from __future__ import annotations

import csv
import io
import json

import pytest

from cleaner.reports.tables import to_csv, to_json
from cleaner.runs.record import RunRecord
from tests.reports.conftest import vary

HEADER = (
    "run,stage,model,attack,target,defense,lr,seed,epochs,pairs,poison_rate,ca,asr@1,asr@3,ra,floor,base_rate,"
    "counterfactual_accuracy,ca_low,ca_high,asr_low,asr_high,n,n_attack,data,protocol,seconds,created,name,tags,note"
)


def test_csv_and_json_hold_the_metrics(runs: list[RunRecord]) -> None:
    text = to_csv(runs)
    assert text.splitlines()[0] == HEADER
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 6
    assert float(rows[1]["asr@1"]) == pytest.approx(0.1)
    assert float(rows[1]["asr_low"]) < 0.1 < float(rows[1]["asr_high"])
    assert rows[1]["poison_rate"] == "0.02"  # of the suspect
    assert (rows[0]["defense"], rows[1]["defense"]) == ("none", "ta_cleaner")
    assert json.loads(to_json(runs))[0]["config"]["target_class"] == "banana"
    assert to_csv([]) == ""


def test_a_run_of_so_many_steps_states_no_epochs(runs: list[RunRecord]) -> None:
    stepped = runs[1].model_copy(update={"finetune": runs[1].finetune.model_copy(update={"steps": 5})})
    rows = list(csv.DictReader(io.StringIO(to_csv([runs[0], stepped]))))
    assert [bool(row["epochs"]) for row in rows] == [True, False]
    assert [row["steps"] for row in rows] == ["", "5"]


def test_csv_and_json_hold_name_tags_and_note(runs: list[RunRecord]) -> None:
    named = runs[0].model_copy(update={"name": "few pairs", "tags": ["b", "a"], "note": "=1+1"})
    (row,) = csv.DictReader(io.StringIO(to_csv([named])))
    assert (row["name"], row["tags"], row["note"]) == ("few pairs", "b, a", "'=1+1")
    assert {"name": "few pairs", "tags": ["b", "a"], "note": "=1+1"}.items() <= json.loads(to_json([named]))[0].items()


def test_a_formula_is_escaped(runs: list[RunRecord]) -> None:
    assert "'=cmd()" in to_csv([vary(runs[0], "=cmd()")])
