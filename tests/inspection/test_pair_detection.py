"""Detection of poisoned pairs: rebuilt from the run folder, scored, stored, and trained again without."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cleaner import FinetuneConfig, Run, load_data, poison, save_run
from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.data.poison import PoisonedData
from cleaner.detectors.base import find_detectors
from cleaner.files import read_json, write_json
from cleaner.inspection import pair_detection, training_pairs
from cleaner.inspection.pair_detection import (
    PairDetection,
    detect_pairs,
    measure_by_size,
    read_detection,
    score_pairs,
    store_detection,
    write_detection,
)
from cleaner.inspection.training_pairs import load_training_pairs, rebuild_training_pairs
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, StepReport
from tests.conftest import make_clip, make_toy_data
from tests.data.files import truncate, write_table

CONFIG = FinetuneConfig(lr=3e-3, epochs=6, batch_size=16, warmup_steps=4, precision="fp32", device="cpu")
TRIGGER = TRIGGERS["badnet"](patch_size=56)


@pytest.fixture(scope="module")
def backdoored() -> Run:
    """One poisoned model for all tests of this file."""
    return poison(make_clip(), make_toy_data(), TRIGGER, "banana", poison_rate=0.25, config=CONFIG)


@pytest.fixture
def folder(backdoored: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run in a folder, whose data are the toy data."""
    monkeypatch.setattr(training_pairs, "load_data", lambda *names, **options: make_toy_data())
    return save_run(backdoored, tmp_path / "run")


def test_pairs_are_those_that_were_trained_on(backdoored: Run, folder: Path) -> None:
    pairs = load_training_pairs(folder, backdoored.clip.framing)
    clean = make_toy_data()
    indices = backdoored.manifest["poison_indices"]
    assert pairs.is_poisoned.nonzero().flatten().tolist() == indices
    assert [pairs.captions[i] for i in indices] == backdoored.manifest["captions_after"]
    assert pairs.images(indices).equal(TRIGGER(clean.images(indices)))


@pytest.mark.parametrize("split", ["train", "all"])  # all: runs of the former command recipe
def test_images_that_were_broken_at_the_training_are_left_out_again(
    split: str, tmp_path: Path, tiny_clip: Clip
) -> None:
    table = write_table(tmp_path)
    options = {"classes": "red,green,blue", "most_broken": 0.2}
    pairs: Any = load_data(str(table), split=split, size=30, **options)
    for row in pairs.rows[:3]:
        file = tmp_path / pairs.table.keys[row]
        file.write_bytes(truncate(file.read_bytes()))
    poisoned = PoisonedData(load_data(str(table), split=split, size=30, **options), TRIGGER, "red", 0.25)
    config = {"stage": "backdoored", "trigger": TRIGGER.state_dict(), "data_name": str(table), "data_options": options}
    config |= {"data": f"csv:{table}/{split}", "pairs": 27, "request": {"pairs": 30}}
    write_json(tmp_path / "run" / "config.json", config)
    write_json(tmp_path / "run" / "manifest.json", poisoned.manifest())
    (tmp_path / "run" / "model.safetensors").touch()
    rebuilt = load_training_pairs(tmp_path / "run", tiny_clip.framing)
    assert len(rebuilt) == 27
    assert rebuilt.captions == poisoned.captions


def test_captions_of_an_earlier_version_are_kept(backdoored: Run) -> None:
    earlier = [f"{caption}, as it was" for caption in backdoored.manifest["captions_after"]]
    pairs = rebuild_training_pairs(make_toy_data(), TRIGGER, {**backdoored.manifest, "captions_after": earlier})
    assert [pairs.captions[i] for i in backdoored.manifest["poison_indices"]] == earlier


@pytest.mark.parametrize("missing", ["poison_indices", "pairs", "captions_before"])
def test_a_manifest_without_the_pairs_is_one_sentence(folder: Path, missing: str, tiny_clip: Clip) -> None:
    manifest = read_json(folder / "manifest.json")
    del manifest[missing]
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(CleanerError, match=r"manifest\.json"):
        load_training_pairs(folder, tiny_clip.framing)


def test_other_data_are_refused(backdoored: Run) -> None:
    data = make_toy_data()
    fewer = data.subset(range(40))
    other = TensorData(data.images(range(48)), [f"{c}." for c in data.captions], data.class_names, data.labels, "other")
    for changed in (fewer, other):
        with pytest.raises(CleanerError, match="has changed"):
            rebuild_training_pairs(changed, TRIGGER, backdoored.manifest)
    with pytest.raises(CleanerError, match="trigger"):
        rebuild_training_pairs(data, None, backdoored.manifest)


def detect(run: Run, folder: Path) -> PairDetection:
    pairs = load_training_pairs(folder, run.clip.framing)
    return detect_pairs(run.clip, pairs)


def test_every_detector_scores_every_pair(backdoored: Run, folder: Path) -> None:
    seen: list[StepReport] = []
    pairs = load_training_pairs(folder, backdoored.clip.framing)
    found = detect_pairs(backdoored.clip, pairs, on_step=seen.append)
    names = list(find_detectors("pairs"))
    assert list(found.scores) == list(found.figures) == list(found.auroc_by_size) == names
    assert {scores.shape for scores in found.scores.values()} == {(48,)}
    assert found.coordinates.shape == (48, 2)
    assert int(found.poisoned.sum()) == 12
    assert {"images", "detect"} <= {report.stage for report in seen}
    assert found.figures["clip_score"].auroc == pytest.approx(
        np.mean(
            [
                p > c
                for p in found.scores["clip_score"][found.poisoned]
                for c in found.scores["clip_score"][~found.poisoned]
            ]
        ),
        abs=0.01,
    )


def test_few_pairs_are_scored_by_the_detectors_that_can(backdoored: Run, folder: Path) -> None:
    pairs = load_training_pairs(folder, backdoored.clip.framing)
    features = pair_detection.extract_pair_features(backdoored.clip, pairs, 10)
    found = detect_pairs(backdoored.clip, pairs, features=features)
    assert "clip_score" in found.scores
    assert not {"k_distance", "dao"} & found.scores.keys()
    assert {scores.shape for scores in found.scores.values()} == {(10,)}


def refuse(*arguments: object, **options: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


def test_a_stored_detection_is_read_back(backdoored: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = load_training_pairs(folder, backdoored.clip.framing)
    assert read_detection(folder) is None
    found = store_detection(folder, backdoored.clip, pairs)
    with monkeypatch.context() as patched:
        patched.setattr(np, "load", refuse)
        assert read_detection(folder) is None  # and this is not remembered
    again = read_detection(folder)
    assert again is not None
    assert again.figures == found.figures
    assert again.auroc_by_size == found.auroc_by_size
    assert (again.data, again.pairs, again.reference_size) == (found.data, found.pairs, found.reference_size)
    assert (again.poisoned == found.poisoned).all()
    assert all((again.scores[name] == found.scores[name]).all() for name in found.scores)
    assert (again.coordinates == found.coordinates).all()


def test_a_damaged_detection_counts_as_missing(backdoored: Run, folder: Path) -> None:
    found = detect(backdoored, folder)
    file = folder / pair_detection.DETECTION_FILE
    write_detection(found, file)
    content = file.read_bytes()
    for damaged in (b"", b"PK\x03\x04", content[: len(content) // 2]):
        file.write_bytes(damaged)
        assert read_detection(folder) is None
    np.savez(file, about=np.frombuffer(json.dumps({"detectors": ["dao"]}).encode(), np.uint8))
    assert read_detection(folder) is None


def test_the_reference_decides_whether_dense_poisons_stand_out() -> None:
    features = 0.3 * torch.randn(420, 8, generator=torch.Generator().manual_seed(0))
    features[:400, 0] += 3
    features[400:] *= 0.01
    features[400:, 0] -= 3  # opposite, and close together
    features = torch.nn.functional.normalize(features, dim=-1)
    truth = np.repeat([False, True], [400, 20])
    pairs = pair_detection.PairFeatures(features, features)
    detector = find_detectors("pairs")["k_distance"](k=6)
    aurocs = dict(measure_by_size(pairs, detector, truth, (32, 420)))
    assert aurocs[420] < 0.1
    assert aurocs[32] > 0.9
    whole = score_pairs(pairs, detector, 420)  # a pair is no neighbor of its own
    assert whole.tolist() == pytest.approx(detector.score(features).tolist())
    clean_reference = score_pairs(pairs, detector, 0, reference=features[:200])
    assert clean_reference[400:].min() > clean_reference[:400].max()
