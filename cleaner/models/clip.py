"""Clip: an open_clip model, its tokenizer and normalisation; what it sees and what it makes of it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from cleaner.models import checkpoints
from cleaner.models.architectures import BUILT_IN, Architecture
from cleaner.models.devices import pick_device, pick_precision
from cleaner.models.framing import ImageTransform
from cleaner.models.resolve import resolve_model_name
from cleaner.models.token_blocks import sort_into_blocks, token_lengths
from cleaner.models.weights import state_sha256
from cleaner.types import CleanerError

__all__ = ["BUILT_IN", "Architecture", "Clip", "load_clip", "new_clip", "pick_device", "save_clip"]

PRECISION_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    def framing(self) -> ImageTransform:
        """How a picture becomes the square that the model sees: triggers act after it, normalisation comes last."""
        return self.architecture.framing(self.image_size) if self.architecture else ImageTransform(self.image_size)

    @property
    def has_sigmoid_loss(self) -> bool:
        """Whether it was trained with SigLIP's sigmoid loss (arXiv:2303.15343), which finetuning here lacks."""
        return getattr(self.model, "logit_bias", None) is not None

    @property
    def logit_scale(self) -> Tensor:
        """exp of the learnt log-temperature, a scalar with gradient."""
        scale: Tensor = self.model.logit_scale.exp()  # type: ignore[operator]
        return scale

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the towers run: autocast for bf16 and fp16, nothing for fp32."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=PRECISION_DTYPES[self.precision])

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
            features: Tensor = self.model.encode_image(self.preprocess(images))  # type: ignore[operator]
        return F.normalize(features.float(), dim=-1)

    def tokenize(self, captions: Sequence[str]) -> Tensor:
        """Return token ids (N, T); T is the longest caption's length, at most the model's context.

        Longer captions are cut, the end token kept. Cutting the padding is exact for causal text towers.
        """
        tokens = self._tokenize_to_length(captions, self._context_length)
        known = self.architecture.text.get("vocab_size", 0) if self.architecture else 0
        if 0 < known <= int(tokens.max() if len(captions) else 0):
            raise CleanerError(
                f"{self.name} knows {known:,} tokens, fewer than CLIP's tokenizer makes: it was trained with another "
                "tokenizer, so that captions cannot be given to it."
            )
        return tokens[:, : max(token_lengths(tokens).tolist(), default=1)] if self._is_causal() else tokens

    @property
    def _context_length(self) -> int:
        return int(getattr(self.model, "context_length", 77))

    @property
    def _tokenizer_name(self) -> str:
        return self.architecture.tokenizer if self.architecture else ""

    def _tokenize_to_length(self, captions: Sequence[str], length: int) -> Tensor:
        tokens: Tensor = _load_tokenizer(self._tokenizer_name)(list(captions), context_length=length)
        return tokens

    def fits_context(self, text: str) -> bool:
        """Return whether the model reads all of a text, or cuts its end (with start and end token)."""
        longer = self._tokenize_to_length([text], self._context_length + 1)[:, : self._context_length]
        return torch.equal(self._tokenize_to_length([text], self._context_length), longer)

    def token_texts(self, caption: str) -> list[str]:
        """Return each token of `tokenize([caption])` as CLIP's vocabulary writes it; "" for start, end and padding.

        Raises `CleanerError` for a model whose tokenizer is not CLIP's own.
        """
        if self._tokenizer_name:
            raise CleanerError(
                f"{self.name} cuts words with a tokenizer of its own: its words cannot be shown one by one."
            )
        ids = self.tokenize([caption])[0].tolist()
        tokenizer = _load_tokenizer()
        marks = {0, tokenizer.sot_token_id, tokenizer.eot_token_id}
        return ["" if i in marks else tokenizer.decoder[i] for i in ids]

    def decode_tokens(self, tokens: str) -> str:
        """Return what some of `token_texts`, joined, spell: in CLIP's vocabulary each character is a byte of UTF-8."""
        known = _load_tokenizer().byte_decoder
        return bytes(known[character] for character in tokens).decode("utf-8", errors="replace")

    def _is_causal(self) -> bool:
        return getattr(self.model, "attn_mask", None) is not None and self.model.text_pool_type == "argmax"

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Return unit features (N, D) float32 of token ids (N, T)."""
        if self._is_causal():
            return self._encode_blocks(tokens, [tuple(tokens.shape)])
        model: Any = self.model
        with self.autocast():
            features = model.encode_text(tokens.to(self.device))
        return F.normalize(features.float(), dim=-1)

    def _encode_blocks(self, tokens: Tensor, sizes: Sequence[tuple[int, ...]]) -> Tensor:
        """Return unit features (N, D) of token ids (N, T), encoded as blocks of (rows, columns), one below the other.

        open_clip's own encode_text, with positions and mask cut. One look-up serves all blocks, since the gradient of
        each is as large as the vocabulary.
        """
        model: Any = self.model
        tokens = tokens.to(self.device)
        features = []
        with self.autocast():
            rows = model.token_embedding(tokens).split([rows for rows, _ in sizes])
            for x, ids, (_, length) in zip(rows, tokens.split([rows for rows, _ in sizes]), sizes, strict=True):
                x = x[:, :length] + model.positional_embedding[:length]
                x = model.transformer(x, attn_mask=model.attn_mask[:length, :length].to(x.dtype))
                x = text_global_pool(model.ln_final(x), ids[:, :length], "argmax")
                projection = model.text_projection
                features.append(projection(x) if isinstance(projection, nn.Linear) else x @ projection)
        return F.normalize(torch.cat(features).float(), dim=-1)

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Return unit features (N, D) float32; a caption that stands there twice is computed once."""
        unique = list(dict.fromkeys(captions))
        position = {caption: i for i, caption in enumerate(unique)}
        rows = torch.tensor([position[caption] for caption in captions], dtype=torch.long)
        if not self._is_causal() or not unique:
            return self.encode_tokens(self.tokenize(unique))[rows.to(self.device)]
        tokens, sizes, place = sort_into_blocks(self.tokenize(unique), self._context_length)
        return self._encode_blocks(tokens, sizes)[place[rows].to(self.device)]

    def copy(self) -> Clip:
        """Return a deep copy whose weights can be trained."""
        return Clip(
            copy.deepcopy(self.model),
            self.name,
            self.architecture,
            self.image_size,
            self.mean,
            self.std,
            self.templates,
            dict(self.metadata),
            self.precision,
            self.source,
        )

    def to(self, device: str | torch.device, precision: str | None = None) -> Clip:
        """Return a copy on `device` that runs in `precision`; "auto" is the best device, the fast precision."""
        moved = self.copy()
        moved.model.to(pick_device(device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        moved.precision = pick_precision(moved.device, precision or self.precision)
        return moved

    def sha256(self) -> str:
        """Return the SHA-256 (hex) over names and float32 values of all weights."""
        return state_sha256(self.model.state_dict())


@lru_cache(maxsize=8)
def _load_tokenizer(name: str = "") -> Any:
    """Return the tokenizer of an open_clip model, CLIP's own BPE for "", built at first use (0.2 s) and shared."""
    if not name:
        tokenizer: Any = open_clip.SimpleTokenizer()
        # The same captions and prompts come again in each epoch and evaluation; cleaning one takes 50 microseconds.
        tokenizer.encode = lru_cache(maxsize=1 << 16)(tokenizer.encode)
        return tokenizer
    options: dict[str, Any] = {}
    listed = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if listed is None or listed["text_cfg"].get("hf_tokenizer_name"):
        # transformers runs the Python that lies beside a tokenizer where it is told to, or where a person agrees.
        options["trust_remote_code"] = False
    if name.startswith("local-dir:"):
        options["local_files_only"] = True
    try:
        return open_clip.get_tokenizer(name, **options)
    except (ImportError, OSError, RuntimeError, ValueError, AssertionError, TypeError, AttributeError) as error:
        if name.startswith("local-dir:"):
            raise CleanerError(
                f"the tokenizer in {name} cannot be read ({type(error).__name__}): pip install transformers "
                "sentencepiece, and put its files, such as tokenizer.json, into it; Python beside them is not run."
            ) from error
        raise CleanerError(
            f"the tokenizer of {name} is missing ({type(error).__name__}): install it with pip install transformers "
            "sentencepiece, and let it be downloaded once."
        ) from error


def new_clip(name: str, seed: int = 0, image_size: int = 0) -> Clip:
    """Return the built-in architecture `name` with fresh weights, for pretraining and tests.

    `image_size` in px, 0: the architecture's own. Raises `CleanerError` if its patches or strides do not fit into it.
    """
    if name not in BUILT_IN:
        raise CleanerError(f"there is no built-in model {name!r}. Choose one of: {', '.join(BUILT_IN)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build_clip(BUILT_IN[name].with_image_size(image_size) if image_size else BUILT_IN[name], name)


def _build_clip(architecture: Architecture, name: str, metadata: dict[str, str] | None = None) -> Clip:
    return _clip_from_model(architecture.build().eval(), name, architecture, metadata or {}, None)


def _clip_from_model(
    model: nn.Module, name: str, architecture: Architecture, metadata: dict[str, str], templates: tuple[str, ...] | None
) -> Clip:
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen: Any = model.visual
    sides = seen.image_size if isinstance(seen.image_size, tuple) else (seen.image_size,)
    if len(set(sides)) > 1:
        raise CleanerError(f"{name} sees pictures of {sides[0]} x {sides[1]} px: only square ones work here.")
    return Clip(model, name, architecture, int(sides[0]), architecture.mean, architecture.std, templates, metadata)


def load_clip(name: str, device: str = "cpu", precision: str = "fp32") -> Clip:
    """Return a model in eval mode; the form of `name` says what it is.

    A built-in model ("scenes-rn", "scenes-vit"); "architecture/pretrained-tag" of open_clip
    ("ViT-B-32/laion2b_s34b_b79k") or "hf-hub:org/repo", which open_clip downloads; "local-dir:folder"; a file: what
    `save_clip` wrote, a published checkpoint of OpenAI's architecture (taken as QuickGELU), or
    "architecture:file" for weights of any architecture of open_clip ("ViT-B-32:epoch_10.pt").
    Files are read as tensors and plain values only. Raises `CleanerError` with one sentence if there is no such model,
    the file is none or wants to run code, or its weights do not fit.
    """
    loaded = checkpoints.load(name)
    clip = _clip_from_model(loaded.model, loaded.name, loaded.architecture, loaded.metadata, loaded.templates)
    clip.source = resolve_model_name(name)
    return clip.to(device, precision) if (device, precision) != ("cpu", "fp32") else clip


def save_clip(clip: Clip, path: str | Path, half: bool = False, metadata: dict[str, str] | None = None) -> Path:
    """Write weights, architecture and metadata, atomically; return the path.

    `.safetensors` is this project's form, `.pt` is for `open_clip.create_model(architecture, pretrained=path)`, a name
    without suffix is a folder for `open_clip.create_model("local-dir:path")`. `half` stores weights as fp16 and keeps
    BatchNorm's running figures and logit_scale in fp32. Raises `CleanerError` where open_clip could not load it.
    """
    if clip.architecture is None:
        raise CleanerError("only models whose architecture is known can be saved: load the model with load_clip.")
    described = {**clip.metadata, **(metadata or {})}
    loaded = checkpoints.LoadedModel(clip.model, clip.name, clip.architecture, clip.templates, described)
    return checkpoints.save(loaded, Path(path), half)


def save_delta(clip: Clip, base: str, path: str | Path) -> Path:
    """Write what differs in a finetuned copy of the built-in model `base`, as a `.safetensors` file for `load_clip`.

    The weights it leads to are not exactly those of `clip` (`cleaner.models.delta`): measure the file, not the model.
    """
    assert clip.architecture is not None
    loaded = checkpoints.LoadedModel(clip.model, clip.name, clip.architecture, clip.templates, clip.metadata)
    return checkpoints.save_delta(loaded, base, Path(path))
