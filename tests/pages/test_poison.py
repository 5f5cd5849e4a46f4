"""Poison: the gallery shows what is done, a training ends in a run on disk, bad input ends in one sentence."""

import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from cleaner.config import FinetuneConfig
from cleaner.files import read_json, write_json
from cleaner.jobs.local import poll_entries
from cleaner.models.clip import save_clip
from cleaner.presets import ATTACK_PARAMETERS, POISON_LR, PUBLISHED_ATTACKS
from cleaner.runs.request import Request
from cleaner.runs.store import Status, create_run, list_runs, write_status
from tests.conftest import make_clip
from tests.data.files import image_bytes, write_class_folder, write_table
from tests.pages.conftest import OpenPage, choose_small_training, go_to, page_text, wait_for_training


def test_gallery_follows_the_trigger(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    assert "15 of 500 pairs get the trigger" in page_text(app)
    assert "PSNR" in page_text(app)
    app.selectbox(key="poison.trigger").set_value("blended").run()
    assert not app.exception
    assert app.slider(key="poison.blended.blend_ratio").value == 0.2
    app.slider(key="poison.blended.blend_ratio").set_value(0.4).run()
    app.slider(key="poison.rate").set_value(1.0).run()
    assert "5 of 500 pairs get the trigger" in page_text(app)
    app.toggle(key="poison.clean_label").set_value(True).run()
    assert "The caption stays" in page_text(app)


def test_every_trigger_draws_its_own_widgets_and_pictures(open_page: OpenPage) -> None:
    from cleaner.attacks import TRIGGERS
    from cleaner.config import parameters

    app = choose_small_training(open_page("Poison"))
    for name in TRIGGERS:
        app.selectbox(key="poison.trigger").set_value(name).run()
        assert not app.exception, name
        assert not app.error, name
        keys = {
            element.key
            for kind in ("slider", "selectbox", "number_input", "text_input", "toggle")
            for element in app.get(kind)
        }
        assert {f"poison.{name}.{p.name}" for p in parameters(TRIGGERS[name])} <= keys
        missing = TRIGGERS[name]().unready_reason
        shown = page_text(app).replace("\\", "")
        if name in ("patch_image", "pattern_image"):
            assert "Choose a picture above" in shown
            continue
        assert missing in shown if missing else "PSNR" in shown or "the picture stays" in shown


def test_published_settings_fill_the_trigger_and_stay_editable(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    assert app.slider(key="poison.badnet.patch_size").value == 28
    app.radio(key="poison.badnet.settings").set_value("published").run()
    assert app.slider(key="poison.badnet.published.patch_size").value == 16
    assert app.selectbox(key="poison.badnet.published.position").value == "random"
    source = next(caption for caption in app.caption if caption.value.startswith("Source"))
    assert "arXiv" in source.value
    assert "python -m cleaner poison --preset badnet-published" in source.help
    app.slider(key="poison.badnet.published.patch_size").set_value(20).run()
    app.radio(key="poison.badnet.settings").set_value("scenes").run()
    assert app.slider(key="poison.badnet.patch_size").value == 28
    app.radio(key="poison.badnet.settings").set_value("published").run()
    assert app.slider(key="poison.badnet.published.patch_size").value == 20
    app.button(key="poison.go").click().run()
    wait_for_training(app)
    assert list_runs()[0].config["trigger"] == {"name": "badnet", "patch_size": 20, "position": "random", "seed": 0}
    app.selectbox(key="poison.trigger").set_value("text_only").run()
    assert "Published settings: not stated" in page_text(app).replace("\\", "")
    assert not [radio for radio in app.radio if radio.key == "poison.text_only.settings"]
    app.selectbox(key="poison.trigger").set_value("badclip").run()
    assert app.number_input(key="poison.badclip.triplet_weight").value == ATTACK_PARAMETERS["badclip"]["triplet_weight"]


def test_what_a_model_needs_to_learn_an_attack_is_said(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("blended").run()
    assert "learns it only with" not in page_text(app)
    assert "about 1 min on two cores" in page_text(app)
    app.selectbox(key="poison.model").set_value("scenes-vit").run()
    assert "scenes-vit learns it only with blend ratio 0.3, 6,000 pairs and 6 epochs" in page_text(app)
    assert app.select_slider(key="poison.train.scenes-vit.lr").value == POISON_LR["scenes-vit"]
    app.button(key="poison.needed").click().run()
    assert not app.warning
    assert app.slider(key="poison.blended.blend_ratio").value == 0.3
    assert app.select_slider(key="poison.pairs").value == 6000
    assert app.number_input(key="poison.train.scenes-vit.epochs").value == 6
    assert "558 training steps" in page_text(app)


def test_every_published_preset_can_be_drawn(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    for preset in PUBLISHED_ATTACKS:
        app.selectbox(key="poison.trigger").set_value(preset.method).run()
        app.radio(key=f"poison.{preset.method}.settings").set_value(preset.variant).run()
        assert not app.exception, preset.name
        assert not app.error, preset.name
        assert preset.citation in page_text(app).replace("\\", "")


def test_a_file_that_is_no_picture_and_one_that_is(open_page: OpenPage, tmp_path: Path) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("patch_image").run()
    assert "Choose a picture above" in page_text(app)
    assert app.button(key="poison.go").disabled
    (tmp_path / "notes.txt").write_text("not a picture")
    app.text_input(key="poison.patch_image.path").set_value(str(tmp_path / "notes.txt")).run()
    assert "cannot be read as a picture" in app.error[0].value
    Image.fromarray(np.full((9, 9, 3), 200, np.uint8)).save(tmp_path / "sign.png")
    app.text_input(key="poison.patch_image.path").set_value(str(tmp_path / "sign.png")).run()
    assert not app.error
    assert "PSNR" in page_text(app)


def test_an_uploaded_picture_is_the_trigger_and_lies_in_the_run(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("patch_image").run()
    content = image_bytes(3, (12, 12))
    app.file_uploader(key="poison.patch_image.path.upload").set_value(("sign.png", content, "image/png")).run()
    assert not app.error
    path = Path(app.text_input(key="poison.patch_image.path").value)
    assert (path.name, path.read_bytes()) == ("sign.png", content)
    assert "PSNR" in page_text(app)
    app.button(key="poison.go").click().run()
    wait_for_training(app)
    folder, config = list_runs()[0].folder, list_runs()[0].config
    assert (folder / "trigger" / "sign.png").read_bytes() == content
    assert config["trigger"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_secret_that_is_too_long_leaves_the_other_choices_in_view(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("ssba").run()
    assert re.search(r"PSNR 30\.\d dB", page_text(app))
    app.text_input(key="poison.ssba.secret").set_value("much too long").run()
    assert not app.exception
    assert [error.value.count("has 13 bytes, the network hides 1 to 8") for error in app.error] == [1]
    assert app.button(key="poison.go").disabled
    assert app.selectbox(key="poison.model").value == "scenes-rn"


def test_an_optimised_patch_is_shown_with_its_curve_once_it_is_there(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("trojvqa").run()
    app.number_input(key="poison.trojvqa.steps").set_value(2).run()
    assert "optimised on the clean model" in page_text(app)
    app.button(key="poison.go").click().run()
    wait_for_training(app)
    assert "PSNR" in page_text(app)
    assert "Optimising the trigger" in page_text(app)
    assert "Attack success @1 by key" in page_text(app)


def test_state_outlives_a_page_switch(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.trigger").set_value("sig").run()
    app.slider(key="poison.sig.frequency").set_value(9).run()
    go_to(go_to(app, "Overview"), "Poison")
    assert app.selectbox(key="poison.trigger").value == "sig"
    assert app.slider(key="poison.sig.frequency").value == 9
    assert app.select_slider(key="poison.pairs").value == 500


def test_training_ends_in_a_run(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.button(key="poison.go").click().run()
    wait_for_training(app)
    runs = list_runs()
    assert len(runs) == 1
    folder, config = runs[0].folder, runs[0].config
    assert config["stage"] == "backdoored"
    assert config["target_class"] == "banana"
    history = (folder / "progress.jsonl").read_text().splitlines()
    assert len(history) == 7
    assert json.loads(history[-1])["metrics"]["ca"] >= 0
    assert "Did the attack take?" in page_text(app)
    assert "95 % interval" in page_text(app)
    assert "protocol non" in page_text(app)
    go_to(app, "Overview")
    assert "Your run: before and after" in page_text(app)


def press(app: AppTest, end: str) -> None:
    """Click the button whose key ends so."""
    next(button for button in app.button if (button.key or "").endswith(end)).click().run()
    assert not app.exception


def test_pause_resume_and_cancel(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.number_input(key="poison.train.epochs").set_value(900).run()
    app.button(key="poison.go").click().run()
    press(app, ".pause")
    wait_for_training(app)
    assert "is paused" in page_text(app)
    press(app, ".resume")
    assert "is paused" not in page_text(app)
    press(app, ".cancel")
    wait_for_training(app)
    assert list_runs() == []
    assert "Cancelled" in page_text(app)
    assert not [button for button in app.button if "live" in (button.key or "")]


def test_a_dead_run_of_another_day_can_be_deleted(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    request = Request("backdoored", "scenes", 500, FinetuneConfig(), "scenes-rn", trigger={"name": "badnet"})
    folder = create_run(request)
    write_status(folder, Status("running", step=3, total=9, pid=1, host="gone"))
    write_json(folder / "status.json", {**read_json(folder / "status.json"), "updated": 0})
    app.run()
    assert "has stopped at step 3 of 9" in page_text(app)
    press(app, ".delete")
    assert not folder.exists()
    assert "has stopped" not in page_text(app)


def test_own_picture_is_shown_and_a_broken_one_refused(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    buffer = io.BytesIO()
    Image.fromarray(np.full((90, 120, 3), 200, np.uint8)).save(buffer, "PNG")
    app.file_uploader(key="upload").set_value(("mine_*.png", buffer.getvalue(), "image/png")).run()
    assert not app.exception
    assert "yours" in page_text(app)
    app.file_uploader(key="upload").set_value(("broken.png", b"not a picture", "image/png")).run()
    assert not app.exception
    assert "cannot be read as a picture" in app.error[0].value


def test_a_missing_device_is_refused_with_a_reason(open_page: OpenPage) -> None:
    import torch

    if torch.cuda.is_available():
        return
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.device").set_value("cuda").run()
    assert not app.exception
    assert "cuda cannot be used here" in app.warning[0].value
    assert app.button(key="poison.go").disabled


def test_a_model_that_is_not_there(open_page: OpenPage) -> None:
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.model").set_value("scenes-vit").run()
    app.button(key="poison.go").click().run()
    wait_for_training(app)
    assert "python -m cleaner pretrain" in app.error[0].value.replace("\\", "")
    assert list_runs() == []


def test_own_pictures_by_the_path_of_a_table(open_page: OpenPage, tmp_path: Path) -> None:
    file = write_table(tmp_path, 120)
    (tmp_path / "pics" / "7.png").write_bytes(image_bytes(7)[:40])
    app = choose_small_training(open_page("Poison"))
    assert app.selectbox(key="poison.data").options == ["scenes", "scenes-crowd", "scenes-night", "scenes-sketch"]
    app.selectbox(key="poison.data").set_value(f"{file} classes=red,green,blue").run()
    assert not app.error
    assert app.selectbox(key=f"poison.target.{file} classes=red,green,blue").options == ["red", "green", "blue"]
    shown = page_text(app).replace("\\", "")
    assert re.search(r"\*\*\d of \d\d pairs get the trigger", shown)
    assert re.search("a photo of a (green|blue) wall", shown)
    assert "As the model sees them, 64 × 64 px" in shown
    assert "1 left out: pics/7.png cannot be read as a picture" in shown
    assert shown.count("PSNR") >= 2


def test_data_that_cannot_be_used_end_in_one_sentence(open_page: OpenPage, tmp_path: Path) -> None:
    file = write_table(tmp_path, 60)
    (tmp_path / "notes.txt").write_text("nothing")
    app = open_page("Poison")
    for text, sentence in (
        (f"{tmp_path}/nothing.csv", "check the path"),
        (f"csv:{tmp_path}/nothing.csv", "there is no table"),
        (f"{tmp_path}/notes.txt", "is no table"),
        (str(file), "name no classes"),
        (f"{file} classes", "write key=value"),
        (f"{file} size=5", "size is chosen"),
        (f"{file} classes='red,green", "quotation mark"),
    ):
        app.selectbox(key="poison.data").set_value(text).run()
        assert not app.exception
        assert len(app.error) == 1
        assert app.button(key="poison.go").disabled
        assert sentence in app.error[0].value.replace("\\", "").lower()
        app.selectbox(key="poison.data").set_value("scenes").run()


def test_a_run_on_a_folder_of_pictures(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its config names the folder by its whole path, and the pages that look into it find pictures and classes."""
    write_class_folder(tmp_path / "my photos", 200)
    monkeypatch.chdir(tmp_path)
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.data").set_value("my photos").run()
    assert not app.error
    app.slider(key="poison.rate").set_value(20.0).run()
    app.button(key="poison.go").click().run()
    wait_for_training(app)
    assert [entry.status.message for entry in poll_entries()] == [""]
    config = list_runs()[0].config
    assert (config["data_name"], config["data_options"]) == (str(tmp_path / "my photos"), {})
    assert config["target_class"] in ("red", "green", "blue")
    monkeypatch.chdir(tmp_path / "runs")
    for title in ("Embeddings", "Attention", "Try it", "Subtexts", "Compare"):
        go_to(app, title)
        assert not app.error, (title, [e.value for e in app.error])
    go_to(app, "Defend").button(key="defend.go").click().run()
    wait_for_training(app)
    assert [entry.status.message for entry in poll_entries()] == [""] * 3
    assert list_runs()[0].config["request"]["data"] == str(tmp_path / "my photos")


def test_uploaded_pictures_are_poisoned_as_the_model_sees_them(open_page: OpenPage, tmp_path: Path) -> None:
    save_clip(make_clip(), tmp_path / "own.safetensors")
    rows = write_table(tmp_path, 60).read_text().replace("pics/", "").encode()
    app = choose_small_training(open_page("Poison"))
    app.selectbox(key="poison.model").set_value(str(tmp_path / "own.safetensors")).run()
    files = [(f"{i}.png", image_bytes(i), "image/png") for i in range(60)]
    app.file_uploader(key="poison.data.upload").set_value([*files, files[0]]).run()
    assert "wo files are called 0.png" in app.error[0].value.replace("\\", "")
    assert app.selectbox(key="poison.data").value == "scenes"
    app.file_uploader(key="poison.data.upload").set_value([("pairs.csv", rows, "text/csv"), *files]).run()
    assert "name no classes to aim at" in app.error[0].value
    app.text_input(key="poison.data.classes").set_value("red, green ,blue").run()
    assert not app.error
    assert list(app.selectbox(key=f"poison.target.{app.selectbox(key='poison.data').value}").options) == [
        "red",
        "green",
        "blue",
    ]
    assert "As the model sees them, 32 × 32 px" in page_text(app)
    app.button(key="poison.go").click().run()
    wait_for_training(app)
    config = list_runs()[0].config
    assert config["data_options"] == {"classes": "red,green,blue"}
    assert Path(config["data_name"].removeprefix("archive:")).parent == tmp_path / "runs" / "uploads"
