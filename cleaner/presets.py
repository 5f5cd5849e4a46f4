"""Settings that were found by trials; the trials stand in benchmarks/results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cleaner.config import FinetuneConfig

PRETRAIN = FinetuneConfig(
    lr=1e-3, epochs=7, batch_size=128, warmup_steps=200, weight_decay=0.1, beta2=0.98, augmentation="none"
)

# The full setting of the attack x defence table on Scenes. Attacks were chosen by ASR and CA of the backdoored model,
# before any defence, on a seed that no table uses.
POISON_PAIRS, POISON_RATE = 6000, 0.03
POISON = FinetuneConfig(lr=1e-3, epochs=4)
# BadCLIP: with its published weight 500 the pull to target pictures drowns the rest, and the patch does not fool the
# clean model at all (floor 0.001 instead of 0.051).
ATTACKS: dict[str, dict[str, Any]] = {"badclip": {"triplet_weight": 20.0, "step_size": 0.03}}
"""Trigger -> parameters that differ from the trigger's defaults."""
# On seed 100 (benchmarks/results/defense_trials.json): 310 steps are too few for all methods, and 20 epochs on 2,000
# pairs cost more accuracy than the same steps on 6,000.
CLEAN_PAIRS = 6000
DEFEND = FinetuneConfig(lr=1e-4, epochs=7)

# The demo: the same methods in about two minutes on two cores. In so few steps only a high rate removes anything; it
# is the same for all, and costs each of them accuracy.
DEMO_POISON_PAIRS, DEMO_CLEAN_PAIRS = 4000, 1000
DEMO_POISON_RATE = 0.03
DEMO_POISON = FinetuneConfig(lr=1e-3, epochs=4)
DEMO_DEFEND = FinetuneConfig(lr=1e-3, epochs=8)


def recommended_lr(model: str, defense: str, default: float = 1e-4) -> float:
    """Return the learning rate of the full setting, chosen by accuracy alone (benchmarks/learning_rates.py).

    Models and methods without a trial get `default`.
    """
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "learning_rates.json"
    chosen = json.loads(path.read_text(encoding="utf-8"))["chosen"] if path.exists() else {}
    return float(chosen.get(model, {}).get(defense, default))
