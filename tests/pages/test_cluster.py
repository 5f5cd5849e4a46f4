"""Training on a cluster: offered where Slurm is installed; a refused job leaves no run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cleaner.files import read_json
from cleaner.jobs import local, slurm, slurm_queue, sweep
from pages._shared.runs import jobs
from tests import fake_slurm
from tests.jobs.test_slurm import REFUSED
from tests.pages.conftest import OpenPage, choose_small_training, errors, page_text, press, table, widget_keys
from tests.pages.runs import make_runs

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Slurm runs on Linux")
SLURM = "Slurm cluster"


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a fake Slurm that holds all jobs in the queue."""
    home = tmp_path / "slurm"
    fake_slurm.select(home, monkeypatch)
    (home / "hold").write_text("Priority")
    return home


def test_without_slurm_there_is_no_choice(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "unavailable_reason", lambda: "Slurm's sbatch is not on this machine")
    app = open_page("Poison")
    assert "poison.place" not in widget_keys(app)
    assert "Slurm's sbatch is not on this machine" in app.selectbox(key="poison.device").help


def test_poisoning_waits_in_the_queue_and_is_cancelled(open_page: OpenPage, queue: Path) -> None:
    app = choose_small_training(open_page("Poison"))
    app.radio(key="poison.place").set_value(SLURM).run()
    app.slider(key="poison.slurm.gpus").set_value(0).run()
    app.text_input(key="poison.slurm.partition").set_value("short").run()
    (queue / "refuse").write_text(REFUSED)
    press(app, "poison.go")
    assert "Invalid partition name specified" in errors(app)[0]
    assert local.poll_entries() == []

    (queue / "refuse").unlink()
    press(app, "poison.go")
    (entry,) = local.poll_entries()
    assert (entry.status.state, entry.status.place) == ("queued", "slurm")
    assert read_json(entry.folder / "config.json")["finetune"]["device"] == "auto"
    script = (queue / "1").read_text()
    assert "#SBATCH --partition=short\n" in script
    assert "--gpus" not in script
    assert not app.get("progress")[0].proto.value
    assert "Slurm job 1" in app.get("progress")[0].proto.text.replace("\\", "")
    assert "Slurm job 1" in jobs.describe_active(jobs.active_jobs())
    press(app, ".cancel")
    assert local.poll_status(entry.folder).state == "cancelled"
    assert not list(queue.glob("*.json"))


def test_a_sweep_is_one_array_in_one_table(open_page: OpenPage, tmp_path: Path, queue: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Defend")
    app.multiselect(key="defend.which").set_value(["finetune"]).run()
    app.toggle(key="defend.sweep").set_value(True).run()
    app.number_input(key="defend.seeds").set_value(3)
    app.radio(key="defend.place").set_value(SLURM).run()
    press(app, "defend.go")
    (name,) = sweep.list_sweep_ids(local.poll_entries())
    assert [slurm_queue.read_job_id(entry.folder) for entry in sweep.list_sweep_runs(name)] == ["1_0", "1_1", "1_2"]
    assert table(app, "Progress")["State"].tolist() == ["queued"] * 3
    assert "Slurm job 1_0" in page_text(app)
    assert not app.get("progress")
    app.button(key=f"{name}.cancel").click().run()
    assert [entry.status.state for entry in sweep.list_sweep_runs(name)] == ["cancelled"] * 3
