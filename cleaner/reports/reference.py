"""This project's own results, to compare runs with: assets/reference.json, generated from benchmarks/results."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cleaner.files import read_json_cached, shipped_assets

Spread = tuple[float, float, float]
"""Mean, minimum and maximum over the seeds, as shares."""


class ReferenceRow(BaseModel):
    """One attack and method. `floor`: ASR@1 of the trigger on the clean model; n: images of CA, n_attack: of ASR.

    is_over_budget: whether even its learning rate lost more validation accuracy than the budget. is_on_copy: whether it
    was measured later, on models that were backdoored again on another type of processor.
    """

    model_config = ConfigDict(frozen=True)

    attack: str
    defense: str | None
    label: str
    target: str
    lr: float | None
    seeds: tuple[int, ...]
    n: int
    n_attack: int
    asr: Spread
    ca: Spread
    cf: Spread | None
    floor: float | None
    is_over_budget: bool
    is_on_copy: bool


class ReferenceTable(BaseModel):
    """All attacks and methods on one model. `budget`: validation accuracy that a rate may lose; `file`: results."""

    model_config = ConfigDict(frozen=True)

    title: str
    model: str
    protocol: str
    budget: float
    file: str
    commits: tuple[str, ...]
    devices: tuple[str, ...]
    text_versions: tuple[str, ...]
    rows: tuple[ReferenceRow, ...]


class Reference(BaseModel):
    """The tables, and in words how far results vary by seed and processor."""

    model_config = ConfigDict(frozen=True)

    tables: tuple[ReferenceTable, ...] = ()
    variation: str = ""


def read_reference(path: Path | None = None) -> Reference:
    """Return the shipped results; without tables if the file is missing or damaged."""
    try:
        return Reference.model_validate(read_json_cached(path or shipped_assets() / "reference.json"))
    except ValidationError:
        return Reference()
