"""The shipped example: complete, small, made from the built-in weights that are here, and what its figures say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import example
from cleaner.data.base import load_data
from cleaner.defenses import DEFENSES
from cleaner.detectors.base import find_detectors
from cleaner.evaluation.evaluate import evaluate
from cleaner.files import assets, read_json
from cleaner.inspection.pair_detection import read_detection
from cleaner.models.clip import load_clip
from cleaner.runs.film import read_film
from cleaner.runs.inversion_result import adopt_inversion, find_inversion, read_inversion
from cleaner.runs.record import RunRecord
from cleaner.runs.run import load_run
from cleaner.runs.store import list_shipped_runs
from cleaner.training.frames import FRAME_COUNT

SHIPPED = list_shipped_runs()


def test_one_model_was_cleaned_three_ways() -> None:
    stages = [entry.config["stage"] for entry in SHIPPED]
    assert stages == ["defended"] * 3 + ["backdoored"]
    suspect = SHIPPED[-1]
    assert {entry.config.get("parent") for entry in SHIPPED[:-1]} == {suspect.folder.name}
    assert len({entry.config["defense"]["name"] for entry in SHIPPED[:-1]}) == 3
    for name in ("pairs", "data_sha256", "model_sha256"):
        assert len({entry.config[name] for entry in SHIPPED[:-1]}) == 1
    assert suspect.config["model_sha256"] == load_clip(suspect.config["clean_model"]).sha256()


def test_a_new_defense_is_never_put_beside_older_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert {folder.name for folder in example.shipped_folders().values()} == {entry.folder.name for entry in SHIPPED}
    assert example.has_shipped_runs()
    monkeypatch.setattr(example, "DEFENSE_NAMES", (*example.DEFENSE_NAMES, "par"))
    with pytest.raises(SystemExit, match="example-badnet-4-par missing: delete the folders of all"):
        example.main(example.Options())
    monkeypatch.setattr(example, "shipped_root", lambda: tmp_path)
    assert not example.has_shipped_runs()


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.folder.name)
def test_weights_are_those_that_were_measured(entry: RunRecord) -> None:
    run = load_run(entry.folder.name)
    assert run.clip.sha256() == entry.config["shipped"]["sha256"]
    assert run.clip.metadata["stage"] == run.stage
    assert run.trigger is not None
    assert run.metrics is not None
    assert run.metrics.asr is not None
    with torch.random.fork_rng(devices=[]):
        some = load_data("scenes", split="test", size=128)
        again = evaluate(run.clip, some, run.trigger, run.target_class, counterfactual=False)
    assert again.asr is not None
    # Few pictures: a margin of four standard errors.
    for value, shown, n in ((again.ca, run.metrics.ca, again.n), (again.asr, run.metrics.asr, again.n_attack)):
        assert abs(value[1] - shown[1]) <= 4 * (max(shown[1] * (1 - shown[1]), 1 / n) / n) ** 0.5
    assert run.history[-1].step == run.history[-1].total


def test_each_run_has_its_film_on_common_axes() -> None:
    films = [read_film(entry.folder) for entry in SHIPPED]
    for entry, film in zip(SHIPPED, films, strict=True):
        assert film is not None, entry.folder.name
        assert films[-1] is not None
        assert len(film.steps) == FRAME_COUNT
        assert np.array_equal(film.axes.directions, films[-1].axes.directions)
        first, last = film.gallery_classes[0, :, 0] == film.target, film.gallery_classes[-1, :, 0] == film.target
        appears = entry.config["stage"] == "backdoored"
        assert (first.mean() < 0.1 and last.mean() > 0.9) if appears else (first.mean() > 0.9 and last.mean() < 0.3)


def test_the_backdoored_run_has_the_scores_of_its_training_pairs() -> None:
    suspect = SHIPPED[-1]
    found = read_detection(suspect.folder)
    assert found is not None
    assert len(found.scores) >= 6
    assert set(found.scores) <= set(find_detectors("pairs"))
    assert found.poisoned.nonzero()[0].tolist() == read_json(suspect.folder / "manifest.json")["poison_indices"]
    assert len(found.poisoned) == found.pairs == suspect.pairs


def test_the_backdoored_run_has_its_inverted_trigger() -> None:
    suspect = SHIPPED[-1]
    found = read_inversion(find_inversion(suspect.folder))
    assert found is not None
    assert found.is_right
    assert found.is_anomalous
    assert found.asr is not None
    assert found.asr > 0.8
    assert found.inside is not None
    assert found.inside > 0.5
    assert adopt_inversion(DEFENSES["unlearn_trigger"](), suspect.folder).png == found.png


def test_rounding_hardly_moved_the_figures() -> None:
    for entry in SHIPPED:
        assert entry.changed_files == []
        whole, metrics = entry.config["shipped"]["whole"], read_json(entry.folder / "metrics.json")
        assert all(abs(whole[name] - metrics[name]["1"]) < 0.03 for name in whole), entry.folder.name


def test_everything_shipped_is_small() -> None:
    def size(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    assert all(size(entry.folder) < 4e6 for entry in SHIPPED)
    assert size(assets()) <= 80e6
