"""OpenAI's CLIP architecture, inferred from the shapes of its weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cleaner.models.architectures import RESNET_STRIDE, Architecture
from cleaner.types import CleanerError

MAX_VOCABULARY = 50_000
"""CLIP's tokenizer has 49,408 tokens, and a finetuning may add a few. Texts of a larger vocabulary would be noise."""


def infer_architecture(state: Mapping[str, Tensor], path: object) -> Architecture:
    """Return the architecture of weights as CleanCLIP, BadCLIP and PAR publish them: width 64 per head, QuickGELU."""
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
    except (KeyError, IndexError, TypeError) as error:  # TypeError: no positions, so a negative root
        first_keys = ", ".join(list(state)[:4]) or "nothing"
        raise CleanerError(
            f"{path} is not a CLIP of OpenAI's architecture (first keys: {first_keys}): name its architecture in "
            "open_clip, as in ViT-B-16-SigLIP:weights.pt, or give a local-dir: folder with open_clip_config.json."
        ) from error
    if width % 64 or not text["layers"] or not vision["layers"]:
        raise CleanerError(
            f"the number of attention heads of {path} is unknown (text width {width} is not a multiple of 64): "
            "give a local-dir: folder with open_clip_config.json."
        )
    if text["vocab_size"] > MAX_VOCABULARY:
        raise CleanerError(
            f"{path} has {text['vocab_size']:,} tokens, more than CLIP's tokenizer: name its architecture in "
            "open_clip, as in ViT-H-14-worldwide:weights.pt, or give a local-dir: folder with open_clip_config.json."
        )
    return Architecture(embed_dim, vision, text, quick_gelu=True)


def _infer_vit(state: Mapping[str, Tensor]) -> dict[str, Any]:
    width, patch = state["visual.conv1.weight"].shape[0], state["visual.conv1.weight"].shape[-1]
    blocks = {key.split(".")[3] for key in state if key.startswith("visual.transformer.resblocks.")}
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    # A ViT-H, whose heads are wider. So are those of ViT-g, bigG and e, which do not fit: their MLPs are wider too.
    heads = {"head_width": 80} if width == 1280 else {}
    return {"layers": len(blocks), "width": width, **heads, "patch_size": patch, "image_size": side * patch}


def _infer_resnet(state: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = [{key.split(".")[2] for key in state if key.startswith(f"visual.layer{stage}.")} for stage in range(1, 5)]
    side = round((state["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
    width = state["visual.layer1.0.conv1.weight"].shape[0]
    return {"layers": tuple(map(len, blocks)), "width": width, "image_size": side * RESNET_STRIDE}
