"""Clip: an open_clip model, its tokenizer and normalisation; loading and saving. Only this file imports open_clip."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cleaner.config import DATA_VERSIONS
from cleaner.files import replacing
from cleaner.types import CleanerError

ASSETS = Path(os.environ.get("CLEANER_ASSETS") or Path(__file__).resolve().parent.parent / "assets")
"""Where the built-in models lie; a process that this one starts finds the same place by the environment variable."""
TOKENIZER = open_clip.SimpleTokenizer
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Architecture:
    """What open_clip needs to build a model, and how its pictures are normalised (OpenAI's mean and std by default)."""

    embed_dim: int
    vision: dict[str, Any]
    text: dict[str, Any]
    quick_gelu: bool = False
    mean: tuple[float, ...] = open_clip.OPENAI_DATASET_MEAN
    std: tuple[float, ...] = open_clip.OPENAI_DATASET_STD

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Return the architecture that `json.dumps(asdict(...))` wrote; JSON knows no tuples."""
        values = json.loads(text)
        vision = {key: tuple(value) if isinstance(value, list) else value for key, value in values["vision"].items()}
        return cls(**{**values, "vision": vision, "mean": tuple(values["mean"]), "std": tuple(values["std"])})

    def build(self) -> nn.Module:
        """Return a freshly initialised `open_clip.CLIP` on the CPU (weights follow torch's global seed)."""
        vision = open_clip.CLIPVisionCfg(**self.vision)
        text = open_clip.CLIPTextCfg(**self.text)
        model: nn.Module = open_clip.CLIP(self.embed_dim, vision, text, quick_gelu=self.quick_gelu)
        return model


# The 49,408 rows of the token embedding are most of a small model's size, so the text tower is narrow.
_SMALL_TEXT = {"width": 96, "heads": 3, "layers": 3}
BUILT_IN = {
    "scenes-rn": Architecture(128, {"layers": (1, 1, 1, 1), "width": 32, "image_size": 64}, _SMALL_TEXT),
    "scenes-vit": Architecture(
        128, {"layers": 6, "width": 128, "head_width": 32, "patch_size": 8, "image_size": 64}, _SMALL_TEXT
    ),
}
"""Models trained on Scenes by `python -m cleaner pretrain`; their weights lie in assets/<name>/."""


@dataclass
class Clip:
    """A CLIP model that takes pictures in [0, 1] and captions, and returns unit features.

    Normalisation lives here, so triggers and augmentations see pictures as a person would. `metadata` travels with
    the weights: stage, trigger, target and where the weights came from. Never changed by the library: finetuning
    works on a `copy()`.
    """

    model: nn.Module
    name: str
    architecture: Architecture | None
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    templates: tuple[str, ...] | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    precision: str = "fp32"
    source: str | None = None
    """What `load_clip` was asked for (a file as its absolute path); None for a model that was made in memory."""
    lock: Any = field(default_factory=threading.Lock, repr=False)
    """Held by whoever sets hooks or switches modes: one cached model may serve several threads."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def logit_scale(self) -> Tensor:
        """exp of the learnt log-temperature, a scalar with gradient."""
        scale: Tensor = self.model.logit_scale.exp()  # type: ignore[operator]
        return scale

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the towers run: autocast for bf16 and fp16, nothing for fp32."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=PRECISIONS[self.precision])

    def preprocess(self, images: Tensor) -> Tensor:
        """Return pictures (N, 3, H, W) in [0, 1] resized to the model's size, normalised, on its device."""
        images = images.to(self.device, non_blocking=True)
        if images.shape[-2:] != (self.image_size, self.image_size):
            images = F.interpolate(images, self.image_size, mode="bicubic", antialias=True).clamp(0, 1)
        mean = torch.tensor(self.mean, device=self.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=self.device).view(1, 3, 1, 1)
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)

    def encode_image(self, images: Tensor) -> Tensor:
        """Return unit features (N, D) float32 of pictures (N, 3, H, W) in [0, 1]; gradients flow where enabled."""
        with self.autocast():
            features: Tensor = self.model.visual(self.preprocess(images))  # type: ignore[operator]
        return F.normalize(features.float(), dim=-1)

    def tokenize(self, captions: Sequence[str]) -> Tensor:
        """Return token ids (N, T); T is the longest caption's length, at most the model's context.

        Longer captions are cut, the end token kept. Cutting the padding is exact for causal text towers.
        """
        length = getattr(self.model, "context_length", 77)
        tokens: Tensor = _tokenizer()(list(captions), context_length=length)
        used = int((tokens != 0).sum(1).max()) if len(captions) else 1
        return tokens[:, : max(used, 1)] if self._causal() else tokens

    def fits(self, text: str) -> bool:
        """Return whether the model reads all of a text, or cuts its end (with start and end token)."""
        return len(_tokenizer().encode(text)) + 2 <= getattr(self.model, "context_length", 77)

    def token_texts(self, caption: str) -> list[str]:
        """Return what each token of `tokenize([caption])` stands for; "" for start, end and padding."""
        ids = self.tokenize([caption])[0].tolist()
        tokenizer = _tokenizer()
        marks = {0, tokenizer.sot_token_id, tokenizer.eot_token_id}
        return ["" if i in marks else tokenizer.decoder[i] for i in ids]

    def _causal(self) -> bool:
        return getattr(self.model, "attn_mask", None) is not None and self.model.text_pool_type == "argmax"

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Return unit features (N, D) float32 of token ids (N, T)."""
        model: Any = self.model
        tokens = tokens.to(self.device)
        with self.autocast():
            if self._causal():
                # open_clip's own encode_text, with positions and mask cut to T.
                length = tokens.shape[1]
                x = model.token_embedding(tokens) + model.positional_embedding[:length]
                x = model.transformer(x, attn_mask=model.attn_mask[:length, :length].to(x.dtype))
                x = text_global_pool(model.ln_final(x), tokens, "argmax")
                projection = model.text_projection
                features = projection(x) if isinstance(projection, nn.Linear) else x @ projection
            else:
                features = model.encode_text(tokens)
        return F.normalize(features.float(), dim=-1)

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Return unit features (N, D) float32; a caption that stands there twice is computed once."""
        unique = list(dict.fromkeys(captions))
        features = self.encode_tokens(self.tokenize(unique))
        if len(unique) == len(captions):
            return features
        position = {caption: i for i, caption in enumerate(unique)}
        return features[torch.tensor([position[c] for c in captions], device=features.device)]

    def copy(self) -> Clip:
        """Return a deep copy whose weights can be trained."""
        return Clip(
            copy.deepcopy(self.model), self.name, self.architecture, self.image_size, self.mean, self.std,
            self.templates, dict(self.metadata), self.precision, self.source,
        )  # fmt: skip

    def to(self, device: str | torch.device, precision: str | None = None) -> Clip:
        """Return a copy on `device` ("auto": the best there is) that runs in `precision`."""
        moved = self.copy()
        moved.model.to(pick_device(device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        moved.precision = precision or self.precision
        return moved

    def sha256(self) -> str:
        """Return the SHA-256 (hex) over names and float32 values of all weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


_TOKENIZER: Any = None


def _tokenizer() -> Any:
    """Return open_clip's BPE tokenizer, built at first use (0.2 s) and shared."""
    global _TOKENIZER
    if _TOKENIZER is None:
        _TOKENIZER = TOKENIZER()
    return _TOKENIZER


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device asked for; "auto" is cuda, mps or cpu, the first there is. Raises `CleanerError` if absent."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if available[name]))
    kind = str(device).split(":")[0]
    if not available.get(kind, False):
        usable = ", ".join(name for name, there in available.items() if there)
        raise CleanerError(f"the device {str(device)!r} is not available here. Use one of: {usable}.")
    return torch.device(device)


def new_clip(name: str, seed: int = 0) -> Clip:
    """Return the built-in architecture `name` with fresh weights, for pretraining and tests."""
    if name not in BUILT_IN:
        raise CleanerError(f"there is no built-in model {name!r}. Choose one of: {', '.join(BUILT_IN)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _wrap(BUILT_IN[name], name)


def _wrap(architecture: Architecture, name: str, metadata: dict[str, str] | None = None) -> Clip:
    model = architecture.build().eval()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = architecture.vision["image_size"]
    return Clip(model, name, architecture, size, architecture.mean, architecture.std, metadata=metadata or {})


def load_clip(name: str, device: str = "cpu", precision: str = "fp32") -> Clip:
    """Return a model in eval mode.

    `name` is a built-in model ("scenes-rn", "scenes-vit"), a safetensors file written by `save_clip`, or
    "architecture/pretrained-tag" of open_clip ("ViT-B-32/laion2b_s34b_b79k"), which open_clip downloads.
    Raises `CleanerError` with one sentence if there is no such model or the file is not one.
    """
    if name in BUILT_IN:
        path = ASSETS / name / "model.safetensors"
        if not path.exists():
            raise CleanerError(f"the weights {path} are missing. Train them: python -m cleaner pretrain --model {name}")
        clip = _read(path, name)
    elif Path(name).suffix == ".safetensors" or Path(name).exists():
        clip = _read(Path(name), Path(name).stem)
    else:
        clip = _open_clip(name)
    clip.source = str(Path(name).resolve()) if Path(name).is_file() else name
    return clip.to(device, precision) if (device, precision) != ("cpu", "fp32") else clip


def _read(path: Path, name: str) -> Clip:
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        architecture = Architecture.from_json(metadata.pop("architecture"))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CleanerError(
            f"{path} cannot be read as a model written by save_clip ({type(error).__name__}). "
            "Give a built-in name, such a .safetensors file, or architecture/pretrained-tag of open_clip."
        ) from error
    _check_data_version(metadata, path)
    clip = _wrap(architecture, metadata.pop("name", name), metadata)
    weights = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    try:
        clip.model.load_state_dict(weights)
    except RuntimeError as error:
        raise CleanerError(f"the weights in {path} do not fit the architecture named in the file.") from error
    return clip


def _check_data_version(metadata: dict[str, str], path: Path) -> None:
    """Weights trained on one version of generated pictures mean nothing on those of another renderer."""
    data, wanted = metadata.get("data", ""), metadata.get("data_version")
    version = DATA_VERSIONS.get(data)
    if version is not None and wanted != str(version):
        raise CleanerError(
            f"{path} was trained on version {wanted} of {data}, this is version {version}: "
            "train it anew with: python -m cleaner pretrain"
        )


def _open_clip(name: str) -> Clip:
    architecture, _, tag = name.partition("/")
    if (architecture, tag) not in open_clip.list_pretrained():
        raise CleanerError(
            f"there is no model {name!r}. Choose one of: {', '.join(BUILT_IN)}, a .safetensors file, or "
            "architecture/pretrained-tag as open_clip lists them, such as ViT-B-32/laion2b_s34b_b79k."
        )
    model = open_clip.create_model(architecture, pretrained=tag).eval()
    config = model.visual.preprocess_cfg
    templates = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
    size = int(config["size"][0] if isinstance(config["size"], tuple) else config["size"])
    return Clip(model, name, None, size, tuple(config["mean"]), tuple(config["std"]), templates)


def save_clip(clip: Clip, path: str | Path, half: bool = False, metadata: dict[str, str] | None = None) -> Path:
    """Write weights, architecture and metadata to one safetensors file, atomically; return its path.

    `half` stores weights as fp16 and keeps BatchNorm's running figures and logit_scale in fp32. Raises
    `CleanerError` for models without a built-in architecture.
    """
    if clip.architecture is None:
        raise CleanerError("only models of a built-in architecture can be saved as safetensors.")
    path = Path(path)
    state = {}
    for key, value in clip.model.state_dict().items():
        keep = not value.is_floating_point() or not half or "running_" in key or key == "logit_scale"
        state[key] = (value if keep else value.half()).detach().cpu().contiguous().clone()
    described = {"architecture": json.dumps(asdict(clip.architecture)), "name": clip.name}
    with replacing(path) as temporary:
        try:
            save_file(state, temporary, metadata={**clip.metadata, **(metadata or {}), **described})
        except SafetensorError as error:  # safetensors hides the system's error in a text
            raise OSError(str(error)) from error
    return path
