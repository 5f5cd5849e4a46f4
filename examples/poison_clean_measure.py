"""Poison a small CLIP with a patch, clean it with TA-Cleaner, and measure both models on the same held-out images.

The settings are those that the pages start with; `python -m cleaner demo` compares four defenses in the same way.
"""

from cleaner import DEFENSES, TRIGGERS, configure_torch, defend, load_clip, load_data, poison
from cleaner.presets import QUICK_CLEAN_PAIRS, QUICK_MODEL, quick_defense_preset, settings_for

configure_torch()  # faster on the CPU; optional
clip = load_clip(QUICK_MODEL)
attack, cleaning = settings_for(QUICK_MODEL, "badnet", "quick"), quick_defense_preset("ta_cleaner", QUICK_MODEL)
test = load_data("scenes", split="test", size=600)

data = load_data("scenes", split="train", size=attack.pairs)
trigger = TRIGGERS["badnet"](patch_size=28)
backdoored = poison(clip, data, trigger, "banana", poison_rate=attack.poison_rate, config=attack.finetune, test=test)

pairs = load_data("scenes", split="clean", size=QUICK_CLEAN_PAIRS)
defense = DEFENSES["ta_cleaner"](**cleaning.parameters)
defended = defend(backdoored, defense, pairs, cleaning.training.finetune, test=test)

for name, run in {"backdoored": backdoored, "defended": defended}.items():
    print(f"{name:10}  clean accuracy {run.metrics.ca[1]:.3f}  attack success {run.metrics.asr[1]:.3f}")
