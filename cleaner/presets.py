"""Presets of every attack and defense: this project's settings for Scenes, then the published ones.

This project's own numbers were found by trials (benchmarks/results); the published ones are attributes of the classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os.path import exists  # pathlib's raises for a long name or a folder without permission
from pathlib import Path
from typing import Any, Literal

from cleaner.access import validate_allowed
from cleaner.config import FinetuneConfig
from cleaner.files import assets, expand_home, read_json_cached, shipped_assets, validate_regular
from cleaner.labels import FULL_CAPTIONS, to_label
from cleaner.method import Method, Preset, Training
from cleaner.models.header import read_metadata
from cleaner.registry import DEFENSES, TRIGGERS
from cleaner.types import CleanerError
from cleaner.variant import REBOUND, Variant

CHOSEN_RATES = Path(__file__).with_name("chosen_rates.json")
"""Setting -> model -> method -> learning rate that its trials chose (benchmarks/chosen_rates.py)."""

PRETRAIN = FinetuneConfig(
    lr=1e-3, epochs=7, batch_size=128, warmup_steps=200, weight_decay=0.1, beta2=0.98, augmentation="none"
)

# Full setting of the attack x defense table on Scenes. Attacks were chosen by ASR and CA of the backdoored model,
# before any defense, on a seed that no table uses.
POISON_PAIRS, POISON_RATE = 6000, 0.03
POISON = FinetuneConfig(lr=1e-3, epochs=4)
# At BadCLIP's published weight of 500, image_pull dominates with our triplet, and the patch does not fool the clean
# model at all (floor 0.001 instead of 0.051).
ATTACK_PARAMETERS: dict[str, dict[str, Any]] = {"badclip": {"triplet_weight": 20.0, "step_size": 0.03}}
"""Trigger -> parameters that differ from the trigger's defaults."""
# At the ResNet's rate the ViT loses 2.8 points of accuracy with the attack, and the light model learns it on 72 of 100
# images only.
POISON_LR = {"scenes-lite": 2e-3, "scenes-vit": 3e-4, "photos-rn": 3e-4}
"""Built-in model -> peak learning rate of poisoning, if it differs from `POISON`."""
# With the other attacks' settings, the ViT learned blended noise on 39 of 100 images only, and SSBA on 17 (the ResNet
# on 25). BadCLIP's patch, optimized with the ResNet's weight, does not fool the ViT (floor 0.001 instead of 0.066).
STRONGER_ATTACKS: dict[tuple[str, str], tuple[dict[str, Any], int, int]] = {
    ("scenes-rn", "ssba"): ({}, 2 * POISON_PAIRS, 12),
    ("scenes-vit", "ssba"): ({}, 2 * POISON_PAIRS, 12),
    ("scenes-vit", "blended"): ({"blend_ratio": 0.3}, POISON_PAIRS, 6),
    ("scenes-vit", "badclip"): ({"triplet_weight": 1.0}, POISON_PAIRS, POISON.epochs),
}
"""(built-in model, trigger) -> parameters, pairs and epochs of attacks that fail with the common settings."""
# On seed 100 (benchmarks/results/defense_trials.json): 310 steps are too few for all methods, and 20 epochs on 2,000
# pairs cost more accuracy than the same steps on 6,000.
CLEAN_PAIRS = 6000
DEFEND = FinetuneConfig(lr=1e-4, epochs=7)
# A CLIP that was pretrained elsewhere loses what it knows at the rates of the small models trained here. CleanCLIP
# finetunes such models at this rate (arXiv:2303.03323); nothing was tried here.
PRETRAINED_LR = 1e-5
TRIED_MODELS = ("scenes-rn", "scenes-lite")
"""Models whose learning rates other built-in ones get at the full setting, the first one that has trials of a method.
"""
SHARED_RATES = {"unlearn_trigger": "finetune"}
"""Method without trials -> method with the same loss, whose learning rate it gets (as in benchmarks/inversion.py)."""
DEFAULT_ATTACK, DEFAULT_TARGET = "badnet", "banana"
HOME_DATA = {"photos-rn": "cifar10"}
"""Built-in model -> data that it was trained on, if not Scenes; its presets are for these."""


def _poisoning(pairs: int, epochs: int, rate: float, lr: float) -> Training:
    return Training(source="", pairs=pairs, finetune=replace(POISON, epochs=epochs, lr=lr), poison_rate=rate)


# With 6,000 photos the small patch of badnet stays unlearned, or accuracy falls by 5 points (benchmarks/photos.py). In
# two epochs a SigLIP model learns the patch for half of the images (benchmarks/siglip.py).
OWN_POISON = {
    "photos-rn": _poisoning(22_500, 2, 0.1, POISON_LR["photos-rn"]),
    "scenes-siglip": _poisoning(8000, 4, 0.05, POISON.lr),
}
"""Built-in model -> its setting for all attacks, quick and full, if it is not that of Scenes."""
MAX_POISON_RATE = 0.2
"""Highest poison rate that the Poison page offers."""
REBOUND_STEPS = 100
"""Default steps of a rebound test."""

# The quick setting of pages, lesson, demo and example (benchmarks/results/quick_setting.json). Poisoning: of the trials
# with an ASR@1 of at least 0.95 in about 250 steps, the most accurate one. In so few steps only a high learning rate
# removes anything.
QUICK_MODEL = "scenes-lite"
QUICK_POISON_PAIRS, QUICK_POISON_RATE, QUICK_POISON = 8000, 0.05, FinetuneConfig(lr=1e-3, epochs=2)
QUICK_CLEAN_PAIRS, QUICK_DEFEND = 8000, FinetuneConfig(lr=1e-3, epochs=2)

COMPARED_DEFENSES = ("finetune", "cleanclip", "cleanclip_short", "ta_cleaner")
"""Defenses of the demo, and of the trials of the quick setting."""
PAGE_DEFENSES, SWEEP_DEFENSES = ("ta_cleaner", "cleanclip", "cleanclip_short"), ("cleanclip", "ta_cleaner")
"""Defenses that the Defend page and a sweep start with."""


def choose_pairs(default: int, available: int | None, used: int = 0) -> int:
    """Return the default number of training pairs: half of the user's own data at most, to leave the defense the rest.

    available: training pairs of the data, None if they are generated. used: pairs that the attacker took from the other
    end of the same data; those left are all for the defense. Raises `CleanerError` if none are left.
    """
    if available is None:
        return default
    if used and used >= available:
        raise CleanerError("the attack used all pairs of these data: repeat it with fewer pairs, to leave clean ones.")
    return min(default, available - used if used else max(available // 2, 1))


def home_data(model: str) -> str:
    """Return the name of the data that a built-in model was trained on; other models get Scenes."""
    return HOME_DATA.get(model, "scenes")


def _read_choices(setting: str) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Return model -> method -> "lr", "file" of the trials, and "parameters" of the quick setting."""
    choices: dict[str, Any] = read_json_cached(CHOSEN_RATES)
    if setting not in choices:
        raise CleanerError(f"{CHOSEN_RATES} is missing or damaged: install TA-Cleaner Lab again.")
    found: dict[str, Any] = choices[setting]
    return found


Schedule = Literal["quick", "full"]
"""The quick setting is what pages, lesson and demo start with; commands and the library train the full one."""


def settings_for(model: str, method: str | Method, schedule: Schedule = "full") -> Training:
    """Return pairs, finetuning and, for an attack, poison rate that a method on a model has by default.

    model: a file that this project wrote has the settings of the built-in model that it was trained from. method: an
    attack, a defense or its name (then with default parameters), or `REBOUND`, the same after every defense.
    """
    model, is_quick = find_tried_model(model), schedule == "quick"
    if method == REBOUND:
        lr = PRETRAINED_LR if is_pretrained(model) else DEFEND.lr
        return Training(source="", pairs=CLEAN_PAIRS, finetune=replace(DEFEND, lr=lr, steps=REBOUND_STEPS))
    name = method if isinstance(method, str) else method.registry.name_of(method)
    if name in TRIGGERS:
        return _find_poisoning(model, schedule)
    if is_quick and (quick := quick_defense_preset(name, model).training) is not None:
        return quick
    defense = DEFENSES[name]() if isinstance(method, str) else method
    models = [model] if is_pretrained(model) else [model, *TRIED_MODELS]
    lr, _ = _choose_lr(models, defense, default=_untried_lr(model, defense))
    return Training(source="", pairs=CLEAN_PAIRS, finetune=replace(DEFEND, lr=lr))


def _untried_lr(model: str, defense: Any) -> float:
    """Return the learning rate of a method without trials: its published one if it leaves the weights as they are."""
    if not defense.is_model_frozen:
        return PRETRAINED_LR if is_pretrained(model) else DEFEND.lr
    for preset in defense.published:
        is_same = all(getattr(defense, name) == value for name, value in preset.parameters.items())
        if is_same and preset.training is not None:
            return float(preset.training.finetune.lr)
    return DEFEND.lr


def _choose_lr(models: Sequence[str], defense: Any, default: float = DEFEND.lr) -> tuple[float, str]:
    """Return the rate of the first of `models` with trials of a defense, and how it was chosen; else `default`, ""."""
    variant = Variant.of(defense)
    method = variant.method
    choices = _read_choices("full")
    for model in models:
        chosen = choices.get(model, {})
        for key in (variant.key, SHARED_RATES.get(method, method)):
            if key in chosen:
                return float(chosen[key]["lr"]), _describe_choice(method, model, chosen[key]["file"])
    return default, ""


def _describe_choice(method: str, model: str, file: str) -> str:
    shared = f"that of {SHARED_RATES[method]}, " if method in SHARED_RATES else ""
    return f"{shared}chosen by accuracy alone on {model} (benchmarks/results/{file})"


def poison_lr(model: str) -> float:
    """Return the learning rate for poisoning a model; without trials, that of `POISON`."""
    return POISON_LR.get(model, PRETRAINED_LR if is_pretrained(model) else POISON.lr)


def _find_poisoning(model: str, schedule: Schedule) -> Training:
    """Return the setting of poisoning, without what `STRONGER_ATTACKS` change."""
    full, quick = (
        (POISON_PAIRS, POISON.epochs, POISON_RATE),
        (QUICK_POISON_PAIRS, QUICK_POISON.epochs, QUICK_POISON_RATE),
    )
    return OWN_POISON.get(model) or _poisoning(*(quick if schedule == "quick" else full), poison_lr(model))


def default_target(class_names: Sequence[str]) -> str:
    """Return the target class that an attack on these classes starts with; without any, poisoning says what to do."""
    return class_names[0] if class_names and DEFAULT_TARGET not in class_names else DEFAULT_TARGET


def is_pretrained(model: str) -> bool:
    """Return whether a model was trained elsewhere: it is none of the built-in ones."""
    is_name = Path(model).name == model  # a path would leave the folders of the built-in models
    folders = (assets(), shipped_assets())
    return not (is_name and any(exists(folder / model / "model.safetensors") for folder in folders))


def find_tried_model(model: str) -> str:
    """Return the built-in model that a file of this project was trained from, whose settings suit it; else `model`."""
    path = Path(expand_home(model))
    try:
        validate_allowed(path)
        validate_regular(path)
    except (CleanerError, OSError, ValueError):  # an impossible path
        return model
    name = read_metadata(path).get("name", "")
    return model if not name or is_pretrained(name) else name


SCENES_VARIANT = "scenes"
"""Variant that every attack and defense has: this project's own settings."""
QUICK_VARIANT = "quick"
"""Variant of every defense: the quick setting, which pages start with."""
PRETRAINED_VARIANT = "pretrained"
"""Variant that replaces those for Scenes where the model was trained elsewhere."""
TRIALS_SOURCE = "this project's setting for {}, chosen before any defense (benchmarks/results)"
UNTRIED_SOURCE = "this project's common attack setting for {}; not tuned for this attack"
TRIED_ATTACKS = {
    "scenes": ("badclip", "badnet", "blended", "sig", "ssba", "trojvqa"),
    "cifar10": ("badclip", "badnet", "blended", "sig"),
}
"""Data -> attacks on whose trials this project's setting was chosen."""

OWN_VARIANTS: dict[str, dict[str, dict[str, Any]]] = {"ta_cleaner": {"all-pairs": {"share": 1.0}}}
"""Defense -> variant of this project -> its parameters. The paper draws a few pairs each epoch; drawing all of them
keeps more accuracy, even at a high learning rate."""
NOT_RUN, UNTRIED = "not run by us", "not chosen yet"


def scenes_attack_preset(trigger: str, model: str = "scenes-rn") -> Preset:
    """Return this project's settings of an attack on a built-in model; other models get the ResNet's."""
    model = find_tried_model(model)
    common = _find_poisoning(model, "full")
    stronger, pairs, epochs = STRONGER_ATTACKS.get((model, trigger), ({}, common.pairs, common.finetune.epochs))
    data = home_data(model)
    source = (TRIALS_SOURCE if trigger in TRIED_ATTACKS[data] else UNTRIED_SOURCE).format(to_label(data))
    training = replace(common, source=source, pairs=pairs, finetune=replace(common.finetune, epochs=epochs), data=data)
    return _own_preset(trigger, SCENES_VARIANT, ATTACK_PARAMETERS.get(trigger, {}) | stronger, training)


def attack_presets(trigger: str, model: str = "scenes-rn") -> list[Preset]:
    """Return the presets of an attack: first this project's for Scenes on `model`, then the published ones."""
    return [scenes_attack_preset(trigger, model), *_published_presets(trigger)]


def defense_presets(defense: str, model: str = "scenes-rn", captions: str = FULL_CAPTIONS) -> list[Preset]:
    """Return the presets of a defense: first this project's, quick and full, then the published ones."""
    model = find_tried_model(model)
    quick = quick_defense_preset(defense, model, captions)
    scenes = [quick, _scenes_defense_preset(defense, SCENES_VARIANT, {}, model=model)]
    scenes += [
        _scenes_defense_preset(defense, *variant, model=model) for variant in OWN_VARIANTS.get(defense, {}).items()
    ]
    return [*scenes, *_published_presets(defense)]


def quick_defense_preset(defense: str, model: str = QUICK_MODEL, captions: str = FULL_CAPTIONS) -> Preset:
    """Return the quick setting of a defense, as benchmarks/quick_setting.py chose it without looking at the attack.

    captions: those of the clean pairs; mixed ones have learning rates of their own, where they were tried. A method
    without a quick choice gets the learning rate of the full setting, if that was chosen.
    """
    model, chosen, method = find_tried_model(model), _read_choices("quick"), SHARED_RATES.get(defense, defense)
    base = model if model in chosen else QUICK_MODEL
    choice = chosen[base].get(method, {})
    what = "parameters and learning rate" if choice and defense not in SHARED_RATES else "learning rate"
    reads_captions = not DEFENSES[defense].class_prompt
    is_mixed = captions != FULL_CAPTIONS or not reads_captions
    mixed = _read_choices("quick mixed").get(model, {}).get(method) if is_mixed else None
    if mixed is not None:
        lr, how = float(mixed["lr"]), _describe_choice(defense, model, mixed["file"])
    elif choice:
        lr, how = float(choice["lr"]), _describe_choice(defense, base, choice["file"])
    else:
        lr, how = _choose_lr([model, *TRIED_MODELS], DEFENSES[defense](), default=QUICK_DEFEND.lr)
        how = f"that of the full setting, {how}" if how else UNTRIED
    source = f"this project's quick setting for {to_label(home_data(model))}; {what} {how}"
    training = Training(
        source=source,
        pairs=QUICK_CLEAN_PAIRS,
        finetune=replace(QUICK_DEFEND, lr=lr),
        data=home_data(model),
        is_lr_chosen=bool(choice) or mixed is not None,
    )
    return _own_preset(defense, QUICK_VARIANT, choice.get("parameters", {}), training)


def presets_for_model(presets: list[Preset], model: str) -> list[Preset]:
    """Return the presets of one method that suit a model: none for Scenes if it was trained elsewhere."""
    model = find_tried_model(model)
    if not is_pretrained(model):
        return presets
    own = _pretrained_preset(presets[0].method, model)
    return [own, *(preset for preset in presets if preset.training is None or not preset.training.data)]


def explain_unpublished(method: str) -> str:
    """Return that an attack or a defense has no published settings, and why."""
    return f"no published settings: {_find_method(method).unpublished}"


def _scenes_defense_preset(defense: str, variant: str, parameters: Mapping[str, Any], *, model: str) -> Preset:
    lr, how = _choose_lr([model, *TRIED_MODELS], DEFENSES[defense](**parameters))
    kind = "variant" if parameters else "setting"
    source = f"this project's {kind} for {to_label(home_data(model))}; learning rate {how or UNTRIED}"
    finetune, data = replace(DEFEND, lr=lr), home_data(model)
    training = Training(source=source, pairs=CLEAN_PAIRS, finetune=finetune, data=data, is_lr_chosen=bool(how))
    return _own_preset(defense, variant, parameters, training)


def _pretrained_preset(method: str, model: str) -> Preset:
    source = "a starting point: the method's own parameters and CleanCLIP's learning rate; we have not tested it"
    lr, parameters = PRETRAINED_LR, {}
    kind = _find_method(method)
    if method in DEFENSES and DEFENSES[method].is_model_frozen and kind.published:
        parameters = dict(kind.published[0].parameters)
        lr = _untried_lr(model, DEFENSES[method](**parameters))
        source = f"a starting point: the published parameters and learning rate ({kind.source}); we have not tested it"
    training = Training(source=source, pairs=CLEAN_PAIRS, finetune=replace(DEFEND, lr=lr), is_lr_chosen=False)
    return _own_preset(method, PRETRAINED_VARIANT, parameters, training)


def _own_preset(method: str, variant: str, parameters: Mapping[str, Any], training: Training) -> Preset:
    """Return a preset of this project: who states the training states the parameters, too."""
    return Preset(
        source=training.source,
        parameters=parameters,
        training=training,
        variant=variant,
        method=method,
        is_published=False,
    )


def _published_presets(method: str) -> list[Preset]:
    return [replace(preset, method=method) for preset in _find_method(method).published]


def _find_method(name: str) -> type[Method]:
    """Return the class of an attack or a defense. Raises `CleanerError` for an unknown name."""
    method: type[Method] = TRIGGERS[name] if name in TRIGGERS else DEFENSES[name]
    return method
