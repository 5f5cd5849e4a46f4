"""Model names as the worker can use them, from any working directory."""

from __future__ import annotations

from cleaner.files import resolve_path

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
"""Suffixes of files with weights, the preferred one first."""


def resolve_model_name(model: str) -> str:
    """Return a built-in model's name unchanged, and the path of a model file as an absolute path."""
    from cleaner.models.architectures import BUILT_IN  # loads open_clip

    return model if model in BUILT_IN else resolve_path(model)
