"""The embedding map of a run, stored with it. Reading a map imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cleaner.files import FileVersion, read_version
from cleaner.runs.derived import derived_folder, find_derived
from cleaner.runs.npz import NPZ_ERRORS, read_npz, write_npz
from cleaner.runs.request import get_test_data
from cleaner.runs.store import find_suspect, read_record
from cleaner.types import OnStep, start_progress

if TYPE_CHECKING:
    from torch import Tensor

    from cleaner.attacks.base import Trigger
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip

MAP_FILE = "embeddings.npz"
MAX_IMAGES = 300
"""Most images on a map; fewer if many models or classes would exceed `MAX_POINTS`."""
MAX_POINTS = 3000
STAGES = ("clean", "backdoored", "suspect", "defended")
"""Kinds of models on a map, in their order."""
Array = NDArray[np.float32]
_COORDINATES_PREFIX = "places."


@dataclass(frozen=True)
class EmbeddingMap:
    """Points of all stages, stage after stage, each in the order of `counts`.

    Attributes:
        counts: kind of point (`features.POINT_KINDS`) -> points per stage.
        rows, labels, captions: of the images; rows are indices of `data`.
        prompts: class index of each prompt; target: index of the attacked class.
        attack_success: for each stage and image, whether the triggered image is classified as the target.
        metrics: `compute_embedding_metrics` of each stage.
        shifts: `compute_feature_shifts` from each stage to the next.
        trustworthiness, coordinates: method of projection -> 0..1, and (N, 2).
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
        """Return the coordinates of one kind of points in one stage."""
        begin = stage * sum(self.counts.values())
        for other, count in self.counts.items():
            if other == kind:
                return self.coordinates[method][begin : begin + count]
            begin += count
        raise KeyError(kind)


def locate_map_file(folder: Path) -> Path:
    """Return the path of a run's map, which need not exist."""
    return find_derived(folder, MAP_FILE)


def read_map(folder: Path) -> EmbeddingMap | None:
    """Return the stored map of a run; None if it is missing or broken. Do not change it."""
    return read_version(locate_map_file(folder), _read_version)


@lru_cache(maxsize=24)
def _read_version(file: Path, version: FileVersion) -> EmbeddingMap | None:
    try:
        metadata, arrays = read_npz(file)
        coordinates = {
            name.removeprefix(_COORDINATES_PREFIX): array
            for name, array in arrays.items()
            if name.startswith(_COORDINATES_PREFIX)
        }
        stages = tuple(metadata.pop("stages"))
        embedding_map = EmbeddingMap(**metadata, stages=stages, coordinates=coordinates)
        return embedding_map if _is_consistent(embedding_map) else None
    except NPZ_ERRORS:
        return None


def _is_consistent(stored: EmbeddingMap) -> bool:
    """Return whether the values have their types and fit each other: a file may be damaged or edited."""
    target = [] if stored.target is None else [stored.target]
    integers = (*stored.rows, *stored.labels, *stored.prompts, *stored.counts.values(), *target)
    numbers = [*stored.trustworthiness.values()]
    numbers += [value for metrics in stored.metrics for value in metrics.values()]
    numbers += [value for shift in stored.shifts for values in shift.values() for value in values]
    texts = (stored.data, *stored.captions, *stored.class_names)
    if not (
        all(type(i) is int for i in integers)
        and all(isinstance(number, (int, float)) for number in numbers)
        and all(isinstance(text, str) for text in texts)
    ):
        return False
    stages, images, triggered = len(stored.stages), len(stored.rows), stored.counts["triggered"]
    counts = {"image": images, "triggered": triggered, "caption": images, "prompt": len(stored.prompts)}
    return bool(
        stored.coordinates
        and set(stored.stages) <= set(STAGES)
        and stored.counts == counts
        and triggered in (0, images)
        and images == len(stored.labels) == len(stored.captions)
        and stages == len(stored.attack_success) == len(stored.metrics) == len(stored.shifts) + 1
        and all(len(success) == triggered for success in stored.attack_success)
        and all(shift.keys() <= counts.keys() for shift in stored.shifts)
        and stored.coordinates.keys() <= stored.trustworthiness.keys()
        and all(
            array.shape == (stages * sum(counts.values()), 2) and array.dtype == np.float32
            for array in stored.coordinates.values()
        )
        and all(i >= 0 for i in stored.rows)
        and all(0 <= i < len(stored.class_names) for i in (*stored.labels, *stored.prompts, *target))
    )


def write_map(embedding_map: EmbeddingMap, file: Path) -> None:
    """Write a map, atomically."""
    metadata = asdict(embedding_map)
    del metadata["coordinates"]
    write_npz(file, metadata, {_COORDINATES_PREFIX + name: value for name, value in embedding_map.coordinates.items()})


def compute_map(
    stages: Mapping[str, Clip],
    data: CaptionData,
    trigger: Trigger | None = None,
    target_class: str | None = None,
    on_step: OnStep | None = None,
) -> tuple[EmbeddingMap, Tensor]:
    """Return the map of some models by PCA, and the features (N, D) of its points."""
    from cleaner.evaluation.evaluate import validate_eval_data
    from cleaner.inspection.features import (
        POINT_KINDS,
        compute_embedding_metrics,
        compute_feature_shifts,
        concatenate_features,
        extract_features,
    )

    validate_eval_data(data)
    target = data.class_index(target_class) if target_class is not None and trigger is not None else None
    rows, prompts = _select_points(data, data.labeled_rows(MAX_IMAGES).tolist(), len(stages), target)
    classes = prompts if target is None else None  # ImageNet has more than a map shows, but an attack is tried on all
    labels, report = data.labels[rows], start_progress(on_step, "map", len(stages))
    stage_features, metrics = [], []
    for done, clip in enumerate(stages.values(), start=1):
        features = extract_features(
            clip, data, n=len(rows), trigger=trigger, target_class=target_class, on_step=on_step, classes=classes
        )
        metrics.append(compute_embedding_metrics(features, labels, target))
        stage_features.append(features if classes else replace(features, prompt=features.prompt[prompts]))
        report(done)
    shifts = [compute_feature_shifts(before, after) for before, after in pairwise(stage_features)]
    embedding_map = EmbeddingMap(
        stages=tuple(stages),
        counts={kind: len(getattr(stage_features[0], kind)) for kind in POINT_KINDS},
        data=data.name,
        rows=rows,
        labels=labels.tolist(),
        captions=[data.captions[i] for i in rows],
        class_names=list(data.class_names),
        prompts=prompts,
        target=target,
        attack_success=[features.attack_success.tolist() for features in stage_features],
        metrics=metrics,
        shifts=[{kind: [round(v, 5) for v in values] for kind, values in shift.items()} for shift in shifts],
        trustworthiness={},
        coordinates={},
    )
    points = concatenate_features(stage_features)
    return add_projection(embedding_map, points, "pca"), points


def _select_points(
    data: CaptionData, rows: list[int], stage_count: int, target_index: int | None
) -> tuple[list[int], list[int]]:
    """Return the images and classes of a map: as many images as fit, and the classes they show."""
    while True:
        classes = sorted({*data.labels[rows].tolist(), *([] if target_index is None else [target_index])})
        if stage_count * (3 * len(rows) + len(classes)) <= MAX_POINTS:
            return rows, classes
        rows = rows[:-1]


def add_projection(embedding_map: EmbeddingMap, features: Tensor, method: str) -> EmbeddingMap:
    """Return the map with the coordinates of one more method, fitted on all its points."""
    import torch

    from cleaner.evaluation.metrics import trustworthiness
    from cleaner.inspection.projection import project

    coordinates = project(features, method)
    k = min(15, (len(features) - 1) // 2)  # as many neighbors as the points allow
    score = round(trustworthiness(features, torch.from_numpy(coordinates.copy()), k=k), 4)
    return replace(
        embedding_map,
        coordinates={**embedding_map.coordinates, method: coordinates},
        trustworthiness={**embedding_map.trustworthiness, method: score},
    )


def ensure_map(
    folder: Path, *, with_umap: bool = True, on_step: OnStep | None = None, output_folder: Path | None = None
) -> EmbeddingMap:
    """Return a run's map, computing and storing what is missing: metrics and PCA first, then UMAP.

    output_folder: where to store the map, by default the run's derived folder.
    """
    stored, file = read_map(folder), (output_folder or derived_folder(folder)) / MAP_FILE
    if stored is not None and (not with_umap or "umap" in stored.coordinates):
        return stored
    embedding_map, features = compute_map(*_load_stages(folder, on_step), on_step=on_step)
    for method in ("pca", *(["umap"] if with_umap else [])):
        if method not in embedding_map.coordinates:
            embedding_map = add_projection(embedding_map, features, method)
        if not (folder / "config.json").exists():
            return embedding_map  # the run was deleted meanwhile: writing would create its folder again
        newest = read_map(folder)
        if newest is not None and newest.coordinates.keys() > embedding_map.coordinates.keys():
            return newest  # another process has added UMAP meanwhile
        write_map(embedding_map, file)
    return embedding_map


def _load_stages(
    folder: Path, on_step: OnStep | None
) -> tuple[dict[str, Clip], CaptionData, Trigger | None, str | None]:
    """Return the models of a run in the order of stages, its test data, and its attack."""
    from cleaner.data.base import load_data
    from cleaner.models.clip import load_clip
    from cleaner.models.lookup import is_on_this_machine
    from cleaner.runs.run import load_run, load_run_clip

    run = load_run(folder)
    stages: dict[str, Clip] = {} if run.clean_clip is None else {"clean": run.clean_clip}
    if run.stage == "defended":
        model = (run.config.get("request") or {}).get("model")
        if (parent := find_suspect(read_record(folder, needs_metrics=False))) is not None:
            stages["backdoored"] = load_run_clip(parent.folder)
        elif model and is_on_this_machine(model):
            suspect = load_clip(model)
            if run.config.get("model_sha256") in (None, suspect.sha256()):  # else the file was replaced
                stages["suspect"] = suspect
    stages[run.stage] = run.clip
    name, options, size = get_test_data(run.config)
    data = load_data(name, split="test", size=size, on_step=on_step, **options)
    return stages, data, run.trigger, run.target_class
