"""Which defense is best, in sentences computed from test metrics."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from cleaner.evaluation.bootstrap import metric_difference_interval
from cleaner.evaluation.equal_accuracy import is_within
from cleaner.evaluation.protocol import is_same_test
from cleaner.evaluation.result import (
    METRICS,
    MIN_VERDICT_IMAGES,
    WEAK_ASR,
    Measured,
    describe_minimum,
    success_metric,
    success_share,
)
from cleaner.labels import format_count

MAX_ACCURACY_LOSS = 0.03
"""Clean accuracy that a defense may lose to count as one that kept it."""
M = TypeVar("M", bound=Measured)
DETAIL_GAP = 0.02
"""Difference of counterfactual accuracy that the verdict mentions."""


def find_best(before: Measured, defended: Iterable[M]) -> M | None:
    """Return the defense with the lowest success among those that lost little accuracy, else among all; or None."""
    comparable = list_comparable(before, defended)
    kept = [run for run in comparable if not find_excess_loss(before, run)]
    return min(kept or comparable, key=lambda run: success_share(run) or 0.0, default=None)


def list_comparable(before: Measured, defended: Iterable[M]) -> list[M]:
    """Return the defenses whose success was measured on the test of `before`; none if that has too few images."""
    if _describe_too_few(before):
        return []
    tested = [run for run in defended if is_same_test(_read_test(before), _read_test(run))]
    return [run for run in tested if success_share(run) is not None]


def find_excess_loss(before: Measured, after: Measured) -> float:
    """Return the clean accuracy that a defense lost if that is more than `MAX_ACCURACY_LOSS`; else 0."""
    first, second = before.metric("ca"), after.metric("ca")
    loss = first - second if first is not None and second is not None else 0.0
    return 0.0 if is_within(loss, MAX_ACCURACY_LOSS) else loss


def describe_defenses(before: Measured, defended: Mapping[str, Measured]) -> list[str]:
    """Return what each defense of label -> metrics removed and cost, with ties; empty for an unknown attack."""
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
    kept = [label for label in by_asr if not find_excess_loss(before, defended[label])]
    budget = f"{100 * MAX_ACCURACY_LOSS:g} points of clean accuracy"
    sentences = [f"Every defense lost more than {budget}."] if len(measured) > 1 else []
    if kept:
        best, *rest = kept
        share, least = "attack success", "the least attack success"
        if success_metric(before) != "asr":
            share = "of the keyed captions finding the attacker's image first"
            least = f"the smallest share {share}"
        left = _percent(measured[best][0])
        left = f"{least}: {left}" if len(measured) > 1 else f"{left} {share}"
        sentences = [f"Within {budget}, **{best}** left {left}."]
        for label in rest:
            tie = " (a tie within the 95% interval)" if _is_tie(defended[best], defended[label]) else ""
            sentences.append(f"**{label}** left {_percent(measured[label][0])}{tie}.")
    for label in (label for label in by_asr if label not in kept):
        asr, ca = measured[label]
        lost = METRICS["ca"].format_change(ca, accuracy).removeprefix("+")  # as on the cards
        sentences.append(f"**{label}** left {_percent(asr)} and lost {lost} of accuracy.")
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
    counted = format_count(fewest, queries)
    return f"Measured on {counted}: too few to compare defenses. Test on {describe_minimum(queries)}."


def describe_attack(before: Measured) -> str:
    """Return how often the attack on a backdoored model succeeds, or that too few images were tested; "" if unknown."""
    attack = success_share(before)
    if attack is None:
        return ""
    if too_few := _describe_too_few(before):
        return too_few
    success = f"the model assigns {_percent(attack)} of the {before.queries} with the trigger to the target"
    if success_metric(before) != "asr":
        success = f"{_percent(attack)} of the captions with the key find the attacker's image first"
    return f"The attack failed: {success}." if attack < WEAK_ASR else f"{success[0].upper()}{success[1:]}."


def _describe_detail(defended: Mapping[str, Measured]) -> list[str]:
    """Return which defense kept the most fine detail, if they differ."""
    detail = {label: cf for label, run in defended.items() if (cf := run.metric("counterfactual_accuracy")) is not None}
    if len(detail) < 2:
        return []
    labels = sorted(detail, key=lambda label: -detail[label])
    if detail[labels[0]] - detail[labels[-1]] < DETAIL_GAP:
        return []
    parts = ", ".join(f"{_percent(detail[label])} with **{label}**" for label in labels)
    return [f"Fine detail (counterfactual accuracy): {parts}."]


def _is_tie(one: Measured, other: Measured) -> bool:
    """Return whether the 95% interval of the difference holds 0; without paired outcomes: whether intervals overlap."""
    name = success_metric(one)
    if name == "asr":  # which has paired outcomes
        difference = metric_difference_interval(_read_test(one), _read_test(other), name)
        if difference is not None:
            return difference[0] <= 0 <= difference[1]
    first, second = one.interval(name), other.interval(name)
    return first is not None and second is not None and first[0] <= second[1] and second[0] <= first[1]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
