"""Measure one cell of the third protocol."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

from benchmarks.markdown.cells import Row
from benchmarks.protocol3.plan import Cell, read_plan
from benchmarks.rows import load_or_make_run
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.cli.output import Progress
from cleaner.config import parameters
from cleaner.data.base import CaptionData, load_data
from cleaner.data.scenery.facts import OBJECT_NAMES
from cleaner.defenses import DEFENSES, Defense
from cleaner.evaluation.evaluate import evaluate
from cleaner.models.clip import Clip, load_clip
from cleaner.pretrain import pretrain
from cleaner.reports import results
from cleaner.runs.folders import runs_root
from cleaner.runs.run import Run
from cleaner.seed import derive_seed, numpy_generator
from cleaner.types import DivergedError
from cleaner.workflow import defend, poison

SHORT_WORDS = 5
"""Most words of a short caption."""
PRECISION = "fp32"
BASE_EPOCHS = 14
"""Epochs of pretraining, as of the shipped model."""


def measure(cell: Cell, processor: str) -> Row:
    """Return the row of a cell, without its origin; metrics are None if the training diverged."""
    suspect = load_suspect(cell, processor)
    row: Row = {"target": suspect.target_class, "short_captions": cell.short_captions, "method": cell.method}
    run = suspect
    if cell.method:
        defense, config = build(cell)
        pairs = load_clean_pairs(cell.short_captions, cell.seed)
        try:
            run = defend(suspect, defense, pairs, config, test=load_split("test"), on_step=Progress(cell.key))
        except DivergedError as error:
            return {**row, "lr": cell.lr, "seed": cell.seed, "metrics": None, "error": str(error)}
    row |= results.make_row(cell.method or None, run)
    row["metrics"].pop("outcomes", None)
    row["lr"] = cell.lr
    row["validation_ca"] = measure_validation(run.clip)
    return row


def build(cell: Cell) -> tuple[Defense, Any]:
    """Return the defense of a cell and its schedule."""
    plan = read_plan()
    settings = dict(plan["methods"][cell.method])
    name, augmentation = settings.pop("defense"), settings.pop("augmentation", presets.DEFEND.augmentation)
    steps = plan["arms"][cell.arm].get("steps", plan["world"]["steps"])
    config = replace(
        presets.DEFEND, lr=cell.lr, seed=cell.seed, steps=steps, precision=PRECISION, augmentation=augmentation
    )
    return DEFENSES[name](**settings), config


def load_suspect(cell: Cell, processor: str) -> Run:
    """Return the backdoored model of a cell, poisoned by the first process that needs it."""
    return _load_suspect(Cell(arm=cell.arm, attack=cell.attack, seed=cell.seed), processor)


@lru_cache(maxsize=2)
def _load_suspect(cell: Cell, processor: str) -> Run:
    base = read_plan()["arms"][cell.arm].get("base", "")
    clip, target = load_base(base), draw_target(cell.seed)
    key = derive_seed("protocol 3", clip.sha256(), processor, cell.attack, target, str(cell.seed))
    folder = runs_root() / f"protocol3_{base or 'shipped'}_{cell.attack}_{cell.seed}_{key:x}"
    return load_or_make_run(folder, lambda: train_attack(cell, clip, target))


def train_attack(cell: Cell, clip: Clip, target: str) -> Run:
    """Return the backdoored run of a cell: the attack's preset of the full setting."""
    preset = presets.scenes_attack_preset(cell.attack, read_plan()["world"]["model"])
    training = preset.training
    assert training is not None
    kind = TRIGGERS[cell.attack]
    seed = {"seed": cell.seed} if any(p.name == "seed" for p in parameters(kind)) else {}
    return poison(
        clip,
        load_data("scenes", split="train", size=training.pairs),
        kind(**preset.parameters, **seed),
        target,
        config=replace(training.finetune, seed=cell.seed, precision=PRECISION),
        poison_rate=training.poison_rate or presets.POISON_RATE,
        test=load_split("test"),
        on_step=Progress(f"{cell.attack} {cell.seed}"),
    )


def draw_target(seed: int) -> str:
    """Return the target class of a seed."""
    return OBJECT_NAMES[int(numpy_generator("protocol 3", "target", seed).permutation(len(OBJECT_NAMES))[0])]


@cache
def load_base(name: str) -> Clip:
    """Return a clean model: the shipped one, or one of plan.toml's bases, pretrained by the first call."""
    plan = read_plan()
    model = plan["world"]["model"]
    if not name:
        return load_clip(model)
    folder = runs_root().parent / "bases" / f"{model}-{name}"
    if not (folder / "card.json").exists():
        settings = dict(plan["bases"][name])
        options = {"captions": settings.pop("captions")} if "captions" in settings else {}
        config = replace(presets.PRETRAIN, epochs=BASE_EPOCHS, **settings)
        pretrain(model, data_options=options, config=config, out=folder, on_step=Progress(f"pretrain {name}"))
    return load_clip(str(folder / "model.safetensors"))


@cache
def load_split(split: str) -> CaptionData:
    """Return validation or test images, loaded once per process."""
    return load_data("scenes", split=split)


@lru_cache(maxsize=4)
def load_clean_pairs(short_captions: float, seed: int) -> CaptionData:
    """Return the defender's pairs, of which the given share, drawn for this seed, has a short caption."""
    full, mixed = (load_data("scenes", split="clean", size=presets.CLEAN_PAIRS, captions=c) for c in ("full", "mixed"))
    is_short = [len(caption.split()) <= SHORT_WORDS for caption in mixed.captions]
    order = numpy_generator("protocol 3", "captions", seed).permutation(len(full))
    chosen = [int(i) for i in order if is_short[i]][: round(short_captions * len(full))]
    pairs = copy.copy(full)
    pairs.captions = list(full.captions)
    for i in chosen:
        pairs.captions[i] = mixed.captions[i]
    pairs.origin = None  # no other split has this mix
    return pairs


def measure_validation(clip: Clip) -> float:
    """Return clean accuracy on validation images."""
    return evaluate(clip, load_split("validation"), ks=(1,), counterfactual=False).ca[1]
