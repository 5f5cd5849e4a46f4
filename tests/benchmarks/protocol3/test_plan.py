"""What plan.toml names exists, and the rows that count come from one processor."""

from __future__ import annotations

import importlib
from collections import Counter

import pytest

from benchmarks.protocol3.measure import SHORT_WORDS, build, draw_target, load_clean_pairs
from benchmarks.protocol3.plan import hash_plan, list_groups, read_plan, select_counting
from cleaner import labels
from cleaner.defenses import DEFENSES


def test_every_method_of_the_plan_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        DEFENSES, "_entries", {name: DEFENSES[name] for name in DEFENSES}
    )  # the control registers a defense
    monkeypatch.setattr(labels, "REGISTERED_LABELS", {**labels.REGISTERED_LABELS})
    importlib.import_module("benchmarks.protocol3.control")
    cells = [cell for arm in read_plan()["arms"] for group in list_groups(arm) for cell in group if cell.method]
    for cell in {cell.method: cell for cell in cells}.values():
        defense, config = build(cell)
        assert defense.state_dict()["name"]
        assert (config.lr, config.seed) == (cell.lr, cell.seed), cell


def test_every_method_of_an_arm_has_the_same_number_of_trials() -> None:
    for arm in read_plan()["arms"]:
        for group in list_groups(arm):
            counts = Counter((cell.method, cell.short_captions) for cell in group if cell.method)
            assert set(counts.values()) == {len(read_plan()["grid"]["rates"])}
            assert len({cell.key for cell in group}) == len(group)


def test_the_plan_uses_no_seed_of_an_earlier_table() -> None:
    assert min(seed for arm in read_plan()["arms"].values() for seed in arm["seeds"]) > 10


def test_the_target_depends_on_the_seed_alone() -> None:
    assert draw_target(11) == draw_target(11)
    assert len({draw_target(seed) for seed in range(11, 21)}) > 5


def test_the_clean_pairs_have_the_share_of_short_captions() -> None:
    pairs = load_clean_pairs(0.08, 11)
    assert sum(len(caption.split()) <= SHORT_WORDS for caption in pairs.captions) == round(0.08 * len(pairs))
    assert load_clean_pairs(0.08, 12).captions != pairs.captions


def test_rows_of_another_processor_count_only_if_it_measured_all() -> None:
    def row(key: str, processor: str) -> dict[str, str]:
        return {"key": key, "processor": processor, "plan": hash_plan()}

    some = [row("a", "other"), row("a", "mine")]
    assert select_counting({"a", "b"}, "mine", some) == some[1:]
    complete = [*some, row("b", "other")]
    assert select_counting({"a", "b"}, "mine", complete) == [some[0], complete[2]]


def test_rows_of_another_plan_do_not_count() -> None:
    assert select_counting({"a"}, "mine", [{"key": "a", "processor": "mine", "plan": "older"}]) == []
