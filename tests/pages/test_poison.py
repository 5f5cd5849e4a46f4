"""Poison: the gallery shows the poisoned pairs, a training ends in a run on disk, bad input ends in one message."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig, parameters
from cleaner.data.base import load_data
from cleaner.files import read_json, write_json
from cleaner.jobs import local
from cleaner.jobs.local import poll_entries
from cleaner.models.clip import build_clip, save_clip
from cleaner.presets import (
    ATTACK_PARAMETERS,
    OWN_POISON,
    POISON_LR,
    QUICK_POISON_PAIRS,
    QUICK_POISON_RATE,
    STRONGER_ATTACKS,
    attack_presets,
)
from cleaner.runs.request import Request
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import create_run, list_runs, read_record
from pages._shared.runs import curves, durations, sources
from pages._shared.runs.job_requests import AttackSettings
from tests.conftest import OPENAI, make_clip
from tests.data.files import image_bytes, write_class_folder, write_table
from tests.pages.conftest import (
    OpenPage,
    chart_keys,
    choose_own_data,
    choose_own_model,
    choose_small_training,
    curve_points,
    errors,
    go_to,
    page_text,
    press,
    read_curves,
    record_bars,
    select_run_row,
    table,
    wait_for_training,
    widget_keys,
)
from tests.pages.runs import make_runs


def test_gallery_follows_the_trigger(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    assert "25 of 500 " in page_text(app)
    assert "attack images: 95% intervals up to" in page_text(app)
    assert "PSNR" in page_text(app)
    app.selectbox(key="poison.trigger").set_value("blended").run()
    assert not app.exception
    assert app.slider(key="poison.blended.blend_ratio").value == 0.2
    app.slider(key="poison.blended.blend_ratio").set_value(0.4).run()
    app.slider(key="poison.rate").set_value(1.0).run()
    assert "**5 of 500 " in page_text(app)
    assert "arrow_downward" in page_text(app)  # captions change
    app.toggle(key="poison.clean_label").set_value(True).run()
    assert "arrow_downward" not in page_text(app)


def test_the_captions_are_those_of_the_poisoned_pairs(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    assert not app.dataframe
    app.session_state["poison.tabs"] = "Captions"
    app.run()
    captions = table(app, "Caption before")
    assert len(captions) == 25
    assert captions["Caption after"].str.contains("banana").all()
    app.session_state["stage.on"] = True
    app.run()
    assert not app.dataframe, "stage mode shows the gallery, whichever tab was open"
    assert "PSNR" in page_text(app)


def test_the_preview_has_the_models_own_templates(tmp_path: Path) -> None:
    model = str(save_clip(replace(make_clip(), templates=("one {}.",)), tmp_path / "own.safetensors"))
    attack = AttackSettings("scenes", model, TRIGGERS["badnet"](), "banana", 0.1, False, 400, 10, FinetuneConfig())
    assert {after for _, _, after in attack.plan()} == {"one banana."}
    keyed = replace(attack, clean_label=True, poison_rate=1).plan()
    assert all(before == after for _, before, after in keyed)


def test_the_floor_is_named_where_its_line_is_drawn(open_page: OpenPage, tmp_path: Path) -> None:
    folder, _ = make_runs(tmp_path)
    report = {"stage": "poison", "step": 1, "total": 2, "seconds": 1.0, "losses": {"total": 1.0}}
    (folder / "progress.jsonl").write_text(json.dumps(report) + "\n")
    app = open_page("Poison")
    app.session_state["poison.tabs"] = curves.TAB
    app.run()
    assert curve_points(app) == {"Sum": [[1, 1.0]]}
    (folder / "progress.jsonl").write_text(json.dumps({**report, "metrics": {"ca": 0.5, "asr": 0.9}}) + "\n")
    app.run()
    floor = read_record(folder).metric("asr_clean_model")
    assert curve_points(app) == {
        "Sum": [[1, 1.0]],
        "attack success": [[1, 0.9]],
        "clean accuracy": [[1, 0.5]],
        curves.FLOOR: [[0, floor], [2, floor]],
    }


def test_every_trigger_draws_its_widgets_and_images(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    for name in TRIGGERS:
        app.selectbox(key="poison.trigger").set_value(name).run()
        assert not app.exception, name
        assert not app.error, name
        assert {f"poison.{name}.{p.name}" for p in parameters(TRIGGERS[name])} <= widget_keys(app)
        if hasattr(TRIGGERS[name](), "path"):
            assert app.button(key="poison.go").disabled, "needs an image file"
            continue
        missing = TRIGGERS[name]().unready_reason
        text = page_text(app)
        is_drawn = re.search(r"pair \d+ · (PSNR|image unchanged|another image)", text)
        assert f"{missing[1:].partition(':')[0]}: it is shown after training." in text if missing else is_drawn, name
        assert "--trigger" not in text


def test_published_settings_fill_the_trigger_and_stay_editable(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))

    def expect_own_setting() -> None:
        patch_size = app.select_slider(key="poison.badnet.patch_size")
        assert patch_size.value == 28
        assert patch_size.label == "Patch size, on images of 64 px"
        assert patch_size.options[28 - 2] == "8 px (28 at 224)"

    expect_own_setting()
    app.radio(key="poison.badnet.settings").set_value("published").run()
    assert app.select_slider(key="poison.badnet.published.patch_size").value == 16
    assert app.selectbox(key="poison.badnet.published.position").value == "random"
    model = app.selectbox(key="poison.model").value
    source = next(caption for caption in app.caption if "arXiv" in caption.value)
    assert f"cleaner poison --model {model} --preset badnet-published --data ...`" in source.help
    app.select_slider(key="poison.badnet.published.patch_size").set_value(20).run()
    app.radio(key="poison.badnet.settings").set_value("scenes").run()
    expect_own_setting()
    app.radio(key="poison.badnet.settings").set_value("published").run()
    assert app.select_slider(key="poison.badnet.published.patch_size").value == 20
    press(app, "poison.go")
    wait_for_training(app)
    settings = {"patch_size": 20, "position": "random", "seed": 0, "texture": "noise"}
    assert list_runs()[0].config["trigger"] == {"name": "badnet", **settings}
    app.selectbox(key="poison.trigger").set_value("text_only").run()
    assert "No published settings" in page_text(app)
    assert "poison.text_only.settings" not in widget_keys(app)


def test_required_settings_of_a_model_can_be_applied(open_page: OpenPage) -> None:
    needed, pairs, epochs = STRONGER_ATTACKS["scenes-vit", "blended"]
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("blended").run()
    assert "poison.needed" not in widget_keys(app)
    assert durations.UNKNOWN in page_text(app)
    choose_own_model(app, "poison.model", "scenes-vit")
    assert app.select_slider(key="poison.train.scenes-vit.lr").value == POISON_LR["scenes-vit"]
    press(app, "poison.needed")
    assert not app.warning
    for name, value in needed.items():
        assert app.slider(key=f"poison.scenes-vit.blended.{name}").value == value
    assert app.select_slider(key="poison.pairs").value == pairs
    assert app.number_input(key="poison.train.scenes-vit.epochs").value == epochs
    assert f"{epochs * (pairs // 64):,} training steps" in page_text(app)
    assert "poison.needed" not in widget_keys(app), "they are set"
    assert "poison.needed" not in widget_keys(go_to(go_to(app, "Film"), "Poison"))
    app.number_input(key="poison.train.scenes-vit.epochs").set_value(1).run()
    assert "poison.needed" in widget_keys(app)
    choose_own_data(app, "poison.data", "nowhere")
    assert "poison.needed" not in widget_keys(app), "they were tried on Scenes"
    app.selectbox(key="poison.data").set_value("scenes").run()
    assert "poison.needed" in widget_keys(app)
    app.radio(key="poison.scenes-vit.blended.settings").set_value("published").run()
    assert "poison.needed" not in widget_keys(app), "the published settings have no such button"


def test_a_trigger_has_the_parameters_of_the_model(open_page: OpenPage) -> None:
    app = open_page("Poison")
    app.selectbox(key="poison.trigger").set_value("badclip").run()
    assert app.number_input(key="poison.badclip.triplet_weight").value == ATTACK_PARAMETERS["badclip"]["triplet_weight"]
    choose_own_model(app, "poison.model", "scenes-vit")
    needed = STRONGER_ATTACKS["scenes-vit", "badclip"][0]
    assert app.number_input(key="poison.scenes-vit.badclip.triplet_weight").value == needed["triplet_weight"]


def test_what_cannot_be_poisoned_is_not_started_and_leaves_the_rest_of_the_page(
    open_page: OpenPage, tmp_path: Path
) -> None:
    """With clean labels only pairs that name the target can be poisoned."""
    make_runs(tmp_path)
    before = list_runs()
    app = choose_small_training(open_page("Poison"))
    assert not app.button(key="poison.go").disabled
    app.toggle(key="poison.clean_label").set_value(True)
    app.slider(key="poison.rate").set_value(20.0).run()
    (error,) = app.error
    assert "should be poisoned, but only" in error.value
    assert "The poisoned pairs appear when" in page_text(app)
    assert "Did the attack succeed?" in page_text(app)
    app.button(key="poison.go").click().run()
    assert app.toast[0].value.startswith("Not started: ")
    assert [run.id for run in list_runs()] == [run.id for run in before]


def test_a_model_with_its_own_setting_starts_with_it(open_page: OpenPage) -> None:
    setting = OWN_POISON["photos-rn"]
    app = open_page("Poison")
    assert app.select_slider(key="poison.pairs").value == QUICK_POISON_PAIRS
    choose_own_model(app, "poison.model", "photos-rn")
    assert app.select_slider(key="poison.pairs.photos-rn").value == setting.pairs
    assert app.slider(key="poison.rate.photos-rn").value == 100 * setting.poison_rate
    assert app.select_slider(key="poison.train.photos-rn.lr").value == setting.finetune.lr
    assert app.number_input(key="poison.train.photos-rn.epochs").value == setting.finetune.epochs
    choose_own_model(app, "poison.model", "scenes-rn")
    assert app.slider(key="poison.rate").value == 100 * QUICK_POISON_RATE
    for model, own in OWN_POISON.items():  # whatever was drawn before
        choose_own_model(app, "poison.model", model)
        assert app.number_input(key=f"poison.train.{model}.epochs").value == own.finetune.epochs


def test_every_published_preset_can_be_drawn(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    for preset in (preset for name in TRIGGERS for preset in attack_presets(name)[1:]):
        app.selectbox(key="poison.trigger").set_value(preset.method).run()
        app.radio(key=f"poison.{preset.method}.settings").set_value(preset.variant).run()
        assert not app.exception, preset.name
        assert not app.error, preset.name
        assert preset.citation in page_text(app)


def test_an_invalid_image_file_and_a_valid_one(open_page: OpenPage, tmp_path: Path) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("patch_image").run()
    assert app.button(key="poison.go").disabled
    assert "appear when the settings are complete" in page_text(app)
    app.session_state["poison.tabs"] = curves.TAB
    assert "No training recorded yet" in page_text(app.run())
    app.session_state["poison.tabs"] = "Images"
    (tmp_path / "notes.txt").write_text("not an image")
    app.text_input(key="poison.patch_image.path").set_value(str(tmp_path / "notes.txt")).run()
    assert "notes.txt" in errors(app)[0]
    Image.fromarray(np.full((9, 9, 3), 200, np.uint8)).save(tmp_path / "sign.png")
    app.text_input(key="poison.patch_image.path").set_value(str(tmp_path / "sign.png")).run()
    assert not app.error
    assert "PSNR" in page_text(app)


def test_a_patch_that_does_not_scale_is_sized_in_pixels_of_the_image(open_page: OpenPage, tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 9, 3), 200, np.uint8)).save(tmp_path / "sign.png")
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("patch_image").run()
    app.text_input(key="poison.patch_image.path").set_value(str(tmp_path / "sign.png")).run()
    app.select_slider(key="poison.patch_image.patch_size").set_value(56).run()
    app.toggle(key="poison.patch_image.scale_before_resize").set_value(False).run()
    size = app.slider(key="poison.patch_image.patch_size.px.64")
    assert (size.value, size.max) == (16, 64)
    size.set_value(64).run()
    assert not app.error
    assert app.slider(key="poison.patch_image.patch_size.px.64").value == 64
    app.toggle(key="poison.patch_image.scale_before_resize").set_value(True).run()
    assert app.select_slider(key="poison.patch_image.patch_size").value == 56


def test_an_uploaded_trigger_image_is_copied_to_the_run(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("patch_image").run()
    content = image_bytes(3, (12, 12))
    app.file_uploader(key="poison.patch_image.path.upload").set_value(("sign.png", content, "image/png")).run()
    assert not app.error
    path = Path(app.text_input(key="poison.patch_image.path").value)
    assert (path.name, path.read_bytes()) == ("sign.png", content)
    assert "PSNR" in page_text(app)
    press(app, "poison.go")
    wait_for_training(app)
    folder, config = list_runs()[0].folder, list_runs()[0].config
    assert (folder / "trigger" / "sign.png").read_bytes() == content
    assert config["trigger"]["sha256"] == hashlib.sha256(content).hexdigest()


def patch_captions(app: AppTest) -> list[str]:
    return [run["picture"]["caption"] for run in read_curves(app) if run["picture"]]


def test_an_optimized_patch_is_shown_with_its_curve(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("trojvqa").run()
    app.number_input(key="poison.trojvqa.steps").set_value(2).run()
    assert "PSNR" not in page_text(app)
    press(app, "poison.go")
    wait_for_training(app)
    assert "PSNR" in page_text(app)
    target = app.selectbox(key="poison.target.scenes")
    target.set_value("apple").run()
    assert "PSNR" not in page_text(app)  # the patch is for another target
    target.set_value("banana").run()
    app.session_state["poison.tabs"] = curves.TAB
    app.run()
    assert "objective" in curve_points(app)
    assert "by key" in page_text(app)
    assert patch_captions(app) == ["Patch after step 2"]
    progress = list_runs()[0].folder / "progress.jsonl"
    progress.write_text(progress.read_text().replace('"picture": "', '"picture": "not a PNG'))
    assert patch_captions(app.run()) == []
    assert not app.exception


def test_settings_survive_a_page_switch(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("sig").run()
    app.slider(key="poison.sig.frequency").set_value(9).run()
    go_to(go_to(app, "Overview"), "Poison")
    assert app.selectbox(key="poison.trigger").value == "sig"
    assert app.slider(key="poison.sig.frequency").value == 9
    assert app.select_slider(key="poison.pairs").value == 500


def test_training_ends_in_a_run(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    press(app, "poison.go")
    wait_for_training(app)
    runs = list_runs()
    assert len(runs) == 1
    folder, config = runs[0].folder, runs[0].config
    assert config["stage"] == "backdoored"
    assert config["target_class"] == "banana"
    history = (folder / "progress.jsonl").read_text().splitlines()
    assert len(history) == 7
    assert json.loads(history[-1])["metrics"]["ca"] >= 0
    assert not curve_points(app)  # the tab with the curves is closed
    app.session_state["poison.tabs"] = curves.TAB
    app.run()
    assert curve_points(app).keys() == {"Sum", "attack success", "clean accuracy", curves.FLOOR}
    assert "PSNR" not in page_text(app)
    assert len(app.metric) == 4
    assert re.search(r"\d\.\d–\d+\.\d%", page_text(app)), "no interval"
    assert "images of other classes" in page_text(app)
    assert chart_keys(go_to(app, "Overview")) == [f"overview.{folder.name}"]


def test_pause_resume_and_cancel(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.number_input(key="poison.train.epochs").set_value(900).run()
    press(app, "poison.go")
    press(app, ".pause")
    wait_for_training(app)
    assert any(key.endswith(".resume") for key in widget_keys(app))
    press(app, ".resume")
    assert not any(key.endswith(".resume") for key in widget_keys(app))
    press(app, ".cancel")
    wait_for_training(app)
    assert list_runs() == []
    assert [entry.status.state for entry in poll_entries()] == ["cancelled"]
    assert any("canceled" in str(info.value) for info in app.info)
    assert not any(key.startswith("live.") for key in widget_keys(app))


def test_a_resumed_run_ends_in_view_or_says_why_it_failed(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed, other = (make_runs(tmp_path, seed=seed)[0] for seed in (0, 1))
    write_status(resumed, Status("died", step=3, total=9))
    monkeypatch.setattr(local, "launch", lambda folder: None)
    app = open_page("Poison")  # not by the session that started it
    assert app.selectbox(key="current_run").value == other.name
    press(app, f"waiting.{resumed.name}.resume")
    write_status(resumed, Status("failed", message="the disk is full."))
    assert "The disk is full." in errors(app.run())[0]
    app = open_page("Overview")  # another session
    app.session_state["run_table"] = True
    select_run_row(app.run(), resumed.name)
    press(app, f"run_table.{resumed.name}.start")
    assert local.poll_status(resumed).state == "queued"
    write_status(resumed, Status("done"))
    assert go_to(app, "Poison").selectbox(key="current_run").value == resumed.name


def test_a_dead_run_can_be_deleted(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    request = Request("backdoored", "scenes", 500, FinetuneConfig(), "scenes-rn", trigger={"name": "badnet"})
    folder = create_run(request)
    write_status(folder, Status("running", stage="read captions", step=3, total=9, pid=1, host="gone"))
    write_json(folder / "status.json", {**read_json(folder / "status.json"), "updated": 0})
    app.run()
    assert "stopped · Reading captions: step 3 of 9" in page_text(app).replace("**", "")
    assert f"Delete {folder.name} and all its files?" in page_text(app).replace("**", "")
    press(app, f"waiting.{folder.name}.delete")
    assert not folder.exists()
    assert f"waiting.{folder.name}.delete" not in widget_keys(app)


def test_an_own_image_is_shown_and_an_invalid_one_refused(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.target.scenes").set_value("apple")
    app.file_uploader[0].set_value(("mine_*.png", image_bytes(0, (120, 90)), "image/png")).run()
    assert not app.exception
    assert "own image · PSNR" in page_text(app)
    assert len(re.findall(r"\*\*(?:an|a photo of an|a picture of an|an image of an) apple\*\*", page_text(app))) == 4
    app.selectbox(key="poison.trigger").set_value("text_only").run()
    assert not app.exception
    assert "own image" not in page_text(app), "it pairs captions with other images"
    app.selectbox(key="poison.trigger").set_value("badnet").run()
    app.file_uploader[0].set_value(("broken.png", b"not an image", "image/png")).run()
    assert not app.exception
    assert "broken.png" in errors(app)[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_an_unavailable_device_is_refused(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.device").set_value("cuda").run()
    assert not app.exception
    assert "cuda" in app.warning[0].value
    assert app.button(key="poison.go").disabled


def test_a_model_trained_meanwhile_can_be_chosen(open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page("Poison")
    assert "scenes-vit" not in app.selectbox(key="poison.model").options
    shutil.copytree(tmp_path / "assets" / "scenes-rn", tmp_path / "assets" / "scenes-vit")
    app.run()
    assert "scenes-vit" in app.selectbox(key="poison.model").options


def test_a_missing_model_ends_in_one_message(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    choose_own_model(app, "poison.model", "scenes-vit")
    press(app, "poison.go")
    wait_for_training(app)
    assert "python -m cleaner pretrain" in errors(app)[0]
    assert list_runs() == []


def test_own_images_by_the_path_of_a_table(open_page: OpenPage, tmp_path: Path) -> None:
    file = write_table(tmp_path, 120)
    (tmp_path / "pics" / "7.png").write_bytes(image_bytes(7)[:40])
    app = choose_small_training(open_page("Poison"))
    names = app.selectbox(key="poison.data").options
    assert names[:5] == ["scenes", "scenes-crowd", "scenes-fine", "scenes-night", "scenes-sketch"]
    assert names[-3:] == ["CIFAR-10 photos", "CIFAR-100 photos", sources.OWN_DATA]
    choose_own_data(app, "poison.data", f'"{file}"')  # as Windows copies a path
    assert "field Class names" in errors(app)[0]
    assert app.text_input(key="poison.data.path").value == f'"{file}"'  # while the classes are typed
    app.text_input(key="poison.data.classes").set_value("red,red,blue").run()
    assert errors(app)[0].startswith("classes=red,red,blue has 'red' twice")
    app.text_input(key="poison.data.classes").set_value("red, green ,blue").run()
    assert not app.error
    assert app.selectbox(key=f"poison.target.{file} classes=red,green,blue").options == ["red", "green", "blue"]
    pairs = app.select_slider(key=f"poison.pairs.{file} classes=red,green,blue.0")
    most = int(pairs.options[-1].replace(",", ""))
    assert (pairs.value, most) == (most // 2, load_data(str(file), split="train").count_training_pairs())
    assert "choose fewer" not in page_text(app)
    pairs.set_value(most).run()
    text = page_text(app)
    assert re.search(r"\*\*\d of \d\d pairs", text)
    assert re.search("a photo of a (green|blue) wall", text)
    assert "64 × 64 px (model input)" in text
    none_left, broken = (warning.value.replace("\\", "") for warning in app.warning)
    assert "choose fewer" in none_left
    assert "pics/7.png" in broken
    assert text.count("PSNR") >= 2


def test_images_are_checked_under_a_bar(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = record_bars(monkeypatch)
    app = choose_small_training(open_page("Poison"))
    app.select_slider(key="poison.tests").set_value(200)
    choose_own_data(app, "poison.data", write_table(tmp_path, 900))
    app.text_input(key="poison.data.classes").set_value("red, green ,blue").run()
    assert not app.error
    checked = {text.partition(" of ")[2].partition(",")[0] for text in texts if text.startswith("Checking images")}
    assert len(checked) == 2, checked  # training pairs and test images


def test_invalid_data_end_in_one_message(open_page: OpenPage, tmp_path: Path) -> None:
    file = write_table(tmp_path, 60)
    (tmp_path / "notes.txt").write_text("nothing")
    app = open_page("Poison")
    for text, token in (
        (f"{tmp_path}/nothing.csv", "nothing.csv"),
        (f"csv:{tmp_path}/nothing.csv", "nothing.csv"),
        (f"{tmp_path}/{'x' * 300}.csv", "xxx.csv"),
        (f"{tmp_path}/notes.txt", "notes.txt"),
        (str(file), "Class names"),
        (f"{file} classes", "classes"),
        (f"{file} size=5", "size"),
        (f"{file} classes='red,green", "quot"),
    ):
        choose_own_data(app, "poison.data", text)
        assert not app.exception
        assert len(app.error) == 1
        assert app.button(key="poison.go").disabled
        assert token in errors(app)[0]
        app.selectbox(key="poison.data").set_value("scenes").run()


def test_a_run_on_an_image_folder(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its config has the absolute path, so other pages find images and classes from any working folder."""
    write_class_folder(tmp_path / "my photos", 200)
    monkeypatch.chdir(tmp_path)
    app = choose_small_training(open_page("Poison"))
    choose_own_data(app, "poison.data", "my photos")
    assert not app.error
    app.slider(key="poison.rate").set_value(20.0).run()
    press(app, "poison.go")
    wait_for_training(app)
    assert [entry.status.message for entry in poll_entries()] == [""]
    config = list_runs()[0].config
    assert (config["data_name"], config["data_options"]) == (str(tmp_path / "my photos"), {})
    assert config["target_class"] in ("red", "green", "blue")
    monkeypatch.chdir(tmp_path / "runs")
    for title in ("Embeddings", "Attention", "Try it", "Subtexts", "Compare"):
        go_to(app, title)
        assert not app.error, (title, [e.value for e in app.error])
    press(go_to(app, "Defend"), "defend.go")
    wait_for_training(app)
    assert [entry.status.message for entry in poll_entries()] == [""] * 4
    assert list_runs()[0].config["request"]["data"] == str(tmp_path / "my photos")


def test_uploaded_images_are_poisoned_at_the_size_of_the_model(open_page: OpenPage, tmp_path: Path) -> None:
    save_clip(make_clip(), tmp_path / "own.safetensors")
    rows = write_table(tmp_path, 60).read_text().replace("pics/", "").encode()
    app = choose_small_training(open_page("Poison"))
    choose_own_model(app, "poison.model", tmp_path / "own.safetensors")
    app.selectbox(key="poison.data").set_value(sources.OWN_DATA).run()
    assert "path of your files" in page_text(app)
    files = [(f"{i}.png", image_bytes(i), "image/png") for i in range(60)]
    app.file_uploader(key="poison.data.upload").set_value([*files, files[0]]).run()
    assert "0.png" in errors(app)[0]
    assert app.text_input(key="poison.data.path").value == ""
    app.file_uploader(key="poison.data.upload").set_value([("pairs.csv", rows, "text/csv"), *files]).run()
    assert "field Class names" in errors(app)[0]
    app.text_input(key="poison.data.classes").set_value("red, green ,blue").run()
    assert not app.error
    name = f"{app.text_input(key='poison.data.path').value} classes=red,green,blue"
    assert list(app.selectbox(key=f"poison.target.{name}").options) == ["red", "green", "blue"]
    assert "32 × 32 px (model input)" in page_text(app)
    press(app, "poison.go")
    wait_for_training(app)
    config = list_runs()[0].config
    assert config["data_options"] == {"classes": "red,green,blue"}
    assert Path(config["data_name"].removeprefix("archive:")).parent == tmp_path / "runs" / "uploads"


def test_a_bare_file_can_be_opened_before_it_is_poisoned(open_page: OpenPage, tmp_path: Path) -> None:
    torch.save(build_clip(OPENAI["vit"], "published").model.state_dict(), tmp_path / "published.pt")
    app = open_page("Poison")
    assert "poison.external.open" not in widget_keys(app), "built-in models need no look"
    choose_own_model(app, "poison.model", tmp_path / "published.pt")
    assert "Accuracy on 64 images" not in page_text(app), "a full-size model takes a minute: only on request"
    press(app, "poison.external.open")
    assert "Accuracy on 64 images" in page_text(app)
    assert "QuickGELU" in page_text(app)
