"""The project's own comparison of attacks and defenses (benchmarks/results) as run records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from cleaner import presets
from cleaner.labels import NO_DEFENSE
from cleaner.plots import charts
from cleaner.runs.record import RunRecord


class BenchmarkRecord(RunRecord):
    """One row of a result file.

    Attributes:
        method: name of the defense with its variant, as the result file has it; empty: none.
        part: part of the table that the row belongs to.
        loss: validation accuracy lost against the backdoored model, a share; None where it was not measured.
        is_on_copy: whether it was measured later on another processor, with a model that was backdoored again there.
        curve: "step", "ca" and "asr" of the validation split during training.
    """

    method: str = ""
    part: str = ""
    loss: float | None = None
    is_on_copy: bool = False
    commit: str | None = None
    device: str | None = None
    curve: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def defense(self) -> str | None:
        return self.method or None


REFERRING_PARTS = ("fixed rates", "ablations", "other triggers")
"""Parts of the table that are read against its comparison."""
SHARED_SETTINGS: Mapping[str, Callable[[BenchmarkRecord], Any]] = {
    "fixed rates": lambda record: record.lr or None,
    "ablations": lambda record: record.defense_settings and record.defense_settings.name,
}
"""Part of the table -> what a defense of the comparison must share with the part to be shown with it."""


PHOTO_PART = "photos"


def read_benchmark_records() -> list[BenchmarkRecord]:
    """Return the cells of the attack x defense table, then those on photos; empty if no file is available."""
    rows = [*presets.read_attack_defense_rows(), *({**row, "part": PHOTO_PART} for row in presets.read_photo_rows())]
    return [parse_row(row) for row in rows]


def parse_row(row: Mapping[str, Any], **fields: Any) -> BenchmarkRecord:
    """Return one row of a result file as a record; `fields`: others of the record."""
    config = row["config"] | {
        "stage": "defended" if row["defense"] else "backdoored",
        "model": row["model"],
        "seconds": row.get("cpu_seconds") or 0,
        "target_class": row["metrics"]["target_class"],
        **{name: row.get(name) for name in ("commit", "device", "command", "part")},
    }
    folder = Path(f"{row['model']} {row['trigger']} {row['seed']} {row['defense'] or NO_DEFENSE}")
    curve = row.get("curve") or []
    return BenchmarkRecord.from_config(
        folder, config, measured=row["metrics"], method=row["defense"] or "", curve=curve, **fields
    )


def select_part(records: Sequence[BenchmarkRecord], name: str) -> list[BenchmarkRecord]:
    """Return one part of the table, in its order, with the rows of the comparison to read it against.

    These are the backdoored model; for fixed learning rates, defenses that were trained at one of them anyway; for
    ablations of a defense, the whole defense.
    """
    part = [record for record in records if record.part == name]
    if name not in REFERRING_PARTS:
        return part
    shared: Callable[[BenchmarkRecord], Any] = SHARED_SETTINGS.get(name, lambda _: None)
    attacks = {record.attack for record in part}
    settings = {shared(record) for record in part} - {None}

    def is_reference(record: BenchmarkRecord) -> bool:
        is_comparable = record.stage == "backdoored" or shared(record) in settings
        return record.part == "comparison" and record.attack in attacks and is_comparable

    return [record for record in records if record.part == name or is_reference(record)]


def plot_removal(records: Sequence[BenchmarkRecord]) -> Any:
    """Return the chart of attack success during each defense, of the runs that were watched; None if there are none."""
    watched: dict[str, list[list[tuple[int, float]]]] = {}
    for record in records:
        points = [(int(point["step"]), float(point["asr"])) for point in record.curve if "asr" in point]
        if points and record.stage == "defended":
            watched.setdefault(record.defense or NO_DEFENSE, []).append(points)
    return charts.removal_curves(watched) if watched else None
