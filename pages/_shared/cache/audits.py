"""Audits: make them, and render them as HTML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleaner.audit.result import store_audit
from cleaner.types import OnStep
from pages._shared.cache.background import import_library, wrap_in_thread
from pages._shared.cache.external_models import describe
from pages._shared.cache.loaders import load_data, load_model, make_model_key
from pages._shared.inspect.sample import DataKey, ModelKey


def make_audit(model: ModelKey, data: str, folder: Path, earlier: Path | None, on_step: OnStep) -> None:
    """Audit a model and store the result in `folder`. data: images that are preferred.

    earlier: folder of the audit before the model was cleaned, whose trigger is tried again.
    """
    import_library()
    from cleaner.audit import IMAGES
    from cleaner.audit.population import choose_images
    from cleaner.audit.report import audit, load_found

    clip, found = load_model(model), [] if earlier is None else [load_found(earlier)]
    name, images, references = choose_images(clip, data, lambda name: load_data(DataKey(name, "test", IMAGES), on_step))
    result = audit(clip, images, references, wrap_in_thread(on_step), earlier=found)
    store_audit(result | {"data": result["data"] | {"source": name}}, folder)


def audit_html(result: Mapping[str, Any], model: str) -> str:
    """Return an audit as one page; model: name or path."""
    from cleaner.audit.report import render_html

    return render_html(result, describe(make_model_key(model)) or f"{model} (built in)")
