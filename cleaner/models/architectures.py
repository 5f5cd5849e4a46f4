"""Architectures: what open_clip needs to build a model, the built-in ones, and how to tell one from its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import open_clip
from torch import Tensor, nn

from cleaner.models.framing import ImageTransform
from cleaner.types import CleanerError

TEMPLATES = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
"""The 80 prompts that CLIP models of the field are measured with."""
IMAGENET_CLASS_NAMES: tuple[str, ...] = tuple(open_clip.IMAGENET_CLASSNAMES)
"""ImageNet's 1,000 classes in words, in the order of their folders' names."""
RESNET_STRIDE = 32
"""Pixels per position of a ResNet's last stage."""
_CORE_KEYS = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")
_MAX_SIZES = {
    "embed_dim": 8192,
    "width": 8192,
    "layers": 256,
    "heads": 512,
    "head_width": 8192,
    "dim_head": 8192,
    "patch_size": 1024,
    "image_size": 4096,
    "context_length": 4096,
    "vocab_size": 4_000_000,
    "mlp_ratio": 64,
    "n_queries": 4096,
    "attn_pooler_queries": 4096,
    "attn_pooler_heads": 512,
}
"""The largest sizes that a file may name, some times those of the largest model that open_clip lists."""
_TOKENIZER_OPTIONS = {"clean": str, "strip_sep_token": bool}
"""What open_clip's own configurations tell a tokenizer; others reach transformers, which can be told to run code."""
_TOKENIZER_KEYS = ("hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs")
_BUILD_ERRORS = (
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    ImportError,
    OSError,
)
"""What open_clip ends in when it cannot build an architecture."""


@dataclass(frozen=True)
class Architecture:
    """What open_clip needs to build a model, and how its pictures are framed and normalised (OpenAI's by default).

    `extra` holds the rest of an open_clip configuration (custom_text, multimodal_cfg, init_logit_bias); `tokenizer`
    is the name to ask `open_clip.get_tokenizer` for, empty for CLIP's own.
    """

    embed_dim: int
    vision: dict[str, Any]
    text: dict[str, Any]
    quick_gelu: bool = False
    mean: tuple[float, ...] = open_clip.OPENAI_DATASET_MEAN
    std: tuple[float, ...] = open_clip.OPENAI_DATASET_STD
    extra: dict[str, Any] = field(default_factory=dict)
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    tokenizer: str = ""

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Return the architecture that `json.dumps(asdict(...))` wrote; JSON knows no tuples.

        Anyone may have written it: raises `CleanerError` if it is broken, or as `checked` and for a tokenizer that is
        not one of open_clip's own.
        """
        try:
            values = json.loads(text)
            vision = {k: tuple(value) if isinstance(value, list) else value for k, value in values["vision"].items()}
            named = cls(**{**values, "vision": vision, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        except _BUILD_ERRORS as error:
            raise CleanerError(f"the architecture named in it is broken ({type(error).__name__}).") from error
        # A folder or a repository would be read, or asked for, without the user having named it.
        if named.tokenizer != "" and named.tokenizer not in open_clip.list_models():
            raise CleanerError(
                f"it names the tokenizer {str(named.tokenizer)[:80]!r}, which is none of open_clip's: give the folder "
                "(local-dir:) or the model of the hub (hf-hub:) that the weights came from."
            )
        return named.validate()

    @classmethod
    def from_config(cls, config: Mapping[str, Any], preprocess: Mapping[str, Any], tokenizer: str = "") -> Architecture:
        """Return the architecture of open_clip's `model_cfg` and `preprocess_cfg`."""
        extra = {key: value for key, value in config.items() if key not in _CORE_KEYS}
        return cls(
            config["embed_dim"],
            dict(config["vision_cfg"]),
            dict(config["text_cfg"]),
            config.get("quick_gelu", False),
            tuple(preprocess.get("mean") or open_clip.OPENAI_DATASET_MEAN),
            tuple(preprocess.get("std") or open_clip.OPENAI_DATASET_STD),
            extra,
            preprocess.get("resize_mode") or "shortest",
            preprocess.get("interpolation") or "bicubic",
            tokenizer,
        )

    def validate(self) -> Architecture:
        """Return this architecture if it is safe to build for someone who does not know who wrote it.

        Raises `CleanerError` for what would run code, read another file, ask the network or need memory without bound.
        """
        fault = next(_find_faults(self), "")
        if fault:
            raise CleanerError(
                f"the architecture named in it is refused, for {fault}: if you know the right one, name it before the "
                "weights, as in ViT-B-32:weights.pt."
            )
        return self

    def with_portable_tokenizer(self) -> Architecture:
        """Return this architecture as a file may name it: by open_clip's own name for its tokenizer, if it has one."""
        if ":" not in self.tokenizer:
            return self
        for name in open_clip.list_models():
            listed = open_clip.get_model_config(name)["text_cfg"]
            if all((listed.get(key) or None) == (self.text.get(key) or None) for key in _TOKENIZER_KEYS):
                return replace(self, tokenizer=name)
        return self

    def to_config(self) -> dict[str, Any]:
        """Return open_clip's `open_clip_config.json` for this architecture."""
        model = {"embed_dim": self.embed_dim, "vision_cfg": self.vision, "text_cfg": self.text}
        model |= {"quick_gelu": self.quick_gelu} | self.extra
        framing = {"resize_mode": self.resize_mode, "interpolation": self.interpolation}
        return {"model_cfg": model, "preprocess_cfg": {"mean": self.mean, "std": self.std, **framing}}

    def build(self) -> nn.Module:
        """Return a freshly initialised open_clip model on the CPU (weights follow torch's global seed).

        Raises `CleanerError` if open_clip cannot build it.
        """
        try:
            return self._build()
        except _BUILD_ERRORS as error:
            said = (str(error).splitlines() or [""])[0][:200]
            raise CleanerError(
                f"open_clip cannot build this architecture ({type(error).__name__}: {said}): if you know the right "
                "one, name it before the weights, as in ViT-B-32:weights.pt."
            ) from error

    def _build(self) -> nn.Module:
        extra = dict(self.extra)
        custom = extra.pop("custom_text", False) or "hf_model_name" in self.text
        # The weights come from a file: towers must not fetch some of their own.
        timm = {"timm_model_pretrained": False} if "timm_model_name" in self.vision else {}
        hub = {"hf_model_pretrained": False} if "hf_model_name" in self.text else {}
        kind = open_clip.CLIP
        if custom:
            kind = open_clip.CoCa if "multimodal_cfg" in extra else open_clip.CustomTextCLIP
        vision = open_clip.CLIPVisionCfg(**{**self.vision, **timm})
        text = open_clip.CLIPTextCfg(**{**self.text, **hub})
        model: nn.Module = kind(self.embed_dim, vision_cfg=vision, text_cfg=text, quick_gelu=self.quick_gelu, **extra)
        return model

    def with_image_size(self, image_size: int) -> Architecture:
        """Return the same architecture for pictures of `image_size` px."""
        step = self.vision.get("patch_size", RESNET_STRIDE)
        if image_size <= 0 or image_size % step:
            raise CleanerError(
                f"this architecture needs pictures whose side is a multiple of {step} px, not {image_size}."
            )
        return replace(self, vision={**self.vision, "image_size": image_size})

    def framing(self, image_size: int) -> ImageTransform:
        """Return how a picture becomes the `image_size` x `image_size` px square that the model sees."""
        return ImageTransform(image_size, self.resize_mode, self.interpolation)


def _find_faults(architecture: Architecture) -> Iterator[str]:
    """Yield, in words, what speaks against an architecture that anyone may have written."""
    vision, text, extra = architecture.vision, architecture.text, architecture.extra
    if not all(isinstance(part, dict) for part in (vision, text, extra)):
        yield "its towers are no tables"
        return
    yield from _find_invalid_sizes(
        {"embed_dim": architecture.embed_dim, "vision": vision, "text": text, "extra": extra}
    )
    for kind, part in ((open_clip.CLIPVisionCfg, vision), (open_clip.CLIPTextCfg, text)):
        unknown = [str(key)[:40] for key in part if key not in kind.__dataclass_fields__]
        if unknown:
            yield f"open_clip knows no {unknown[0]!r}"
    for name, values in (("mean", architecture.mean), ("std", architecture.std)):
        # Written so that not-a-number fails as well.
        if len(values) != 3 or not all(type(v) in (int, float) and abs(v) < 1e6 for v in values):
            yield f"its {name} is not three numbers"
        elif name == "std" and min(values) <= 0:
            yield "its std is not above 0"
    if not all(isinstance(name, str) for name in (architecture.resize_mode, architecture.interpolation)):
        yield "its way to resize pictures is no word"
    # Other kinds are computed at once, at whatever size is named; no published model has them.
    if vision.get("pos_embed_type") not in (None, "learnable"):
        yield "its positions are not learnt"
    yield from find_tokenizer_faults(text)
    for key in ("hf_tokenizer_name", "timm_model_name"):
        name = str((text | vision).get(key) or "")
        if re.match(r"[./~]|.*[:\\]", name):
            yield f"{key} {name[:80]!r} is no plain name"
    # The tower's configuration comes from the hub, so only those that open_clip asks for itself.
    tower = str(text.get("hf_model_name") or "")
    if tower and tower not in {
        open_clip.get_model_config(name)["text_cfg"].get("hf_model_name") for name in open_clip.list_models()
    }:
        yield f"hf_model_name {tower[:80]!r} is none of open_clip's"


def find_tokenizer_faults(text: Mapping[str, Any]) -> Iterator[str]:
    """Yield, in words, what a text configuration tells its tokenizer beyond what open_clip's own do."""
    options = text.get("tokenizer_kwargs") or {}
    for key, value in options.items() if isinstance(options, dict) else [("tokenizer_kwargs", options)]:
        if not isinstance(value, _TOKENIZER_OPTIONS.get(key, ())):
            yield f"it would tell its tokenizer {str(key)[:40]}={str(value)[:40]}"


def _find_invalid_sizes(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _find_invalid_sizes(value)
        elif key in _MAX_SIZES and value is not None:
            for size in value if isinstance(value, (list, tuple)) else (value,):
                kind = (int, float) if key == "mlp_ratio" else (int,)
                if type(size) not in kind or not 0 < size <= _MAX_SIZES[key]:
                    yield f"{key} is {str(size)[:40]}, not a number from 1 to {_MAX_SIZES[key]:,}"


# The 49,408 rows of the token embedding are most of a small model's size, so the text tower is narrow.
_SMALL_TEXT = {"width": 96, "heads": 3, "layers": 3}
BUILT_IN = {
    "scenes-rn": Architecture(128, {"layers": (1, 1, 1, 1), "width": 32, "image_size": 64}, _SMALL_TEXT),
    "scenes-vit": Architecture(
        128, {"layers": 6, "width": 128, "head_width": 32, "patch_size": 8, "image_size": 64}, _SMALL_TEXT
    ),
}
"""Models trained on Scenes by `python -m cleaner pretrain`; their weights lie in assets/<name>/."""


def get_open_clip_architecture(name: str) -> Architecture:
    """Return open_clip's architecture `name` with its usual normalisation."""
    config = open_clip.get_model_config(name)
    sigmoid = "siglip" in name.lower()
    own_tokenizer = sigmoid or any(config["text_cfg"].get(key) for key in ("hf_tokenizer_name", "tokenizer_kwargs"))
    usual: Mapping[str, Any] = {}
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tags:
        usual = open_clip.get_pretrained_cfg(name, tags[0])
    return Architecture.from_config(config, usual, name if own_tokenizer else "")


def find_open_clip_name(architecture: Architecture) -> str | None:
    """Return the name under which open_clip lists an architecture, or None for one of our own."""

    def essence(model: Mapping[str, Any]) -> tuple[Any, ...]:
        vision = dict(model["vision_cfg"])
        if isinstance(vision.get("layers"), list):
            vision["layers"] = tuple(vision["layers"])
        towers = open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**model["text_cfg"])
        rest = {key: value for key, value in model.items() if key not in _CORE_KEYS and value}
        # A ResNet has no patches, whatever number stands there.
        if isinstance(vision.get("layers"), tuple):
            towers[0].patch_size = 0
        return model["embed_dim"], *towers, bool(model.get("quick_gelu")), rest

    wanted = essence(architecture.to_config()["model_cfg"])
    for name in open_clip.list_models():
        if essence(open_clip.get_model_config(name)) == wanted:
            return str(name)
    return None


def infer_architecture(state: Mapping[str, Tensor], path: object) -> Architecture:
    """Return OpenAI's CLIP architecture read off the shapes of its weights: heads = width / 64, QuickGELU.

    As CleanCLIP (arXiv:2303.03323), BadCLIP (arXiv:2311.12075) and PAR (arXiv:2412.00727) publish their models. Raises
    `CleanerError` for weights of another kind.
    """
    try:
        vision = _infer_vit(state) if "visual.proj" in state else _infer_resnet(state)
        width = state["ln_final.weight"].shape[0]
        text = {
            "context_length": state["positional_embedding"].shape[0],
            "vocab_size": state["token_embedding.weight"].shape[0],
            "width": width,
            "heads": width // 64,
            "layers": len({key.split(".")[2] for key in state if key.startswith("transformer.resblocks.")}),
        }
        embed_dim = state["text_projection"].shape[1]
    except (KeyError, IndexError, TypeError) as error:  # TypeError: the root of no positions less one
        shown = ", ".join(list(state)[:4]) or "nothing"
        raise CleanerError(
            f"{path} does not hold a CLIP of OpenAI's architecture (it begins with {shown}): say which architecture of "
            "open_clip it is, as in ViT-B-16-SigLIP:weights.pt, or give a local-dir: folder with open_clip_config.json."
        ) from error
    if width % 64 or not text["layers"] or not vision["layers"]:
        raise CleanerError(
            f"the number of attention heads cannot be read off {path} (text width {width} is not a multiple of 64): "
            "give a local-dir: folder with open_clip_config.json."
        )
    return Architecture(embed_dim, vision, text, quick_gelu=True)


def _infer_vit(state: Mapping[str, Tensor]) -> dict[str, Any]:
    width, patch = state["visual.conv1.weight"].shape[0], state["visual.conv1.weight"].shape[-1]
    blocks = {key.split(".")[3] for key in state if key.startswith("visual.transformer.resblocks.")}
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    return {"layers": len(blocks), "width": width, "patch_size": patch, "image_size": side * patch}


def _infer_resnet(state: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = [{key.split(".")[2] for key in state if key.startswith(f"visual.layer{stage}.")} for stage in range(1, 5)]
    side = round((state["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
    width = state["visual.layer1.0.conv1.weight"].shape[0]
    return {"layers": tuple(map(len, blocks)), "width": width, "image_size": side * RESNET_STRIDE}
