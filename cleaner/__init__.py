"""TA-Cleaner Lab: poison an image-text model, clean it, and see what changed.

Names are loaded at first use (PEP 562), so that `import cleaner` is fast. Importing and calling the library changes no
global setting; a program that trains on the CPU calls `configure_torch` once, as the command line does, for speed.
"""

import importlib
from typing import Any

_EXPORTS = {
    "load_clip": "cleaner.models.clip",
    "save_clip": "cleaner.models.clip",
    "Clip": "cleaner.models.clip",
    "load_data": "cleaner.data.base",
    "DATASETS": "cleaner.data.base",
    "poison": "cleaner.workflow",
    "defend": "cleaner.workflow",
    "rebound": "cleaner.workflow",
    "compare": "cleaner.workflow",
    "evaluate": "cleaner.evaluation.evaluate",
    "Metrics": "cleaner.evaluation.result",
    "finetune": "cleaner.training.loop",
    "FinetuneConfig": "cleaner.config",
    "configure_torch": "cleaner.models.devices",
    "TRIGGERS": "cleaner.attacks",
    "DEFENSES": "cleaner.defenses",
    "DETECTORS": "cleaner.detectors",
    "EXPLAINERS": "cleaner.explain",
    "Run": "cleaner.runs.run",
    "load_run": "cleaner.runs.run",
    "save_run": "cleaner.runs.run",
    "CleanerError": "cleaner.types",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'cleaner' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
