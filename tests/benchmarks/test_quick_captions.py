"""The quick setting on mixed captions: the plan, the rule, and the table next to full captions."""

from __future__ import annotations

from collections import Counter

from benchmarks import quick_captions, quick_plan

METHODS = ("cleanclip", "finetune")


def test_every_method_has_equally_many_trials_and_all_seeds() -> None:
    names = [key.rpartition(" ")[0] for key in quick_captions.trials()]
    assert Counter(names) == dict.fromkeys([*quick_plan.VARIANTS, "par"], quick_plan.TRIALS_EACH)
    cells = list(quick_captions.cells({name: {} for name in METHODS}))
    assert len(cells) == len(set(cells)) == 2 * len(quick_plan.CONFIRM_SEEDS) * 3
    assert cells[0] == f"badnet {quick_plan.CONFIRM_SEEDS[0]} none"
