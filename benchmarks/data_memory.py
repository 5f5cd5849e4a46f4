"""Memory to load and read data of each format, few and many pairs: python -m benchmarks.data_memory

Every format holds the same small JPEG files and captions. Each measurement is a process of its own: it loads the train
split and reads 2,000 images at 224 px, as a training does.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import tyro
from PIL import Image

from benchmarks import RESULTS_DIR, protocol
from cleaner.files import child_environment

RESULT_PATH = RESULTS_DIR / "data_memory.json"
READ_IMAGES, BATCH = 2000, 64
ROWS_PER_FILE = 10_000


@dataclass(frozen=True)
class Options:
    """Measure and write the result file."""

    pairs: tuple[int, ...] = (5_000, 100_000)
    """Numbers of pairs."""
    out: Path = RESULT_PATH
    """Result file."""


def make_pairs(count: int, start: int = 0) -> Iterator[tuple[str, bytes, str]]:
    """Yield name, JPEG file and caption of the pairs `start` to `count` - 1."""
    for number in range(start, count):
        file = io.BytesIO()
        color = (number % 251, number // 251 % 241, number // 60_000 * 40)
        Image.new("RGB", (64, 48), color).save(file, "JPEG")
        yield f"{number:06d}.jpg", file.getvalue(), f"a photo of a colored wall, number {number}, next to a small door"


def write_csv(folder: Path, count: int) -> str:
    """Write image files and a table; return its path."""
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["filepath", "title"])
        for name, content, caption in make_pairs(count):
            (folder / name).write_bytes(content)
            writer.writerow([name, caption])
    return str(folder / "pairs.csv")


def write_shards(folder: Path, count: int) -> str:
    """Write tar shards; return their folder."""
    for start in range(0, count, ROWS_PER_FILE):
        with tarfile.open(folder / f"{start // ROWS_PER_FILE:04d}.tar", "w") as shard:
            for name, content, caption in list(make_pairs(min(count, start + ROWS_PER_FILE), start)):
                for member, data in ((name, content), (name.replace("jpg", "txt"), caption.encode())):
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    shard.addfile(info, io.BytesIO(data))
    return str(folder)


def write_parquet(folder: Path, count: int) -> str:
    """Write parquet files as the hub stores them; return their folder."""
    import pyarrow as pa
    from pyarrow import parquet

    for start in range(0, count, ROWS_PER_FILE):
        rows = list(make_pairs(min(count, start + ROWS_PER_FILE), start))
        columns = {
            "image": [{"bytes": content, "path": name} for name, content, _ in rows],
            "caption": [caption for _, _, caption in rows],
        }
        parquet.write_table(pa.table(columns), folder / f"{start // ROWS_PER_FILE:04d}.parquet")
    return str(folder)


WRITERS: dict[str, Callable[[Path, int], str]] = {"csv": write_csv, "shards": write_shards, "parquet": write_parquet}


def read_once(name: str) -> None:
    """Load data in this process, read images, and print the memory that this took, in MB, as JSON."""
    import torch

    from cleaner.data.base import load_data

    process = psutil.Process()
    before = process.memory_info()
    data = load_data(name, split="train")
    for rows in torch.arange(min(READ_IMAGES, len(data))).split(BATCH):
        data.images(rows)
    after = process.memory_info()
    # Pages of mapped files count as resident, but the kernel takes them back whenever it needs memory.
    own = [info.rss - info.shared for info in (before, after)]
    values = {"own_mb": own[1] - own[0], "mapped_mb": after.shared - before.shared}
    print(json.dumps({"loaded": len(data), **{key: value / 1e6 for key, value in values.items()}}))


def measure(kind: str, count: int) -> dict[str, Any]:
    """Return the memory of one format and number of pairs."""
    with tempfile.TemporaryDirectory() as place:
        name = WRITERS[kind](Path(place), count)
        command = [sys.executable, "-m", "benchmarks.data_memory", "read", name]
        environment = {**child_environment(), "CLEANER_CACHE": f"{place}/.cache"}
        process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return {"format": kind, "pairs": count, **json.loads(process.stdout.splitlines()[-1])}


def main(options: Options) -> None:
    """Measure and write."""
    protocol.read_started_commit()
    rows = [measure(kind, count) for kind in WRITERS for count in options.pairs]
    protocol.write_result(options.out, rows=rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        read_once(sys.argv[2])
    else:
        main(tyro.cli(Options))
