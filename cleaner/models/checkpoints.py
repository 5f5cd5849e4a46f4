"""Load models: files of this project, published checkpoints, and open_clip's models, which it downloads and loads.

A local file is read as tensors and plain values only, without running code in it, and compared with its architecture
key by key and shape by shape before a model is built.
"""

import json
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import exists, isdir, isfile, join  # unlike pathlib's, they take a name of any length
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from cleaner.access import is_public, validate_allowed
from cleaner.config import DATA_VERSIONS
from cleaner.files import (
    MAX_JSON_BYTES,
    assets,
    file_sha256,
    is_run_folder,
    parse_json,
    read_json,
    read_limited,
    validate_regular,
)
from cleaner.models.architecture_faults import find_tokenizer_faults
from cleaner.models.architectures import BUILT_IN, TEMPLATES, Architecture, get_open_clip_architecture
from cleaner.models.delta import apply_delta
from cleaner.models.infer import infer_architecture
from cleaner.models.resolve import OPEN_CLIP_CONFIG_FILE, WEIGHT_SUFFIXES, ModelName
from cleaner.models.weights import match_state_dict, read_weights, state_sha256, transformers_error, validate_values
from cleaner.registry import suggest
from cleaner.types import CleanerError, first_line

BASE_KEY, BASE_SHA256_KEY = "base", "base_sha256"
"""Metadata keys of a delta file, which stores only the difference to a built-in model."""
DELTA_READ_ERRORS = (KeyError, ValueError, RuntimeError, IndexError, zlib.error)
"""What a damaged delta file raises."""
MAX_TEMPLATES, MAX_TEMPLATE_LENGTH = 200, 300
OPEN_CLIP_WEIGHTS_FILE = "open_clip_model.safetensors"


@dataclass
class LoadedModel:
    """A loaded model with its weights, in eval mode, fp32, on the CPU."""

    model: nn.Module
    name: str
    architecture: Architecture
    templates: tuple[str, ...] | None = TEMPLATES
    metadata: dict[str, str] = field(default_factory=dict)
    has_assumed_activation: bool = False
    """Whether the file does not say if it was trained with GELU or QuickGELU, and QuickGELU was assumed."""


def built_in_weights_path(name: str) -> Path:
    """Return the path of a built-in model's weights; they need not exist."""
    return assets() / name / "model.safetensors"


def load(name: str) -> LoadedModel:
    """Return the model called `name`; its form says what it is (see `cleaner.models.clip.load_clip`)."""
    parsed = ModelName.parse(name)
    if parsed.is_built_in:
        path = built_in_weights_path(name)
        if not path.exists():
            raise CleanerError(f"the weights {path} are missing. Train them: python -m cleaner pretrain --model {name}")
        return _from_file(path, name)
    if is_public():  # no download, and of files only those of runs
        validate_allowed(parsed.text)
    kind, path = parsed.kind, Path(parsed.path)
    if kind == "folder":
        return _from_folder(path)
    if kind == "hub":
        return _from_hub(parsed.text)
    if kind == "file":
        validate_file(parsed.path)
        architecture = get_open_clip_architecture(parsed.architecture) if parsed.rest == parsed.path else None
        return _from_file(path, path.stem, architecture)
    return _from_tag(parsed)


def _from_file(path: Path, name: str, architecture: Architecture | None = None) -> LoadedModel:
    state, metadata = read_weights(path)
    if BASE_KEY in metadata:
        state = _restore_from_delta(state, metadata, path)
    is_foreign, templates = "architecture" not in metadata, choose_templates(metadata, path)
    if not is_foreign and architecture is None:
        try:
            architecture = Architecture.from_json(metadata["architecture"])
        except CleanerError as error:
            raise CleanerError(f"{path} cannot be read as a model: {error}") from error
    for key in ("architecture", "templates"):
        metadata.pop(key, None)
    _validate_data_version(metadata, path)
    if architecture is None and isfile(path.parent / OPEN_CLIP_CONFIG_FILE):
        architecture = read_folder_architecture(path.parent)
    is_assumed = architecture is None
    architecture = architecture or infer_architecture(state, path)
    model = _build_model(architecture, state, path)
    if is_foreign:
        metadata |= {"origin": path.name, "origin_sha256": file_sha256(path)}
    return LoadedModel(
        model, metadata.pop("name", name), architecture, templates, metadata, has_assumed_activation=is_assumed
    )


def _build_model(architecture: Architecture, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Build the architecture and load the weights. Raises `CleanerError` if they do not fit."""
    try:
        # Compare before allocating: no architecture gets more memory than the weights in the file.
        with torch.device("meta"):
            empty = architecture.validate().build()
    except CleanerError as error:
        raise CleanerError(f"{path} cannot be read as a model: {error}") from error
    fitted = match_state_dict(empty, state, path)
    validate_values(fitted, path)
    model = architecture.build_for_weights().eval()
    model.load_state_dict(fitted, strict=False)
    return model


def choose_templates(metadata: Mapping[str, str], path: Path) -> tuple[str, ...] | None:
    """Return the prompts of a file's metadata, checked; CLIP's for a foreign file; None: the data's."""
    if "architecture" not in metadata:
        return TEMPLATES
    try:
        templates = json.loads(metadata.get("templates", "[]"))
    except (ValueError, RecursionError):
        templates = None
    if not isinstance(templates, list) or len(templates) > MAX_TEMPLATES or not all(map(_is_template, templates)):
        raise CleanerError(
            f"{path} cannot be read as a model: its templates must be up to {MAX_TEMPLATES} short texts with one {{}} "
            "each, for the class name. Ask for its weights, torch.save(model.state_dict(), ...)."
        )
    return tuple(templates) or None


def _is_template(text: object) -> bool:
    if not isinstance(text, str) or len(text) > MAX_TEMPLATE_LENGTH:
        return False
    rest = text.replace("{}", "", 1)
    return len(rest) == len(text) - 2 and not set(rest) & set("{}")


def _restore_from_delta(delta: dict[str, Tensor], metadata: dict[str, str], path: Path) -> dict[str, Tensor]:
    """Return all weights of a delta file; remove the keys of the base from `metadata`."""
    name, base_sha256 = metadata.pop(BASE_KEY), metadata.pop(BASE_SHA256_KEY, "")
    if name not in BUILT_IN:
        raise CleanerError(
            f"{path} is a delta to {name!r}, which is not a built-in model: give a file with all weights."
        )
    base = load(name).model.state_dict()
    if state_sha256(base) != base_sha256:
        raise CleanerError(
            f"{path} is a delta to other weights of {name} than those installed here: restore the built-in weights "
            "that came with it, or in a checkout delete the four folders in assets/example and run "
            "python -m benchmarks.example."
        )
    try:
        return apply_delta(delta, base)
    except DELTA_READ_ERRORS as error:
        raise CleanerError(f"{path} is broken ({type(error).__name__}): fetch it again.") from error


def read_folder_architecture(folder: Path) -> Architecture:
    """Return the architecture of an open_clip local-dir, from open_clip_config.json."""
    validate_allowed(folder / OPEN_CLIP_CONFIG_FILE)
    try:
        config = parse_json(read_limited(folder / OPEN_CLIP_CONFIG_FILE, MAX_JSON_BYTES))
        settings, preprocess = config["model_cfg"], config.get("preprocess_cfg", {})
        has_tokenizer = settings["text_cfg"].get("hf_tokenizer_name")
        tokenizer = f"local-dir:{folder.resolve()}" if has_tokenizer else ""
        architecture = Architecture.from_config(settings, preprocess, tokenizer)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CleanerError(
            f"{folder} is not an open_clip model folder ({type(error).__name__}): it needs {OPEN_CLIP_CONFIG_FILE} "
            "with model_cfg, and the weights."
        ) from error
    try:
        return architecture.validate()
    except CleanerError as error:
        raise CleanerError(f"{folder / OPEN_CLIP_CONFIG_FILE} cannot be read as a model: {error}") from error


def _from_folder(folder: Path) -> LoadedModel:
    """Return the model in an open_clip local-dir: open_clip_config.json and weights."""
    architecture = read_folder_architecture(folder)
    loaded = _from_file(find_weights(folder), folder.name, architecture)
    if "origin" in loaded.metadata:
        loaded.metadata["origin"] = folder.name
    return loaded


def find_weights(folder: Path) -> Path:
    files = [path for suffix in WEIGHT_SUFFIXES for path in sorted(folder.glob(f"*{suffix}"))]
    if not files:
        raise CleanerError(f"{folder} has no weights: add {OPEN_CLIP_WEIGHTS_FILE} to it.")
    return next((path for path in files if path.stem.startswith("open_clip")), files[0])


def _from_hub(name: str) -> LoadedModel:
    model = _create_pretrained(name)
    config = open_clip.get_model_config(name)
    fault = next(find_tokenizer_faults(config["text_cfg"]), "")
    if fault:
        raise CleanerError(f"{name} is refused because of {fault}, which could run code: choose another model.")
    tokenizer = name if config["text_cfg"].get("hf_tokenizer_name") else ""
    return LoadedModel(model, name, Architecture.from_config(config, model.visual.preprocess_cfg, tokenizer))


def validate_file(name: str) -> None:
    """Raise `CleanerError` if there is no file or folder `name`, or there may be none (`validate_allowed`)."""
    validate_allowed(name)
    if exists(name):
        return
    parsed = ModelName.parse(name)
    if parsed.rest:
        validate_allowed(parsed.rest)
        if exists(parsed.rest):
            raise CleanerError(
                f"open_clip lists no architecture {parsed.prefix!r}{suggest(parsed.prefix, open_clip.list_models())}: "
                "correct it, as in ViT-B-32:weights.pt."
            )
    raise CleanerError(f"there is no file {name}: check the path.")


def list_tags() -> list[str]:
    """Return every "architecture/pretrained-tag" of open_clip."""
    return [f"{architecture}/{tag}" for architecture, tag in open_clip.list_pretrained()]


def validate_tag(name: str) -> None:
    """Raise `CleanerError` if `name` is not an "architecture/pretrained-tag" of open_clip."""
    tags = list_tags()
    if name not in tags:
        validate_allowed(name)
        if isdir(name):
            if "model_type" in read_json(Path(name) / "config.json"):
                raise transformers_error(f"the folder {name}")
            if is_run_folder(name) and isfile(join(name, "model.safetensors")):
                weights = join(name, "model.safetensors")
                raise CleanerError(f"the folder {name} is a run, not a model: name the model in it, {weights}.")
            raise CleanerError(
                f"the folder {name} is not a complete run (config.json is missing or broken): choose another run, or "
                "name the weights in it. For an open_clip folder, write local-dir:FOLDER."
            )
        raise CleanerError(
            f"there is no model {name!r}{suggest(name, [*BUILT_IN, *tags])}. Choose one of: {', '.join(BUILT_IN)}, a "
            f"file ({', '.join(WEIGHT_SUFFIXES)}), a local-dir: or hf-hub: name, or architecture/pretrained-tag of "
            "open_clip, such as ViT-B-32/laion2b_s34b_b79k."
        )


def _from_tag(parsed: ModelName) -> LoadedModel:
    validate_tag(parsed.text)
    architecture, tag = parsed.architecture, parsed.tag
    # The tag has the activation it was trained with; open_clip only warns of a mismatch.
    quick_gelu = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu"))
    model = _create_pretrained(architecture, pretrained=tag, force_quick_gelu=quick_gelu)
    tokenizer = get_open_clip_architecture(architecture).tokenizer
    config = {**open_clip.get_model_config(architecture), **({"quick_gelu": True} if quick_gelu else {})}
    return LoadedModel(model, parsed.text, Architecture.from_config(config, model.visual.preprocess_cfg, tokenizer))


def _create_pretrained(name: str, **options: Any) -> Any:
    try:
        return open_clip.create_model(name, require_pretrained=True, weights_only=True, **options).eval()
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, ImportError, pickle.UnpicklingError) as error:
        raise CleanerError(
            f"open_clip could not load {name} ({type(error).__name__}: {first_line(error)}): check the "
            "network, or download the weights elsewhere and give them as ARCHITECTURE:FILE or local-dir:FOLDER."
        ) from error


def _validate_data_version(metadata: dict[str, str], path: Path) -> None:
    """Raise `CleanerError` for weights trained on images of another renderer's version, which look different."""
    data, trained_version = metadata.get("data", ""), metadata.get("data_version")
    version = DATA_VERSIONS.get(data)
    if version is not None and trained_version != str(version):
        raise CleanerError(
            f"{path} was trained on version {trained_version} of {data}, this is version {version}: "
            "train it again with python -m cleaner pretrain"
        )


def read_header_architecture(path: Path) -> Architecture:
    """Return the architecture in the header of a file of this project, without reading its weights."""
    validate_allowed(path)
    try:
        validate_regular(path)
        with safe_open(path, "pt") as file:
            return Architecture.from_json((file.metadata() or {})["architecture"])
    except CleanerError as error:
        raise CleanerError(f"{path} cannot be read as a model: {error}") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CleanerError(f"{path} cannot be read as a model ({type(error).__name__}): repeat the run.") from error
