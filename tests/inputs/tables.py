"""CSV and TSV tables: their encoding, their columns, their paths; and folders of images."""

from __future__ import annotations

import csv
import io
import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch
from hypothesis import strategies as st

from cleaner.data.base import CaptionData, load_data, resolve_data_paths
from tests.inputs import images
from tests.inputs.cases import ODD_NAMES, Case, Read, case

TABLES = "csv tsv"
COUNT = 6
ANY_TEXT = st.text(max_size=30)
Rows = list[list[str]]


def reader(path: Path, case: Case, expected: Callable[[CaptionData], None] | None = None) -> Read:
    """Return the reading of data in files: load all, check, read the images, and use captions and classes."""
    options = {"most_broken": case.pick(0.05, 1.0), "check": case.pick("auto", "quick", "full")}
    if expected is not None:
        options = {}

    def read() -> None:
        name, resolved = resolve_data_paths(str(path), options)
        data = load_data(name, split="all", **resolved)
        check_data(data)
        if expected is not None:
            expected(data)

    return read


def check_data(data: CaptionData) -> None:
    assert len(data) == len(data.captions) == len(data.labels) > 0
    assert all(isinstance(caption, str) and caption for caption in data.captions)
    assert data.labels.min() >= -1
    assert data.labels.max() < max(len(data.class_names), 1)
    some = range(min(len(data), 8))
    pixels = data.images(some)
    assert pixels.shape == (len(some), 3, data.image_size, data.image_size)
    assert 0 <= pixels.min() <= pixels.max() <= 1
    for class_name in data.class_names[:3]:
        assert data.contains(class_name).dtype == torch.bool
    data.fingerprint()


def rows(count: int = COUNT) -> Rows:
    return [["filepath", "title"], *[[f"{i}.png", f"a photo of a cat, number {i}"] for i in range(count)]]


def encode(table: Rows, case: Case) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter="\t" if case.kind == "tsv" else ",").writerows(table)
    return out.getvalue()


def write(case: Case, content: str | bytes) -> Path:
    """Write a table and its images into the case's folder; return its path."""
    for i in range(COUNT):
        (case.folder / f"{i}.png").write_bytes(images.sample("png"))
    path = case.folder / f"pairs.{case.kind}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    return path


def is_complete(data: CaptionData) -> None:
    assert sorted(data.captions) == [row[1] for row in rows()[1:]]


@case(TABLES, "no header")
def no_header(case: Case) -> Read:
    table = [*rows()[1:], [case.draw(ANY_TEXT), case.draw(ANY_TEXT)]]
    return reader(write(case, encode(table[case.integer(0, len(table)) :], case)), case)


@case(TABLES, "wrong columns")
def wrong_columns(case: Case) -> Read:
    """Other, missing, repeated, or very many names in the header."""
    names = ["filepath", "title", "caption", "label", "split", "FilePath", " title ", "", "x"]
    header = case.draw(st.lists(st.sampled_from(names) | ANY_TEXT, max_size=5) | st.just(["filepath"] * 5_000))
    width = len(header)
    return reader(write(case, encode([header, *[[*row, "a", "b", "c"][:width] for row in rows()[1:]]], case)), case)


@case(TABLES, "NUL")
def nul(case: Case) -> Read:
    content = bytearray(encode(rows(), case).encode())
    for _ in range(case.integer(1, 5)):
        place = case.integer(0, len(content))
        content[place:place] = b"\0" * case.pick(1, 1, 1000)
    return reader(write(case, bytes(content)), case)


@case(TABLES, "byte order mark")
def byte_order_mark(case: Case) -> Read:
    table = rows()[1:]
    case.random.shuffle(table)
    return reader(write(case, "\ufeff" + encode([rows()[0], *table], case)), case, is_complete)


@case(TABLES, "other encoding")
def other_encoding(case: Case) -> Read:
    table = [*rows(), ["1.png", case.pick("a café", "猫", "кот") + case.draw(ANY_TEXT)]]
    encoding = case.pick("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "shift-jis", "utf-7")
    return reader(write(case, encode(table, case).encode(encoding, errors="replace")), case)


@case(TABLES, "many rows")
def many_rows(case: Case) -> Read:
    """Thousands of rows for few images; a row or a field of a megabyte."""
    table = rows()
    if case.pick(True, False):
        table += table[1:] * case.integer(50, 300)
    else:
        table.insert(case.integer(0, 2), ["0.png", "x" * case.pick(1_000, 131_072, 131_073, 1_000_000)])
    return reader(write(case, encode(table, case)), case)


@case(TABLES, "climbing paths")
def climbing_paths(case: Case) -> Read:
    table = [*rows(), *[[case.draw(ODD_NAMES), "a text"] for _ in range(case.integer(1, 4))]]
    return reader(write(case, encode(table, case)), case)


@case(TABLES, "addresses")
def addresses(case: Case) -> Read:
    address = case.pick("http://localhost/x.png", "https://x/y.png", "ftp://x/y", "file:///etc/passwd", "s3://b/x")
    table = [*rows(case.integer(0, COUNT)), [address + case.draw(ANY_TEXT), "a text"]]
    return reader(write(case, encode(table, case)), case)


@case(TABLES, "ragged rows")
def ragged_rows(case: Case) -> Read:
    table = rows() + case.draw(st.lists(st.lists(ANY_TEXT, max_size=6), min_size=1, max_size=5))
    return reader(write(case, encode(table, case)), case)


@case(TABLES, "open quotes")
def open_quotes(case: Case) -> Read:
    content = encode(rows(), case)
    for _ in range(case.integer(1, 3)):
        place = case.integer(0, len(content))
        content = content[:place] + case.pick('"', '""', '"\n', "\r", "\r\r\n", "\x85", "\u2028") + content[place:]
    return reader(write(case, content), case)


@case(TABLES, "odd captions")
def odd_captions(case: Case) -> Read:
    captions = [case.draw(st.text(min_size=1, max_size=80)) for _ in range(COUNT)]
    table = [["filepath", "title", "class"], *[[f"{i}.png", text, text[:9]] for i, text in enumerate(captions)]]
    return reader(write(case, encode(table, case)), case)


@case(TABLES, "mutated")
def mutated(case: Case) -> Read:
    return reader(write(case, case.mutate(encode(rows(), case).encode())), case)


@case(TABLES, "special file")
def special_file(case: Case) -> Read:
    """A pipe, a folder, a device or a link in place of the table, or of an image in it."""
    path = write(case, encode(rows(), case))
    target = case.pick(path, case.folder / f"{case.integer(0, COUNT - 1)}.png")
    make_special(case, target)
    return reader(path, case)


def make_special(case: Case, path: Path) -> None:
    """Replace a file by one that cannot be read as a file."""
    path.unlink(missing_ok=True)
    match case.integer(0, 5):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to(case.pick("/dev/zero", "/dev/urandom", "/proc/self/mem", "/dev/full", "/dev/null"))
        case 2:
            path.mkdir()
        case 3:
            path.symlink_to(path)
        case 4:
            with socket.socket(socket.AF_UNIX) as listener:
                here = os.open(path.parent, os.O_RDONLY)
                listener.bind(f"/proc/self/fd/{here}/{path.name}")  # a path may be too long for a socket
                os.close(here)
        case _:
            path.symlink_to(path.parent / case.pick("missing", ".", ".."))


@case("folder", "odd names")
def odd_names(case: Case) -> Read:
    name = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
    root = case.folder / "root"
    for folder in case.draw(st.lists(name, min_size=1, max_size=4)):
        if folder not in (".", ".."):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for file in case.draw(st.lists(name, min_size=1, max_size=3)):
                (root / folder / f"{file}.png").write_bytes(images.sample("png"))
    return reader(root, case)


@case("folder", "links")
def links(case: Case) -> Read:
    """Links to other folders, to themselves, and to files outside."""
    root = make_class_folders(case)
    target = case.pick(
        "..", "/", "../..", "/proc/self", "/etc", str(root), "loop", "../../secret.png", "../../neighbor"
    )
    (root / case.pick("loop", "cat/loop.png", "cat/loop")).symlink_to(target)
    return reader(root / "cat", case) if case.integer(0, 9) == 0 else reader(root, case)


@case("folder", "special files")
def special_files(case: Case) -> Read:
    root = make_class_folders(case)
    make_special(case, root / "cat" / f"{case.integer(0, 3)}.png")
    return reader(root, case)


@case("folder", "mutated images")
def mutated_images(case: Case) -> Read:
    root = make_class_folders(case)
    (root / "cat" / "1.png").write_bytes(case.mutate(images.sample(case.pick(*images.FORMATS.split()))))
    return reader(root, case)


def make_class_folders(case: Case) -> Path:
    root = case.folder / "root"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(4):
            (root / name / f"{i}.png").write_bytes(images.sample("png"))
    return root


@case("folder", "classes file")
def classes_file(case: Case) -> Read:
    """The text file of class names that a user gives with data."""
    root, path = make_class_folders(case), case.folder / "classes.txt"
    content = case.pick(
        b"", b"cat\ndog\n", b"\xff\xfe\x00", b"cat\0dog", b"<b>\n=1+1\n", b"(\n[\n", b"a" * 100_000 + b"\nb"
    )
    path.write_bytes(content + case.noise(case.pick(0, 0, 40)))
    if case.integer(0, 4) == 0:
        make_special(case, path)
    given = case.pick(str(path), str(path), case.draw(ANY_TEXT), ",".join(case.draw(st.lists(ANY_TEXT, max_size=4))))

    def read() -> None:
        name, options = resolve_data_paths(str(root), {"classes": given})
        check_data(load_data(name, split="all", **options))

    return read
