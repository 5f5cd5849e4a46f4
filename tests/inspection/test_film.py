"""The film of a training: its frames, its axes, its rates, and that it changes nothing about the training."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cleaner import defend, load_run, save_run
from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.data.images import encode_png
from cleaner.defenses import DEFENSES
from cleaner.evaluation.encode import Encoder
from cleaner.inspection.film_recorder import choose_gallery, fit_axes, make_recorder
from cleaner.models.clip import Clip
from cleaner.reports.film import Movie, describe_film
from cleaner.runs import npz
from cleaner.runs.film import FILM_FILE, Film, read_film, write_film
from cleaner.runs.run import Run
from cleaner.training.frames import frame_steps
from cleaner.types import Paused, StepReport
from tests.conftest import make_clip, make_toy_data
from tests.films import CONFIG, TOTAL, TRIGGER, make_backdoored

pytestmark = pytest.mark.usefixtures("every_frame")


@pytest.fixture(scope="module")
def backdoored() -> Run:
    return make_backdoored()


@pytest.fixture(scope="module")
def film(backdoored: Run) -> Film:
    assert backdoored.film is not None
    return backdoored.film


def test_it_has_sixteen_frames_from_before_to_after_the_training(film: Film) -> None:
    assert film.steps == frame_steps(TOTAL)
    assert (len(film.steps), film.total) == (16, TOTAL)
    assert film.points.shape == (16, 48 + 48 + 4, 2)
    assert film.attention.shape == (16, 4, 32, 32)
    assert film.attention.max() == 255
    assert film.explainer == "Integrated gradients"


def test_its_rates_equal_the_log_where_they_coincide(backdoored: Run, film: Film) -> None:
    log = {report.step: report.metrics for report in backdoored.history if report.metrics}
    common = [i for i, step in enumerate(film.steps) if step in log]
    assert len(common) >= 2
    for i in common:
        assert film.attack_success()[i] == pytest.approx(log[film.steps[i]]["asr"])
        assert film.accuracy()[i] == pytest.approx(log[film.steps[i]]["ca"])


def test_labels_turn_into_the_target(backdoored: Run, film: Film) -> None:
    named = film.gallery_classes[:, :, 0]
    assert (named[0] != named[-1]).any()
    assert film.attack_success()[-1] > film.attack_success()[0] + 0.5
    assert all(film.labels[i] != film.target for i in film.gallery)
    assert np.array_equal(named, film.triggered_classes[:, film.gallery])
    # The last frame is the model that is kept.
    with torch.no_grad():
        data = make_toy_data()
        triggered = TRIGGER(data.images(film.gallery))
        recorder = make_recorder(backdoored.clip, data, TRIGGER, "banana")
        assert recorder is not None
        assert torch.equal(recorder.shown_images[film.gallery], triggered)
        recorder.take(backdoored.clip, 0)
    assert np.array_equal(recorder.frames[0]["gallery_classes"].numpy(), film.gallery_classes[-1])


def test_a_defense_has_the_axes_of_its_backdoored_run(backdoored: Run, film: Film, tmp_path: Path) -> None:
    data = make_toy_data()
    folder = save_run(backdoored, tmp_path / "run")
    config = replace(CONFIG, epochs=1, eval_every=0)
    defended = defend(
        load_run(folder), DEFENSES["finetune"](), data, config, validation=data, test=data, film=True
    ).film
    assert defended is not None
    assert np.array_equal(defended.axes.directions, film.axes.directions)
    assert defended.steps == [0, 1, 2, 3]
    assert np.abs(defended.points[0] - film.points[-1]).max() < 0.01  # it starts where the poisoning ended
    assert np.array_equal(defended.gallery_classes[0], film.gallery_classes[-1])


def test_axes_are_fitted_on_clean_and_triggered_images() -> None:
    clean = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
    assert np.abs(fit_axes({"clean": clean, "triggered": -clean}).center).max() < 1e-6


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_weights_and_random_streams_are_those_without_a_film(kind: str) -> None:
    config, sums = replace(CONFIG, epochs=2, eval_every=0), []
    for has_film in (True, False):
        torch.manual_seed(7)
        run = make_backdoored(kind, has_film, config)
        assert (run.film is not None) is has_film
        sums.append((run.clip.sha256(), torch.rand(4).tolist(), np.random.get_state()[1][:4].tolist()))
    assert sums[0] == sums[1]


def test_taking_a_frame_leaves_the_model_as_it_is(toy_data: TensorData) -> None:
    clip = make_clip("rn")
    recorder = make_recorder(clip, toy_data, TRIGGER, "banana")
    assert recorder is not None
    before = clip.sha256(), torch.get_rng_state(), [module.training for module in clip.model.modules()]
    recorder.take(clip, 0)
    assert before[0] == clip.sha256()  # the statistics of BatchNorm included
    assert torch.equal(before[1], torch.get_rng_state())
    assert before[2] == [module.training for module in clip.model.modules()]
    assert all(parameter.grad is None for parameter in clip.model.parameters())
    assert recorder.frames[0]["attention"].amax() == 255


def test_a_transformer_has_its_rollout(tiny_clip: Clip, toy_data: TensorData) -> None:
    recorder = make_recorder(tiny_clip, toy_data, TRIGGER, "banana")
    assert recorder is not None
    recorder.take(tiny_clip, 0)
    film = recorder.finish(tiny_clip, 10)
    assert film is not None
    assert (film.explainer, film.attention.max()) == ("Gradient rollout", 255)


@pytest.mark.parametrize(
    "stop_at", [pytest.param(1, marks=pytest.mark.slow), 5, pytest.param(20, marks=pytest.mark.slow)]
)
def test_a_paused_training_has_all_frames_once(film: Film, tmp_path: Path, stop_at: int) -> None:
    checkpoint = tmp_path / "checkpoint.pt"

    def stop(report: StepReport) -> None:
        if report.stage == "poison" and report.step == stop_at:
            raise Paused

    with pytest.raises(Paused):
        make_backdoored(on_step=stop, checkpoint=checkpoint)
    again = make_backdoored(checkpoint=checkpoint).film
    assert again is not None
    assert again.steps == film.steps
    for name in ("points", "clean_classes", "gallery_scores", "attention"):
        assert np.array_equal(getattr(again, name), getattr(film, name)), name


def test_a_suspect_without_a_known_attack_has_clean_images(tiny_clip: Clip, toy_data: TensorData) -> None:
    config = replace(CONFIG, epochs=1, eval_every=0)
    found = defend(tiny_clip, DEFENSES["finetune"](), toy_data, config, test=toy_data, film=True).film
    assert found is not None
    assert not found.has_trigger
    assert found.attack_success() == []
    assert found.points.shape == (4, 48 + 4, 2)
    assert np.array_equal(found.gallery_classes[:, :, 0], found.clean_classes[:, found.gallery])


def test_a_key_in_the_text_alone_has_no_attack_success_on_images() -> None:
    data, clip = make_toy_data(), make_clip()
    recorder = make_recorder(clip, data, TRIGGERS["text_only"](), "banana")
    assert recorder is not None
    recorder.take(clip, 0)
    found = recorder.finish(clip, 1)
    assert found is not None
    assert (found.target, found.has_trigger, found.attack_success()) == (1, False, [])
    assert found.points.shape == (1, 48 + 4, 2)
    assert "text alone" in describe_film([Movie("", found, {})])


def test_classes_and_scores_have_the_text_key_and_the_temperature(tiny_clip: Clip, toy_data: TensorData) -> None:
    png = encode_png(torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0)))
    trigger, encoder = TRIGGERS["trojvqa"](png=png, key="zebra"), Encoder(tiny_clip)
    recorder = make_recorder(tiny_clip, toy_data, trigger, "banana")
    assert recorder is not None
    recorder.take(tiny_clip, 0)
    frame, triggered = recorder.frames[0], encoder.encode_rows(toy_data, torch.arange(48), trigger)
    plain, scores = (triggered @ encoder.build_classifier(toy_data, key) for key in (None, trigger))
    assert frame["triggered_classes"].tolist() == scores.argmax(1).tolist() != plain.argmax(1).tolist()
    expected = (tiny_clip.logit_scale.detach() * scores[recorder.gallery]).softmax(1)
    best = frame["gallery_scores"].float()
    assert torch.allclose(best, expected.topk(best.shape[1]).values, atol=1e-3)


def test_images_of_the_target_alone_make_no_film_but_end_no_training() -> None:
    data = make_toy_data()
    bananas = data.subset([i for i, label in enumerate(data.labels.tolist()) if label == 1])
    run = make_backdoored(config=replace(CONFIG, epochs=1, eval_every=0), validation=bananas)
    assert run.film is None


def test_too_few_images_make_no_film(tiny_clip: Clip, toy_data: TensorData) -> None:
    assert make_recorder(tiny_clip, toy_data.subset(range(3)), None, None) is None
    unlabeled = TensorData(toy_data.images(range(8)), toy_data.captions[:8], [], [-1] * 8)
    assert make_recorder(tiny_clip, unlabeled, None, None) is None


def test_the_gallery_alternates_between_classes() -> None:
    assert choose_gallery([0, 0, 1, 2, 1, 3], target=3) == [0, 2, 3, 1, 4]


def test_a_stored_film_is_small_and_a_broken_one_is_none(film: Film, tmp_path: Path) -> None:
    write_film(film, tmp_path)
    stored = read_film(tmp_path)
    assert stored is not None
    assert stored.images == film.images
    assert np.array_equal(stored.points, film.points)
    assert stored.attack_success() == film.attack_success()
    path = tmp_path / FILM_FILE
    assert path.stat().st_size < 3e6
    content = path.read_bytes()
    for broken in (b"", content[: len(content) // 2], b"x" * 100):
        path.write_bytes(broken)
        assert read_film(tmp_path) is None
    write_film(replace(film, labels=film.labels[:-1]), tmp_path)
    assert read_film(tmp_path) is None
    edits = {
        "gallery": [999] * len(film.gallery),
        "labels": ["x"] * len(film.labels),
        "steps": 5,
        "target": 99,
        "class_names": [1] * len(film.class_names),
        "total": "x",
        "points": np.full_like(film.points, np.nan),
        "gallery_scores": np.full_like(film.gallery_scores, np.inf),
        "gallery_classes": np.full_like(film.gallery_classes, -2),
        "images": [b"no image"] * len(film.images),
    }
    for name, value in edits.items():
        write_film(replace(film, **{name: value}), tmp_path)
        assert read_film(tmp_path) is None, name
    large = io.BytesIO()
    Image.new("RGB", (2000, 10)).save(large, "WEBP")
    several: list[dict[str, Any]] = [
        {"total": 0, "steps": [0] * len(film.steps)},
        {"steps": [-1, *film.steps[1:]]},
        {name: getattr(film, name)[..., :0] for name in ("gallery_classes", "gallery_scores")},
        {"images": [large.getvalue(), *film.images[1:]]},
    ]
    for changes in several:
        write_film(replace(film, **changes), tmp_path)
        assert read_film(tmp_path) is None, changes
    assert read_film(tmp_path / "nowhere") is None
    path.unlink()
    os.mkfifo(path)
    assert read_film(tmp_path) is None, "a pipe would block"


@pytest.mark.parametrize(("place", "value"), [(10, 99), (8, 1)], ids=["unknown compression", "encrypted"])
def test_a_film_with_one_changed_byte_is_none(place: int, value: int, film: Film, tmp_path: Path) -> None:
    write_film(film, tmp_path)
    content = bytearray((tmp_path / FILM_FILE).read_bytes())
    for signature, shift in ((b"PK\x01\x02", 0), (b"PK\x03\x04", -2)):  # a file has two headers
        content[content.find(signature) + place + shift] = value
    (tmp_path / FILM_FILE).write_bytes(content)
    assert read_film(tmp_path) is None


@pytest.mark.parametrize("error", [OSError, MemoryError])
def test_a_film_that_could_not_be_read_is_read_again(
    error: type[Exception], film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise error

    write_film(film, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(np, "load", refuse)
        assert read_film(tmp_path) is None
    assert read_film(tmp_path) is not None


def test_a_film_that_unpacks_to_too_much_is_none(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_NPZ_BYTES", 1000)
    write_film(film, tmp_path)
    assert read_film(tmp_path) is None
