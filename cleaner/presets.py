"""Settings that were found by trials; each says where its figures stand."""

from __future__ import annotations

import json
from pathlib import Path

from cleaner.config import FinetuneConfig

PRETRAIN = FinetuneConfig(
    lr=1e-3, epochs=7, batch_size=128, warmup_steps=200, weight_decay=0.1, beta2=0.98, augmentation="none"
)
POISON = FinetuneConfig(lr=3e-4, epochs=4)
"""Chosen by ASR and CA of the backdoored model, before any defence."""
DEFEND = FinetuneConfig(lr=1e-4, epochs=10)

DEMO_POISON_PAIRS, DEMO_CLEAN_PAIRS = 3000, 1000
DEMO_POISON_RATE = 0.03
DEMO_POISON = FinetuneConfig(lr=3e-4, epochs=4)
DEMO_DEFEND = FinetuneConfig(lr=1e-4, epochs=4)


def recommended_lr(model: str, defense: str, default: float = 1e-4) -> float:
    """Return the learning rate chosen for a model and defence by accuracy alone (benchmarks/learning_rates.py).

    Models and defences without a trial get `default`.
    """
    path = Path(__file__).resolve().parent.parent / "assets" / "learning_rates.json"
    chosen = json.loads(path.read_text(encoding="utf-8"))["chosen"] if path.exists() else {}
    return float(chosen.get(model, {}).get(defense, default))
