"""Beyond this machine the app demands a password; typed paths stay in CLEANER_DATA_ROOTS."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from cleaner import load_clip, load_data
from cleaner.__main__ import main
from cleaner.access import is_loopback, validate_allowed
from cleaner.cli import app as app_command
from cleaner.data.images import read_image_file
from cleaner.files import runs_root
from cleaner.models.clip import save_clip
from cleaner.models.lookup import describe_model_file, validate_model_name
from cleaner.types import CleanerError
from pages._shared.runs import forms
from pages._shared.shell import access
from tests.conftest import make_clip
from tests.data.files import (
    image_bytes,
    write_class_folder,
    write_parquet,
    write_photo_tars,
    write_shards,
    write_table,
    write_zip,
)
from tests.pages.conftest import builtin_model, open_page  # noqa: F401  # fixtures

ROOT = Path(__file__).resolve().parents[2]
SECRET = "correct horse"


@pytest.fixture
def set_address(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Return a function that sets the address on which pages think that the server listens."""
    read = st.get_option

    def set_address(address: str | None) -> None:
        monkeypatch.setattr(st, "get_option", lambda name: address if name == "server.address" else read(name))

    monkeypatch.setattr(access, "DELAY_SECONDS", 0.0)
    monkeypatch.delenv("CLEANER_PASSWORD", raising=False)
    return set_address


@pytest.fixture
def shared_server(
    open_page: object,  # noqa: F811
    set_address: Callable[[str | None], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that listens beyond this machine and asks for `SECRET`."""
    set_address("0.0.0.0")
    monkeypatch.setenv("CLEANER_PASSWORD", SECRET)


def open_overview() -> AppTest:
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).switch_page("pages/1_Overview.py").run()


@pytest.mark.parametrize(
    ("address", "is_local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("127.8.8.8", True)]
    + [(name, False) for name in ("0.0.0.0", "::", "192.168.1.5", "lab.example", "", "localhost.evil.example")],
)
def test_which_addresses_are_local(address: str, is_local: bool) -> None:
    assert is_loopback(address) == is_local


@pytest.mark.parametrize("address", [None, "0.0.0.0", "192.168.1.5", "lab.example"])
@pytest.mark.parametrize("password", ["", "short"])
def test_no_page_opens_beyond_this_machine_without_a_password(
    open_page: object,  # noqa: F811
    set_address: Callable[[str | None], None],
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    password: str,
) -> None:
    set_address(address)
    monkeypatch.setenv("CLEANER_PASSWORD", password)
    app = open_overview()
    assert "CLEANER_PASSWORD" in app.error[0].value
    assert (len(app.title), len(app.sidebar), len(app.button)) == (0, 0, 0)


@pytest.mark.usefixtures("shared_server")
def test_a_password_opens_the_session_that_gave_it() -> None:
    app = open_overview()
    for wrong in ("", "correct hors", SECRET + " ", SECRET.upper(), "ü"):
        app.text_input(key="access.password").set_value(wrong)
        app.button[0].click().run()
        assert len(app.title) == 0
        assert app.error
    app.text_input(key="access.password").set_value(SECRET)
    app.button[0].click().run()
    assert [title.value for title in app.title] == ["Overview"]
    assert not [box for box in app.text_input if box.key == "access.password"]
    assert len(open_overview().title) == 0  # another session


@pytest.mark.usefixtures("shared_server")
def test_a_link_is_read_for_those_who_gave_the_password() -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).switch_page("pages/7_Try_it.py")
    app.query_params.update({"left": "3", "run": "secret"})
    app.run()
    assert app.text_input(key="access.password").value == ""
    assert "try.left" not in app.session_state
    app.session_state[access.ADMITTED] = True
    app.run()
    assert app.session_state["try.left"] == 3


def test_a_password_is_asked_on_this_machine_too(
    open_page: object,  # noqa: F811
    set_address: Callable[[str | None], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_address("127.0.0.1")
    assert len(open_overview().title) == 1
    monkeypatch.setenv("CLEANER_PASSWORD", SECRET)
    assert len(open_overview().title) == 0


@pytest.mark.parametrize(("password", "status"), [("", 2), ("short", 2), (SECRET, 0)])
@pytest.mark.parametrize("address", ["192.168.1.5", "lab.example"])
def test_the_command_refuses_an_address_without_a_password(
    address: str,
    password: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(app_command, "replace_process", started.append)
    monkeypatch.setenv("CLEANER_PASSWORD", password)
    assert main(["app", "--address", address]) == status
    assert len(started) == (status == 0)
    assert ("CLEANER_PASSWORD" in capsys.readouterr().err) == (status == 2)


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return a folder that may be read, and one that may not."""
    inside, outside = tmp_path / "inside", tmp_path / "inside-not"
    inside.mkdir()
    outside.mkdir()
    monkeypatch.setenv("CLEANER_DATA_ROOTS", os.pathsep.join([str(inside), str(tmp_path / "missing")]))
    return inside, outside


def write_sources(folder: Path) -> dict[str, Callable[[], Any]]:
    """Write a file of each kind; return how each is read."""
    for name in ("csv", "folder", "tar"):
        (folder / name).mkdir()
    table, shards = write_table(folder / "csv", 30), write_shards(folder / "tar", 30)
    write_class_folder(folder / "folder" / "root", 30)
    archive = write_zip(folder / "data.zip", 30)
    (folder / "image.png").write_bytes(image_bytes(0))
    weights = str(save_clip(make_clip(), folder / "model.safetensors"))
    return {
        "table": lambda: load_data(str(table)),
        "named table": lambda: load_data(f"csv:{table}"),
        "folder": lambda: load_data(str(folder / "folder" / "root")),
        "shards": lambda: load_data(f"shards:{shards}"),
        "pattern": lambda: load_data(f"shards:{folder / 'tar' / '*.tar'}"),
        "zip": lambda: load_data(archive),
        "image": lambda: read_image_file(str(folder / "image.png")),
        "weights": lambda: load_clip(weights),
        "facts": lambda: describe_model_file(weights) or pytest.fail("no facts"),
        "name": lambda: validate_model_name(weights),
    }


def test_files_inside_are_read_and_others_refused(roots: tuple[Path, Path]) -> None:
    for read in write_sources(roots[0]).values():
        read()
    for name, read in write_sources(roots[1]).items():
        with pytest.raises(CleanerError, match="CLEANER_DATA_ROOTS"):
            pytest.fail(f"{name}: {read()}")


def test_links_and_rows_that_lead_outside_are_refused(roots: tuple[Path, Path]) -> None:
    inside, outside = roots
    (outside / "secret.png").write_bytes(image_bytes(0))
    (inside / "link.png").symlink_to(outside / "secret.png")
    for path in (inside / "link.png", f"{inside}/../inside-not/secret.png"):
        with pytest.raises(CleanerError, match="CLEANER_DATA_ROOTS"):
            read_image_file(str(path))
    rows = [f"{outside / 'secret.png'},a red wall {i}" for i in range(30)]
    (inside / "pairs.csv").write_text("\n".join(["filepath,title", *rows]))
    with pytest.raises(CleanerError, match="outside"):
        load_data(str(inside / "pairs.csv"), split="all")
    write_class_folder(inside / "root", 30)
    (outside / "names.txt").write_text("red\ngreen\nblue")
    with pytest.raises(CleanerError, match="outside"):
        load_data(str(inside / "root"), classes=str(outside / "names.txt"))


def test_links_in_a_folder_of_data_or_of_a_model_are_refused(roots: tuple[Path, Path]) -> None:
    inside, outside = roots
    for folder in ("tables", "photos", "batches", "model"):
        (outside / folder).mkdir()
    write_parquet(outside / "tables")
    write_photo_tars(outside / "photos", ["cat", "dog"], train=20, test=20)
    (outside / "batches" / "cifar-10-batches-py").mkdir()
    for name in ("data_batch_1", "batches.meta"):
        (outside / "batches" / "cifar-10-batches-py" / name).write_bytes(b"x")
    save_clip(make_clip(), outside / "model" / "open_clip_model.safetensors")
    (outside / "model" / "open_clip_config.json").write_text("{}")
    for path in [path for path in outside.rglob("*") if path.is_file()]:
        link = inside / path.relative_to(outside)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    for name in ("parquet:{}/tables", "cifar10:{}/photos", "cifar10:{}/batches"):
        with pytest.raises(CleanerError, match="CLEANER_DATA_ROOTS"):
            load_data(name.format(inside))
    for name in ("{}/model", "local-dir:{}/model"):
        with pytest.raises(CleanerError, match="CLEANER_DATA_ROOTS"):
            load_clip(name.format(inside))


@pytest.mark.parametrize("is_there", [False, True])
def test_scenes_are_stored_inside_only(roots: tuple[Path, Path], is_there: bool) -> None:
    inside, outside = (folder / "cache" for folder in roots)
    if is_there:
        outside.mkdir()
    with pytest.raises(CleanerError, match="CLEANER_DATA_ROOTS"):
        load_data("scenes", size=2, cache_dir=str(outside))
    assert len(load_data("scenes", size=2, cache_dir=str(inside))) == 2


def test_a_refusal_does_not_tell_whether_a_path_exists(roots: tuple[Path, Path]) -> None:
    (roots[1] / "there.csv").touch()
    messages = []
    for name in ("there.csv", "gone.csv"):
        with pytest.raises(CleanerError) as refused:
            load_data(str(roots[1] / name))
        messages.append(str(refused.value).replace(name, ""))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("name", ["{}", "{}.pt", "ViT-B-32:{}", "local-dir:{}"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_the_name_of_a_model_does_not_tell_whether_its_file_exists(
    roots: tuple[Path, Path], name: str, is_folder: bool
) -> None:
    there = Path(f"{roots[1] / 'there'}{Path(name).suffix}")
    if is_folder:
        there.mkdir()
        (there / "open_clip_config.json").write_text("{}")
    else:
        there.touch()
    for read in (describe_model_file, validate_model_name):
        messages = []
        for file in ("there", "gone"):
            with pytest.raises(CleanerError, match="CLEANER_DATA_ROOTS") as refused:
                read(name.format(roots[1] / file))
            messages.append(str(refused.value).replace(file, ""))
        assert messages[0] == messages[1]


def test_own_folders_and_built_in_names_stay_allowed(roots: tuple[Path, Path]) -> None:
    validate_allowed(runs_root() / "x" / "model.safetensors")
    validate_model_name("scenes-rn")
    assert len(load_data("scenes", size=2)) == 2


def test_without_the_variable_every_path_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEANER_DATA_ROOTS", raising=False)
    validate_allowed("/")


@pytest.mark.parametrize(
    "name", ["../../x.png", "..", ".", "", "a\0b.png", "C:\\x\\y.png", "/etc/passwd", "\u202ex", "x" * 400]
)
def test_an_uploaded_name_stays_in_its_folder(name: str) -> None:
    plain = forms.file_name(name)
    assert plain == Path(plain).name
    assert 0 < len(plain) <= 80
    assert plain not in (".", "..")
