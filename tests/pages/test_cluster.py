"""Where to train: a choice where Slurm is, with the queue in words; nothing is left of what Slurm refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cleaner.files import read_json
from cleaner.jobs import local, slurm, slurm_queue, sweep
from tests import fake_slurm
from tests.jobs.test_slurm import REFUSED
from tests.pages.conftest import OpenPage, choose_small_training, page_text
from tests.pages.runs import make_runs

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Slurm runs on Linux")
SLURM = "Slurm cluster"


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Slurm in which all jobs wait."""
    home = tmp_path / "slurm"
    monkeypatch.setenv("PATH", f"{fake_slurm.install(home)}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(home))
    monkeypatch.setattr(slurm_queue, "_queue_cache", {})
    (home / "hold").write_text("Priority")
    return home


def test_without_slurm_there_is_no_choice(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "explain_unavailable", lambda: "Slurm's sbatch is not on this machine")
    app = open_page("Poison")
    assert "Train on" not in [radio.label for radio in app.radio]
    help = app.selectbox(key="poison.device").help
    assert "Training on a cluster is not offered: Slurm's sbatch is not on this machine." in help


def test_poisoning_waits_in_the_queue_and_is_cancelled(open_page: OpenPage, queue: Path) -> None:
    app = choose_small_training(open_page("Poison"))
    app.radio(key="poison.place").set_value(SLURM).run()
    app.slider(key="poison.slurm.gpus").set_value(0).run()
    app.text_input(key="poison.slurm.partition").set_value("short").run()
    (queue / "refuse").write_text(REFUSED)
    app.button(key="poison.go").click().run()
    assert not app.exception
    assert "Slurm refuses: Invalid partition name specified" in app.error[0].value.replace("\\", "")
    assert local.poll_entries() == []

    (queue / "refuse").unlink()
    app.button(key="poison.go").click().run()
    assert not app.exception
    (entry,) = local.poll_entries()
    assert (entry.status.state, entry.status.place) == ("queued", "slurm")
    assert read_json(entry.folder / "config.json")["finetune"]["device"] == "auto"
    script = (queue / "1").read_text()
    assert "#SBATCH --partition=short\n" in script
    assert "--gpus" not in script
    assert not app.get("progress")[0].proto.value
    assert "Slurm job 1 waits behind others" in app.get("progress")[0].proto.text.replace("\\", "")
    next(button for button in app.button if (button.key or "").endswith(".cancel")).click().run()
    assert local.poll_status(entry.folder).state == "cancelled"
    assert not list(queue.glob("*.json"))


def test_a_sweep_is_one_array_in_one_table(open_page: OpenPage, tmp_path: Path, queue: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Defend")
    app.multiselect(key="defend.which").set_value(["finetune"]).run()
    app.toggle(key="defend.sweep").set_value(True).run()
    app.number_input(key="defend.seeds").set_value(3)
    app.radio(key="defend.place").set_value(SLURM).run()
    assert "on the cluster, as many at a time as it has room for" in page_text(app)
    app.button(key="defend.go").click().run()
    assert not app.exception
    (name,) = sweep.list_sweep_ids(local.poll_entries())
    assert [slurm_queue.read_job_id(entry.folder) for entry in sweep.list_sweep_runs(name)] == ["1_0", "1_1", "1_2"]
    shown = next(d.value for d in app.dataframe if "Progress" in d.value)
    assert shown["State"].tolist() == ["waits"] * 3
    assert "Slurm job 1_0 waits behind others." in page_text(app).replace("\\", "")
    assert not app.get("progress")
    app.button(key=f"{name}.cancel").click().run()
    assert [entry.status.state for entry in sweep.list_sweep_runs(name)] == ["cancelled"] * 3
