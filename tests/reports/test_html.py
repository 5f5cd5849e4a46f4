"""Reports: flat records, means over seeds, an HTML file that is escaped and asks for nothing."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from cleaner.__main__ import main
from cleaner.models.architectures import get_open_clip_architecture
from cleaner.models.clip import _build_clip, load_clip, save_clip
from cleaner.reports import html
from cleaner.runs.store import shipped_root
from cleaner.types import CleanerError
from tests.data.files import write_table
from tests.pages.runs import make_runs


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[html.RunRecord]:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    folders = [folder for seed in (0, 1, 2) for folder in make_runs(tmp_path, seed=seed)]
    return [html.read_record(folder) for folder in folders]


def test_cells_are_mean_minimum_and_maximum_over_seeds(runs: list[html.RunRecord]) -> None:
    cell = html.aggregate_seeds(runs, "asr")["BadNet patch", "ta_cleaner"]
    assert (cell.mean, cell.low, cell.high) == pytest.approx((0.2, 0.1, 0.3))
    assert cell.seeds == (0, 1, 2)
    again = html.RunRecord(runs[1].folder, {**runs[1].config, "created": "2027"}, {"asr": {"1": 0.9}})
    assert (
        html.aggregate_seeds([*runs, again], "asr")["BadNet patch", "ta_cleaner"].high == 0.9
    )  # the newest of a seed counts
    assert html.aggregate_seeds([*runs, again], "asr")["BadNet patch", "ta_cleaner"].seeds == (0, 1, 2)
    other = html.RunRecord(runs[1].folder, {**runs[1].config, "clean_model": "scenes-vit"}, {"asr": {"1": 0.9}})
    rows = {row for row, _ in html.aggregate_seeds([*runs, other], "asr")}
    assert rows == {"BadNet patch, clean-rn", "BadNet patch, scenes-vit"}  # models are never averaged
    assert html.aggregate_seeds(runs, "ra")["BadNet patch", "none"].mean == pytest.approx(0.1)


def test_what_is_not_comparable_is_never_averaged(runs: list[html.RunRecord]) -> None:
    def other(seed: int, metrics: dict[str, object], **config: object) -> html.RunRecord:
        config = {**runs[0].config, "finetune": {"seed": seed}, **config}
        return html.RunRecord(Path("other"), config, {"asr": {"1": 0.9}, **metrics})

    def rows(*entries: html.RunRecord) -> set[str]:
        return {row for row, _ in html.aggregate_seeds(entries, "asr")}

    openai = [other(seed, {}, clean_model=name) for seed, name in enumerate(("RN50/openai", "ViT-B-32/openai"))]
    assert rows(*openai) == {"BadNet patch, RN50/openai", "BadNet patch, ViT-B-32/openai"}  # one stem, two models
    assert rows(runs[0], other(7, {}, target_class="cat")) == {
        "BadNet patch, target banana",
        "BadNet patch, target cat",
    }
    measured = runs[0].metrics["data"]
    assert rows(runs[0], other(7, {"data": "photos"})) == {f"BadNet patch, on {measured}", "BadNet patch, on photos"}
    assert rows(*runs, other(7, {})) == {"BadNet patch"}
    fewer = other(7, {"data": measured, "n": 20})
    assert rows(runs[0], fewer) == {f"BadNet patch, on {measured}, n = {n}" for n in (100, 20)}


def test_the_html_says_where_k_is_too_large(runs: list[html.RunRecord]) -> None:
    mark = "</td>".join([" n. m.", ""])
    few, many = ({**runs[0].metrics, "classes": classes, "asr": {"1": 0.9, "3": 1.0}} for classes in (9, 10))
    assert mark in html.render_html([html.RunRecord(runs[0].folder, runs[0].config, few)])
    assert mark not in html.render_html([html.RunRecord(runs[0].folder, runs[0].config, many)])


def test_csv_and_json_hold_the_figures(runs: list[html.RunRecord]) -> None:
    rows = list(csv.DictReader(io.StringIO(html.to_csv(runs))))
    assert len(rows) == 6
    assert float(rows[1]["asr@1"]) == pytest.approx(0.1)
    assert float(rows[1]["asr_low"]) < 0.1 < float(rows[1]["asr_high"])
    assert rows[1]["poison_rate"] == "0.02"
    evil = html.RunRecord(Path("=cmd()"), runs[0].config, {})
    assert "'=cmd()" in html.to_csv([evil])
    assert html.to_csv([]) == ""
    assert json.loads(html.to_json(runs))[0]["config"]["target_class"] == "banana"


def test_html_is_escaped_and_self_contained(runs: list[html.RunRecord]) -> None:
    evil = {**runs[0].config, "target_class": "<script>alert(1)</script>", "trigger": {"name": "<img src=x>"}}
    text = html.render_html([*runs, html.RunRecord(runs[0].folder, evil, runs[0].metrics)], "made by a test")
    body = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "<script>alert" not in text
    assert "<img src=x>" not in body
    assert "&lt;script&gt;alert(1)" in body
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", body)
    assert "default-src 'none'" in body
    assert body.count("data:image/png") == 2 * 3 * html.IMAGES_PER_TRIGGER  # two attacks by name
    for part in ("made by a test", "non_target", "0.950", "2026-01-01", "patch_size"):
        assert part in body


def test_pictures_of_own_data_are_framed_as_the_model_sees_them(runs: list[html.RunRecord], tmp_path: Path) -> None:
    config = {
        **runs[0].config,
        "data_name": str(write_table(tmp_path, 30)),
        "data_options": {"classes": "red,green,blue"},
    }
    drawn = html.render_trigger_images([html.RunRecord(runs[0].folder, config, runs[0].metrics)])
    ((_, rows),) = drawn
    assert 0 < len(rows) <= html.IMAGES_PER_TRIGGER
    sides = {Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size for row in rows for uri in row}
    assert sides == {(32, 32)}  # the tiny model's
    moved = {**config, "trigger": {**config["trigger"], "patch_size": 8}}
    two = html.render_trigger_images(
        [html.RunRecord(runs[0].folder, config, {}), html.RunRecord(runs[0].folder, moved, {})]
    )
    assert [name for name, _ in two] == [f"BadNet patch (as in {runs[0].folder.name})"] * 2
    assert drawn[0][0] == "BadNet patch"
    lost = {**config, "data_name": str(tmp_path / "gone.csv")}
    assert html.render_trigger_images([html.RunRecord(runs[0].folder, lost, runs[0].metrics)]) == []


def test_pictures_need_the_run_alone_not_the_model_before_it(
    runs: list[html.RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr("cleaner.models.clip.load_clip", lambda name: opened.append(name) or load_clip(name))
    assert html.render_trigger_images(runs[:1])
    assert opened == [str(runs[0].folder / "model.safetensors")]  # the clean one may have to be downloaded


def test_a_trigger_without_a_name_leaves_the_report_without_pictures(runs: list[html.RunRecord]) -> None:
    path = runs[0].folder / "config.json"
    path.write_text(json.dumps({**runs[0].config, "trigger": {"patch_size": 16}}))
    text = html.render_html([html.read_record(runs[0].folder)])
    assert "0.950" in text
    assert "data:image/png" not in text.partition("<h2>Plots")[0]


def test_a_run_named_by_a_dot_has_its_name_and_its_model(
    runs: list[html.RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs[0].folder)
    text = html.render_html([html.read_record(".")])
    assert f"<td>{runs[0].folder.name}</td><td>{runs[0].model}</td>" in text
    assert ">1 run of" in text


def test_weights_as_an_open_clip_checkpoint(runs: list[html.RunRecord], small_model: str, tmp_path: Path) -> None:
    assert html.list_weight_suffixes(runs[0].folder) == (".safetensors",)  # open_clip lists no such architecture
    clip = _build_clip(get_open_clip_architecture(small_model), small_model, {"stage": "backdoored"})
    save_clip(clip, tmp_path / "model.safetensors")
    assert html.list_weight_suffixes(tmp_path) == (".safetensors", ".pt")
    assert html.export_weights(tmp_path, ".safetensors") == (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "x.pt").write_bytes(html.export_weights(tmp_path, ".pt"))
    theirs = open_clip.create_model(small_model, pretrained=str(tmp_path / "x.pt")).state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in clip.model.state_dict().items())
    assert load_clip(str(tmp_path / "x.pt")).metadata["stage"] == "backdoored"
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CleanerError, match="repeat the run"):
        html.list_weight_suffixes(tmp_path)


def test_command_line(runs: list[html.RunRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "report.html"
    assert main(["report", str(runs[0].folder), str(runs[1].folder), "--out", str(out)]) == 0
    assert "ta_cleaner" in out.read_text(encoding="utf-8")
    assert main(["report", str(tmp_path / "nothing"), "--out", str(out)]) == 2
    assert "python -m cleaner runs" in capsys.readouterr().err
    with pytest.raises(CleanerError, match="at least one run"):
        html.render_html([])


def test_the_projects_own_figures_are_entries_like_runs() -> None:
    cells = html.read_benchmark_records()
    assert {"none", "finetune", "cleanclip", "ta_cleaner", "ta_cleaner K 100 %"} <= {cell.defense for cell in cells}
    one = next(cell for cell in cells if cell.defense == "ta_cleaner K 100 %")
    assert one.label.startswith("BadNet patch: TA-Cleaner, K 100 %, lr 0.001")
    assert one.stage == "defended"
    assert one.figure("asr") is not None
    assert html.to_row(one)["target"] == "banana"
    before = next(cell for cell in cells if cell.defense == "none")
    assert before.stage == "backdoored"


def test_a_part_of_the_table_stands_beside_what_it_is_read_against() -> None:
    def cell(part: str, variant: str, lr: float, attack: str = "badnet") -> html.RunRecord:
        config = {"part": part, "trigger": {"name": attack}, "finetune": {"lr": lr}}
        config |= {"stage": "backdoored" if variant == "none" else "defended"}
        config |= {} if variant == "none" else {"defense": {"name": variant.split()[0]}}
        return html.RunRecord(Path(variant), config, {}, variant)

    cells = [
        cell("comparison", "none", 1e-3),
        cell("comparison", "cleanclip", 3e-4),
        cell("comparison", "ta_cleaner", 1e-3),
        cell("fixed rates", "cleanclip at 1e-3", 1e-3),
        cell("ablations", "ta_cleaner without t2t", 2e-3),
        cell("comparison", "none", 1e-3, "sig"),
        cell("comparison", "ta_cleaner", 1e-3, "sig"),
        cell("other triggers", "none", 1e-3, "text"),
        cell("other triggers", "ta_cleaner", 1e-3, "text"),
    ]

    def shown(name: str) -> list[str]:
        return [entry.defense for entry in html.select_part(cells, name)]

    assert shown("comparison") == ["none", "cleanclip", "ta_cleaner", "none", "ta_cleaner"]
    assert shown("fixed rates") == ["none", "ta_cleaner", "cleanclip at 1e-3"]
    assert shown("ablations") == ["none", "ta_cleaner", "ta_cleaner without t2t"]
    assert shown("other triggers") == ["none", "ta_cleaner"]


def test_the_shipped_example_has_a_row_of_its_own_beside_runs(runs: list[html.RunRecord]) -> None:
    example = html.read_record(shipped_root() / "example-badnet")
    rows = {row for row, _ in html.aggregate_seeds([*runs, example], "asr")}
    assert sorted(row.endswith(" (shipped example)") for row in rows if row.startswith("BadNet patch")) == [False, True]
    assert {row for row, _ in html.aggregate_seeds([example], "asr")} == {"BadNet patch"}


def test_a_point_has_value_and_bar_of_the_newest_run() -> None:
    def entry(created: str, asr: float) -> html.RunRecord:
        config = {"stage": "defended", "defense": {"name": "finetune"}, "created": created}
        figures = {"ca": {1: 0.9}, "asr": {1: asr}, "asr_interval": {1: (asr - 0.01, asr + 0.01)}}
        return html.RunRecord(Path(created), config, figures)

    (point,) = html.make_defense_points([entry("2026-01", 0.05), entry("2026-02", 0.95)])
    assert (point.asr, point.asr_interval) == (0.95, (0.94, 0.96))


def test_curves_of_the_defences_that_were_watched() -> None:
    looks = [{"step": 93, "ca": 0.9, "asr": 0.5}, {"step": 186, "ca": 0.9, "asr": 0.1}]
    config = {"stage": "defended", "defense": {"name": "finetune"}}
    entries = [html.RunRecord(Path("x"), config, {}, "", looks), html.RunRecord(Path("y"), config, {})]
    assert html.plot_removal(entries[1:]) is None
    (line,) = html.plot_removal(entries).data
    assert (line.name, list(line.y)) == ("Plain finetuning", [0.5, 0.1])
    _, mean = html.plot_removal([*entries, entries[0]]).data
    assert (mean.name, list(mean.y)) == ("Plain finetuning (2 runs)", [0.5, 0.1])


def test_a_rebound_test_never_counts_as_plain_finetuning(runs: list[html.RunRecord]) -> None:
    defended = runs[1]
    plain = html.RunRecord(Path("plain"), {**defended.config, "defense": {"name": "finetune"}}, {"asr": {"1": 0.5}})
    after = {"steps": 186, "after": {"name": "ta_cleaner"}}
    figures = {"asr": {"1": 0.0}, "ca": {"1": 0.5}}  # a trade-off of its own
    again = html.RunRecord(Path("again"), {**plain.config, "created": "2027", "rebound": after}, figures)
    together = [*runs[:2], plain, again]
    cells = html.aggregate_seeds(together, "asr")
    assert cells["BadNet patch", "finetune"].mean == 0.5
    assert cells["BadNet patch", "ta_cleaner"].mean == pytest.approx(0.1)
    named = "TA-Cleaner, then rebound (186 steps)"
    assert named in html.plot_heatmap(together, "asr").data[0].y
    assert again.label.startswith(f"BadNet patch: {named}, lr ")
    assert "ta_cleaner then rebound (186 steps)" in html.to_csv(together)
    assert named in html.render_html(together)
    assert not [trace for trace in html.charts.pareto(html.make_run_points(together)).data if trace.mode == "lines"]
    bare = html.RunRecord(Path("bare"), {**again.config, "rebound": {"steps": 5, "after": None}}, figures)
    assert bare.label.startswith("BadNet patch: No defense, then rebound (5 steps)")


def test_a_defence_of_several_seeds_is_one_point(runs: list[html.RunRecord]) -> None:
    defended = [entry for entry in runs if entry.stage == "defended"]
    one = html.make_defense_points(defended[:1])[0]
    assert (one.label, one.asr) == ("TA-Cleaner, seed 0", pytest.approx(0.1))
    assert one.asr_interval == defended[0].interval("asr") != (0.1, 0.1)
    mean = html.make_defense_points(defended)
    assert [point.label for point in mean] == [f"TA-Cleaner, {len(defended)} seeds"]
    values = [float(entry.metrics["asr"]["1"]) for entry in defended]
    assert mean[0].asr == pytest.approx(sum(values) / len(values))
    assert mean[0].asr_interval == (min(values), max(values))
