"""Architectures: what open_clip needs to build a model, and the built-in ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import open_clip
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cleaner.models.architecture_faults import find_faults
from cleaner.models.framing import ImageTransform
from cleaner.models.prompts import PROMPTS_KEY, install_prompts
from cleaner.types import CleanerError, first_line

TEMPLATES = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
"""OpenAI's 80 prompts, with which published CLIP models are evaluated."""
FEW_TEMPLATES = tuple(template("{}") for template in open_clip.SIMPLE_IMAGENET_TEMPLATES)
"""Seven of them, which CLIP's authors found to be nearly as good as all."""
ONE_TEMPLATE = ("a photo of a {}.",)
TEMPLATE_SETS = {len(templates): templates for templates in (ONE_TEMPLATE, FEW_TEMPLATES, TEMPLATES)}
"""Number of prompts per class -> the prompts."""
IMAGENET_CLASS_NAMES: tuple[str, ...] = tuple(open_clip.IMAGENET_CLASSNAMES)
"""Names of ImageNet's 1,000 classes, in the order of their folder names."""
RESNET_STRIDE = 32
"""Pixels per position of a ResNet's last stage."""
_CORE_KEYS = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")
_TOKENIZER_KEYS = ("hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs")
_RANDOM_INITS = {
    nn.init.kaiming_uniform_,
    nn.init.normal_,
    nn.init.trunc_normal_,
    nn.init.uniform_,
    nn.init.xavier_uniform_,
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
}


class _WithoutRandomInit(TorchFunctionMode):
    """Leaves new weights uninitialized where they would be random."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _RANDOM_INITS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Architecture:
    """What open_clip needs to build a model, and how its images are framed and normalized (OpenAI's by default).

    `extra` is the rest of an open_clip configuration (custom_text, multimodal_cfg, init_logit_bias) and our own
    `PROMPTS_KEY`, for visual prompts; `tokenizer` is a name for `open_clip.get_tokenizer`, empty for CLIP's own.
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
        """Return the architecture of an untrusted text, as `json.dumps(asdict(...))` writes it, validated."""
        try:
            values = json.loads(text)
            vision = {k: tuple(value) if isinstance(value, list) else value for k, value in values["vision"].items()}
            architecture = cls(
                **{**values, "vision": vision, "mean": tuple(values["mean"]), "std": tuple(values["std"])}
            )
        except MemoryError:
            raise
        except Exception as error:  # the JSON may hold anything
            raise CleanerError(f"its architecture is broken ({type(error).__name__}).") from error
        # Otherwise building would read a folder or download a repository that the user did not name.
        if not architecture._has_listed_tokenizer:
            raise CleanerError(
                f"it names the tokenizer {str(architecture.tokenizer)[:80]!r}, which is not open_clip's: give the "
                "folder (local-dir:) or hub model (hf-hub:) that the weights came from."
            )
        return architecture.validate()

    @classmethod
    def from_config(cls, config: Mapping[str, Any], preprocess: Mapping[str, Any], tokenizer: str = "") -> Architecture:
        """Return the architecture of open_clip's `model_cfg` and `preprocess_cfg`."""
        # CLIP's token ids are valid for a larger vocabulary, so nothing else would fail, but all texts would be noise.
        if (name := config["text_cfg"].get("hf_tokenizer_name")) and not tokenizer:
            raise CleanerError(
                f"this model reads texts with the tokenizer {name}, not CLIP's: pass tokenizer=, the model's name in "
                "open_clip or its hf-hub: or local-dir: name."
            )
        return cls(
            embed_dim=config["embed_dim"],
            vision=dict(config["vision_cfg"]),
            text=dict(config["text_cfg"]),
            quick_gelu=config.get("quick_gelu", False),
            mean=tuple(preprocess.get("mean") or open_clip.OPENAI_DATASET_MEAN),
            std=tuple(preprocess.get("std") or open_clip.OPENAI_DATASET_STD),
            extra={key: value for key, value in config.items() if key not in _CORE_KEYS},
            resize_mode=preprocess.get("resize_mode") or "shortest",
            interpolation=preprocess.get("interpolation") or "bicubic",
            tokenizer=tokenizer,
        )

    def validate(self) -> Architecture:
        """Return this architecture if building it runs no code, reads no file and needs bounded memory."""
        fault = next(find_faults(self), "")
        if fault:
            raise CleanerError(
                f"its architecture is refused because of {fault}: if you know the right one, name it before the "
                "weights, as in ViT-B-32:weights.pt."
            )
        return self

    @property
    def _has_listed_tokenizer(self) -> bool:
        return self.tokenizer in ("", *open_clip.list_models())

    def validate_storable(self) -> None:
        """Raise `CleanerError` if `from_json` would refuse this architecture: nobody could open the trained model."""
        portable = self.with_portable_tokenizer()
        fault = next(find_faults(portable), "")
        if not portable._has_listed_tokenizer:
            name = self.text.get("hf_tokenizer_name") or self.tokenizer
            fault = f"its tokenizer {name!r}, which no model of open_clip uses with the same options"
        if fault:
            raise CleanerError(
                f"the trained model could not be opened again, because of {fault}: choose a model whose tokenizer and "
                "text tower are also those of a model that open_clip lists."
            )

    def with_portable_tokenizer(self) -> Architecture:
        """Return this architecture with open_clip's name for its tokenizer, if there is one, for storage in a file."""
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
        """Return a randomly initialized open_clip model on the CPU (torch's global seed)."""
        try:
            return self._build()
        except MemoryError:
            raise
        except Exception as error:  # open_clip and timm check few of their settings
            raise CleanerError(
                f"open_clip cannot build this architecture ({type(error).__name__}: {first_line(error)}): if you know "
                "the right one, name it before the weights, as in ViT-B-32:weights.pt."
            ) from error

    def build_for_weights(self) -> nn.Module:
        """Return a model without drawing its weights; the caller's random state stays."""
        with torch.random.fork_rng(devices=[]), _WithoutRandomInit():
            return self.build()

    def _build(self) -> nn.Module:
        extra = dict(self.extra)
        prompts = extra.pop(PROMPTS_KEY, None)
        custom = extra.pop("custom_text", False) or "hf_model_name" in self.text
        # The weights come from a file, so the towers must not download their own.
        timm = {"timm_model_pretrained": False} if "timm_model_name" in self.vision else {}
        hub = {"hf_model_pretrained": False} if "hf_model_name" in self.text else {}
        kind = open_clip.CLIP
        if custom:
            kind = open_clip.CoCa if "multimodal_cfg" in extra else open_clip.CustomTextCLIP
        vision = open_clip.CLIPVisionCfg(**{**self.vision, **timm})
        text = open_clip.CLIPTextCfg(**{**self.text, **hub})
        model: nn.Module = kind(self.embed_dim, vision_cfg=vision, text_cfg=text, quick_gelu=self.quick_gelu, **extra)
        if isinstance(model, open_clip.CoCa):  # open_clip leaves it as it finds the memory, maybe with NaN
            nn.init.normal_(model.text_decoder.text_projection, std=model.text_decoder.width**-0.5)
        if prompts is not None:
            install_prompts(model, **prompts)
        return model

    def with_image_size(self, image_size: int) -> Architecture:
        """Return the same architecture for images of `image_size` px."""
        step = self.vision.get("patch_size", RESNET_STRIDE)
        if image_size <= 0 or image_size % step:
            raise CleanerError(f"image_size must be a multiple of {step} px for this architecture, not {image_size}.")
        return replace(self, vision={**self.vision, "image_size": image_size})

    def framing(self, image_size: int) -> ImageTransform:
        """Return how an image becomes the square of `image_size` px that the model sees."""
        return ImageTransform(image_size, self.resize_mode, self.interpolation)


# The 49,408 rows of the token embedding are most of a small model's size, so the text tower is narrow.
_SMALL_TEXT = {"width": 96, "heads": 3, "layers": 3}
BUILT_IN = {
    # Narrow and shallow: a step takes less than half of the time of scenes-rn's.
    "scenes-lite": Architecture(
        128, {"layers": (1, 1, 1, 1), "width": 8, "image_size": 64}, {"width": 32, "heads": 1, "layers": 1}
    ),
    "scenes-rn": Architecture(128, {"layers": (1, 1, 1, 1), "width": 32, "image_size": 64}, _SMALL_TEXT),
    "scenes-vit": Architecture(
        128, {"layers": 6, "width": 128, "head_width": 32, "patch_size": 8, "image_size": 64}, _SMALL_TEXT
    ),
    # SigLIP's text tower, which sees the whole context at once, with the image tower of scenes-lite: a small vision
    # transformer hardly learns from captions alone.
    "scenes-siglip": Architecture(
        128,
        {"layers": (1, 1, 1, 1), "width": 8, "image_size": 64},
        {"width": 32, "heads": 1, "layers": 1, "context_length": 32}
        | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
        extra={"custom_text": True, "init_logit_scale": math.log(10), "init_logit_bias": -10.0},
    ),
    # Photos of 32 px are enlarged to 64, so that the stem, which halves the sides twice, keeps their resolution once.
    "photos-rn": Architecture(
        128,
        {"layers": (1, 2, 2, 1), "width": 32, "image_size": 64},
        {"width": 64, "heads": 2, "layers": 2},
    ),
}
"""Models trained by `python -m cleaner pretrain`; their weights are in assets/<name>/."""


def get_open_clip_architecture(name: str, tag: str = "") -> Architecture:
    """Return open_clip's architecture `name`, with the preprocessing of a pretrained tag; "": of its first."""
    config = open_clip.get_model_config(name)
    is_siglip = "siglip" in name.lower()
    has_own_tokenizer = is_siglip or any(
        config["text_cfg"].get(key) for key in ("hf_tokenizer_name", "tokenizer_kwargs")
    )
    preprocess: Mapping[str, Any] = {}
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tags:
        preprocess = open_clip.get_pretrained_cfg(name, tag or tags[0])
    return Architecture.from_config(config, preprocess, name if has_own_tokenizer else "")


def find_open_clip_name(architecture: Architecture) -> str | None:
    """Return the name under which open_clip lists an architecture, or None."""

    def comparable(model: Mapping[str, Any]) -> tuple[Any, ...]:
        vision = dict(model["vision_cfg"])
        if isinstance(vision.get("layers"), list):
            vision["layers"] = tuple(vision["layers"])
        towers = open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**model["text_cfg"])
        rest = {key: value for key, value in model.items() if key not in _CORE_KEYS and value}
        # A ResNet has no patches, so its number does not matter.
        if isinstance(vision.get("layers"), tuple):
            towers[0].patch_size = 0
        return model["embed_dim"], *towers, bool(model.get("quick_gelu")), rest

    wanted = comparable(architecture.to_config()["model_cfg"])
    for name in open_clip.list_models():
        if comparable(open_clip.get_model_config(name)) == wanted:
            return str(name)
    return None
