"""A build: it resumes, repeats bit for bit, and hands out nothing that names an attack."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from safetensors import safe_open

from cleaner.files import file_sha256, read_json
from cleaner.models.clip import load_clip
from cleaner.types import CleanerError
from cleaner.zoo import build
from cleaner.zoo.plan import DEVELOPMENT, SEALED
from cleaner.zoo.store import Zoo
from tests.zoo.conftest import KINDS, PASSPHRASE

Built = tuple[Path, Zoo]


def test_a_build_goes_on_with_what_is_missing(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    out, zoo = built
    made: list[str] = []
    make = build.make_model
    monkeypatch.setattr(build, "make_model", lambda specimen, *rest: (made.append(specimen.id), make(specimen, *rest)))
    (missing,) = zoo.list_ids(DEVELOPMENT)
    (out / "work" / missing / "answers.json").unlink()
    again = build.build(out, len(KINDS), seed=3, passphrase=PASSPHRASE)
    assert made == [missing]
    assert again.manifest == zoo.manifest  # the hashes of the files, too: the model is the same


def test_a_model_repeats_bit_for_bit(built: Built, tmp_path: Path) -> None:
    _, zoo = built
    again = build.build(tmp_path, 1, seed=3)
    (id,) = again.list_ids(DEVELOPMENT)
    assert file_sha256(again.model_path(id)) == zoo.manifest["models"][id]["sha256"]


def test_files_name_no_attack(built: Built) -> None:
    _, zoo = built
    ids = [*zoo.list_ids(DEVELOPMENT), *zoo.list_ids(SEALED)]
    headers = []
    for id in ids:
        with safe_open(zoo.model_path(id), "pt") as file:
            headers.append((sorted(file.keys()), file.metadata()))
    assert headers == [headers[0]] * len(KINDS)
    assert not {"stage", "target", "trigger"} & set(headers[0][1])
    assert all(set(model) == {"split", "base", "sha256"} for model in zoo.manifest["models"].values())


def test_answers_state_attack_and_figures_of_the_stored_model(built: Built) -> None:
    _, zoo = built
    answers = zoo.read_answers(DEVELOPMENT) | zoo.read_answers(SEALED, PASSPHRASE)
    assert sorted(a["trigger"]["name"] if a["backdoored"] else "" for a in answers.values()) == sorted(KINDS)
    for id, answer in answers.items():
        assert 0 <= answer["ca"] <= 1
        assert (answer["asr"] is None) == (not answer["backdoored"])
        assert load_clip(zoo.model_path(id)).source


def test_the_archive_has_the_zoo_and_equal_times(built: Built) -> None:
    out, zoo = built
    with zipfile.ZipFile(out / "zoo.zip") as archive:
        assert {Path(name).name for name in archive.namelist()} == {path.name for path in zoo.folder.iterdir()}
        assert len({info.date_time for info in archive.infolist()}) == 1


def test_a_changed_model_and_a_missing_zoo_are_refused(built: Built, tmp_path: Path) -> None:
    _, zoo = built
    for path in zoo.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    copied, (id,) = Zoo.read(tmp_path), zoo.list_ids(DEVELOPMENT)
    (tmp_path / f"{id}.safetensors").write_bytes(b"")
    with pytest.raises(CleanerError, match=id):
        copied.model_path(id)
    with pytest.raises(CleanerError, match="zoo"):
        Zoo.read(tmp_path / "nowhere")
    assert read_json(tmp_path / "answers.json").keys() == {id}
