"""Shared fixtures: a model and data small enough to train in a second."""

from __future__ import annotations

import gc
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from cleaner.data import scenes
from cleaner.data.base import TensorData
from cleaner.models.clip import Architecture, Clip, build_clip, save_clip
from cleaner.training import frames
from tests import warm

# Tiny models gain nothing from threads, and threads slow down tests on a busy machine.
torch.set_num_threads(1)

TINY_TEXT = {"width": 32, "heads": 2, "layers": 1}
TINY = {
    "vit": Architecture(32, {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}, TINY_TEXT),
    "rn": Architecture(32, {"layers": (1, 1, 1, 1), "width": 8, "head_width": 32, "image_size": 32}, TINY_TEXT),
}
OPENAI_TEXT = {"width": 64, "heads": 1, "layers": 2, "vocab_size": 49410}
OPENAI = {
    "vit": Architecture(
        48, {"layers": 2, "width": 128, "patch_size": 8, "image_size": 32}, OPENAI_TEXT, quick_gelu=True
    ),
    "rn": Architecture(48, {"layers": (1, 2, 1, 1), "width": 8, "image_size": 64}, OPENAI_TEXT, quick_gelu=True),
}
COLORS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.1), "blue": (0.1, 0.1, 0.9), "yellow": (0.9, 0.9, 0.1)}
CLASSES = ["apple", "banana", "cup", "kite"]


def pytest_sessionstart() -> None:
    """Collect no garbage while the tests are imported; see `cleaner.loading`."""
    gc.disable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For `-m "quick and ..."`, leave out files without a quick test: importing all takes longer than these tests."""
    is_other = collection_path.suffix == ".py" and "mark.quick" not in collection_path.read_text(encoding="utf-8")
    return True if config.option.markexpr.startswith("quick") and is_other else None


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def scene_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all tests of this process, and of Scenes images for all processes; the user's stays untouched."""
    folder = tmp_path_factory.mktemp("cache")
    if "PYTEST_XDIST_WORKER" in os.environ:
        rendered = tmp_path_factory.getbasetemp().parent / "scenes"
        rendered.mkdir(exist_ok=True)
        (folder / "scenes").symlink_to(rendered)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEANER_CACHE", str(folder))
        patch.setenv("CLEANER_WARM", "0")  # workers end with their queue
        patch.setenv("CLEANER_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setattr(scenes, "render", lru_cache(4000)(scenes.render))  # tests show the same first images
        yield folder


@pytest.fixture(scope="module")
def every_frame() -> Iterator[None]:
    """Let the trainings of this process take every frame of their film, however slow the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "FREE_SECONDS", math.inf)
        yield


@pytest.fixture(scope="session")
def warm_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The path of a Python that has already loaded the libraries; where there is none, of the real one."""
    if sys.platform != "linux":
        yield sys.executable
        return
    with warm.install(tmp_path_factory.mktemp("warm")) as command:
        yield command


@pytest.fixture
def warm_python(warm_command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all processes that the library starts forked instead of loading the libraries."""
    monkeypatch.setattr(sys, "executable", warm_command)


def make_clip(kind: str = "vit", seed: int = 0, *, layers: int | None = None) -> Clip:
    """Return a tiny model with random weights; layers: of a ViT, instead of one."""
    architecture = TINY[kind]
    if layers is not None:
        architecture = replace(architecture, vision={**architecture.vision, "layers": layers})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_clip(architecture, f"tiny-{kind}")


@pytest.fixture
def tiny_clip() -> Clip:
    """A one-layer ViT CLIP for 32 px images, with the same random weights each time."""
    return make_clip()


@pytest.fixture
def tiny_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the path of a tiny untrained model for 64 px images; runs are temporary."""
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    return save_tiny_model(tmp_path)


def save_tiny_model(folder: Path) -> str:
    """Save a tiny model for 64 px images, with the same random weights each time; return its path."""
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = build_clip(Architecture(32, vision, TINY_TEXT), "tiny")
    return str(save_clip(clip, folder / "tiny.safetensors"))


@pytest.fixture
def toy_data() -> TensorData:
    return make_toy_data()


@pytest.fixture
def partly_labeled() -> TensorData:
    """The toy data without the label of every third pair: image i is not labeled image i."""
    data = make_toy_data()
    data.labels[::3] = -1
    return data


def make_toy_data() -> TensorData:
    """48 images of 32 px: a colored square on noise, whose position is the class; half the captions name the color."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(48, 3, 32, 32, generator=generator) * 0.2
    captions, labels = [], []
    for i in range(48):
        label, color = i % 4, list(COLORS)[(i // 4) % 4]
        top, left = 16 * (label // 2), 16 * (label % 2)
        images[i, :, top + 2 : top + 14, left + 2 : left + 14] = torch.tensor(COLORS[color]).view(3, 1, 1)
        full = f"a photo of a {color} {CLASSES[label]} on the wooden table"
        captions.append(full if i % 8 < 4 else f"a photo of a {CLASSES[label]}")
        labels.append(label)
    return TensorData(images, captions, CLASSES, labels, name="toy")


@pytest.fixture
def small_model(monkeypatch: pytest.MonkeyPatch) -> str:
    """A small architecture listed by open_clip; with GELU, which a bare file is not assumed to have."""
    from open_clip import factory

    config = OPENAI["vit"].to_config()["model_cfg"] | {"quick_gelu": False}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "Small-ViT", config)
    return "Small-ViT"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real photos and captions in the folder CLEANER_TEST_DATA; without it, tests that need them are skipped."""
    folder = os.environ.get("CLEANER_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data: set CLEANER_TEST_DATA to the folder of cifar10, cifar10_small and cc3m_captions_5k.csv")
    return Path(folder)
