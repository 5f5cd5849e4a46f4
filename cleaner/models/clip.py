"""Clip: an open_clip model with its tokenizer and normalization, from images and captions to unit features."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from cleaner.models import checkpoints, saving
from cleaner.models.architectures import BUILT_IN, Architecture
from cleaner.models.delta import QUANTIZATION_STEP
from cleaner.models.devices import image_format, pick_device, pick_precision
from cleaner.models.framing import ImageTransform, resize_square
from cleaner.models.resolve import resolve_model_name
from cleaner.models.token_blocks import (
    BLOCK_ROWS,
    GPU_BLOCK_ROWS,
    PackedTexts,
    build_prefix_trees,
    sort_into_blocks,
    token_lengths,
)
from cleaner.models.tokenizer import load_tokenizer
from cleaner.models.weights import state_sha256
from cleaner.types import CleanerError

__all__ = ["BUILT_IN", "Architecture", "Clip", "load_clip", "new_clip", "pick_device", "save_clip"]

FULL_SIZE_PARAMETERS = 20_000_000
"""From here on, encoding an image or a prompt takes far longer than to read its feature from disk."""
PRECISION_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Clip:
    """A CLIP model that takes images in [0, 1] and captions, and returns unit features.

    It normalizes images itself, so triggers and augmentations work on plain images. `metadata` is saved with the
    weights: stage, trigger, target and origin. The library never changes a Clip: finetuning works on a `copy()`.
    """

    model: nn.Module = field(repr=False)
    name: str
    architecture: Architecture
    image_size: int
    templates: tuple[str, ...] | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    precision: str = "fp32"
    source: str | None = None
    """The name given to `load_clip`, files as absolute paths; None for a model built in memory."""
    has_assumed_activation: bool = False
    """Whether QuickGELU was assumed for a file that does not say (`inspection.activation` tries both)."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def framing(self) -> ImageTransform:
        """How an image becomes the square that the model sees; then come triggers, then normalization."""
        return self.architecture.framing(self.image_size)

    @property
    def is_full_size(self) -> bool:
        """Whether the model is as large as those that are published: ViT-B-32 has 151 million parameters."""
        return sum(p.numel() for p in self.model.parameters()) >= FULL_SIZE_PARAMETERS

    @property
    def is_slow(self) -> bool:
        """Whether the usual batches take many seconds: a full-size model on a CPU."""
        return self.is_full_size and self.device.type == "cpu"

    @property
    def has_sigmoid_loss(self) -> bool:
        """Whether it was trained with SigLIP's sigmoid loss (arXiv:2303.15343)."""
        return self.logit_bias is not None

    @property
    def logit_bias(self) -> Tensor | None:
        """The learned bias of the sigmoid loss, a scalar with gradient; None for a model with a softmax."""
        return getattr(self.model, "logit_bias", None)

    @property
    def logit_scale(self) -> Tensor:
        """exp of the learned log-temperature, a scalar with gradient."""
        scale: Tensor = self.model.logit_scale.exp()  # type: ignore[operator]
        return scale

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context for the towers: autocast for bf16 and fp16, none for fp32."""
        if self.precision == "fp32":
            return nullcontext()
        # torch's cache of converted weights is shared by all threads: with it, whether two uses of a weight sum their
        # gradients in bf16 or in fp32 would depend on what other threads do.
        return torch.autocast(self.device.type, dtype=PRECISION_DTYPES[self.precision], cache_enabled=False)

    def preprocess(self, images: Tensor) -> Tensor:
        """Return images (N, 3, H, W) in [0, 1] resized to the model's size, normalized, on its device."""
        if not images.is_floating_point():
            raise CleanerError(f"images are float in [0, 1], not {images.dtype}: divide 8-bit images by 255.")
        # NumPy's numbers are float64, which only weights of that type take.
        dtype = next(self.model.parameters()).dtype if images.dtype == torch.float64 else images.dtype
        images = resize_square(images.to(self.device, dtype), self.image_size)
        mean = torch.tensor(self.architecture.mean, device=self.device).view(1, 3, 1, 1)
        std = torch.tensor(self.architecture.std, device=self.device).view(1, 3, 1, 1)
        return ((images - mean) / std).contiguous(memory_format=image_format(self.device))

    def encode_image(self, images: Tensor) -> Tensor:
        """Return unit features (N, D) float32 of images (N, 3, H, W) in [0, 1]; float64 stays, gradients flow."""
        with self.autocast():
            features: Tensor = self.model.encode_image(self.preprocess(images))  # type: ignore[operator]
        return _to_unit(features)

    def tokenize(self, captions: Sequence[str]) -> Tensor:
        """Return token ids (N, T), T the longest caption; those above the context keep their end token."""
        _refuse_bare_text(captions)
        tokens = self._tokenize_to_length(captions, self._context_length)
        vocabulary_size = self.architecture.text.get("vocab_size", 0)
        if 0 < vocabulary_size <= int(tokens.max() if len(captions) else 0):
            raise CleanerError(
                f"{self.name} has {vocabulary_size:,} tokens, fewer than CLIP's tokenizer, so it cannot read captions: "
                "choose a model that was trained with CLIP's tokenizer."
            )
        return tokens[:, : max(token_lengths(tokens).tolist(), default=1)] if self._is_causal() else tokens

    @property
    def _context_length(self) -> int:
        return int(getattr(self.model, "context_length", 77))

    def _tokenize_to_length(self, captions: Sequence[str], length: int) -> Tensor:
        tokens: Tensor = load_tokenizer(self.architecture.tokenizer)(list(captions), context_length=length)
        return tokens

    def fits_context(self, text: str) -> bool:
        """Return whether a text, with start and end token, fits the model's context without being cut."""
        return bool(self._fit_context([text])[0])

    def _fit_context(self, texts: Sequence[str]) -> Tensor:
        longer = self._tokenize_to_length(texts, self._context_length + 1)[:, : self._context_length]
        return (self._tokenize_to_length(texts, self._context_length) == longer).all(1)

    def cut_to_context(self, captions: Sequence[str]) -> list[str]:
        """Return the captions as far as the model reads them; those that it cuts end with their last whole word."""
        cut = list(captions)
        # A token is a byte at least, and there are a start and an end token.
        candidates = [i for i, caption in enumerate(cut) if len(caption.encode()) + 2 > self._context_length]
        if not candidates:
            return cut
        fits = self._fit_context([cut[i] for i in candidates]).tolist()
        for i in (i for i, is_read in zip(candidates, fits, strict=True) if not is_read):
            words = cut[i].split()
            prefixes = [" ".join(words[:count]) for count in range(1, min(len(words), self._context_length) + 1)]
            readable = int(self._fit_context(prefixes).sum())
            cut[i] = prefixes[max(readable, 1) - 1]
        return cut

    def token_texts(self, caption: str) -> list[str]:
        """Return each token of `tokenize([caption])` in CLIP's vocabulary; "" for start, end and padding."""
        if self.architecture.tokenizer:
            raise CleanerError(f"the tokens of {self.name} cannot be shown, as its tokenizer is not CLIP's.")
        ids = self.tokenize([caption])[0].tolist()
        tokenizer = load_tokenizer()
        marks = {0, tokenizer.sot_token_id, tokenizer.eot_token_id}
        return ["" if i in marks else tokenizer.decoder[i] for i in ids]

    def decode_tokens(self, tokens: str) -> str:
        """Return the text of joined `token_texts`; each character of CLIP's vocabulary stands for a byte of UTF-8."""
        byte_of = load_tokenizer().byte_decoder
        return bytes(byte_of[character] for character in tokens).decode("utf-8", errors="replace")

    def _is_causal(self) -> bool:
        return getattr(self.model, "attn_mask", None) is not None and self.model.text_pool_type == "argmax"

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Return unit features (N, D) float32 of token ids (N, T); float64 stays."""
        if self._is_causal():
            return self._encode_blocks(tokens, [tuple(tokens.shape)])
        model: Any = self.model
        with self.autocast():
            features = model.encode_text(tokens.to(self.device))
        return _to_unit(features)

    def _encode_blocks(self, tokens: Tensor, sizes: Sequence[tuple[int, ...]]) -> Tensor:
        """Return unit features (N, D) of token ids (N, T), encoded in consecutive blocks of (rows, columns).

        Equals open_clip's encode_text, with positions and mask cut. All blocks share one embedding lookup, whose
        gradient is as large as the vocabulary.
        """
        model: Any = self.model
        tokens = tokens.to(self.device)
        features = []
        with self.autocast():
            rows = model.token_embedding(tokens).split([rows for rows, _ in sizes])
            for x, ids, (_, length) in zip(rows, tokens.split([rows for rows, _ in sizes]), sizes, strict=True):
                x = x[:, :length] + model.positional_embedding[:length]
                x = model.transformer(x, attn_mask=model.attn_mask[:length, :length].to(x.dtype))
                features.append(self._project(text_global_pool(model.ln_final(x), ids[:, :length], "argmax")))
        return _to_unit(torch.cat(features))

    def _project(self, pooled: Tensor) -> Tensor:
        projection: Any = self.model.text_projection
        projected: Tensor = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        return projected

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Return unit features (N, D) float32; float64 stays. Equal captions are encoded once."""
        return self.encode_packed(self.pack_texts(captions))

    def pack_texts(self, captions: Sequence[str]) -> PackedTexts:
        """Return the token ids of captions, each different caption once; towers that allow it get blocks."""
        _refuse_bare_text(captions)
        unique = list(dict.fromkeys(captions))
        index = {caption: i for i, caption in enumerate(unique)}
        rows = torch.tensor([index[caption] for caption in captions], dtype=torch.long)
        if not self._is_causal() or not unique:
            return PackedTexts(self.tokenize(unique), None, rows)
        block_rows = BLOCK_ROWS if self.device.type == "cpu" else GPU_BLOCK_ROWS
        tokens, sizes, position = sort_into_blocks(self.tokenize(unique), self._context_length, block_rows)
        return PackedTexts(tokens, sizes, position[rows])

    def encode_packed(self, texts: PackedTexts) -> Tensor:
        """Return unit features (N, D) float32 of packed texts; float64 stays."""
        if texts.sizes is None:
            features = self.encode_tokens(texts.tokens)
        else:
            features = self._encode_blocks(texts.tokens, texts.sizes)
        # Not features[rows]: its gradient adds equal captions atomically, in another order in each run.
        return F.embedding(texts.rows.to(self.device), features)

    def encode_text_trees(self, captions: Sequence[str]) -> Tensor:
        """Return `encode_text`, up to rounding; shared prefixes are encoded once. For inference only."""
        texts = self.pack_texts(captions)
        if texts.sizes is None:
            return self.encode_packed(texts)
        trees = build_prefix_trees(texts.tokens)
        if trees.tokens.numel() >= sum(rows * columns for rows, columns in texts.sizes):
            return self.encode_packed(texts)
        model: Any = self.model
        with self.autocast():
            x = model.token_embedding(trees.tokens.to(self.device)) + model.positional_embedding[trees.positions]
            heads = model.transformer.resblocks[0].attn.num_heads
            x = model.transformer(x, attn_mask=trees.mask.to(x).repeat_interleave(heads, dim=0))
            return _to_unit(self._project(model.ln_final(x.flatten(0, 1)[trees.ends[texts.rows]])))

    def copy(self) -> Clip:
        """Return a deep copy in eval mode whose weights can be trained, whatever the mode of this model."""
        model, metadata = copy.deepcopy(self.model).eval(), dict(self.metadata)
        if not any(p.requires_grad for p in model.parameters()):  # frozen by the caller, for an evaluation
            model.requires_grad_(True)
        return replace(self, model=model, metadata=metadata)

    def in_eval_mode(self) -> Clip:
        """Return this model, or a copy if a part is in train mode: BatchNorm would change the caller's model."""
        return self.copy() if any(module.training for module in self.model.modules()) else self

    def to(self, device: str | torch.device, precision: str | None = None) -> Clip:
        """Return a copy on `device` that runs in `precision`; "auto" picks the best device, the fastest precision."""
        moved, target = self.copy(), pick_device(device)
        moved.model.to(target).to(memory_format=image_format(target))  # type: ignore[call-overload]
        moved.precision = pick_precision(moved.device, precision or self.precision)
        return moved

    def sha256(self) -> str:
        """Return the SHA-256 (hex) over names and float32 values of all weights."""
        return state_sha256(self.model.state_dict())


def _refuse_bare_text(captions: Sequence[str]) -> None:
    """Raise `CleanerError` for a bare string: each of its letters would be encoded as a caption."""
    if isinstance(captions, str):
        raise CleanerError(f"captions must be a list of texts, not one text: write [{captions[:60]!r}].")


def _to_unit(features: Tensor) -> Tensor:
    """Return features as unit rows, float32; float64 stays."""
    return F.normalize(features if features.dtype == torch.float64 else features.float(), dim=-1)


def new_clip(name: str, seed: int = 0, image_size: int = 0) -> Clip:
    """Return the built-in architecture `name` with random weights. `image_size` in px, 0: the architecture's."""
    if name not in BUILT_IN:
        raise CleanerError(f"there is no built-in model {name!r}. Choose one of: {', '.join(BUILT_IN)}.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed the GPUs
        return build_clip(BUILT_IN[name].with_image_size(image_size) if image_size else BUILT_IN[name], name)


def build_clip(architecture: Architecture, name: str) -> Clip:
    """Return an architecture with random weights."""
    return _clip_from_model(checkpoints.LoadedModel(architecture.build().eval(), name, architecture, None))


def _clip_from_model(loaded: checkpoints.LoadedModel) -> Clip:
    model, name, architecture = loaded.model, loaded.name, loaded.architecture
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    tower: Any = model.visual
    sides = tower.image_size if isinstance(tower.image_size, tuple) else (tower.image_size,)
    if len(set(sides)) > 1:
        raise CleanerError(f"{name} takes images of {sides[0]} x {sides[1]} px: choose a model for square images.")
    clip = Clip(model, name, architecture, int(sides[0]), loaded.templates)
    clip.metadata, clip.has_assumed_activation = loaded.metadata, loaded.has_assumed_activation
    return clip


def load_clip(name: str | Path, *, device: str = "cpu", precision: str = "fp32") -> Clip:
    """Return a model in eval mode; the form of `name` decides how it is loaded.

    A built-in model ("scenes-lite", "scenes-rn", "scenes-vit"); "architecture/pretrained-tag" of open_clip
    ("ViT-B-32/laion2b_s34b_b79k") or "hf-hub:org/repo", which open_clip downloads; "local-dir:folder"; a file: what
    `save_clip` wrote, weights next to their open_clip_config.json, a published checkpoint of OpenAI's architecture
    (taken as QuickGELU), or "architecture:file" for weights of any architecture of open_clip ("ViT-B-32:epoch_10.pt").
    Files are read as tensors and plain values only. Raises `CleanerError` for an unknown model, a broken file, a file
    that would run code, or weights that do not fit.
    """
    name = os.fspath(name)
    clip = _clip_from_model(checkpoints.load(name))
    clip.source = resolve_model_name(name)
    return clip.to(device, precision) if (device, precision) != ("cpu", "fp32") else clip


def save_clip(clip: Clip, path: str | Path, half: bool = False, metadata: dict[str, str] | None = None) -> Path:
    """Write weights, architecture and metadata, atomically; return the path.

    `.safetensors` is this project's format, `.pt` is for `open_clip.create_model(architecture, pretrained=path)`, a
    path without suffix is a folder for `open_clip.create_model("local-dir:path")`. `half` stores weights as fp16, but
    BatchNorm statistics and logit_scale as fp32. Raises `CleanerError` if open_clip could not load the file.
    """
    metadata = {**clip.metadata, **(metadata or {})}
    loaded = checkpoints.LoadedModel(clip.model, clip.name, clip.architecture, clip.templates, metadata)
    return saving.save(loaded, Path(path), half)


def save_delta(clip: Clip, base: str, path: str | Path, step: float = QUANTIZATION_STEP) -> Path:
    """Write a finetuned copy of the built-in model `base` as a delta, a small `.safetensors` file for `load_clip`.

    The delta is lossy, more so with a larger `step` (`cleaner.models.delta`): evaluate the model loaded from it.
    """
    loaded = checkpoints.LoadedModel(clip.model, clip.name, clip.architecture, clip.templates, clip.metadata)
    return saving.save_delta(loaded, base, Path(path), step)
