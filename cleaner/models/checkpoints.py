"""Model files: reading those of this project, of open_clip and of the field without running code; writing them.

A file is hashed, read as tensors and plain values only, and compared with its architecture key by key and shape by
shape before a model is made of it.
"""

from __future__ import annotations

import json
import pickle
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from os.path import exists, isdir, isfile, join  # unlike pathlib's, they take a name of any length
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cleaner.config import DATA_VERSIONS
from cleaner.files import assets, atomic_write, write_json
from cleaner.models.architectures import (
    BUILT_IN,
    TEMPLATES,
    Architecture,
    find_open_clip_name,
    find_tokenizer_faults,
    get_open_clip_architecture,
    infer_architecture,
)
from cleaner.models.delta import apply_delta, compute_delta
from cleaner.models.framing import ImageTransform
from cleaner.models.weights import file_sha256, match_state_dict, read_weights, state_sha256
from cleaner.types import CleanerError

ASSETS = assets()
"""Where the built-in models lie; a process that this one starts finds the same place by the environment variable."""
BASE_KEY, BASE_SHA256_KEY = "base", "base_sha256"
"""Metadata of a file that holds only what differs from a built-in model."""
DELTA_READ_ERRORS = (KeyError, ValueError, RuntimeError, IndexError, zlib.error)
"""What a damaged file of that kind ends in."""
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
MAX_TEMPLATES, MAX_TEMPLATE_LENGTH = 200, 300
OPEN_CLIP_CONFIG_FILE, OPEN_CLIP_WEIGHTS_FILE = "open_clip_config.json", "open_clip_model.safetensors"


@dataclass
class LoadedModel:
    """A model that was read: weights in place, eval mode, fp32, on the CPU."""

    model: nn.Module
    name: str
    architecture: Architecture
    templates: tuple[str, ...] | None = TEMPLATES
    metadata: dict[str, str] = field(default_factory=dict)


def built_in_weights_path(name: str) -> Path:
    """Return where the weights of a built-in model lie, if they have been trained."""
    return ASSETS / name / "model.safetensors"


def load(name: str) -> LoadedModel:
    """Return the model that `name` means; its form says what it is (see `cleaner.models.clip.load_clip`)."""
    architecture, _, rest = name.partition(":")
    if name in BUILT_IN:
        path = built_in_weights_path(name)
        if not path.exists():
            raise CleanerError(f"the weights {path} are missing. Train them: python -m cleaner pretrain --model {name}")
        return _from_file(path, name)
    if architecture == "local-dir" or isfile(join(name, OPEN_CLIP_CONFIG_FILE)):
        return _from_folder(Path(rest if architecture == "local-dir" else name))
    if architecture == "hf-hub":
        return _from_hub(name)
    if rest and architecture in open_clip.list_models():
        return _from_file(Path(rest), Path(rest).stem, get_open_clip_architecture(architecture))
    if Path(name).suffix in WEIGHT_SUFFIXES or isfile(name):
        return _from_file(Path(name), Path(name).stem)
    return _from_tag(name)


def describe_model_file(name: str) -> str | None:
    """Return file name, size and SHA-256 of the file behind a model's name, without opening it; None if it has none."""
    architecture, _, rest = name.partition(":")
    path = Path(rest if architecture in (*open_clip.list_models(), "local-dir") else name)
    if isfile(path / OPEN_CLIP_CONFIG_FILE):
        path = _find_weights(path)
    if name in BUILT_IN or not isfile(path):
        return None
    return f"{path}: {path.stat().st_size / 1e6:.1f} MB, SHA-256 {file_sha256(path)}"


def _from_file(path: Path, name: str, architecture: Architecture | None = None) -> LoadedModel:
    state, described = read_weights(path)
    if BASE_KEY in described:
        state = _restore_from_delta(state, described, path)
    foreign = "architecture" not in described
    if not foreign and architecture is None:
        try:
            architecture = Architecture.from_json(described["architecture"])
        except CleanerError as error:
            raise CleanerError(f"{path} cannot be read as a model: {error}") from error
    described.pop("architecture", None)
    _validate_data_version(described, path)
    architecture = architecture or infer_architecture(state, path)
    # Files of this project without templates are of models that use those of their data.
    templates = TEMPLATES if foreign else _parse_templates(described.pop("templates", "[]"), path) or None
    model = _build_model(architecture, state, path)
    if foreign:
        described |= {"origin": path.name, "origin_sha256": file_sha256(path)}
    return LoadedModel(model, described.pop("name", name), architecture, templates, described)


def _build_model(architecture: Architecture, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Return the model of an architecture with these weights; raises `CleanerError` if they do not belong together."""
    try:
        # Compared before a byte is taken: no architecture needs more memory than the weights that were read.
        with torch.device("meta"):
            hollow = architecture.validate().build()
    except CleanerError as error:
        raise CleanerError(f"{path} cannot be read as a model: {error}") from error
    fitted = match_state_dict(hollow, state, path)
    model = architecture.build().eval()
    model.load_state_dict(fitted, strict=False)
    return model


def _parse_templates(text: str, path: Path) -> tuple[str, ...]:
    """Return the prompts in a file's metadata, which anyone may have written: they become format strings."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) > MAX_TEMPLATES or not all(map(_is_template, found)):
        raise CleanerError(
            f"{path} cannot be read as a model: its templates must be up to {MAX_TEMPLATES} short texts with one {{}} "
            "each, for the name of a class. Ask for its weights, torch.save(model.state_dict(), ...)."
        )
    return tuple(found)


def _is_template(text: object) -> bool:
    if not isinstance(text, str) or len(text) > MAX_TEMPLATE_LENGTH:
        return False
    rest = text.replace("{}", "", 1)
    return len(rest) == len(text) - 2 and not set(rest) & set("{}")


def _restore_from_delta(delta: dict[str, Tensor], metadata: dict[str, str], path: Path) -> dict[str, Tensor]:
    """Return all weights of a file that holds only what differs from a built-in model; cuts `metadata` likewise."""
    name, wanted = metadata.pop(BASE_KEY), metadata.pop(BASE_SHA256_KEY, "")
    if name not in BUILT_IN:
        raise CleanerError(f"{path} holds what differs from {name!r}, which is no built-in model: give a whole file.")
    own = load(name).model.state_dict()
    if state_sha256(own) != wanted:
        raise CleanerError(
            f"{path} holds what differs from {name}, but from other weights of it than those that are here: make it "
            "anew with python -m benchmarks.example, or put the weights back that came with it."
        )
    try:
        return apply_delta(delta, own)
    except DELTA_READ_ERRORS as error:
        raise CleanerError(f"{path} is broken ({type(error).__name__}): fetch it again.") from error


def _read_folder_architecture(folder: Path) -> Architecture:
    """Return the architecture of an open_clip local-dir, from open_clip_config.json."""
    try:
        config = json.loads((folder / OPEN_CLIP_CONFIG_FILE).read_text(encoding="utf-8"))
        settings, preprocess = config["model_cfg"], config.get("preprocess_cfg", {})
        own = settings["text_cfg"].get("hf_tokenizer_name")
        found = Architecture.from_config(settings, preprocess, f"local-dir:{folder.resolve()}" if own else "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CleanerError(
            f"{folder} is no open_clip model folder ({type(error).__name__}): it needs {OPEN_CLIP_CONFIG_FILE} with model_cfg, and "
            "the weights beside it."
        ) from error
    try:
        return found.validate()
    except CleanerError as error:
        raise CleanerError(f"{folder / OPEN_CLIP_CONFIG_FILE} cannot be read as a model: {error}") from error


def _from_folder(folder: Path) -> LoadedModel:
    """Return the model in an open_clip local-dir: open_clip_config.json and weights."""
    architecture = _read_folder_architecture(folder)
    loaded = _from_file(_find_weights(folder), folder.name, architecture)
    if "origin" in loaded.metadata:
        loaded.metadata["origin"] = folder.name
    return loaded


def _find_weights(folder: Path) -> Path:
    files = [path for suffix in WEIGHT_SUFFIXES for path in sorted(folder.glob(f"*{suffix}"))]
    if not files:
        raise CleanerError(f"{folder} holds no weights: put {OPEN_CLIP_WEIGHTS_FILE} beside {OPEN_CLIP_CONFIG_FILE}.")
    return next((path for path in files if path.stem.startswith("open_clip")), files[0])


def _from_hub(name: str) -> LoadedModel:
    model = _create_pretrained(name)
    config = open_clip.get_model_config(name)
    fault = next(find_tokenizer_faults(config["text_cfg"]), "")
    if fault:
        raise CleanerError(f"{name} is refused, for {fault}, which could run code: choose another model.")
    tokenizer = name if config["text_cfg"].get("hf_tokenizer_name") else ""
    return LoadedModel(model, name, Architecture.from_config(config, model.visual.preprocess_cfg, tokenizer))


def validate_model_name(name: str) -> None:
    """Raise `CleanerError` if `name` is no model's; files are not opened, nothing is downloaded."""
    architecture, _, rest = name.partition(":")
    if name in BUILT_IN or architecture == "hf-hub" or isfile(join(name, OPEN_CLIP_CONFIG_FILE)):
        return
    path = Path(rest if architecture in (*open_clip.list_models(), "local-dir") else name)
    if not exists(path):
        _validate_tag(name)


def _validate_tag(name: str) -> None:
    names = [f"{a}/{t}" for a, t in open_clip.list_pretrained()]
    if name not in names:
        if isdir(name):
            if isfile(join(name, "config.json")) and isfile(join(name, "model.safetensors")):
                weights = join(name, "model.safetensors")
                raise CleanerError(f"the folder {name} is a run, not a model: name the model in it, {weights}.")
            raise CleanerError(
                f"the folder {name} is no complete run (its config.json is missing or broken): choose another run, or "
                "name the weights in it. A folder of open_clip is named local-dir:FOLDER."
            )
        close = get_close_matches(name, [*BUILT_IN, *names], n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise CleanerError(
            f"there is no model {name!r}{hint}. Choose one of: {', '.join(BUILT_IN)}, a file ({', '.join(WEIGHT_SUFFIXES)}), "
            "a local-dir: or hf-hub: name, or architecture/pretrained-tag as open_clip lists them, such as "
            "ViT-B-32/laion2b_s34b_b79k."
        )


def _from_tag(name: str) -> LoadedModel:
    _validate_tag(name)
    architecture, _, tag = name.partition("/")
    # The tag knows the activation it was trained with; open_clip itself only warns of a mismatch.
    quick_gelu = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu"))
    model = _create_pretrained(architecture, pretrained=tag, force_quick_gelu=quick_gelu)
    known = get_open_clip_architecture(architecture)
    config = {**open_clip.get_model_config(architecture), **({"quick_gelu": True} if quick_gelu else {})}
    return LoadedModel(model, name, Architecture.from_config(config, model.visual.preprocess_cfg, known.tokenizer))


def _create_pretrained(name: str, **options: Any) -> Any:
    try:
        return open_clip.create_model(name, require_pretrained=True, weights_only=True, **options).eval()
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, ImportError, pickle.UnpicklingError) as error:
        raise CleanerError(
            f"open_clip could not load {name} ({type(error).__name__}: {str(error).splitlines()[0][:200]}): check the "
            "network, or fetch the weights elsewhere and give them as ARCHITECTURE:FILE or local-dir:FOLDER."
        ) from error


def _validate_data_version(metadata: dict[str, str], path: Path) -> None:
    """Weights trained on one version of generated pictures mean nothing on those of another renderer."""
    data, wanted = metadata.get("data", ""), metadata.get("data_version")
    version = DATA_VERSIONS.get(data)
    if version is not None and wanted != str(version):
        raise CleanerError(
            f"{path} was trained on version {wanted} of {data}, this is version {version}: "
            "train it anew with: python -m cleaner pretrain"
        )


def export_suffixes(path: Path) -> tuple[str, ...]:
    """Return the suffixes of files in which `save` can write the model of a file of this project."""
    return (".safetensors", ".pt") if find_open_clip_name(_read_header_architecture(path)) else (".safetensors",)


def _read_header_architecture(path: Path) -> Architecture:
    """Return the architecture that a file of this project names; its weights are not read."""
    try:
        with safe_open(path, "pt") as file:
            return Architecture.from_json((file.metadata() or {})["architecture"])
    except CleanerError as error:
        raise CleanerError(f"{path} cannot be read as a model: {error}") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CleanerError(f"{path} cannot be read as a model ({type(error).__name__}): make the run anew.") from error


def find_framing(name: str) -> ImageTransform | None:
    """Return how a model sees pictures, as far as that is known without opening weights or downloading; else None."""
    kind, _, rest = name.partition(":")
    listed = kind if rest else name.partition("/")[0]
    folder = Path(rest if kind == "local-dir" else name)
    try:
        if name in BUILT_IN:
            architecture = BUILT_IN[name]
        elif listed in open_clip.list_models():
            architecture = get_open_clip_architecture(listed)
        elif isfile(folder / OPEN_CLIP_CONFIG_FILE):
            architecture = _read_folder_architecture(folder)
        else:
            architecture = _read_header_architecture(Path(name))
    except CleanerError:
        return None
    side = architecture.vision.get("image_size", 224)
    return architecture.framing(side) if isinstance(side, int) else None


def save(loaded: LoadedModel, path: Path, half: bool = False) -> Path:
    """Write a model in the form that `path` asks for, so that a reader sees the old or the new file, never a part.

    `.safetensors`: this project's own. `.pt`: an open_clip checkpoint. No suffix: an open_clip local-dir. `half` stores
    weights as fp16 and keeps BatchNorm's running figures and logit_scale in fp32. Raises `CleanerError` for another
    suffix, and for `.pt` where open_clip has no such architecture.
    """
    state = {}
    for key, value in loaded.model.state_dict().items():
        keep = not value.is_floating_point() or not half or "running_" in key or key == "logit_scale"
        state[key] = (value if keep else value.half()).detach().cpu().contiguous().clone()
    texts = _build_metadata(loaded)
    if path.suffix == ".safetensors":
        _write_tensors(path, state, texts)
    elif path.suffix == ".pt":
        name = find_open_clip_name(loaded.architecture)
        if name is None:
            raise CleanerError(
                f"open_clip has no architecture like that of {loaded.name}, so that it could not load {path.name}: "
                f"name a folder ({path.with_suffix('').name}) for a local-dir, or a .safetensors file."
            )
        content = {"epoch": 0, "name": name, "state_dict": state, "metadata": texts}
        write_checkpoint(path, content)
    elif not path.suffix:
        _write_tensors(path / OPEN_CLIP_WEIGHTS_FILE, state, texts)
        write_json(path / OPEN_CLIP_CONFIG_FILE, loaded.architecture.to_config())
    else:
        raise CleanerError(f"{path.name} names no form of model: end it with .safetensors or .pt, or name a folder.")
    return path


def save_delta(loaded: LoadedModel, base: str, path: Path) -> Path:
    """Write what differs from the built-in model `base`, as a .safetensors file, atomically."""
    own = load(base).model.state_dict()
    texts = {**_build_metadata(loaded), BASE_KEY: base, BASE_SHA256_KEY: state_sha256(own)}
    _write_tensors(path, compute_delta(loaded.model.state_dict(), own), texts)
    return path


def is_delta_file(path: Path) -> bool:
    """Return whether a .safetensors file can be read only beside the built-in model that it names."""
    with safe_open(path, "pt") as file:
        return BASE_KEY in (file.metadata() or {})


def _build_metadata(loaded: LoadedModel) -> dict[str, str]:
    texts = {
        **loaded.metadata,
        "architecture": json.dumps(asdict(loaded.architecture.with_portable_tokenizer())),
        "name": loaded.name,
    }
    return texts | ({"templates": json.dumps(loaded.templates)} if loaded.templates else {})


def _write_tensors(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with atomic_write(path) as temporary:
        try:
            save_file(state, temporary, metadata=metadata)
        except SafetensorError as error:  # safetensors hides the system's error in a text
            raise OSError(str(error)) from error


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values with torch.save, atomically."""
    with atomic_write(path) as temporary:
        written = False
        # torch's writer names a line of its source, not the disk. Its error is let go at once: it keeps the file open,
        # and with it the room that the status of the run needs.
        with suppress(RuntimeError):
            torch.save(state, temporary)
            written = True
        if not written:
            raise OSError("the disk is full, or failed while writing")
