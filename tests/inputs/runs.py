"""Run folders: edited by hand, copied in part, written by other versions, or made of links and pipes."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from cleaner.attacks import TRIGGERS
from cleaner.files import read_json
from cleaner.jobs import local
from cleaner.models.clip import build_clip
from cleaner.reports import html
from cleaner.reports.aggregate import aggregate_seeds, make_run_points
from cleaner.reports.film import Movie, describe_film, make_player_data, read_log
from cleaner.reports.tables import to_csv, to_json
from cleaner.runs.film import FILM_FILE, Axes, Film, read_film, write_film
from cleaner.runs.names import describe_run
from cleaner.runs.npz import read_npz
from cleaner.runs.progress import read_new_progress, read_progress
from cleaner.runs.request import get_test_data, load_request
from cleaner.runs.run import Run, load_run, save_run
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import create_run, list_entries, read_entry, read_record
from cleaner.types import CleanerError, StepReport
from pages._shared.runs.curves import RunStyle, read_new_lines
from tests.inputs.cases import JSON_VALUES, ODD_NAMES, ODD_NUMBERS, Case, Read, case
from tests.inputs.models import ARCHITECTURES
from tests.inputs.tables import make_special
from tests.pages.runs import make_metrics

JSON_FILES = "config.json status.json metrics.json notes.json manifest.json"
STYLE = RunStyle(label="", color="#000", dash="solid", marker="circle")


@cache
def template() -> Path:
    """Return a folder with a complete run of a tiny model, built once."""
    folder = Path(tempfile.mkdtemp()) / "run"
    clip = build_clip(ARCHITECTURES["rn"], "tiny")
    trigger = TRIGGERS["badnet"]()
    finetune = {"lr": 1e-3, "epochs": 1, "batch_size": 64, "seed": 0}
    request = {"stage": "backdoored", "data": "scenes", "pairs": 500, "finetune": finetune, "model": "scenes-rn"}
    config: dict[str, Any] = {
        **{"stage": "backdoored", "trigger": trigger.state_dict(), "target_class": "banana", "model": "tiny"},
        **{"clean_model": "missing.safetensors", "data": "scenes/train", "data_name": "scenes", "data_options": {}},
        **{"test_size": 100, "pairs": 500, "finetune": finetune, "seconds": 1.0, "created": "2026-01-01T00:00:00Z"},
        **{"poison_rate": 0.02, "parent": None, "defense": None, "variant": None, "sweep": "", "request": request},
    }
    history = [StepReport("poison", i, 4, i / 2, 0, {"clip_loss": 1.0, "total": 1.0}, {"ca": 0.5}) for i in range(1, 5)]
    save_run(Run(clip, history, make_metrics(0.95), config, trigger, "banana", {"poisoned": [1]}), folder)
    write_status(folder, Status("done", "evaluate", 4, 4))
    (folder / "notes.json").write_text(json.dumps({"name": "mine", "note": "n", "tags": ["a"]}))
    html.render_html([read_record(folder)])  # loads its libraries, whose own files are none of an input's
    return folder


def copy_run(case: Case, name: str = "run") -> Path:
    folder = case.folder / name
    shutil.copytree(template(), folder)
    return folder


def reader(folder: Path, *, has_report: bool = False) -> Read:
    """Return everything that lists, pages, reports and workers read of a run folder."""

    def read() -> None:
        entries = list_entries(folder.parent)
        assert len(entries) == (read_entry(folder) is not None)
        local.poll_entries(folder.parent)
        list(read_lists(folder))
        config = read_json(folder / "config.json")
        errors: list[CleanerError] = []
        for attempt in (load_request, get_test_data):
            with suppress(CleanerError):
                attempt(config)
        try:
            records = [read_record(folder)]
            to_csv(records)
            to_json(records)
            aggregate_seeds(records, "asr")
            make_run_points(records)
            if has_report:
                html.render_html(records)
        except CleanerError as error:
            errors.append(error)
        run = load_run(folder)
        assert run.stage
        assert all(isinstance(report.step, int) for report in run.history)
        for error in errors:
            raise error

    return read


def read_lists(folder: Path) -> Iterator[object]:
    """Read what a page shows of every run, whatever its state."""
    for entry in list_entries(folder.parent):
        yield entry.label, entry.protocol, entry.created_at, entry.lr, entry.seed, entry.attack_poison_rate
        yield entry.attack, entry.defense, entry.model, entry.data, entry.source_model, entry.status.progress
        yield entry.started_from(entry), entry.is_meaningful(3), describe_run(entry)
        for name in ("ca", "asr", "ra", "counterfactual_accuracy"):
            yield entry.metric(name), entry.metric(name, 3), entry.interval(name), entry.count(name)
    for report in read_progress(folder):
        yield report["step"] + 1, report["total"] + 1, report["stage"].upper(), report["seconds"] + 1
    new = read_new_progress(folder)
    yield read_new_progress(folder, new.cursor)
    yield json.dumps(read_new_lines(folder, "", STYLE), allow_nan=False)
    yield local.poll_status(folder)


def rewrite(case: Case, change: dict[str, Any] | bytes) -> Read:
    folder = copy_run(case)
    content = change if isinstance(change, bytes) else json.dumps(change).encode()
    (folder / case.kind).write_bytes(content)
    return reader(folder, has_report=case.integer(0, 19) == 0)


def original(case: Case) -> bytes:
    return (template() / case.kind).read_bytes()


@case(JSON_FILES + " progress.jsonl", "truncated")
def truncated(case: Case) -> Read:
    return rewrite(case, case.truncate(original(case)))


@case(JSON_FILES + " progress.jsonl", "mutated")
def mutated(case: Case) -> Read:
    return rewrite(case, case.mutate(original(case)))


@case(JSON_FILES + " progress.jsonl", "no JSON")
def no_json(case: Case) -> Read:
    """Another encoding, deep nesting, endless numbers, other values than an object."""
    odd = [b"", b"null", b"[]", b"[1, 2]", b'"x"', b"3", b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b"{" * 9, b"[" * 100_000]
    odd += [b'{"a": ' * 5_000 + b"1" + b"}" * 5_000, b'{"stage": ' + b"9" * 6_000 + b"}", b"{}{}", b'{"stage": NaN}']
    return rewrite(case, case.pick(*odd) + case.noise(case.pick(0, 0, 0, 30)))


@case(JSON_FILES, "odd values")
def odd_values(case: Case) -> Read:
    """Values of other types, at every depth."""
    content = json.loads(original(case))
    for _ in range(case.integer(1, 3)):
        replace_somewhere(case, content, case.draw(JSON_VALUES))
    return rewrite(case, content)


@case(JSON_FILES, "odd numbers")
def odd_numbers(case: Case) -> Read:
    """Numbers that are not finite, negative, or too large for a float."""
    content = json.loads(original(case))
    replace_somewhere(case, content, case.draw(ODD_NUMBERS), numbers_only=case.kind != "notes.json")
    return rewrite(case, content)


@case(JSON_FILES, "missing fields")
def missing_fields(case: Case) -> Read:
    content = json.loads(original(case))
    for _ in range(case.integer(1, 4)):
        if content:
            del content[case.pick(*sorted(content))]
    return rewrite(case, content | case.pick({}, {"new": case.draw(JSON_VALUES)}))


@case(JSON_FILES, "odd texts")
def odd_texts(case: Case) -> Read:
    """Names that climb out, markup and control signs in place of texts."""
    content = json.loads(original(case))
    replace_somewhere(case, content, case.draw(ODD_NAMES | st.text(max_size=30)))
    return rewrite(case, content)


@case(JSON_FILES + " progress.jsonl model.safetensors", "special file")
def special_file(case: Case) -> Read:
    folder = copy_run(case)
    make_special(case, folder / case.kind)
    return reader(folder)


def replace_somewhere(case: Case, value: Any, new: Any, numbers_only: bool = False) -> None:
    """Replace one value inside nested lists and dictionaries, in place."""
    places: list[tuple[Any, Any]] = []
    to_visit = [value]
    while to_visit:
        inside = to_visit.pop()
        for key in list(inside) if isinstance(inside, dict) else range(len(inside)):
            item = inside[key]
            if not numbers_only or (isinstance(item, (int, float)) and not isinstance(item, bool)):
                places.append((inside, key))
            if isinstance(item, (dict, list)):
                to_visit.append(item)
    if places:
        inside, key = case.pick(*places)
        inside[key] = new


@case("config.json", "other version")
def other_version(case: Case) -> Read:
    content = json.loads(original(case))
    content["schema"] = case.pick(1, 1, 0, 3, 99, -1, "2", None, 1.5, True, [], float("nan"), 10**30)
    if case.pick(True, False):
        content.pop("request")
    return rewrite(case, content)


@case("progress.jsonl", "odd lines")
def odd_lines(case: Case) -> Read:
    lines = [json.loads(line) for line in original(case).splitlines()]
    for _ in range(case.integer(1, 3)):
        line = case.pick(*lines)
        line[case.pick(*sorted(line))] = case.draw(JSON_VALUES | ODD_NUMBERS)
        if case.integer(0, 3) == 0:
            line["losses"] = {"total": case.draw(ODD_NUMBERS), case.draw(st.text(max_size=5)): case.draw(JSON_VALUES)}
    texts = [json.dumps(line) for line in lines] + [case.draw(st.text(max_size=20))]
    return rewrite(case, "\n".join(texts).encode(errors="surrogatepass"))


@case("status.json", "odd process")
def odd_process(case: Case) -> Read:
    """An active run whose process, machine and times are invented."""
    content = {**json.loads(original(case)), "state": case.pick("running", "queued", "new", "paused", "odd", "")}
    for name in (
        "pid",
        "started",
        "start_ticks",
        "queued",
        "updated",
        "host",
        "token",
        "place",
        "eta",
        "step",
        "total",
    ):
        if case.pick(True, False):
            content[name] = case.draw(ODD_NUMBERS | st.sampled_from([1, "x", "", "slurm", None, 10**12]))
    return rewrite(case, content)


def make_film() -> Film:
    """Return a film of three frames, four probe images and two classes."""
    webp = io.BytesIO()
    Image.new("RGB", (16, 16)).save(webp, "WEBP")
    return Film(
        **{"steps": [0, 2, 4], "total": 4, "data": "scenes", "labels": [0, 1, 0, 1], "class_names": ["cat", "dog"]},
        **{"target": 1, "prompts": [0, 1], "gallery": [0, 1], "explainer": "Grad-CAM"},
        images=[webp.getvalue()] * 2,
        axes=Axes(np.zeros(8, np.float32), np.eye(2, 8, dtype=np.float32)),
        points=np.linspace(-1, 1, 60, dtype=np.float16).reshape(3, 10, 2),
        clean_classes=np.zeros((3, 4), np.int32),
        triggered_classes=np.ones((3, 4), np.int32),
        gallery_classes=np.tile(np.arange(2, dtype=np.int32), (3, 2, 1)),
        gallery_scores=np.full((3, 2, 2), 0.5, np.float16),
        attention=np.zeros((3, 1, 4, 4), np.uint8),
    )


@case("film.npz", "edited")
def edited_film(case: Case) -> Read:
    """A film whose facts or arrays have other values, types or lengths; what plays it refuses no film."""
    path = case.folder / FILM_FILE
    write_film(make_film(), case.folder)
    about, arrays = read_npz(path)
    if case.pick(True, False):
        replace_somewhere(case, about, case.draw(JSON_VALUES | ODD_NUMBERS))
    else:
        name = case.pick(*sorted(arrays))
        arrays[name] = edit_array(case, arrays[name])
    np.savez(path, **arrays, about=np.frombuffer(json.dumps(about).encode(), np.uint8))

    def read() -> None:
        film = read_film(case.folder)
        if film is not None:
            movies = [Movie("film", film, read_log(case.folder))] * 2
            json.dumps([make_player_data(movies), describe_film(movies)], allow_nan=False)

    return read


def edit_array(case: Case, array: Any) -> Any:
    """Return an array with an odd value, of another type, or cut."""
    match case.integer(0, 3):
        case 0:
            return array[: case.integer(0, len(array) - 1)]
        case 1:
            return array[..., : case.integer(0, array.shape[-1] - 1)]
        case 2:
            return array.astype(case.pick(np.float64, np.int64, np.str_, np.bool_))
    edited = array.copy()
    odd = [np.nan, np.inf, -np.inf] if array.dtype.kind == "f" else [0, np.iinfo(array.dtype).min, 127]
    edited.flat[case.integer(0, array.size - 1)] = case.pick(*odd)
    return edited


@case("run", "missing files")
def missing_files(case: Case) -> Read:
    folder = copy_run(case)
    for path in sorted(folder.iterdir()):
        if case.pick(True, False):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / case.draw(ODD_NAMES).replace("/", "_").replace("\0", "_").replace("\ud800", "_")[:40].strip(". ")).touch()
    return reader(folder)


@case("run", "foreign files")
def foreign_files(case: Case) -> Read:
    """One file is another one of the run, or noise."""
    folder = copy_run(case)
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    target, source = case.pick(*files), case.pick(*files)
    content = (folder / source).read_bytes()
    (folder / target).write_bytes(content if case.pick(True, False) else case.noise(case.integer(0, 300)))
    return reader(folder)


@case("run", "links")
def linked_files(case: Case) -> Read:
    folder = copy_run(case)
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    target = folder / case.pick(*files)
    target.unlink()
    target.symlink_to(
        case.pick("../../secret.png", "../../neighbor/config.json", "/etc/passwd", "config.json", "/dev/zero")
    )
    return reader(folder)


@case("run", "odd name")
def odd_name(case: Case) -> Read:
    name = case.draw(ODD_NAMES).replace("/", "_").replace("\0", "_").replace("\ud800", "_")[:100].strip(". ") or "x"
    folder = copy_run(case, name)
    return reader(folder)


@case("run", "new")
def new_run(case: Case) -> Read:
    """A request that was edited before the run began."""
    folder = create_run(load_request(read_json(template() / "config.json")), case.folder, "run")
    content = read_json(folder / "config.json")
    replace_somewhere(case, content["request"], case.draw(JSON_VALUES | ODD_NUMBERS))
    (folder / "config.json").write_text(json.dumps(content))

    def read() -> None:
        list(read_lists(folder))
        load_request(read_json(folder / "config.json"))

    return read
