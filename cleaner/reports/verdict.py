"""The verdict on several defenses of one backdoored model, in sentences computed from their test metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cleaner.evaluation.bootstrap import metric_difference_interval
from cleaner.evaluation.equal_accuracy import is_within
from cleaner.evaluation.result import MIN_VERDICT_IMAGES, WEAK_ASR, Measured, success_share
from cleaner.evaluation.same_test import is_same_test

ACCURACY_BUDGET = 0.03
"""Clean accuracy that a defense may lose to count as one that kept it."""
PLANTED = "own_recall"
"""Metric of an attack that plants an image, which is its success."""
DETAIL_GAP = 0.02
"""Difference of counterfactual accuracy that is worth a sentence."""


def describe_defenses(before: Measured, defended: Mapping[str, Measured]) -> list[str]:
    """Return what the defenses removed and what they cost, for label -> metrics; empty if the attack is unknown.

    The winner has the lowest success (`success_share`) among the defenses that lost at most `ACCURACY_BUDGET` of clean
    accuracy. A difference whose 95% interval holds 0 is called a tie.
    """
    attack, accuracy = success_share(before), before.metric("ca")
    measured = {
        label: (asr, ca)
        for label, run in defended.items()
        if (asr := success_share(run)) is not None and (ca := run.metric("ca")) is not None
    }
    if attack is None or accuracy is None or not measured:
        return []
    elsewhere = [label for label in measured if not is_same_test(_read_test(before), _read_test(defended[label]))]
    if elsewhere:
        names = ", ".join(f"**{label}**" for label in elsewhere)
        comparable = {label: run for label, run in defended.items() if label not in elsewhere}
        return [*describe_defenses(before, comparable), f"Measured on a different test, so not compared: {names}."]
    if too_few := _describe_too_few(before, *(defended[label] for label in measured)):
        return [too_few]
    if attack < WEAK_ASR:
        return [f"The attack failed ({_percent(attack)}): there is no backdoor that a defense could remove."]
    by_asr = sorted(measured, key=lambda label: measured[label][0])
    kept = [label for label in by_asr if is_within(accuracy - measured[label][1], ACCURACY_BUDGET)]
    budget = f"{100 * ACCURACY_BUDGET:g} points of clean accuracy"
    sentences = [f"Every defense lost more than {budget}."] if len(measured) > 1 else []
    if kept:
        best, *rest = kept
        left = f"{_percent(measured[best][0])} attack success"
        if len(measured) > 1:
            left = f"the least attack success: {_percent(measured[best][0])}"
        sentences = [f"Within {budget}, **{best}** left {left}."]
        for label in rest:
            tie = " (a tie within the 95% interval)" if _is_tie(defended[best], defended[label]) else ""
            sentences.append(f"**{label}** left {_percent(measured[label][0])}{tie}.")
    for label in (label for label in by_asr if label not in kept):
        asr, ca = measured[label]
        sentences.append(f"**{label}** left {_percent(asr)} and lost {100 * (accuracy - ca):.1f} points of accuracy.")
    return [*sentences, *_describe_detail({label: defended[label] for label in measured})]


def _read_test(run: Measured) -> Mapping[str, Any]:
    """Return what a model was measured on, as `Metrics.to_dict` has it."""
    test: Mapping[str, Any] = getattr(run, "metrics", None) or vars(run)
    return test


def _describe_too_few(*compared: Measured) -> str:
    """Return a sentence if models were measured on too few images to compare them, else ""."""
    fewest, name = min((run.count(name), name) for run in compared for name in ("asr", "ca"))
    if not 0 < fewest < MIN_VERDICT_IMAGES:
        return ""
    queries = compared[0].queries if name == "asr" else "images"
    return f"Measured on {fewest} {queries}: too few to compare defenses. Test on at least {MIN_VERDICT_IMAGES}."


def conclude(before: Measured, defended: Mapping[str, Measured]) -> list[str]:
    """Return in plain words what became of a backdoor, for label -> metrics of its defenses; empty if it is unknown.

    The defense that removed most comes first, then what each other one left and lost: "CleanCLIP removed more, but lost
    15 points of accuracy; TA-Cleaner left 4% and lost 2." Defenses measured on another test are left out.
    """
    attack, accuracy = success_share(before), before.metric("ca")
    if attack is None or accuracy is None:
        return []
    defended = {label: run for label, run in defended.items() if is_same_test(_read_test(before), _read_test(run))}
    if too_few := _describe_too_few(before, *defended.values()):
        return [too_few]
    success = f"the model assigns {_round(attack)} of the {before.queries} with the trigger to the target"
    if before.metric(PLANTED) is not None:
        success = f"{_round(attack)} of the captions with the key find the attacker's image first"
    if attack < WEAK_ASR:
        return [f"The attack failed: {success}."]
    sentences = [f"{success[0].upper()}{success[1:]}."]
    figures = {
        label: (asr, accuracy - ca)
        for label, run in defended.items()
        if (asr := success_share(run)) is not None and (ca := run.metric("ca")) is not None
    }
    if not figures:
        return sentences
    first, *others = sorted(figures, key=lambda label: figures[label][0])
    asr, lost = figures[first]
    tied = [label for label in others if _is_tie(defended[first], defended[label])]
    if asr > WEAK_ASR:
        removed = f"No defense removed it: **{first}** left {_round(asr)}"
    elif not tied and not is_within(lost, ACCURACY_BUDGET) and any(figures[label][1] < lost for label in others):
        removed = f"**{first}** removed more than the others ({_round(asr)} left), but {_cost(lost)}"
    else:
        removed = f"**{first}** left {_round(asr)} and {_cost(lost)}"
    rest = f"; {_list_others(others, figures)}" if others else ""
    tie = f" {' and '.join([first, *tied])} are a tie within the 95% interval." if tied else ""
    return [*sentences, f"{removed}{rest}.{tie}"]


def _list_others(labels: Sequence[str], figures: Mapping[str, tuple[float, float]]) -> str:
    return "; ".join(f"**{label}** left {_round(figures[label][0])} and {_cost(figures[label][1])}" for label in labels)


def _cost(lost: float) -> str:
    """Return what a defense cost: "lost 15 points of accuracy"."""
    points = round(100 * lost)
    return "kept the accuracy" if points <= 0 else f"lost {points} point{'s' * (points > 1)} of accuracy"


def _round(share: float) -> str:
    """Return a share in whole percent; a small one, and not 0, as "under 1%"."""
    return "under 1%" if 0 < share < 0.005 else f"{100 * share:.0f}%"


def _describe_detail(defended: Mapping[str, Measured]) -> list[str]:
    """Return which defense kept the most fine detail, if they differ."""
    detail = {label: cf for label, run in defended.items() if (cf := run.metric("counterfactual_accuracy")) is not None}
    if len(detail) < 2:
        return []
    best, worst = max(detail, key=lambda label: detail[label]), min(detail, key=lambda label: detail[label])
    if detail[best] - detail[worst] < DETAIL_GAP:
        return []
    return [
        f"Fine detail (counterfactual accuracy): {_percent(detail[best])} with **{best}**, {_percent(detail[worst])} "
        f"with **{worst}**."
    ]


def _is_tie(one: Measured, other: Measured) -> bool:
    """Return whether the 95% interval of the difference holds 0; without paired outcomes: whether intervals overlap."""
    name = "asr" if one.metric(PLANTED) is None else PLANTED
    if name == "asr":  # which has paired outcomes
        difference = metric_difference_interval(_read_test(one), _read_test(other), name)
        if difference is not None:
            return difference[0] <= 0 <= difference[1]
    first, second = one.interval(name), other.interval(name)
    return first is not None and second is not None and first[0] <= second[1] and second[0] <= first[1]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
