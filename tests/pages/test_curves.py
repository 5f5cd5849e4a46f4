"""Training curves: of active jobs the browser gets each point once, all of them when it has none; a finished run does
not ask."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from cleaner.config import FinetuneConfig
from cleaner.data.images import encode_png
from cleaner.plots.styles import find_style
from cleaner.runs.request import Request
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import create_run
from pages._shared.runs import curves
from pages._shared.runs.curves import RunStyle, read_new_lines
from tests.pages.conftest import OpenPage, go_to, page_text

STYLE = RunStyle(label="", color="#000000", dash="solid", marker="circle")


def report(step: int, stage: str = "poison", terms: tuple[str, ...] = ("clip_loss",), **others: Any) -> dict[str, Any]:
    losses = {name: 10.0 * step + i for i, name in enumerate((*terms, "total"))}
    return {"stage": stage, "step": step, "total": 90, "seconds": 0.5, "losses": losses, "metrics": {}, **others}


def append(folder: Path, *reports: dict[str, Any]) -> None:
    with (folder / "progress.jsonl").open("a") as file:
        file.writelines(json.dumps(report) + "\n" for report in reports)


def points(part: dict[str, Any]) -> dict[str, list[list[float]]]:
    return {line["name"]: [list(point) for point in line["points"]] for line in part["lines"]}


def start_run(name: str) -> Path:
    """Return a run whose worker, on another machine, has just written a heartbeat."""
    request = Request("backdoored", "scenes", 500, FinetuneConfig(), "scenes-rn", trigger={"name": "badnet"})
    folder = create_run(request, name=name)
    write_status(folder, Status("running", stage="poison", step=3, total=90, pid=1, host="elsewhere"))
    return folder


def component(app: AppTest) -> Any:
    (element,) = [e.proto for e in app.get("bidi_component")]
    return element


def received(app: AppTest) -> dict[str, Any]:
    """Return what the browser receives."""
    return dict(json.loads(component(app).json or component(app).mixed.json))


def ask(app: AppTest, answer: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Ask for new points as a browser with the points of `answer` does; return the next answer."""
    cursors = {run["id"]: run["cursor"] for run in answer["runs"]}
    question = {"event": "tick", "value": {"layout": answer["layout"], "cursors": cursors, **changes}}
    states = app._tree.get_widget_states()
    states.widgets.append(
        WidgetState(id=_make_trigger_id(component(app).id, "events"), json_trigger_value=json.dumps([question]))
    )
    app._tree = app._run(states)._tree
    assert not app.exception
    return received(app)


def test_a_single_run_shows_its_terms_and_validation(tmp_path: Path) -> None:
    terms = ("clip_loss", "in_modal_loss")
    append(tmp_path, report(1, terms=terms), report(2, terms=terms, metrics={"ca": 0.5, "asr": 0.25}))
    part = read_new_lines(tmp_path, "", STYLE)
    assert points(part) == {
        "CLIP loss": [[1, 10.0], [2, 20.0]],
        "In-modal loss": [[1, 11.0], [2, 21.0]],
        "Sum": [[1, 12.0], [2, 22.0]],
        "clean accuracy": [[2, 0.5]],
        "attack success": [[2, 0.25]],
    }
    assert part["totals"] == {"loss": 90, "validation": 90}
    append(tmp_path, report(3, terms=terms, metrics={"ca": 0.75}))
    part = read_new_lines(tmp_path, part["cursor"], STYLE)
    assert part["since"]
    assert points(part) == {
        "CLIP loss": [[3, 30.0]],
        "In-modal loss": [[3, 31.0]],
        "Sum": [[3, 32.0]],
        "clean accuracy": [[3, 0.75]],
    }


def test_several_runs_show_their_totals(tmp_path: Path) -> None:
    append(tmp_path, report(1, terms=("clip_loss", "in_modal_loss"), metrics={"ca": 0.5}))
    part = read_new_lines(tmp_path, "", RunStyle(label="CleanCLIP", color="#000000", dash="dash", marker="square"))
    assert points(part) == {"CleanCLIP": [[1, 12.0]], "CleanCLIP: clean accuracy": [[1, 0.5]]}


def test_a_trigger_optimization_shows_its_newest_patch(tmp_path: Path) -> None:
    png = encode_png(torch.zeros(3, 2, 2))
    reports = [report(step, "optimize", picture=png * (step < 3)) for step in (1, 2, 3)]
    append(tmp_path, *reports, {"stage": "evaluate", "step": 1, "total": 2, "seconds": 1.0})
    part = read_new_lines(tmp_path, "", STYLE)
    assert points(part) == {"objective": [[1, 11.0], [2, 21.0], [3, 31.0]]}
    assert part["picture"] == {"png": png, "caption": "Patch after step 2"}
    append(tmp_path, report(4, "optimize", losses={"total": float("nan")}, picture="no PNG"))
    part = read_new_lines(tmp_path, part["cursor"], STYLE)
    assert (part["lines"], part["picture"]) == ([], None)


def test_the_browser_gets_each_point_once_and_all_after_a_new_page_run(open_page: OpenPage) -> None:
    app = open_page("Poison")
    folder = start_run("first")
    append(folder, report(1), report(2))
    app.run()
    answer = received(app)
    assert points(answer["runs"][0]) == {"Sum": [[1, 11.0], [2, 21.0]]}
    assert answer["runs"][0]["since"] == ""
    append(folder, report(3))
    before, answer = answer, ask(app, answer)
    assert answer["runs"][0]["since"] == before["runs"][0]["cursor"]
    assert points(answer["runs"][0]) == {"Sum": [[3, 31.0]]}
    again = ask(app, answer)
    assert again["runs"][0]["lines"] == []
    assert again["time"] > answer["time"]  # the browser notices every answer
    append(folder, report(4))
    everything = {"Sum": [[1, 11.0], [2, 21.0], [3, 31.0], [4, 41.0]]}
    assert points(ask(app, again, layout="other")["runs"][0]) == everything
    go_to(app, "Overview")
    assert points(received(go_to(app, "Poison"))["runs"][0]) == everything
    write_status(folder, Status("cancelled"))
    app.run()
    assert "Training · continues" not in page_text(app)
    assert len(app.get("bidi_component")) == 0


def test_two_runs_share_the_charts(open_page: OpenPage) -> None:
    app = open_page("Poison")
    folders = [start_run("first"), start_run("second")]
    for folder in folders:
        append(folder, report(1))
    app.run()
    answer = received(app)
    names = ["BadNet patch · first", "BadNet patch · second"]
    assert [run["lines"][0]["name"] for run in answer["runs"]] == names
    assert [bar.proto.text.replace("\\", "").partition(":")[0] for bar in app.get("progress")] == names
    assert len({run["lines"][0]["dash"] for run in answer["runs"]}) == 2
    append(folders[1], report(2))
    answer = ask(app, answer)
    assert [len(run["lines"]) for run in answer["runs"]] == [0, 1]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was drawn."""
    drawn: list[dict[str, Any]] = []
    monkeypatch.setattr(curves, "mount", lambda key, data, is_live: drawn.append(data))
    return drawn


def test_loss_lines_of_different_defenses_differ_in_dash(tmp_path: Path, drawn: list[dict[str, Any]]) -> None:
    folders = {name: tmp_path / name for name in ("a", "b")}
    for folder in folders.values():
        folder.mkdir()
        append(folder, report(1, metrics={"asr": 0.9, "ca": 0.5}))
    curves.show_curves(folders, ["ta_cleaner", "par"], "live")
    loss, *validation = zip(*([line["dash"] for line in run["lines"]] for run in drawn[0]["runs"]), strict=True)
    assert len(set(loss)) == 2
    assert [len(set(dashes)) for dashes in validation] == [1, 1]  # there, dashes tell the metrics apart
    colors = {line["color"] for run in drawn[0]["runs"] for line in run["lines"]}
    assert colors == {find_style("ta_cleaner").color, find_style("par").color}


def test_the_floor_is_one_line_over_all_steps_where_attack_success_is_drawn(
    tmp_path: Path, drawn: list[dict[str, Any]]
) -> None:
    folders = {name: tmp_path / name for name in ("a", "b")}
    for folder in folders.values():
        folder.mkdir()
        append(folder, report(1))
    curves.show_curves(folders, ["par", "finetune"], "past", floor=0.25)
    append(folders["b"], report(2, metrics={"asr": 0.9, "ca": 0.5}))
    curves.show_curves(folders, ["par", "finetune"], "past", floor=0.25)
    shown = [[points(run).get(curves.FLOOR) for run in each["runs"]] for each in drawn]
    assert shown == [[None, None], [None, [[0, 0.25], [90, 0.25]]]]
