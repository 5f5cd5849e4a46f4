"""No outbound request: poisoning, cleaning, scanning and reporting work where every other address is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from cleaner import load_data
from cleaner.files import read_json, write_json
from cleaner.inspection.embedding_map import ensure_map
from cleaner.models.lookup import is_on_this_machine
from cleaner.runs.request import get_test_data
from cleaner.runs.run import load_run
from cleaner.types import CleanerError
from pages._shared.cache.loaders import load_model
from tests.inputs.guard import guarded
from tests.pages.runs import make_runs

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
asked = []

def refuse(event, arguments):
    if event == "socket.getaddrinfo" or event == "socket.gethostbyname" or event == "urllib.Request":
        asked.append((event, arguments[:2]))
        raise OSError("no network here")
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        is_local = isinstance(address, (str, bytes)) or str(address[0]).startswith(("127.", "::1"))
        if not is_local:
            asked.append((event, address))
            raise OSError("no network here")

sys.addaudithook(refuse)
from dataclasses import replace
from pathlib import Path
from cleaner import defend, load_clip, load_data, poison, save_run
from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES
from cleaner.evaluation.scan import scan
from cleaner.reports.html import write_report
from tests.conftest import make_clip, make_toy_data
from tests.data.files import write_parquet
import pages._shared.shell.state

out, data = Path(sys.argv[1]), make_toy_data()
config = FinetuneConfig(lr=1e-3, epochs=1, steps=2, batch_size=16, precision="fp32", device="cpu")
load_clip("scenes-lite").encode_text(["a red car"])
load_data("scenes", size=2).images([0])
load_data(write_parquet(out), size=2).images([0])
run = poison(make_clip(), data, TRIGGERS["badnet"](), "banana", config=config, test=data)
scan(run.clip, data, {"badnet": run.trigger}, n=8)
defended = defend(run, DEFENSES["ta_cleaner"](), data, config, test=data)
folders = [save_run(run, out / "a"), save_run(defended, out / "b")]
write_report(folders, out / "report.html")
assert asked == [], asked
print("done")
"""


def test_nothing_is_requested_from_the_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.stdout == "done\n", done.stderr[-3000:]


@pytest.mark.parametrize("name", ["hf-hub:attacker/beacon", "ViT-B-32/laion2b_s34b_b79k"])
def test_a_run_downloads_no_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The author of a run folder names the model before poisoning, and the model that was defended."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    place = tmp_path / "place"
    place.mkdir()
    _, folder = make_runs(place)
    monkeypatch.setenv("CLEANER_CACHE", str(place / "cache"))
    config = read_json(folder / "config.json")
    config |= {"clean_model": name, "parent": None, "model_sha256": None, "request": {"model": name}}
    write_json(folder / "config.json", config)
    with guarded(place):
        assert load_run(folder).clean_clip is None
        with pytest.raises(CleanerError, match="not on this machine"):
            load_model(("clean", str(folder)))
        assert ensure_map(folder, with_umap=False).stages == ("backdoored", "defended")


def test_a_run_downloads_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv("CLEANER_CACHE", str(place))
    for stated, message in (("hf:attacker/beacon", "not on this machine"), (f"cifar10:{place}", "is not in")):
        name, options, _ = get_test_data({"data_name": stated, "data_options": {"download": "true"}})
        with guarded(place), pytest.raises(CleanerError, match=message):
            load_data(name, **options)
    with pytest.raises(CleanerError, match=r"inspect hf:attacker/beacon config=en max_pairs=9$"):
        load_data("hf:attacker/beacon", config="en", max_pairs=9, download=False)


def test_models_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--org--own" / "snapshots").mkdir(parents=True)
    (tmp_path / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K" / "snapshots").mkdir(parents=True)
    (tmp_path / "x.pt").touch()
    here = ["scenes-lite", f"{tmp_path}/x.pt", f"ViT-B-32:{tmp_path}/x.pt", f"local-dir:{tmp_path}"]
    here += ["hf-hub:org/own", "hf-hub:org/own@main", "ViT-B-32/laion2b_s34b_b79k"]
    elsewhere = ["hf-hub:org/other", "hf-hub:", "ViT-B-32/laion2b_e16", "ViT-B-32:x.pt", "x.pt", "x", ""]
    assert [name for name in [*here, *elsewhere] if is_on_this_machine(name)] == here
