"""The verdict on several defenses names the winner that the metrics name, and calls a tie a tie."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cleaner.evaluation.bootstrap import pack_outcomes
from cleaner.evaluation.metrics import wilson_interval
from cleaner.evaluation.result import Metrics
from cleaner.reports.verdict import describe_attack, describe_defenses, find_best, find_excess_loss


@dataclass
class Measurement:
    """Metrics of one model on `n` images."""

    ca: float
    asr: float | None
    counterfactual_accuracy: float | None = None
    n: int = 1000
    queries: str = "images"
    own_recall: float | None = None

    def metric(self, name: str, k: int = 1) -> float | None:
        value: float | None = getattr(self, name, None)
        return value

    def interval(self, name: str, k: int = 1) -> tuple[float, float] | None:
        value = self.metric(name)
        return None if value is None else wilson_interval(value, self.n)

    def count(self, name: str) -> int:
        return self.n

    def is_meaningful(self, k: int) -> bool:
        return True


BEFORE = Measurement(0.98, 0.99)


def test_the_lowest_attack_success_within_the_budget_wins() -> None:
    best, second, third = describe_defenses(
        BEFORE,
        {"Blunt": Measurement(0.85, 0.01), "Mild": Measurement(0.97, 0.40), "Sharp": Measurement(0.96, 0.05)},
    )
    assert best == "Within 3 points of clean accuracy, **Sharp** left the least attack success: 5.0%."
    assert second == "**Mild** left 40.0%."
    assert third == "**Blunt** left 1.0% and lost 13.0 points of accuracy."


def test_a_destroyed_model_is_the_best_only_without_another_one() -> None:
    destroyed, mild, sharp = Measurement(0.04, 0.0), Measurement(0.97, 0.40), Measurement(0.96, 0.05)
    assert find_best(BEFORE, [destroyed, mild, sharp]) is sharp
    assert find_best(BEFORE, [Measurement(0.90, 0.01), destroyed]) is destroyed
    assert find_best(BEFORE, [Measurement(0.97, None)]) is None
    assert [round(find_excess_loss(BEFORE, run), 2) for run in (destroyed, mild)] == [0.94, 0.0]


def test_a_defense_that_was_measured_on_another_test_is_not_the_best() -> None:
    same, other = Measurement(0.97, 0.40), Measurement(0.97, 0.0, n=10)
    assert find_best(BEFORE, [other, same]) is same
    assert find_best(BEFORE, [other]) is None
    few = replace(BEFORE, n=10)
    assert find_best(few, [other]) is None


def test_a_loss_of_the_whole_budget_is_within_it() -> None:
    before, after = (Measurement(float(np.float32(share)), asr) for share, asr in ((0.98, 0.99), (0.95, 0.05)))
    cheap = Measurement(before.ca, 0.4)
    assert describe_defenses(before, {"A": after, "B": cheap})[0].startswith("Within 3 points of clean accuracy, **A**")


def test_an_attack_that_plants_an_image_is_measured_by_the_captions_that_find_it() -> None:
    before, kept = Measurement(0.98, 0.7, own_recall=1.0), {"A": Measurement(0.97, 0.8, own_recall=0.0)}
    found = "of the keyed captions finding the attacker's image first"
    assert describe_defenses(before, kept) == [f"Within 3 points of clean accuracy, **A** left 0.0% {found}."]
    several = {"B": Measurement(0.97, 0.6, own_recall=0.2), **kept}
    first, second = describe_defenses(before, several)
    assert first == f"Within 3 points of clean accuracy, **A** left the smallest share {found}: 0.0%."
    assert second == "**B** left 20.0%."


def test_overlapping_intervals_are_a_tie() -> None:
    _, second = describe_defenses(BEFORE, {"One": Measurement(0.97, 0.05), "Two": Measurement(0.97, 0.06)})
    assert second == "**Two** left 6.0% (a tie within the 95% interval)."


def test_a_difference_on_the_same_images_is_no_tie_where_intervals_overlap() -> None:
    """Two models on the same images: 80 more hits, none fewer, of 4,400."""

    def measure(hits: int) -> Metrics:
        outcomes = {"asr": pack_outcomes(np.arange(4400) < hits)}
        asr = {1: hits / 4400}
        return Metrics(
            ca={1: 0.97}, n=4400, classes=10, data="d/test", asr=asr, n_attack=4400, target_class="a", outcomes=outcomes
        )

    before, low, high = (measure(hits) for hits in (4380, 440, 520))
    assert low.interval("asr")[1] > high.interval("asr")[0]
    assert describe_defenses(before, {"Low": low, "High": high})[1] == "**High** left 11.8%."
    assert "tie" in describe_defenses(before, {"Low": low, "Equal": measure(441)})[1]


def test_no_winner_where_all_lost_accuracy() -> None:
    first, *_ = describe_defenses(BEFORE, {"One": Measurement(0.5, 0.0), "Two": Measurement(0.6, 0.1)})
    assert first == "Every defense lost more than 3 points of clean accuracy."


def test_fine_detail_is_told_where_it_differs() -> None:
    runs = {"One": Measurement(0.97, 0.05, 0.76), "Two": Measurement(0.97, 0.30, 0.59)}
    assert describe_defenses(BEFORE, runs)[-1] == (
        "Fine detail (counterfactual accuracy): 76.0% with **One**, 59.0% with **Two**."
    )
    runs["Two"].counterfactual_accuracy = 0.75
    assert "Fine detail" not in " ".join(describe_defenses(BEFORE, runs))


def test_nothing_is_said_of_an_unknown_attack() -> None:
    assert describe_defenses(Measurement(0.98, None), {"One": Measurement(0.9, None)}) == []


def test_no_winner_against_an_attack_that_did_not_take() -> None:
    (sentence,) = describe_defenses(Measurement(0.9, 0.3), {"A": Measurement(0.9, 0.01)})
    assert "The attack failed (30.0%)" in sentence


def test_the_attack_is_described_in_one_sentence() -> None:
    assert describe_attack(BEFORE) == "The model assigns 99.0% of the images with the trigger to the target."
    assert describe_attack(Measurement(0.9, 0.1)) == (
        "The attack failed: the model assigns 10.0% of the images with the trigger to the target."
    )
    assert describe_attack(Measurement(0.9, None)) == ""


def test_an_attack_on_captions_is_told_of_captions() -> None:
    metrics = Metrics(ca={1: 0.9}, n=100, classes=10, data="d/test", asr={1: 0.9}, n_attack=90, queries="captions")
    assert describe_attack(metrics) == "The model assigns 90.0% of the captions with the trigger to the target."
    few = replace(metrics, n_attack=9)
    for sentence in (describe_attack(few), *describe_defenses(few, {"A": few})):
        assert sentence.startswith("Measured on 9 captions: too few")


def test_a_few_images_decide_nothing() -> None:
    few = Measurement(0.98, 0.0, n=4)
    (sentence,) = describe_defenses(few, {"A": Measurement(0.9, 0.0, n=4)})
    assert sentence.startswith("Measured on 4 images: too few")
    assert describe_attack(Measurement(0.98, 0.0, n=1)).startswith("Measured on 1 image: too few")
    last = describe_defenses(BEFORE, {"A": few, "B": BEFORE})[-1]
    assert last == "Measured on a different test, so not compared: **A**."
