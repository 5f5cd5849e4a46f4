"""Public mode: visitors reach built-in models, built-in data, the shipped example and their own runs, for a while."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from streamlit.testing.v1 import AppTest

from cleaner import load_clip, load_data
from cleaner.cli import app as app_command
from cleaner.data.images import read_image_file
from cleaner.jobs import local
from cleaner.models.clip import save_clip
from cleaner.models.lookup import describe_model_file, validate_model_name
from cleaner.runs.folders import runs_root
from cleaner.runs.status import Status, read_status, write_status
from cleaner.runs.store import list_entries
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.runs import jobs, sources
from pages._shared.shell import visitors
from tests.conftest import make_clip
from tests.data.files import image_bytes, write_table
from tests.pages.conftest import (  # noqa: F401  # fixtures
    OpenPage,
    builtin_model,
    choose_small_training,
    errors,
    go_to,
    open_page,
    page_text,
    press,
    wait_for_training,
    widget_keys,
)
from tests.pages.runs import make_runs
from tests.ports import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.stem.partition("_")[2].replace("_", " ") for path in (ROOT / "pages").glob("[0-9]*.py"))


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_PUBLIC", "1")
    monkeypatch.delenv("CLEANER_PASSWORD", raising=False)
    monkeypatch.setattr(visitors, "_start_sweeper", lambda: None)  # its thread would outlive the test


@pytest.fixture
def session(public: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The state of a visitor's session."""
    values: dict[str, object] = {}
    monkeypatch.setattr(visitors.st, "session_state", values)
    return values


def write_run(name: str, state: str = "done", *, begun: float = 0.0, seconds: float = 0.0) -> Path:
    """Write the status of a run that trained for some seconds."""
    folder = runs_root() / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"schema": 2, "stage": "backdoored"}), encoding="utf-8")
    status = Status(state, queued=begun, begun=begun, pid=os.getpid())
    write_status(folder, status)
    values = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    (folder / "status.json").write_text(json.dumps({**values, "updated": begun + seconds}), encoding="utf-8")
    return folder


def test_every_address_is_served_without_a_password(public: None) -> None:
    options = app_command.App(headless=True).options()
    assert options[options.index("--server.address") + 1] == "0.0.0.0"
    assert options[options.index("--server.maxUploadSize") + 1] == "5"
    assert options[options.index("--server.allowedHosts") + 1] == "*"


@pytest.mark.parametrize("value", ["", "0"])
def test_without_public_mode_a_public_address_needs_the_password(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_PUBLIC", value)
    monkeypatch.delenv("CLEANER_PASSWORD", raising=False)
    with pytest.raises(CleanerError, match="CLEANER_PASSWORD"):
        app_command.App(address="192.168.1.5").options()


def test_the_server_listens_for_other_machines_and_takes_small_uploads_only(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "cleaner", "app", "--headless", "--port", str(port)]
    places = {name: str(tmp_path / name) for name in ("CLEANER_RUNS", "CLEANER_CACHE")}
    environment = {**os.environ, **places, "CLEANER_PUBLIC": "1"}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_ready() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("GET", "/_stcore/health", headers={"Host": "demo.example"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    try:
        wait_until(lambda: server.poll() is not None or is_ready(), timeout=120)
        assert server.poll() is None, "the server ended"
        listening = [c for c in psutil.Process(server.pid).net_connections("inet") if c.status == "LISTEN"]
        assert {connection.laddr.ip for connection in listening} == {"0.0.0.0"}
    finally:
        server.terminate()
        server.wait(20)
    code = "from pages._shared.shell import uploads; print(uploads.MAX_UPLOAD_MB)"
    limit = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert limit.stdout.split() == ["5"]


def test_no_file_of_the_machine_is_read(public: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_DATA_ROOTS", str(tmp_path))  # public mode does not open them either
    table, weights = write_table(tmp_path, 30), str(save_clip(make_clip(), tmp_path / "model.safetensors"))
    (tmp_path / "image.png").write_bytes(image_bytes(0))
    reads: dict[str, Callable[[], object]] = {
        "table": lambda: load_data(str(table)),
        "named": lambda: load_data(f"csv:{table}"),
        "image": lambda: read_image_file(str(tmp_path / "image.png")),
        "weights": lambda: load_clip(weights),
        "architecture": lambda: load_clip(f"ViT-B-32:{weights}"),
        "facts": lambda: describe_model_file(weights),
        "name": lambda: validate_model_name(weights),
        "secret": lambda: load_data("/etc/passwd"),
    }
    for name, read in reads.items():
        with pytest.raises(CleanerError, match="install TA-Cleaner Lab"):
            pytest.fail(f"{name}: {read()}")


@pytest.mark.parametrize("name", ["hf:org/name", "cifar10", "cifar10:x", "scenes:x"])
def test_no_data_are_downloaded(public: None, name: str) -> None:
    with pytest.raises(CleanerError, match="install TA-Cleaner Lab"):
        load_data(name)


@pytest.mark.parametrize("name", ["ViT-B-32/openai", "hf-hub:org/repo", "local-dir:x"])
def test_no_model_is_downloaded(public: None, name: str) -> None:
    for read in (load_clip, validate_model_name):
        with pytest.raises(CleanerError, match="install TA-Cleaner Lab"):
            read(name)


def test_built_in_data_are_there(public: None) -> None:
    assert len(load_data("scenes", size=2)) == 2
    validate_model_name("scenes-rn")


@pytest.mark.parametrize("title", PAGES)
def test_no_page_has_a_field_for_a_path_or_a_box_for_data(public: None, open_page: OpenPage, title: str) -> None:  # noqa: F811
    app = open_page(title)
    keys = widget_keys(app) | {box.proto.id.split("-", 2)[-1] for box in app.get("file_uploader")}
    assert not [key for key in keys if re.search(r"path|folder|browse|download|\.data\.|slurm", key)]
    options = {option for box in app.selectbox for option in box.options}
    assert not options & {sources.OWN_DATA, sources.OWN_MODEL}
    assert str(runs_root()) not in page_text(app)


def test_a_forged_choice_is_refused(public: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "models", lambda: ["scenes-rn"])
    monkeypatch.setattr(cache, "datasets", lambda: ["scenes"])
    for forged in ("/etc/passwd", "hf:org/name", sources.OWN_DATA):
        fake = SimpleNamespace(selectbox=lambda *_, forged=forged, **__: forged, session_state={"key": forged})
        monkeypatch.setattr(sources, "st", fake)
        with pytest.raises(CleanerError, match="not built in"):
            sources.choose_data("key", "for training")
        with pytest.raises(CleanerError, match="not built in"):
            sources.find_chosen_model("key", "scenes-rn")


def test_a_trigger_takes_no_file(public: None, open_page: OpenPage) -> None:  # noqa: F811
    app = open_page("Poison")
    app.selectbox(key="poison.trigger").set_value("patch_image").run()
    assert "takes no file" in page_text(app)
    assert not app.get("file_uploader")


def test_visitors_see_the_runs_of_nobody_else(public: None, open_page: OpenPage, tmp_path: Path) -> None:  # noqa: F811
    backdoored, _ = make_runs(tmp_path)
    own, other = open_page("Compare"), open_page("Compare")
    assert backdoored.name not in page_text(own) + str([frame.value for frame in own.dataframe])
    renamed = backdoored.rename(backdoored.with_name(visitors.new_name()))
    own.session_state["visitor.runs"] = {renamed.name}
    own.run()
    other.run()
    assert renamed.name in str([frame.value["Run"].tolist() for frame in own.dataframe if "Run" in frame.value])
    assert renamed.name not in str([frame.value for frame in other.dataframe]) + page_text(other)
    assert not [button for button in other.get("download_button") if renamed.name in str(button.proto)]


def test_an_address_opens_no_run_of_the_owner(public: None, open_page: OpenPage, tmp_path: Path) -> None:  # noqa: F811
    backdoored, _ = make_runs(tmp_path)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    app.query_params["run"], app.query_params["jobs"] = backdoored.name, backdoored.name
    go_to(app, "Poison")
    assert app.session_state["visitor.runs"] == set()
    assert backdoored.name not in str(app.session_state["current_run"])


def test_ids_cannot_be_guessed(public: None) -> None:
    names = {visitors.new_name() for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch(r"public-[0-9a-f]{16}", name) for name in names)


def test_a_training_belongs_to_its_visitor(public: None, open_page: OpenPage) -> None:  # noqa: F811
    app = choose_small_training(open_page("Poison"))
    press(app, "poison.go")
    wait_for_training(app)
    (entry,) = list_entries()
    assert entry.id.startswith(visitors.PREFIX)
    assert entry.status.state == "done"
    assert app.session_state["visitor.runs"] == {entry.id}
    assert entry.id not in str(open_page("Poison").session_state["visitor.runs"])


def test_a_visitor_has_minutes(session: dict[str, object]) -> None:
    name = visitors.new_name()
    folder = write_run(name, begun=time.time() - 2000, seconds=60 * visitors.VISITOR_MINUTES - 1)
    visitors.adopt([name])
    visitors.validate_budget(1)
    status = read_status(folder)
    (folder / "status.json").write_text(json.dumps({**vars(status), "updated": status.updated + 2}), encoding="utf-8")
    visitors.poll_entries()  # as each page does before it draws the button
    local.delete(folder)
    with pytest.raises(CleanerError, match=r"minutes of training.*install TA-Cleaner Lab"):
        visitors.validate_budget(1)
    session.clear()  # another visitor
    visitors.validate_budget(1)


def test_the_queue_is_limited_for_each_and_for_all(session: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "poll_status", read_status)
    names = [visitors.new_name() for _ in range(visitors.MAX_ACTIVE_OF_ALL)]
    for name in names[: visitors.MAX_ACTIVE]:
        write_run(name, "queued")
    visitors.validate_budget(1)
    visitors.adopt(names)
    with pytest.raises(CleanerError, match="At most 3 of your trainings"):
        visitors.validate_budget(1)
    for name in names[visitors.MAX_ACTIVE :]:
        write_run(name, "queued")
    session.clear()
    with pytest.raises(CleanerError, match="Too many visitors"):
        visitors.validate_budget(1)


def test_a_refused_training_leaves_nothing(public: None, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(visitors, "VISITOR_MINUTES", 0.0)
    app = choose_small_training(open_page("Poison"))
    press(app, "poison.go")
    assert "minutes of training" in "\n".join(errors(app))
    assert list_entries() == []


def test_sweeps_searches_and_scans_are_refused(session: dict[str, object]) -> None:
    for start in (lambda: jobs.start_sweep("defend", []), lambda: cache.start_search(("scan",), lambda on_step: None)):
        with pytest.raises(CleanerError, match="install TA-Cleaner Lab"):
            start()


def test_runs_expire_and_long_ones_are_canceled(public: None, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(local, "poll_status", read_status)
    canceled: list[str] = []
    monkeypatch.setattr(local, "cancel", lambda folder: canceled.append(folder.name))
    names = {kind: visitors.new_name() for kind in ("done", "long", "short")}
    write_run(names["done"], begun=now)
    write_run(names["long"], "running", begun=now - 60 * visitors.RUN_MINUTES - 1)
    write_run(names["short"], "running", begun=now - 60 * visitors.RUN_MINUTES + 60)
    owners = write_run("20260101-000000-badnet", begun=now)
    unfinished = write_run(visitors.new_name())  # as while another thread creates it
    (unfinished / "config.json").unlink()
    visitors.sweep_runs(now)
    assert unfinished.exists()
    assert canceled == [names["long"]]
    assert (runs_root() / names["done"]).exists()
    for name in (names["long"], names["short"]):
        write_status(runs_root() / name, replace(read_status(runs_root() / name), state="cancelled"))
    visitors.sweep_runs(now + 3600 * visitors.KEEP_HOURS + 60)
    assert [entry.folder for entry in list_entries()] == [owners]


def test_the_sweep_runs_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[float] = []

    def sweep(now: float) -> None:
        swept.append(now)
        if len(swept) == 1:
            raise OSError("a run folder went away")
        raise KeyboardInterrupt

    monkeypatch.setattr(visitors, "sweep_runs", sweep)
    monkeypatch.setattr(visitors, "SWEEP_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        visitors._sweep_forever()
    started = threading.Event()
    monkeypatch.setattr(visitors, "_sweep_forever", started.set)
    monkeypatch.setattr(visitors, "_sweeper", None)
    monkeypatch.setenv("CLEANER_PUBLIC", "1")
    monkeypatch.setattr(visitors.st, "session_state", {})
    visitors.validate_budget(1)
    assert started.wait(10)


def test_without_public_mode_everybody_sees_every_run(public: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEANER_PUBLIC", raising=False)
    write_run("20260101-000001-badnet")
    visitors.validate_budget(100)
    assert "20260101-000001-badnet" in [entry.id for entry in visitors.poll_entries()]
    assert visitors.new_name() == ""
