"""Weights: read from files without running code in them, and matched to a model key by key."""

import argparse
import hashlib
import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import safe_open
from torch import Tensor, nn

from cleaner.access import validate_allowed
from cleaner.files import validate_regular
from cleaner.types import CleanerError

CHOOSE_CHECKPOINT = "choose a checkpoint saved with torch.save or safetensors."
"""Advice for a file that is no model."""
_NON_WEIGHT_KEYS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's files store among the weights."""
_STATE_KEYS = ("state_dict", "model_state_dict", "model")
"""Where checkpoints hold their weights: open_clip's and Lightning's, PyTorch's tutorial's, and other loops'."""
_WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and Lightning put before every name."""
_TRANSFORMERS_PREFIXES = ("text_model.", "vision_model.")
_EXPANDS_TOO_MUCH = (
    "it unpacks to far more than its size, unlike any file of torch.save. Ask for its weights as safetensors."
)


class _NumpyValue:
    """Placeholder for a NumPy scalar or its type: reading it runs no NumPy code, and it is refused as a weight."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_ALLOWED_GLOBALS: list[Any] = [
    argparse.Namespace,
    *((_NumpyValue, f"numpy.{name}") for name in ("core.multiarray.scalar", "_core.multiarray.scalar", "dtype")),
]
"""PAR's files contain their arguments, a Namespace of plain values; those of CleanCLIP, BadCLIP and PAR the learning
rate of a cosine schedule, a NumPy scalar."""


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 (hex) over names and float32 values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        # Flat, as hashlib refuses a scalar; not `tobytes`, which copies the 600 MB of a ViT-B-32.
        digest.update(tensor.detach().float().cpu().contiguous().flatten().numpy().data)
    return digest.hexdigest()


def count_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's weights in memory."""
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights of a file, in float32, and its text metadata. Runs no code in the file."""
    validate_allowed(path)
    try:
        validate_regular(path)
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                metadata = dict(file.metadata() or {})
                tensors: Any = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        else:
            tensors, metadata = _unpickle(path)
    except (CleanerError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise CleanerError(f"there is no file {path}: check the path.") from error
    except Exception as error:  # random bytes make torch raise almost anything
        raise CleanerError(
            f"{path} cannot be read as a model ({type(error).__name__}). Give a built-in name, a checkpoint, a "
            ".safetensors file, or architecture/pretrained-tag of open_clip."
        ) from error
    state = {str(key): value for key, value in tensors.items() if key not in _NON_WEIGHT_KEYS}
    while wrapper := next(
        (wrapper for wrapper in _WRAPPERS if state and all(k.startswith(wrapper) for k in state)), ""
    ):
        state = {key.removeprefix(wrapper): value for key, value in state.items()}
    if any(key.startswith(_TRANSFORMERS_PREFIXES) for key in state):
        raise transformers_error(path)
    invalid = [key for key, value in state.items() if not _is_dense_cpu_tensor(value)]
    if invalid or not state:
        problem = f"{', '.join(invalid[:5])} is not a dense tensor" if invalid else "it is empty"
        raise CleanerError(
            f"{path} has no valid state_dict ({problem}): give a checkpoint whose state_dict maps names to tensors."
        )
    # Views with stride 0 let a kilobyte claim a terabyte. Twice the file size allows for tied weights.
    if sum(value.nbytes for value in state.values()) > 2 * path.stat().st_size:
        raise CleanerError(f"{path} is refused: {_EXPANDS_TOO_MUCH}")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}, metadata


def transformers_error(path: object) -> CleanerError:
    """Return the error for a file or folder with a model in the format of transformers."""
    return CleanerError(
        f"{path} is a model of transformers, whose weights have other names: take the same model from open_clip, such "
        "as ViT-B-32/openai."
    )


def _is_dense_cpu_tensor(value: object) -> bool:
    """Whether a value is a dense tensor in memory: not sparse, quantized or meta."""
    if not isinstance(value, Tensor) or value.is_quantized or value.is_nested:
        return False
    return value.layout is torch.strided and value.device.type == "cpu"


def _unpickle(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the state dict of a `torch.save` file, and the metadata that `save` added."""
    can_map = False
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist()):  # TorchScript
                return _read_published_torchscript(path), {}
            if sum(info.file_size for info in archive.infolist()) > 2 * path.stat().st_size:
                raise CleanerError(f"{path} is refused: {_EXPANDS_TOO_MUCH}")
            is_stored = all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
            can_map = is_stored and str(path).isprintable()  # torch maps no path outside UTF-8
    try:
        # Allowed for this call only.
        with torch.serialization.safe_globals(_ALLOWED_GLOBALS):
            # Mapped, the state of an optimizer takes no memory.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=can_map)
    except pickle.UnpicklingError as error:
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if blocked is None:
            raise CleanerError(f"{path} cannot be read as a model: {CHOOSE_CHECKPOINT}") from error
        raise CleanerError(
            f"{path} is refused: to read it, Python would have to run {blocked[1]}. Ask for a file of weights only "
            "(torch.save(model.state_dict(), ...) or safetensors)."
        ) from error
    if not isinstance(content, Mapping):
        raise CleanerError(f"{path} contains a {type(content).__name__}, not a state_dict: save model.state_dict().")
    texts = content.get("metadata")
    state = next((content[key] for key in _STATE_KEYS if key in content), content)
    if not isinstance(state, Mapping):
        raise CleanerError(f"{path} contains a {type(state).__name__} as its state_dict: save model.state_dict().")
    return dict(state), {str(k): str(v) for k, v in texts.items()} if isinstance(texts, Mapping) else {}


@lru_cache(maxsize=1)
def published_torchscript_hashes() -> frozenset[str]:
    """Return the SHA-256 of OpenAI's published archives, which their URLs in open_clip contain."""
    configs = [open_clip.get_pretrained_cfg(architecture, tag) for architecture, tag in open_clip.list_pretrained()]
    urls = [config.get("url") or "" for config in configs]
    return frozenset(match[1] for url in urls if (match := re.search(r"openaipublic.*/([0-9a-f]{64})/", url)))


def _read_published_torchscript(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest not in published_torchscript_hashes():
        raise CleanerError(
            f"{path} is refused: it is a TorchScript program (SHA-256 {digest}) that OpenAI did not publish. "
            "Ask for its weights, torch.save(model.state_dict(), ...)."
        )
    # Load the same bytes that were hashed. The program is never called.
    state: dict[str, Any] = torch.jit.load(io.BytesIO(content), map_location="cpu").state_dict()
    return state


def match_state_dict(model: nn.Module, state: dict[str, Tensor], path: object) -> dict[str, Tensor]:
    """Return weights under a model's key names, if all keys and shapes match; it may be on "meta"."""
    expected = model.state_dict()
    if "positional_embedding" in state and "positional_embedding" not in expected:
        state = convert_to_custom_text_state_dict(state)
    for key in ("logit_scale", "logit_bias"):
        if key in state and key in expected and state[key].numel() == expected[key].numel():
            state = {**state, key: state[key].reshape(expected[key].shape)}
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    # Older text towers of Hugging Face store the numbers of their positions.
    unexpected = [key for key in state if key not in expected and not key.endswith(".position_ids")]
    shapes = [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    # Copied into floats, the int8 codes of a quantized model would pass as weights.
    shapes += [
        f"{key} is {state[key].dtype} instead of {expected[key].dtype}"
        for key in expected
        if key in state and expected[key].is_floating_point() and not state[key].is_floating_point()
    ]
    if missing or unexpected or shapes:
        problems = (("missing: ", missing), ("unexpected: ", unexpected), ("", shapes))
        listed = "; ".join(word + _join_first(names) for word, names in problems if names)
        raise CleanerError(
            f"the weights in {path} do not fit the architecture ({listed}): name the right one before the file, as in "
            "ViT-B-32:weights.pt; for another image size or context length, put its open_clip_config.json next to the "
            "file and name the file alone."
        )
    return state


def has_finite_values(state: Mapping[str, Tensor]) -> bool:
    """Return whether all weights and buffers are finite."""
    return all(map(_is_finite, state.values()))


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.itemsize == 1:
        tensor = tensor.float()  # float8 has no minimum
    # Minimum and maximum are NaN if any value is; a mask of all values takes seven times as long.
    return all(map(torch.isfinite, tensor.aminmax()))


def validate_values(state: Mapping[str, Tensor], path: object) -> None:
    """Raise `CleanerError` for weights with which every figure would be meaningless, without any other error."""
    for key, value in state.items():
        if not _is_finite(value):
            fault = "contains numbers that are not finite"
        elif key.endswith("running_var") and (value < 0).any():
            fault = "is a variance below 0"
        else:
            continue
        raise CleanerError(f"the weights in {path} are broken ({key} {fault}): take an earlier or another checkpoint.")


def _join_first(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
