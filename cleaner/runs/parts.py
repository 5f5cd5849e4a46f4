"""Parts of the JSON files of a run folder, as pydantic validates them: files may be copied from elsewhere or edited."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from cleaner.evaluation.result import METRICS
from cleaner.files import FileVersion, file_version, read_existing_json

Number = int | float
ByK = dict[Annotated[str, Field(pattern=r"^\d+$")], Number]
Bounds = Annotated[list[Number], Field(min_length=2, max_length=2)]


class StrictModel(BaseModel):
    """Part of a JSON file: values of other types are errors, unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)


class Component(StrictModel):
    """A trigger or a defense; its parameters are its own."""

    name: str = ""


class FinetuneSettings(StrictModel):
    """Settings by which trainings are compared; 0 where config.json does not state one."""

    lr: Number = 0.0
    seed: Number = 0
    epochs: Number = 0
    steps: Number = 0
    batch_size: Number = 0


class RequestRecord(StrictModel):
    """The request of a run, as `load_request` reads it in full."""

    model: str | None = None
    parent: str | None = None
    defense: dict[str, Any] | None = None
    finetune: dict[str, Any] = Field(default_factory=dict)


class ReboundRecord(StrictModel):
    """A rebound test: its steps, and the defense that it checks."""

    steps: int = 0
    after: Component | None = None


class Notes(StrictModel):
    """What the user wrote about a run: `annotate` writes it to notes.json."""

    name: str = ""
    note: str = ""
    tags: list[str] = Field(default_factory=list)


class _MetricsFile(StrictModel):
    """The fields of metrics.json that are not in the table of metrics."""

    n: int
    classes: int
    data: str | None
    templates: int = 0
    data_sha256: str = ""
    class_names_sha256: str = ""
    protocol: str | None = None
    target_class: str | None = None
    n_attack: int = 0
    n_counterfactual: int = 0
    n_gallery: int = 0
    n_cross: int = 0
    queries: Literal["images", "captions"] | None = None
    asr_by_key: dict[str, ByK] | None = None
    counterfactual_by_kind: dict[str, Number] | None = None
    outcomes: dict[str, str] | None = None


def _metrics_model() -> type[BaseModel]:
    """Return the model of metrics.json: the table of metrics and its intervals, and the other fields."""
    fields: dict[str, Any] = {}
    for name, row in METRICS.items():
        fields[name] = (ByK | None if row.ks else Number | None, None)
        fields[f"{name}_interval"] = (dict[str, Bounds] | Bounds | None, None)
    fields["ca"] = (ByK, ...)
    return create_model("MetricsFile", __base__=_MetricsFile, **fields)


MetricsFile = _metrics_model()


def first_invalid_field(error: ValidationError) -> str:
    """Return the name of the first field of a JSON file that pydantic rejected."""
    return str(error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"][0])


def read_notes(folder: Path) -> Notes:
    """Return the user's notes of a run; empty ones if notes.json is not as `annotate` writes it.

    Raises `OSError` if it cannot be read.
    """
    try:
        return Notes.model_validate(read_existing_json(folder / "notes.json"))
    except ValidationError:
        return Notes()


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the test metrics of a run; empty if metrics.json is missing or invalid. Do not change them.

    Raises `OSError` if it cannot be read, which no cache may remember.
    """
    path = folder / "metrics.json"
    version = file_version(path)
    return {} if version is None else _read_metrics_version(path, version)


@lru_cache(maxsize=10_000)
def _read_metrics_version(path: Path, version: FileVersion) -> dict[str, Any]:
    metrics = read_existing_json(path)
    try:
        MetricsFile.model_validate(metrics)
    except ValidationError:
        return {}
    return metrics
