"""assets/exercises/rates.json: what each learning rate of a defense cost and left, for an exercise.

Written by benchmarks.tables.
"""

from __future__ import annotations

from typing import Any

from benchmarks import RESULTS_DIR
from cleaner.files import read_json
from cleaner.presets import COMPARED_DEFENSES, QUICK_MODEL

FILE = "quick_setting.json"


def collect() -> dict[str, Any]:
    """Return file, budget and accuracy before (shares), and method -> [learning rate, accuracy, attack success]."""
    result = read_json(RESULTS_DIR / FILE)
    setting, chosen = result["setting"], result["chosen"][QUICK_MODEL]
    trials = [t for t in result["trials"] if t["model"] == QUICK_MODEL and t["epochs"] == setting["epochs"]]
    methods = {}
    for name in COMPARED_DEFENSES:
        rows = [t for t in trials if t["defense"] == name and t["form"] == chosen[name]["form"]]
        methods[name] = [[t["lr"], round(t["ca"], 4), round(t["asr"], 4)] for t in sorted(rows, key=lambda t: t["lr"])]
    return {
        "file": FILE,
        "budget": result["budget"],
        "before": round(trials[0]["backdoored_ca"], 4),
        "methods": methods,
    }
