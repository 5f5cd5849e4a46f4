"""Each page works for each built-in model and for one that somebody brought, before a run of it is there and after."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from cleaner.config import FinetuneConfig
from cleaner.inspection import embedding_map
from cleaner.models.clip import save_clip
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from cleaner.runs.store import create_run
from pages._shared.frame import titles
from pages._shared.state import escape_markdown, short_labels
from tests.conftest import make_clip
from tests.pages.conftest import OpenPage, go_to, page_text
from tests.pages.runs import make_runs

KINDS = ("rn", "vit")
LOOKING = ("Embeddings", "Attention", "Subtexts", "Try it")


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """A second built-in model, a ViT, and a checkpoint of another size that nobody knows; as they stand in the box."""
    clip = make_clip("vit", 5)
    clip.name = "scenes-vit"
    save_clip(clip, tmp_path / "assets" / "scenes-vit" / "model.safetensors", metadata={"stage": "clean"})
    return ["model:scenes-rn", "model:scenes-vit"]


def look_at(app: AppTest, what: str) -> AppTest:
    app.selectbox(key="current_run").set_value(what).run()
    assert not app.exception, [e.message for e in app.exception]
    assert not app.error, [e.value for e in app.error]
    return app


@pytest.mark.parametrize("title", titles())
def test_each_page_for_each_built_in_model(title: str, open_page: OpenPage, models: list[str]) -> None:
    app = open_page(title)
    for model in models:
        look_at(app, model)
        assert "shown without a trigger" in page_text(app)
        if title in LOOKING:
            assert escape_markdown(model.partition(":")[2]) in page_text(app)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("title", titles())
def test_each_page_for_runs_of_each_architecture(title: str, kind: str, open_page: OpenPage, tmp_path: Path) -> None:
    first, _ = make_runs(tmp_path, kind)
    app = look_at(open_page(title), first.name)
    assert "shown without a trigger" not in page_text(app)


def test_runs_of_one_minute_can_be_told_apart(open_page: OpenPage, tmp_path: Path) -> None:
    folders = [make_runs(tmp_path, seed=seed)[0] for seed in (0, 1)]
    app = open_page("Overview")
    for folder in folders:  # a select box sends the label that was chosen
        assert look_at(app, folder.name).selectbox(key="current_run").value == folder.name
    config = {"stage": "defended", "defense": {"name": "ta_cleaner"}, "finetune": {"lr": 1e-4}}
    swept = [RunRecord.from_config(Path(name), {**config, "created": "2026-01-01T00:00:00Z"}) for name in ("a", "b")]
    assert len(set(short_labels(swept).values())) == 2
    assert "·" not in short_labels(swept[:1])["a"]


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    """A checkpoint that nobody knows, and a defence of it."""
    clip = make_clip("vit", 7)
    clip.name = "epoch_10"
    return save_clip(clip, tmp_path / "epoch_10.safetensors")


def clean(brought: Path) -> Path:
    """Clean the checkpoint in this process; return the run."""
    from cleaner.defenses import DEFENSES
    from cleaner.jobs import local, worker

    config = FinetuneConfig(epochs=1, batch_size=32, device="cpu")
    request = Request(
        "defended", "scenes", 64, config, str(brought), defense=DEFENSES["finetune"]().state_dict(), test_size=100
    )
    folder = create_run(request)
    worker.run_job(worker.RunSession(folder, local.own_start_time()))
    return folder


def test_a_checkpoint_of_unknown_origin(open_page: OpenPage, brought: Path) -> None:
    app = open_page("Defend")
    assert not [o for o in app.selectbox(key="current_run").options if "unknown" in o]
    app.toggle(key="defend.own").set_value(True).run()
    app.selectbox(key="defend.own.model").set_value(str(brought)).run()
    app.button(key="defend.own.open").click().run()
    app.run()
    for title in titles():
        look_at(go_to(app, title), f"model:{brought}")
        assert "trigger unknown" in "".join(app.selectbox(key="current_run").options)
        assert "Look for one on the Defend page" in page_text(app)
        if title in LOOKING:
            assert "Suspect" in page_text(app) + str([d.value for d in app.dataframe])


def test_a_checkpoint_that_was_written_anew_is_asked_again(open_page: OpenPage, brought: Path) -> None:
    app = open_page("Overview")
    clean(brought)
    look_at(go_to(app.run(), "Try it"), f"model:{brought}")
    before = [chart.proto.spec for chart in app.get("plotly_chart")]
    save_clip(make_clip("vit", 8), brought)
    os.utime(brought, (1, 1))
    app.run()
    after = [chart.proto.spec for chart in app.get("plotly_chart")]
    assert len(before) == len(after) == 2
    assert before[0] != after[0]
    assert before[1] == after[1]  # the defence is what it was


def test_a_checkpoint_that_was_cleaned(open_page: OpenPage, brought: Path) -> None:
    app = open_page("Overview")
    folder = clean(brought)
    app.run()
    for title in titles():
        look_at(go_to(app, title), f"model:{brought}")
    go_to(app, "Embeddings")
    kept = embedding_map.read_map(folder)
    assert kept is not None
    assert kept.stages == ("suspect", "defended")
    assert kept.counts["triggered"] == 0
    assert np.isfinite(kept.coordinates["pca"]).all()
