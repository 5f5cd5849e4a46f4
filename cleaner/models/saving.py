"""Write models: .safetensors, open_clip checkpoints and folders, deltas to built-in models."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from cleaner.files import atomic_write, write_json
from cleaner.models.architectures import find_open_clip_name
from cleaner.models.checkpoints import (
    BASE_KEY,
    BASE_SHA256_KEY,
    OPEN_CLIP_WEIGHTS_FILE,
    LoadedModel,
    load,
    read_header_architecture,
)
from cleaner.models.delta import QUANTIZATION_STEP, compute_delta
from cleaner.models.prompts import PROMPTS_KEY
from cleaner.models.resolve import OPEN_CLIP_CONFIG_FILE
from cleaner.models.tensor_files import write_tensors
from cleaner.models.tokenizer import load_tokenizer
from cleaner.models.weights import state_sha256
from cleaner.types import CleanerError


def export_suffixes(path: Path) -> tuple[str, ...]:
    """Return the file formats in which `save` can write the model in a file of this project."""
    return (".safetensors", ".pt") if find_open_clip_name(read_header_architecture(path)) else (".safetensors",)


def save(loaded: LoadedModel, path: Path, half: bool = False) -> Path:
    """Write a model, atomically, in the format of the suffix of `path`, as `clip.save_clip` says."""
    if path.suffix in (".pt", ""):
        _refuse_prompts(loaded, "open_clip")
    state = {}
    for key, value in loaded.model.state_dict().items():
        is_exact = (
            not value.is_floating_point() or not half or "running_" in key or key in ("logit_scale", "logit_bias")
        )
        state[key] = (value if is_exact else value.half()).detach().cpu().contiguous().clone()
    texts = _build_metadata(loaded)
    if path.suffix == ".safetensors":
        write_tensors(path, state, texts)
    elif path.suffix == ".pt":
        name = find_open_clip_name(loaded.architecture)
        if name is None:
            raise CleanerError(
                f"open_clip does not list the architecture of {loaded.name} and could not load {path.name}: name a "
                f"folder ({path.with_suffix('').name}) for a local-dir, or a .safetensors file."
            )
        content = {"epoch": 0, "name": name, "state_dict": state, "metadata": texts}
        write_checkpoint(path, content)
    elif not path.suffix:
        # A config with this name makes open_clip and `load` read the tokenizer from the folder.
        if loaded.architecture.tokenizer and loaded.architecture.text.get("hf_tokenizer_name"):
            load_tokenizer(loaded.architecture.tokenizer).save_pretrained(path)
        write_tensors(path / OPEN_CLIP_WEIGHTS_FILE, state, texts)
        write_json(path / OPEN_CLIP_CONFIG_FILE, loaded.architecture.to_config())
    else:
        raise CleanerError(f"{path.name} has no known model format: end it with .safetensors or .pt, or name a folder.")
    return path


def save_delta(loaded: LoadedModel, base: str, path: Path, step: float = QUANTIZATION_STEP) -> Path:
    """Write the difference to the built-in model `base` as a .safetensors file, atomically."""
    _refuse_prompts(loaded, "a delta")
    base_state = load(base).model.state_dict()
    texts = {**_build_metadata(loaded), BASE_KEY: base, BASE_SHA256_KEY: state_sha256(base_state)}
    state = {key: value.cpu() for key, value in loaded.model.state_dict().items()}
    write_tensors(path, compute_delta(state, base_state, step), texts)
    return path


def _refuse_prompts(loaded: LoadedModel, form: str) -> None:
    if PROMPTS_KEY in loaded.architecture.extra:
        raise CleanerError(
            f"{loaded.name} has visual prompts, which {form} cannot hold: save all weights as a .safetensors file."
        )


def is_delta_file(path: Path) -> bool:
    """Return whether a .safetensors file is a delta, which needs the built-in model that it names."""
    with safe_open(path, "pt") as file:
        return BASE_KEY in (file.metadata() or {})


def _build_metadata(loaded: LoadedModel) -> dict[str, str]:
    texts = {
        **loaded.metadata,
        "architecture": json.dumps(asdict(loaded.architecture.with_portable_tokenizer())),
        "name": loaded.name,
    }
    if loaded.templates:
        texts["templates"] = json.dumps(loaded.templates)
    # The name of a model's file need not be UTF-8.
    return {key: text.encode(errors="replace").decode() for key, text in texts.items()}


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values with torch.save, atomically; equal content gives equal bytes."""
    # torch.save would store the name of a path, which is temporary, in the file.
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        written = False
        # torch's error names a line of its source, not the disk. Drop it at once: while it lives, the file stays open
        # and keeps the disk space that the run's status needs.
        with suppress(RuntimeError):
            torch.save(state, file)
            written = True
        if not written:
            raise OSError("the disk is full, or failed while writing")
