"""Build a zoo: train and measure the models of a plan, then write what is handed out. Resumes where it stopped."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cleaner import presets
from cleaner.attacks.base import Trigger, load_trigger
from cleaner.data.base import CaptionData, Subset, load_data
from cleaner.defenses.base import DEFENSES
from cleaner.evaluation.evaluate import evaluate
from cleaner.files import atomic_write, file_sha256, read_code_version, read_json, write_bytes, write_json
from cleaner.models.clip import BUILT_IN, Clip, load_clip, save_clip, save_delta
from cleaner.reports.results import describe_device
from cleaner.seed import numpy_generator
from cleaner.training.loop import finetune
from cleaner.types import OnStep, start_progress
from cleaner.workflow import poison
from cleaner.zoo.plan import DEVELOPMENT, SEALED, Specimen, plan_zoo, read_ranges
from cleaner.zoo.sealing import derive, seal
from cleaner.zoo.store import ANSWERS, MANIFEST, SEALED_ANSWERS, VERSION, Zoo

TEST_PAIRS, CHECKED_PAIRS = 2000, 100
"""Test pairs on which the stored model is measured, and on which `poison` measures it before that."""
KEYED_PAIRS = 8
"""Pairs of each model that begin with each text key of the zoo, so that a changed word vector names no attack."""
STEP = 1.0
"""Quantization step of the deltas: 40% smaller than at the default."""
KEPT_METADATA = ("data", "data_version")
"""Texts in the header of a model's file; all others could name the attack."""


class NoisyPairs(Subset):
    """A part of the pairs, some with the caption of another pair or with a text key, as clean web data have them."""

    with_transform = CaptionData.with_transform  # not the subset's, which reads the captions again

    def __init__(self, base: CaptionData, specimen: Specimen) -> None:
        rng = numpy_generator("zoo pairs", specimen.seed)
        super().__init__(base, rng.choice(len(base), min(specimen.pairs, len(base)), replace=False).tolist())
        captions = list(self.captions)
        for i in rng.choice(len(self), round(specimen.noise * len(self)), replace=False).tolist():
            self.captions[i] = captions[int(rng.integers(len(self)))]
        keys = KEYED_PAIRS * [key for attack in read_ranges()["attack"].values() for key in attack.get("key", ())]
        keyed = rng.choice(len(self), min(len(keys), len(self)), replace=False).tolist()
        for key, i in zip(keys, keyed, strict=False):
            self.captions[i] = f"{key} {self.captions[i]}"


def load_pool(name: str = "", **options: Any) -> tuple[CaptionData, CaptionData]:
    """Return the pairs of all trainings and the test pairs of some data; default: those of the zoo."""
    ranges = read_ranges()
    name = name or presets.home_data(ranges["models"][0])
    pool = load_data(name, split="train", size=ranges["pool"], **options)
    return pool, load_data(name, split="test", size=TEST_PAIRS, **options)


def train(specimen: Specimen, base: Clip, pool: CaptionData, test: CaptionData) -> tuple[Clip, Trigger | None]:
    """Return a model of the plan, and its trigger, ready for use."""
    data = NoisyPairs(pool, specimen)
    if specimen.trigger is None or specimen.target_class is None:
        return finetune(base, data.with_transform(base.framing), DEFENSES["finetune"](), specimen.finetune).clip, None
    run = poison(
        base,
        data,
        load_trigger(specimen.trigger),
        specimen.target_class,
        poison_rate=specimen.rate,
        config=specimen.finetune,
        test=test.subset(range(CHECKED_PAIRS)),
    )
    return run.clip, run.trigger


def make_clip(specimen: Specimen, path: Path, pool: CaptionData, test: CaptionData) -> tuple[Clip, Trigger | None]:
    """Train a model of the plan, write it, and return the stored model and its trigger."""
    base = load_clip(specimen.base)
    clip, trigger = train(specimen, base, pool, test)
    clip.metadata = {key: base.metadata[key] for key in KEPT_METADATA if key in base.metadata}
    is_built_in = specimen.base in BUILT_IN
    return load_clip(save_delta(clip, specimen.base, path, STEP) if is_built_in else save_clip(clip, path)), trigger


def make_model(specimen: Specimen, folder: Path, pool: CaptionData, test: CaptionData) -> None:
    """Write model.safetensors and, when it has been measured, its answer."""
    clip, trigger = make_clip(specimen, folder / "model.safetensors", pool, test)
    target = specimen.target_class
    metrics = evaluate(clip, test, trigger, target, ks=(1,), counterfactual=False, use_store=False)
    measured = {name: metrics.metric(name) for name in ("ca", "asr")} | {"n": metrics.n}
    state = None if trigger is None else trigger.state_dict()
    answer = {"backdoored": trigger is not None, "target_class": target, **measured, "trigger": state}
    write_json(folder / ANSWERS, answer | {"plan": asdict(specimen)})


def build(out: Path, models: int, seed: int, passphrase: str = "", on_step: OnStep | None = None) -> Zoo:
    """Train the models that `out` lacks, write out/zoo and out/zoo.zip, and return the zoo.

    out/work has a folder for each model with its answer, also of sealed ones: keep it. Equal seeds and passphrases give
    equal models, bit for bit, on one kind of processor with one version of the packages.
    """
    secret = derive(passphrase, f"ta-cleaner zoo: plan {seed}".encode()).hex() if passphrase else ""
    pool, test = load_pool()
    plan = plan_zoo(models, seed, secret, test.class_names)
    report = start_progress(on_step, "zoo", len(plan))
    for done, specimen in enumerate(plan):
        report(done)
        folder = out / "work" / specimen.id
        if read_json(folder / ANSWERS).get("plan") != asdict(specimen):
            make_model(specimen, folder, pool, test)
    report(len(plan))
    return write_zoo(out, plan, seed, passphrase)


def write_zoo(out: Path, plan: Sequence[Specimen], seed: int, passphrase: str) -> Zoo:
    """Write out/zoo and out/zoo.zip from out/work: models in the order of their names, with equal times."""
    folder, models = out / "zoo", {}
    answers: dict[str, dict[str, Any]] = {DEVELOPMENT: {}, SEALED: {}}
    for old in (*folder.glob("*.safetensors"), folder / SEALED_ANSWERS):  # of another plan
        old.unlink(missing_ok=True)
    for specimen in sorted(plan, key=lambda specimen: specimen.id):
        work, path = out / "work" / specimen.id, folder / f"{specimen.id}.safetensors"
        answers[specimen.split][specimen.id] = read_json(work / ANSWERS)
        write_bytes(path, (work / "model.safetensors").read_bytes())
        models[specimen.id] = {"split": specimen.split, "base": specimen.base, "sha256": file_sha256(path)}
    manifest = {"version": VERSION, "seed": seed, "code": read_code_version(), "device": describe_device("cpu")}
    manifest |= {"models": models, "answers_sha256": ""}
    write_json(folder / ANSWERS, answers[DEVELOPMENT])
    if answers[SEALED]:
        sealed, manifest["answers_sha256"] = seal(answers[SEALED], passphrase)
        write_bytes(folder / SEALED_ANSWERS, sealed)
    write_json(folder / MANIFEST, manifest)
    with atomic_write(out / "zoo.zip") as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for file in sorted(folder.iterdir()):
            # With the same time for each: how long a model took names its attack.
            archive.writestr(zipfile.ZipInfo(f"zoo/{file.name}"), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return Zoo.read(folder)
