"""The rule of protocol 2: the largest affordable rate, forms by rate, five rates around the budgets."""

from __future__ import annotations

from benchmarks.protocol2 import rule

FLAT = {5e-3: 0.06, 3e-3: 0.03, 2e-3: 0.019, 1e-3: 0.008, 3e-4: 0.004}


def test_rates_are_tried_from_the_largest_until_one_is_affordable_and_five_were_tried() -> None:
    losses: dict[float, float] = {}
    while (lr := rule.next_rate(losses)) is not None:
        losses[lr] = FLAT[lr]
    assert losses == FLAT
    never = dict.fromkeys(rule.GRID, 0.1)
    assert rule.next_rate({lr: 0.1 for lr in list(rule.GRID)[1:]}) == rule.GRID[0]
    assert rule.next_rate(never) is None


def test_the_rest_of_the_grid_changes_no_curve() -> None:
    rest = FLAT | {1e-4: 0.035, 3e-5: 0.035}
    assert rule.curve_rates(rest) != rule.curve_rates(FLAT)
    assert rule.needed_losses(rest) == FLAT
    assert rule.needed_losses({1e-4: 0.035}) == {}, "the largest rate is missing"


def test_the_largest_affordable_rate_is_chosen_else_the_most_accurate() -> None:
    assert rule.choose_rate(FLAT) == rule.Choice(2e-3, 0.019, lost_accuracy=False)
    assert rule.choose_rate(FLAT, rule.WIDE_BUDGET).lr == 3e-3
    assert rule.choose_rate({1e-3: 0.2, 1e-5: 0.03}) == rule.Choice(1e-5, 0.03, lost_accuracy=True)


def test_the_form_with_the_highest_rate_wins_and_accuracy_breaks_ties() -> None:
    forms = {"a": {3e-3: 0.03, 1e-3: 0.001}, "b": {3e-3: 0.019, 1e-3: 0.01}, "c": {3e-3: 0.015, 1e-3: 0.018}}
    assert rule.choose_form(forms) == "c"
    lossy = {"a": {3e-3: 0.05, 1e-3: 0.03}, "b": {3e-3: 0.025, 1e-3: 0.09}}
    assert rule.choose_form(lossy) == "b", "none is affordable: accuracy decides"
    assert rule.choose_form(lossy | {"c": {3e-3: 0.5, 1e-5: 0.0}}) == "c", "an affordable rate beats none"


def test_the_curve_surrounds_the_budgets_and_holds_the_chosen_rate() -> None:
    hump = {5e-3: 0.15, 3e-3: 0.11, 2e-3: 0.09, 1e-3: 0.09, 3e-4: 0.12, 1e-4: 0.15, 3e-5: 0.1, 1e-5: 0.04, 3e-6: 0.01}
    assert rule.curve_rates(hump) == [3e-6, 1e-5, 3e-5, 1e-3, 2e-3]
    assert rule.curve_rates(FLAT) == sorted(FLAT)
    free = {lr: 0.008 - 0.001 * i for i, lr in enumerate(sorted(rule.GRID))}
    assert rule.curve_rates(free) == sorted(rule.GRID)[-5:], "below a point all are equal: ties go to the larger rate"
    crowded = {1e-3: 0.0, **{lr: 0.035 for lr in (2e-3, 3e-3, 5e-3, 3e-4, 1e-4)}}
    assert 1e-3 in rule.curve_rates(crowded)
    assert len(rule.curve_rates(crowded)) == rule.CURVE_RATES
