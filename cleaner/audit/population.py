"""Reference populations: the scores of clean models, which were finetuned as those of a zoo are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cleaner.audit.evidence import Scores, run_tests
from cleaner.audit.result import FEWEST
from cleaner.data.base import CaptionData
from cleaner.evaluation.scan import find_scannable_triggers
from cleaner.evaluation.scan_variants import list_variants
from cleaner.files import assets, cache_root, read_json, write_text
from cleaner.models.clip import Clip, load_clip
from cleaner.presets import home_data
from cleaner.reports.results import add_provenance
from cleaner.text import TEXT_VERSION
from cleaner.types import CleanerError, OnStep
from cleaner.zoo.build import load_pool, make_clip
from cleaner.zoo.plan import plan_references

FOLDER = "audit"


def describe_subject(clip: Clip, data: CaptionData) -> dict[str, str]:
    """Return what a model and its population must share: architecture, images, classes."""
    return {
        "architecture_sha256": _hash_architecture(clip),
        "data": data.name,
        "data_sha256": data.fingerprint(),
        "class_names_sha256": data.hash_class_names(),
    }


def _hash_architecture(clip: Clip) -> str:
    architecture = json.dumps(asdict(clip.architecture.with_portable_tokenizer()), sort_keys=True)
    return hashlib.sha256(architecture.encode()).hexdigest()


def _read_populations() -> list[dict[str, Any]]:
    files = [path for root in (assets(), cache_root()) for path in sorted((root / FOLDER).glob("*.json"))]
    return [read_json(path) for path in files]


def find_population(clip: Clip, data: CaptionData) -> dict[str, Any]:
    """Return the largest population, shipped or built before, that a model can be compared with; {} without any."""
    subject = describe_subject(clip, data)
    found = [each for each in _read_populations() if subject.items() <= each.items()]
    return max(found, key=lambda each: len(each["models"]), default={})


def choose_images(clip: Clip, data: str, load: Callable[[str], CaptionData]) -> tuple[str, CaptionData, dict[str, Any]]:
    """Return name and images to audit a model on, and its population on them: `data`, else built-in ones.

    Raises `CleanerError` if there are too few clean models of the same architecture on either.
    """
    same = [each for each in _read_populations() if each.get("architecture_sha256") == _hash_architecture(clip)]
    for name in dict.fromkeys([data, *(home_data(each["base"]) for each in same)]):
        with suppress(CleanerError):  # own images may have no classes, and built-in ones take their place
            images = load(name)
            population = find_population(clip, images)
            if len(population.get("models", ())) >= FEWEST:
                return name, images, population
    raise CleanerError(
        f"not testable: this machine has fewer than {FEWEST} clean models of this architecture that were tested on the "
        "same images. Finetune them from one that you trust: python -m cleaner audit MODEL --data … --reference "
        "TRUSTED_MODEL."
    )


def list_scores(population: Mapping[str, Any]) -> list[Scores]:
    """Return the scores of each model of a population, whose file has their names once."""
    names: Mapping[str, list[str]] = population.get("names", {})
    return [
        {test: dict(zip(names[test], values, strict=True)) for test, values in model["scores"].items()}
        for model in population.get("models", ())
    ]


def build_population(
    base: str, source: tuple[str, Mapping[str, Any]], data: CaptionData, models: int, path: Path, on_step: OnStep | None
) -> dict[str, Any]:
    """Finetune and test the models that the file at `path` lacks; return its content. source: of the training pairs.

    The models are drawn as clean ones of a zoo are (`plan_references`), and tested on `data`.
    """
    clip = load_clip(base)
    settings = len(list_variants(find_scannable_triggers()[0]))
    content = {"base": base, **describe_subject(clip, data), "settings": settings, "text_version": TEXT_VERSION}
    stored = read_json(path)
    done = stored["models"] if content.items() <= stored.items() else []
    pool, test = load_pool(source[0], **source[1])
    for specimen in plan_references(base, models)[len(done) :]:
        specimen = replace(specimen, pairs=min(specimen.pairs, len(pool)))
        with TemporaryDirectory() as folder:
            reference, _ = make_clip(specimen, Path(folder) / "model.safetensors", pool, test)
            scores = run_tests(reference, data, on_step, patch_steps=10).scores  # which does not change the scores
        names = {test: sorted(each) for test, each in scores.items()}  # each model has its own order
        values = {test: [scores[test][name] for name in each] for test, each in names.items()}
        done = [*done, {"id": specimen.id, "seed": specimen.seed, "lr": specimen.lr, "scores": values}]
        stored = add_provenance(f"ta-cleaner audit --reference {base}", **content, names=names, models=done)
        write_text(path, json.dumps(stored))
    return stored
