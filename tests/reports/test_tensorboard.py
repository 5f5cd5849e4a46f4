"""TensorBoard events are read back as written; without TensorBoard the error says what to install."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cleaner.__main__ import main
from cleaner.reports import tensorboard
from cleaner.runs.record import RunRecord
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import read_record
from cleaner.types import CleanerError
from tests.pages.runs import make_runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with two steps on record."""
    folder, _ = make_runs(tmp_path)
    lines = [
        {
            "stage": "poison",
            "step": step,
            "total": 2,
            "seconds": step,
            "lr": 1e-3,
            "losses": {"clip_loss": 1.0 / step, "total": 1.0 / step},
            "metrics": {"ca": 0.5} if step == 2 else {},
        }
        for step in (1, 2)
    ]
    (folder / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_read_back(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is optional: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # a second export replaces the first
        assert main(["export-tensorboard", str(run), "--out", str(tmp_path / "events")]) == 0
    assert str(tmp_path / "events" / run.name) in capsys.readouterr().out
    read = EventAccumulator(str(tmp_path / "events" / run.name)).Reload()
    losses = [(event.step, event.value) for event in read.Scalars("poison/loss/clip_loss")]
    assert losses == [(1, 1.0), (2, 0.5)]
    assert [(event.step, event.value) for event in read.Scalars("poison/validation/ca")] == [(2, 0.5)]
    assert [event.value for event in read.Scalars("test/asr@1")] == [pytest.approx(0.95)]
    assert read.Scalars("poison/lr")[1].wall_time - read.Scalars("poison/lr")[0].wall_time == 1

    write_status(run, Status("running"))
    tensorboard.export_runs([run], tmp_path / "running")
    read = EventAccumulator(str(tmp_path / "running" / run.name)).Reload()
    assert "test/asr@1" not in read.Tags()["scalars"]


def test_settings_and_metrics(run: Path) -> None:
    record = read_record(run)
    hparams = tensorboard.collect_hparams(record)
    assert (hparams["trigger"], hparams["defense"], hparams["lr"]) == ("badnet", "none", 1e-3)
    scalars = tensorboard.collect_test_scalars(record)
    assert (scalars["test/ca@1"], scalars["test/n_attack"]) == (0.9, 96)
    assert scalars["test/counterfactual_accuracy"] == 0.7


def test_settings_are_those_that_the_defense_trained_with(tmp_path: Path) -> None:
    record = read_record(make_runs(tmp_path)[1])
    finetune = {**record.config["finetune"], "weight_decay": 0.1}
    for method, decay in (({"name": "par", "decay": 1e-3}, 1e-3), ({"name": "ta_cleaner"}, 0.1), ({"name": "?"}, 0.1)):
        run = RunRecord.from_config(record.folder, {**record.config, "finetune": finetune, "defense": method})
        hparams = tensorboard.collect_hparams(run)
        assert (hparams["weight_decay"], hparams["lr"]) == (decay, 1e-4)
        assert run.config["finetune"]["weight_decay"] == 0.1


def test_a_run_with_a_foreign_date_is_exported(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is optional: pip install tensorboard")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"created": "yesterday"}))
    tensorboard.export_runs([run], tmp_path / "events")
    assert list((tmp_path / "events" / run.name).glob("events.out.tfevents.*"))


def test_bad_input(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CleanerError, match="python -m cleaner runs"):
        tensorboard.export_runs([tmp_path], tmp_path / "events")
    with pytest.raises(CleanerError, match="two runs are named"):
        tensorboard.export_runs([run, run], tmp_path / "events")
    with pytest.raises(CleanerError, match="one run folder or more"):
        tensorboard.export_runs([], tmp_path / "events")
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(CleanerError, match="pip install tensorboard"):
        tensorboard.export_runs([run], tmp_path / "events")
    assert not (tmp_path / "events").exists()
