"""TODO docstring."""

from __future__ import annotations

from cleaner.files import resolve_path


def resolve_model_name(model: str) -> str:
    """Return a model's name as it stands, a model's file as its absolute path: the worker may start elsewhere."""
    from cleaner.models.architectures import BUILT_IN  # loads open_clip

    return model if model in BUILT_IN else resolve_path(model)
