"""The HTML report: complete, escaped, and it loads nothing from outside."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cleaner.__main__ import main
from cleaner.attacks import TRIGGERS
from cleaner.data.base import load_data
from cleaner.data.images import compare_triggered
from cleaner.models.clip import load_clip
from cleaner.models.framing import ImageTransform
from cleaner.plots.styles import find_style
from cleaner.reports import html
from cleaner.reports.aggregate import aggregate_seeds
from cleaner.reports.paths import hide_folders, name_without_folders
from cleaner.runs.record import RunRecord
from cleaner.runs.run import load_run_trigger
from cleaner.runs.store import read_record
from cleaner.types import CleanerError
from tests.data.files import write_table
from tests.reports.conftest import vary


def test_a_k_too_large_for_the_classes_is_marked(runs: list[RunRecord]) -> None:
    few, many = (
        vary(runs[0], metrics={**runs[0].metrics, "classes": classes, "asr": {"1": 0.9, "3": 1.0}})
        for classes in (9, 10)
    )
    assert " (n.m.)</td>" in html.render_html([few])
    assert " (n.m.)</td>" not in html.render_html([many])


def test_metrics_of_few_attacks_have_a_column_where_they_are_measured(runs: list[RunRecord]) -> None:
    own = vary(runs[0], metrics={**runs[0].metrics, "classes": 9, "own_recall": {"1": 0.91, "10": 0.97}})
    text = html.render_html([own])
    assert "<th>Own@10" in text
    assert "Own@k: " in text
    assert '<td class="number">0.970</td>' in text, "k counts images, not classes"
    assert "Own@" not in html.render_html([runs[0]]), "neither column nor explanation"


def test_the_names_that_users_give_are_shown(runs: list[RunRecord]) -> None:
    named = runs[0].model_copy(update={"name": "<few> pairs", "tags": ["b", "a"], "note": "my note"})
    text = html.render_html([named, runs[1]])
    assert f"<td>&lt;few&gt; pairs<small>{named.id}</small><small>b, a</small><small>my note</small></td>" in text
    assert f"<td>{runs[1].id}</td>" in text


def test_models_have_their_color_and_mark(runs: list[RunRecord]) -> None:
    text = html.render_html(runs)
    for run in runs:
        style = find_style(run.kind)
        assert f'color: {style.color}">{style.sign}</span>' in text


def test_html_is_escaped_and_self_contained(runs: list[RunRecord]) -> None:
    evil = vary(runs[0], target_class="<script>alert(1)</script>", trigger={"name": "<img src=x>"})
    text = html.render_html([*runs, evil], "made by a test")
    body = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "<script>alert" not in text
    assert "<img src=x>" not in body
    assert "&lt;script&gt;alert(1)" in body
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", body)
    assert "default-src 'none'" in body
    assert body.count("data:image/png") == 2 * 3 * html.IMAGES_PER_TRIGGER  # two attacks by name
    for part in ("made by a test", "images of other classes", "0.950", "2026-01-01", "patch_size"):
        assert part in body


def test_images_of_own_data_are_framed_as_the_model_sees_them(runs: list[RunRecord], tmp_path: Path) -> None:
    options = {"classes": "red,green,blue"}
    own = vary(runs[0], data_name=str(write_table(tmp_path, 30)), data_options=options)
    ((name, rows),) = html.render_trigger_images([own])
    assert name == "BadNet patch"
    assert 0 < len(rows) <= html.IMAGES_PER_TRIGGER
    pictures = [[Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in row] for row in rows]
    assert {picture.size for row in pictures for picture in row} == {(32, 32)}  # the tiny model's
    trigger = load_run_trigger(own.folder)
    assert trigger is not None
    test = load_data(own.data_name, split="test", size=64, **options).with_transform(ImageTransform(32))
    (first,) = compare_triggered(test.images([0]), trigger)
    for picture, expected in zip(pictures[0], (first.clean, first.triggered, first.difference), strict=True):
        assert np.array_equal(np.asarray(picture), expected)
    moved = vary(own, trigger={**own.config["trigger"], "patch_size": 8})
    two = html.render_trigger_images([own, moved])
    assert [name for name, _ in two] == [f"BadNet patch (as in {own.id})"] * 2
    assert html.render_trigger_images([vary(own, data_name=str(tmp_path / "gone.csv"))]) == []


def test_a_trigger_file_is_shown_once_for_all_runs_that_keep_a_copy_of_it(
    runs: list[RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "_render_image_rows", lambda record: [("", "", record.id)])
    paths = ["/home/user/logo.png", str(runs[0].folder / "trigger" / "logo.png")]
    logos = [vary(runs[0], trigger={"name": "patch_image", "path": path, "sha256": "ab"}) for path in paths]
    other = vary(runs[0], trigger={"name": "patch_image", "path": paths[0], "sha256": "cd"})
    assert len(html.render_trigger_images(logos)) == 1
    assert len(html.render_trigger_images([*logos, other])) == 2, "another file"


def test_images_do_not_need_the_model_before_poisoning(runs: list[RunRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr("cleaner.models.clip.load_clip", lambda name: opened.append(name) or load_clip(name))
    assert html.render_trigger_images(runs[:1])
    assert opened == [str(runs[0].folder / "model.safetensors")]  # the clean one may have to be downloaded


def test_a_trigger_in_the_text_alone_shows_no_images(runs: list[RunRecord], tmp_path: Path) -> None:
    folder = shutil.copytree(runs[0].folder, tmp_path / "run")
    keyed = json.loads((folder / "config.json").read_text()) | {"trigger": TRIGGERS["text_only"]().state_dict()}
    (folder / "config.json").write_text(json.dumps(keyed))
    assert html.render_trigger_images([read_record(folder)]) == []
    assert len(html.render_trigger_images([runs[0]])) == 1


def test_a_trigger_without_a_name_leaves_the_report_without_images(runs: list[RunRecord], tmp_path: Path) -> None:
    folder = shutil.copytree(runs[0].folder, tmp_path / "run")
    (folder / "config.json").write_text(json.dumps({**runs[0].config, "trigger": {"patch_size": 16}}))
    text = html.render_html([read_record(folder)])
    assert "0.950" in text
    assert "data:image/png" not in text.partition("<h2>Plots")[0]


def test_folders_of_this_machine_are_not_given_away(runs: list[RunRecord]) -> None:
    home = "/home/me/my data"
    config = {
        "clean_model": f"ViT-B-32:{home}/epoch_10.pt",
        "data": f"csv:{home}/pairs.csv/train",
        "data_name": f"csv:{home}/pairs.csv",
        "data_options": {"root": f"{home}/images", "classes": "cat, dog"},
        "trigger": {**(runs[0].config["trigger"]), "path": "C:\\Users\\me\\sign.png"},
        "request": {"model": "~/me/x.pt", "data": "hf:org/name"},
    }
    run = vary(runs[0], metrics={**runs[0].metrics, "data": f"csv:{home}/pairs.csv/test"}, **config)
    text = html.render_html([run])
    settings = json.loads(unescape(text.partition("<pre>")[2].partition("</pre>")[0]))
    assert settings["clean_model"] == "ViT-B-32:epoch_10.pt"
    assert (settings["data"], settings["data_name"]) == ("csv:pairs.csv/train", "csv:pairs.csv")
    assert settings["data_options"] == {"root": "images", "classes": "cat, dog"}
    assert settings["trigger"] == {**runs[0].config["trigger"], "path": "sign.png"}
    assert settings["request"] == {"model": "x.pt", "data": "hf:org/name"}
    assert "csv:pairs.csv/test, n = " in text
    assert "my data" not in text
    assert "Users" not in text
    assert str(runs[0].folder.parent.parent) not in html.render_html(runs)


@pytest.mark.parametrize("folders", ["/home/me/", "~/me/", "C:\\Users\\me\\", "\\\\server\\share\\me\\"])
def test_a_path_of_any_system_has_its_name_alone(folders: str) -> None:
    assert hide_folders(f"{folders}a.csv") == "a.csv"
    assert hide_folders(f"csv:{folders}a.csv/test") == "csv:a.csv/test"


def test_files_of_one_name_are_told_apart_without_their_folders(runs: list[RunRecord]) -> None:
    varied = [
        vary(
            run,
            f"{run.folder}-{folder}-{run.stage}-{lr}",
            run.metrics | {"data": f"csv:/home/me/{folder}/pairs.csv/test"},
            clean_model=f"/home/me/{folder}/model.pt",
            parent=f"/home/me/{folder}/suspect",
            finetune={**run.config["finetune"], "lr": lr},
        )
        for folder in ("first", "second")
        for run, lr in ((runs[0], 1e-3), (runs[1], 1e-3), (runs[1], 1e-4))
    ]
    text = unescape(html.render_html(varied))
    assert "/home/me" not in text
    assert "\\/home" not in text
    assert "Not comparable" in text
    for name in ("model.pt (1)", "model.pt (2)", "csv:pairs.csv/test (1)", "csv:pairs.csv/test (2)"):
        assert name in text
    rows = {place[0] for place in aggregate_seeds(name_without_folders(varied), "asr")}
    assert len(rows) == 2


def test_a_run_named_by_a_dot_has_its_name_and_its_model(
    runs: list[RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs[0].folder)
    text = html.render_html([read_record(".")])
    assert f"<td>{runs[0].id}</td>" in text
    assert "<td>clean-rn.safetensors</td>" in text
    assert ">1 run of" in text


def test_command_line(
    runs: list[RunRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "report.html"
    words = ["report", f"{runs[0].folder}/", str(runs[1].folder), "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["cleaner", *words])
    assert main(words) == 0
    text = out.read_text(encoding="utf-8")
    assert "ta_cleaner" in text
    assert f"python -m cleaner report {runs[0].id}/ {runs[1].id} --out report.html" in text
    assert main(["report", str(tmp_path / "nothing"), "--out", str(out)]) == 2
    assert "python -m cleaner runs" in capsys.readouterr().err
    with pytest.raises(CleanerError, match="at least one run"):
        html.render_html([])


def test_content_of_files_in_the_settings_is_not_taken_for_a_path() -> None:
    content = {"png": "iVBORw0KGgo+/cd/ef+gh/ij=", "path": "/home/me/sticker.png"}
    assert hide_folders(content) == {"png": content["png"], "path": "sticker.png"}
