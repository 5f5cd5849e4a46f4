"""Map of a run: points and figures of its models, made once and stored with it, so that the Embeddings page only reads.

`python -m cleaner.inspection.embedding_map RUN_DIR` makes what is missing. Nothing heavy is imported by reading.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from cleaner.files import atomic_write
from cleaner.runs.derived import derived_folder
from cleaner.runs.request import get_test_data
from cleaner.runs.store import find_run
from cleaner.types import OnStep, StepReport

if TYPE_CHECKING:
    from torch import Tensor

    from cleaner.attacks.base import Trigger
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip

MAP_FILE = "embeddings.npz"
MAX_IMAGES = 300
"""Pictures on a map at most; fewer where many models or classes would make more than `MAX_POINTS` points."""
MAX_POINTS = 3000
Array = NDArray[np.float32]
_METADATA_KEY, _COORDINATES_PREFIX = "about", "places."
_FILE_KEYS = {"attack_success": "taken", "metrics": "figures", "trustworthiness": "trust"}
"""Field of `EmbeddingMap` -> its key in the file, where the two differ: files of earlier versions stay readable."""


@dataclass(frozen=True)
class EmbeddingMap:
    """Points of all stages, stage after stage, each in the order of `counts`; places[method]: (N, 2).

    `rows`, `labels`, `captions` belong to the pictures, `prompts` are the classes of the prompts, `target` is the
    attacked class. `taken`: for each stage and picture, whether the triggered picture is taken for the target.
    `figures`: `inspection.numbers` of each stage; `shifts`: `inspection.shifts` from each stage to the next.
    """

    stages: tuple[str, ...]
    counts: dict[str, int]
    data: str
    rows: list[int]
    labels: list[int]
    captions: list[str]
    class_names: list[str]
    prompts: list[int]
    target: int | None
    attack_success: list[list[bool]]
    metrics: list[dict[str, float]]
    shifts: list[dict[str, list[float]]]
    trustworthiness: dict[str, float]
    coordinates: dict[str, Array]

    def get_coordinates(self, method: str, stage: int, kind: str) -> Array:
        """Return the places of one kind in one stage."""
        begin = stage * sum(self.counts.values())
        for other, count in self.counts.items():
            if other == kind:
                return self.coordinates[method][begin : begin + count]
            begin += count
        raise KeyError(kind)


def locate_map_file(folder: Path) -> Path:
    """Return the file of a run's map, whether it is there or not."""
    own = folder / MAP_FILE
    return own if own.exists() else derived_folder(folder) / MAP_FILE


def read_map(folder: Path) -> EmbeddingMap | None:
    """Return the map that is kept of a run, or None if there is none, or a broken one."""
    try:
        with np.load(locate_map_file(folder), allow_pickle=False) as kept:
            about = json.loads(kept[_METADATA_KEY].tobytes())
            places = {
                name[len(_COORDINATES_PREFIX) :]: kept[name]
                for name in kept.files
                if name.startswith(_COORDINATES_PREFIX)
            }
        fields = {name: about.pop(key) for name, key in _FILE_KEYS.items()}
        found = EmbeddingMap(**{**about, **fields, "stages": tuple(about["stages"])}, coordinates=places)
    except (OSError, ValueError, EOFError, KeyError, TypeError, BadZipFile, zlib.error):
        return None
    total = len(found.stages) * sum(found.counts.values())
    fits = places and all(p.shape == (total, 2) and p.dtype == np.float32 for p in places.values())
    return found if fits else None


def write_map(embedding_map: EmbeddingMap, file: Path) -> None:
    """Keep a map, atomically."""
    fields = asdict(embedding_map)
    del fields["coordinates"]
    about = {_FILE_KEYS.get(name, name): value for name, value in fields.items()}
    arrays: dict[str, Any] = {_COORDINATES_PREFIX + name: value for name, value in embedding_map.coordinates.items()}
    arrays[_METADATA_KEY] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def compute_map(
    stages: Mapping[str, Clip],
    data: CaptionData,
    trigger: Trigger | None = None,
    target_class: str | None = None,
    on_step: OnStep | None = None,
) -> tuple[EmbeddingMap, Tensor]:
    """Return the map of some models by PCA, and the features (N, D) of its points.

    Raises `CleanerError` for data without a picture of one class.
    """
    import torch

    from cleaner.evaluation.evaluate import validate_eval_data
    from cleaner.inspection.features import (
        POINT_KINDS,
        compute_embedding_metrics,
        compute_feature_shifts,
        concatenate_features,
        extract_features,
        find_single_class_rows,
    )

    validate_eval_data(data)
    target = data.class_index(target_class) if target_class is not None and trigger is not None else None
    rows, prompts = _select_points(data, find_single_class_rows(data, MAX_IMAGES).tolist(), len(stages), target)
    labels, begun = data.labels[rows], time.perf_counter()
    drawn, figures = [], []
    for done, clip in enumerate(stages.values(), start=1):
        found = extract_features(clip, data, len(rows), trigger, target_class)
        figures.append(compute_embedding_metrics(found, labels, target))
        drawn.append(replace(found, prompt=found.prompt[torch.tensor(prompts)]))
        if on_step is not None:
            on_step(StepReport("map", done, len(stages), time.perf_counter() - begun))
    made = EmbeddingMap(
        stages=tuple(stages),
        counts={kind: len(getattr(drawn[0], kind)) for kind in POINT_KINDS},
        data=data.name,
        rows=rows,
        labels=labels.tolist(),
        captions=[data.captions[i] for i in rows],
        class_names=list(data.class_names),
        prompts=prompts,
        target=target,
        attack_success=[layer.attack_success.tolist() for layer in drawn],
        metrics=figures,
        trustworthiness={},
        coordinates={},
        shifts=[
            {kind: [round(v, 5) for v in values] for kind, values in compute_feature_shifts(a, b).items()}
            for a, b in pairwise(drawn)
        ],
    )
    features = concatenate_features(drawn)
    return add_projection(made, features, "pca"), features


def _select_points(
    data: CaptionData, rows: list[int], stage_count: int, target_index: int | None
) -> tuple[list[int], list[int]]:
    """Return the pictures and classes of a map: as many pictures as fit with the classes that are on them."""
    while True:
        classes = sorted({*data.labels[rows].tolist(), *([] if target_index is None else [target_index])})
        if stage_count * (3 * len(rows) + len(classes)) <= MAX_POINTS:
            return rows, classes
        rows = rows[:-1]


def add_projection(embedding_map: EmbeddingMap, features: Tensor, method: str) -> EmbeddingMap:
    """Return a map with the places of one more method, fitted on all its points together."""
    from cleaner.inspection.features import compute_trustworthiness
    from cleaner.inspection.projection import Projection

    places = Projection(method).fit(features)
    judged = {**embedding_map.trustworthiness, method: round(compute_trustworthiness(features, places), 4)}
    return replace(
        embedding_map,
        coordinates={**embedding_map.coordinates, method: places},
        trustworthiness=judged,
    )


def ensure_map(
    folder: Path,
    parent: Path | None = None,
    with_umap: bool = True,
    on_step: OnStep | None = None,
    output_folder: Path | None = None,
) -> EmbeddingMap:
    """Make what is missing of a run's map and keep it: PCA and figures at once, then UMAP; return the map.

    parent: the backdoored run, where the run does not name it; place: the folder to keep it in, if not the usual one.
    """
    kept, file = read_map(folder), (output_folder or derived_folder(folder)) / MAP_FILE
    if kept is not None and (not with_umap or "umap" in kept.coordinates):
        return kept
    made, features = compute_map(*_load_stages(folder, parent, on_step), on_step=on_step)
    for method in ("pca", *(["umap"] if with_umap else [])):
        made = made if method in made.coordinates else add_projection(made, features, method)
        if not (folder / "config.json").exists():
            return made  # the run was deleted: writing would bring its folder back
        write_map(made, file)
    return made


def _load_stages(
    folder: Path, parent: Path | None, on_step: OnStep | None
) -> tuple[dict[str, Clip], CaptionData, Trigger | None, str | None]:
    """Return the models of a run in order, its test data, and its attack."""
    from cleaner.data.base import load_data
    from cleaner.models.clip import load_clip
    from cleaner.runs.store import load_run

    run = load_run(folder)
    if parent is None and run.config.get("parent"):
        parent = find_run(run.config["parent"], folder)
    stages: dict[str, Clip] = {} if run.clean_clip is None else {"clean": run.clean_clip}
    if run.stage == "defended":
        model = (run.config.get("request") or {}).get("model")
        if parent is not None:
            stages["backdoored"] = load_run(parent).clip
        elif model:
            stages["suspect"] = load_clip(model)
    stages[run.stage] = run.clip
    name, options, size = get_test_data(run.config)
    data = load_data(name, split="test", size=size, on_step=on_step, **options)
    return stages, data, run.trigger, run.target_class
