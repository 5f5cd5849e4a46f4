"""Parquet and Arrow tables: the types that they state, their values, their schema, damage."""

from __future__ import annotations

import json
from typing import Any

import datasets  # noqa: F401  # not under the guard, whose memory it would take
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from pyarrow import parquet

from tests.inputs import images, tables
from tests.inputs.cases import JSON_VALUES, ODD_NAMES, Case, Read, case

TABLES = "parquet arrow"
COUNT = 6
CAPTIONS = [f"a photo of a cat, number {i}" for i in range(COUNT)]
FILE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
MEDIA = ("Image", "Audio", "Video", "Pdf", "Nifti")
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


def reader(case: Case, content: bytes) -> Read:
    path = case.folder / f"pairs.{case.kind}"
    path.write_bytes(content)
    read = tables.reader(path, case)

    def read_in_folder() -> None:
        with pytest.MonkeyPatch.context() as patch:  # `datasets` copies what it reads to the cache
            patch.setenv("CLEANER_CACHE", str(case.folder / "cache"))
            read()

    return read_in_folder


def encode(case: Case, columns: dict[str, Any], features: object = None) -> bytes:
    """Return a table as a file of the case's kind; features: the types that its schema states."""
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    sink = pa.BufferOutputStream()
    if case.kind == "parquet":
        parquet.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


def image_column(content: bytes = images.SECRET) -> pa.Array:
    return pa.array([{"bytes": content, "path": f"{i}.png"} for i in range(COUNT)], FILE)


@case(TABLES, "stated types")
def stated_types(case: Case) -> Read:
    """Columns of files that a library would open: to be decoded by a program, or fetched from an address."""
    media, columns, features = case.pick("Image", *MEDIA), {}, {}
    for name in ("image", "text"):
        path = case.pick(None, "hf://datasets/attacker/x/beacon.png", "x.pcm", case.draw(ODD_NAMES))
        path = path.encode(errors="replace").decode() if path else None
        value: object = {"bytes": case.pick(None, EPS, images.SECRET), "path": path}
        kind, feature = FILE, {"_type": media}
        for _ in range(case.integer(0, 2)):
            value, kind, feature = [value], pa.list_(kind), {"_type": "List", "feature": feature}
        columns[name], features[name] = pa.array([value] * COUNT, kind), feature
    if case.pick(True, False):
        columns["text"], features["text"] = pa.array(CAPTIONS), {"_type": "Value", "dtype": "string"}
    return reader(case, encode(case, columns, features))


@case(TABLES, "odd values")
def odd_values(case: Case) -> Read:
    """Captions, classes and splits of other types: numbers, dates, bytes, lists, text that is not UTF-8."""
    broken = pa.array([b"a cat", b"\xff\xfe", None, b"", b"\xed\xa0\x80", b"a\0b"], pa.binary())
    columns = {"image": image_column(), "text": pa.array(CAPTIONS)}
    for name in case.draw(st.lists(st.sampled_from(["text", "class", "split", "image"]), min_size=1, max_size=3)):
        columns[name] = case.pick(
            pa.Array.from_buffers(pa.string(), COUNT, broken.buffers()),
            broken,
            pa.nulls(COUNT),
            pa.array([float("nan"), float("inf"), -1e308, 5e-324, -0.0, None]),
            pa.array([2**62, -(2**62), 0, 1, None, -1], pa.timestamp("us")),
            pa.array([[text] * 3 for text in CAPTIONS]),
            pa.array([{"a": text} for text in CAPTIONS]),
            pa.array(CAPTIONS).dictionary_encode(),
            pa.array(["http://localhost/x.png", "hf://datasets/a/b/x.png", "/etc/hostname", "..", "", None]),
        )
    return reader(case, encode(case, columns))


@case(TABLES, "odd schema")
def odd_schema(case: Case) -> Read:
    """Types that are not those of the columns, or no types at all."""
    features: dict[str, Any] = {"image": {"_type": "Image"}, "class": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    place = case.pick("image", "class", "text")
    features[place] = case.pick(
        case.draw(JSON_VALUES),
        {"_type": "ClassLabel", "names": case.draw(JSON_VALUES | st.lists(JSON_VALUES, min_size=2, max_size=2))},
        {"_type": case.pick("Translation", "Array2D", "LargeList", "Json", "Features", "os.system", *MEDIA)},
    )
    columns = {"image": image_column(), "class": pa.array([0, 1, -1, 2, 2**40, None])}
    if case.pick(True, False):
        columns["text"] = pa.array(CAPTIONS)
    stated: object = features if case.pick(True, True, False) else case.draw(JSON_VALUES)
    return reader(case, encode(case, columns, stated))


@case(TABLES, "truncated")
def truncated(case: Case) -> Read:
    return reader(case, case.truncate(encode(case, {"image": image_column(), "text": pa.array(CAPTIONS)})))


@case(TABLES, "mutated")
def mutated(case: Case) -> Read:
    return reader(case, case.mutate(encode(case, {"image": image_column(), "text": pa.array(CAPTIONS)})))
