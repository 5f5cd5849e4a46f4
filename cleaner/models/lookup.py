"""What a model's name means: whether it exists, its file, framing and prompts; without loading weights."""

# Unlike pathlib's, these take a name of any length.
from os.path import basename, dirname, exists, expanduser, isdir, isfile, join
from pathlib import Path

import open_clip
from huggingface_hub import constants

from cleaner.access import is_public, validate_allowed
from cleaner.files import file_sha256, validate_regular
from cleaner.models.architectures import BUILT_IN, TEMPLATES, get_open_clip_architecture
from cleaner.models.checkpoints import (
    choose_templates,
    find_weights,
    read_folder_architecture,
    read_header_architecture,
    validate_file,
    validate_tag,
)
from cleaner.models.framing import ImageTransform
from cleaner.models.header import read_metadata
from cleaner.models.resolve import ModelName
from cleaner.models.weights import CHOOSE_CHECKPOINT
from cleaner.types import CleanerError


def describe_model_file(name: str) -> str | None:
    """Return path, size and SHA-256 of a model's file, without parsing it; None if there is no file."""
    parsed = ModelName.parse(name)
    if parsed.is_built_in:
        return None
    validate_model_name(name)  # first: a name that leads elsewhere does not tell what is there
    path = _locate_weights(parsed)
    if not isfile(path):
        return None
    validate_allowed(path)
    try:
        _validate_format(path)
        return f"{path}: {path.stat().st_size / 1e6:.1f} MB, SHA-256 {file_sha256(path)}"
    except OSError as error:
        raise CleanerError(f"{path} cannot be read ({error.strerror}): check the file and its permissions.") from error


def _validate_format(path: Path) -> None:
    """Raise `CleanerError` if a file starts neither as one of torch.save, a zip or a pickle, nor as safetensors."""
    with path.open("rb") as file:
        start = file.read(9)
    if not start.startswith((b"PK", b"\x80")) and start[8:] != b"{":
        raise CleanerError(f"{path} is not a model file: {CHOOSE_CHECKPOINT}")


def validate_model_name(name: str) -> None:
    """Raise `CleanerError` if there is no model `name`, without opening files or downloading."""
    parsed = ModelName.parse(name)
    if is_public() and not parsed.is_built_in:
        validate_allowed(name)
    if parsed.kind in ("folder", "file"):
        validate_file(parsed.path)
    elif parsed.kind == "tag":
        validate_tag(parsed.text)


def is_on_this_machine(name: str) -> bool:
    """Return whether a model needs no download: built in, a file or folder, or downloaded before."""
    parsed = ModelName.parse(name)
    if parsed.kind == "hub":
        return _is_downloaded(parsed.rest.partition("@")[0])
    settings = open_clip.get_pretrained_cfg(parsed.architecture, parsed.tag)
    return (
        parsed.is_built_in
        or exists(parsed.path)
        or _is_downloaded(dirname(settings.get("hf_hub", "")))
        or isfile(join(expanduser("~/.cache/clip"), basename(settings.get("url", ""))))  # where open_clip keeps files
    )


def _locate_weights(parsed: ModelName) -> Path:
    """Return the file with the weights of a file or folder; it need not exist."""
    return find_weights(Path(parsed.path)) if parsed.kind == "folder" else Path(parsed.path)


def _is_downloaded(repository: str) -> bool:
    folder = "--".join(["models", *repository.split("/")])
    return bool(repository) and isdir(join(constants.HF_HUB_CACHE, folder, "snapshots"))


def find_framing(name: str) -> ImageTransform | None:
    """Return how a model frames images; None if that needs its weights or a download."""
    parsed = ModelName.parse(name)
    try:
        if parsed.is_built_in:
            architecture = BUILT_IN[parsed.text]
        elif parsed.architecture:
            architecture = get_open_clip_architecture(parsed.architecture, parsed.tag)
        elif parsed.kind == "folder":
            architecture = read_folder_architecture(Path(parsed.path))
        else:
            architecture = read_header_architecture(Path(parsed.path))
    except CleanerError:
        return None
    side = architecture.vision.get("image_size", 224)
    return architecture.framing(side) if isinstance(side, int) else None


def find_templates(name: str) -> tuple[str, ...] | None:
    """Return the prompts of a model, None: those of the data; CLIP's where only its weights would tell."""
    parsed = ModelName.parse(name)
    if parsed.is_built_in:
        return None
    try:
        validate_allowed(parsed.path)
        path = _locate_weights(parsed)
        validate_regular(path)
        return choose_templates(read_metadata(path), path)
    except (CleanerError, OSError):
        return TEMPLATES
