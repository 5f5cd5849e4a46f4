"""Parts of the JSON files of a run folder, as pydantic validates them: files may be copied from elsewhere or edited."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cleaner.evaluation.result import METRICS, Metrics
from cleaner.files import FileVersion, file_version, read_existing_json

Number = int | float
_Bounds = Annotated[list[Number], Field(min_length=2, max_length=2)]
_INTERVALS = TypeAdapter(list[dict[str, _Bounds] | _Bounds | None])


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


def first_invalid_field(error: ValidationError) -> str:
    """Return the name of the first field of a JSON file that pydantic rejected."""
    return str(error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"][0])


def read_notes(folder: Path) -> Notes:
    """Return the user's notes of a run; empty unless `annotate` wrote them. Raises `OSError`."""
    try:
        return Notes.model_validate(read_existing_json(folder / "notes.json"))
    except ValidationError:
        return Notes()


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the shared test metrics of a run; empty if missing or invalid. Raises `OSError`."""
    path = folder / "metrics.json"
    version = file_version(path)
    return {} if version is None else _read_metrics_version(path, version)


@lru_cache(maxsize=10_000)
def _read_metrics_version(path: Path, version: FileVersion) -> dict[str, Any]:
    metrics = read_existing_json(path)
    try:
        Metrics.from_dict(metrics)
        _INTERVALS.validate_python([metrics.get(f"{name}_interval") for name in METRICS], strict=True)
    except (ValidationError, RecursionError):
        return {}
    return metrics
