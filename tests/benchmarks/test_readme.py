"""The figures in the prose of README.md and docs/claim.md are those of the result files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import floor
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from benchmarks import photos, protocol, quick_captions, tables, views, vit_rivals
from benchmarks.markdown import views_tables
from benchmarks.markdown.protocol2_claim import BASELINE, CONTROL
from benchmarks.markdown.protocol2_tables import COLUMNS, FINE_COLUMNS
from benchmarks.markdown.result_tables import find_undefended_asr, read_settings
from benchmarks.protocol2 import plan, rule, summary
from benchmarks.protocol2.records import results_path
from benchmarks.protocol2.summary import NO_METHOD, by_method
from benchmarks.protocol2.tasks import Methods
from benchmarks.quick_plan import CONFIRM_SEEDS
from benchmarks.tasks import TaskFile
from cleaner import presets
from cleaner.data.base import load_data
from cleaner.evaluation.equal_accuracy import interpolate_asr, mean_interval, paired_gaps
from cleaner.files import read_json, read_json_lines
from cleaner.reports.claim import FINDINGS
from cleaner.reports.results import RESULTS_DIR
from pages._shared import state


def read_prose(page: Path) -> str:
    return " ".join(tables.TABLE_BLOCK.sub("", page.read_text(encoding="utf-8")).split())


PROSE, CLAIM = read_prose(tables.PAGES[0]), read_prose(tables.ROOT / "docs/claim.md")
OWN, TA = "ta_cleaner K 100 %", "ta_cleaner K 100 %, formula reviewed"
REMOVERS, OTHERS = (TA, OWN, CONTROL), protocol.ATTACKS[2:]
READ = {**COLUMNS, "points lost": lambda cell: 100 * cell.loss}
ALL_ROWS = cache(lambda: read_json_lines(results_path("scenes-lite")))
CELLS = cache(lambda: summary.select_cells(ALL_ROWS()))
Figures = Sequence[float]


@cache
def read_methods() -> Methods:
    """Return the rates of the second protocol."""
    decided = summary.decide("scenes-lite", ALL_ROWS())
    assert decided is not None
    return decided[1]


def main_cells(attack: str, target: str = "key") -> list[summary.Cell]:
    return summary.main_cells(CELLS(), attack, target)


def average(cells: Sequence[summary.Cell], column: str = "ASR@1") -> float:
    return fmean(value for cell in cells if (value := READ[column](cell)) is not None)


def at_rates(attacks: Sequence[str], methods: Sequence[str], column: str = "ASR@1", target: str = "key") -> list[float]:
    """Return the mean over seeds of each method at its chosen rate, attack by attack."""
    groups = [by_method(summary.select_chosen(main_cells(attack, target))) for attack in attacks]
    return [average(group[method], column) for group in groups for method in methods]


def finetuning_at(lr: float) -> Figures:
    """Return ASR@1 on BadCLIP, its lowest and highest seed, and points lost."""
    cells = [cell for cell in main_cells("badclip") if (cell.name, cell.task.lr) == ("finetune", lr)]
    return *with_range(cells), average(cells, "points lost")


def with_twice_the_steps() -> list[float]:
    """Return ASR@1 on BadCLIP, the mean and the lowest and highest seed of each method."""
    cells = summary.select_cells(ALL_ROWS(), lambda task: task.steps == plan.LONG_STEPS)
    group = by_method(summary.select_chosen(summary.select(cells, attack="badclip")))
    return [value for method in (*REMOVERS, BASELINE) for value in with_range(group[method])]


def spread(values: Sequence[float]) -> Figures:
    return min(values), max(values)


def with_range(cells: Sequence[summary.Cell]) -> Figures:
    """Return ASR@1: the mean, the lowest and the highest seed."""
    return average(cells), *spread([average([cell]) for cell in cells])


def lead(found: Mapping[str, Mapping[int, float]], method: str) -> Figures:
    """Return the points that a method is below CleanCLIP: mean, 95% interval, and each seed."""
    gaps = [-100 * gap for gap in paired_gaps(found[BASELINE], found[method]).values()]
    return (fmean(gaps), *(mean_interval(gaps) or ()), *gaps)


def lead_at_equal_accuracy(method: str) -> Figures:
    return lead(summary.at_equal_accuracy(main_cells("badclip"), rule.BUDGET), method)


def fine(column: str) -> dict[str, dict[int, float]]:
    """Return method -> seed -> a figure among 352 classes."""
    groups = by_method(summary.select(CELLS(), world="scenes-fine"))
    return {name: {cell.task.seed: FINE_COLUMNS[column](cell) or 0 for cell in of} for name, of in groups.items()}


def left_at_equal_accuracy(method: str) -> float:
    return fmean(summary.at_equal_accuracy(main_cells("badclip"), rule.BUDGET)[method].values())


@cache
def mixed_cells() -> list[summary.Cell]:
    """Return the cells on clean pairs with mixed captions."""
    return views_tables.select_mixed_cells(tables.ROOT)


def on_mixed_by_seed(method: str) -> dict[int, float]:
    """Return seed -> ASR@1 at a loss of 2 points on clean pairs with mixed captions."""
    return dict(summary.at_equal_accuracy(mixed_cells(), rule.BUDGET)[method])


def left_on_mixed_captions(method: str) -> float:
    return fmean(on_mixed_by_seed(method).values())


def gap_on_mixed_captions(higher: str, lower: str) -> Figures:
    """Return the points by which one method leaves more than another there: mean and 95% interval."""
    gaps = [100 * gap for gap in paired_gaps(on_mixed_by_seed(lower), on_mixed_by_seed(higher)).values()]
    return (fmean(gaps), *(mean_interval(gaps) or ()))


def par_at_largest_rate() -> Figures:
    """Return ASR@1 after PAR at the largest rate on mixed captions, and the least and most points that it lost."""
    cells = [cell for cell in mixed_cells() if (cell.name, cell.task.lr) == ("par", max(views.MIXED_RATES))]
    losses = [100 * cell.loss for cell in cells]
    return average(cells), min(losses), max(losses)


def count_words(split: str) -> list[int]:
    """Return the words of each caption of the attacker's or the defender's pairs."""
    return [len(caption.split()) for caption in load_data("scenes", split=split, size=6000).captions]


def on_pairs(data: str) -> list[summary.Cell]:
    return summary.select_cells(ALL_ROWS(), lambda task: task.data == data)


def with_poison(data: str, attack: str, method: str) -> list[float]:
    return [average([cell]) for cell in by_method(summary.select(on_pairs(data), attack=attack))[method]]


def with_overlap() -> dict[str, dict[int, float]]:
    """Return method -> seed -> ASR@1 on BadCLIP if the clean pairs show the poisoned images."""
    cells = summary.select_cells(
        ALL_ROWS(), lambda task: task.steps == plan.STEPS and summary.is_key_method_at_rate(task, read_methods())
    )
    groups = by_method(summary.select(cells, attack="badclip", data="overlap"))
    return {name: {cell.task.seed: average([cell]) for cell in of} for name, of in groups.items()}


def detail(kind: str, method: str) -> float:
    """Return the share of edits of one kind that a method recognizes, mean over the attacks."""
    groups = [by_method(summary.select_chosen(main_cells(attack)))[method] for attack in protocol.ATTACKS]
    return fmean(fmean(cell.row["metrics"]["counterfactual_by_kind"][kind] for cell in cells) for cells in groups)


def by_attacker() -> tuple[dict[int, float], dict[int, float]]:
    """Return seed -> ASR@1 on BadCLIP after TA-Cleaner if the attacker knows it, and if not, on one processor."""
    cells = summary.select_attackers(ALL_ROWS(), read_methods())
    groups = (summary.select(cells, attack="badclip", is_aware=knows) for knows in (True, False))
    known, unknown = ({cell.task.seed: average([cell]) for cell in by_method(group)[TA]} for group in groups)
    return known, unknown


def asr_of_attackers() -> Figures:
    return [fmean(found.values()) for found in by_attacker()]


def gaps_of_attackers() -> Figures:
    """Return the points that it helps an attacker to know TA-Cleaner: each seed, mean and 95% interval."""
    known, unknown = by_attacker()
    gaps = [100 * gap for gap in paired_gaps(unknown, known).values()]
    return (*gaps, fmean(gaps), *(mean_interval(gaps) or ()))


def of_file(name: str, metric: str, after: str = "", **fields: str) -> float:
    """Return the mean at k 1 over the rows of a result file with these values; `after`: of a defense in each row."""
    rows: list[dict[str, Any]] = read_json(RESULTS_DIR / name)["rows"]
    found = [row for row in rows if fields.items() <= row.items()]
    return fmean((row["after"][after] if after else row["metrics"])[metric]["1"] for row in found)


QUICK_METHODS = ("finetune", "ta_cleaner", "cleanclip_short", "cleanclip")


def on_mixed_captions(attack: str, name: str | None, metric: str = "asr") -> float:
    """Return a metric of the quick setting on clean pairs with mixed captions, the mean over the seeds."""
    rows = TaskFile(quick_captions.PATH).rows("rows")
    return fmean(row["metrics"][metric]["1"] for row in rows if (row["trigger"], row["defense"]) == (attack, name))


def on_vit(attack: str, name: str) -> float:
    """Return ASR@1 of a method on the ViT, the mean over the seeds."""
    rows = TaskFile(vit_rivals.PATH).rows("rows")
    return fmean(row["metrics"]["asr"]["1"] for row in rows if (row["trigger"], row["defense"]) == (attack, name))


def lost_on_mixed_captions(name: str) -> float:
    """Return the points of test accuracy that a method costs there on BadCLIP's models."""
    return 100 * (on_mixed_captions("badclip", None, "ca") - on_mixed_captions("badclip", name, "ca"))


def test_all_methods_remove_the_patch_on_mixed_captions() -> None:
    assert max(on_mixed_captions("badnet", name) for name in (*QUICK_METHODS, "par")) < 0.005
    (trial,) = (
        row
        for row in TaskFile(quick_captions.PATH).rows("trials")
        if (row["defense"], row["lr"]) == ("finetune", 0.0027)
    )
    assert trial["ca"] > trial["backdoored_ca"]
    assert f"at 0.0027 and left {trial['asr']:.3f}" in read_prose(tables.ROOT / "docs/results.md")


def test_on_mixed_captions_ta_cleaner_leaves_less_than_cleanclip_but_not_than_finetuning() -> None:
    rows = TaskFile(quick_captions.PATH).rows("rows")
    left = {(r["defense"], r["seed"]): 100 * r["metrics"]["asr"]["1"] for r in rows if r["trigger"] == "badclip"}

    def quote_gap(higher: str, lower: str) -> str:
        gaps = [left[higher, seed] - left[lower, seed] for seed in CONFIRM_SEEDS]
        interval = mean_interval(gaps)
        assert interval is not None
        return "{:.0f} [{:.0f}, {:.0f}]".format(fmean(gaps), *interval)

    below, above = quote_gap("cleanclip", "ta_cleaner"), quote_gap("ta_cleaner", "finetune")
    text = f"TA-Cleaner is {below} points below CleanCLIP and {above} above plain finetuning"
    assert text in read_prose(tables.ROOT / "docs/results.md")


def test_the_vit_leaves_trojvqa_to_every_method() -> None:
    names = ("finetune", "cleanclip_short", "cleanclip", "feature_repelling", "ta_cleaner", "rvpt")
    text = (
        "plain finetuning leaves {:.3f}, the control {:.3f}, CleanCLIP {:.3f}, feature repelling {:.3f}, TA-Cleaner "
        "{:.3f}, RVPT {:.3f}. RVPT leaves {:.3f} of noise and {:.3f} or more of wave and SSBA, feature repelling "
        "{:.3f} or less"
    )
    easy = ("blended", "sig", "ssba")
    rvpt = [on_vit(attack, "rvpt") for attack in easy]
    figures = [*(on_vit("trojvqa", name) for name in names), rvpt[0], min(rvpt[1:])]
    figures.append(max(on_vit(attack, "feature_repelling") for attack in easy))
    page = read_prose(tables.ROOT / "docs/results.md")
    assert text.format(*figures) in page
    left = max(on_vit(attack, name) for attack in easy for name in QUICK_METHODS)
    assert f"the control, leave {left:.3f} or less of noise, wave and SSBA" in page


FINETUNING = "finetuning at 3e-3 gets there on average ({:.3f}, seeds {:.3f} to {:.3f}), at a loss of {:.0f} points"
FIGURES: dict[str, Callable[[], Figures]] = {
    "cuts attack success from {:.0f}% to {:.0f}%": lambda: [
        100 * average(by_method(main_cells("badclip"))[NO_METHOD]),
        100 * left_at_equal_accuracy(TA),
    ],
    "on the short true texts alone, gets to {:.0f}%": lambda: [100 * left_at_equal_accuracy(CONTROL)],
    "(CleanCLIP gets to {:.0f}%, TA-Cleaner to {:.0f}%), and simpler methods leave less: the control {:.0f}%, plain "
    "finetuning {:.0f}%, PAR {:.0f}%": lambda: [
        100 * left_on_mixed_captions(name) for name in (BASELINE, TA, CONTROL, "finetune", "par")
    ],
    "Plain finetuning leaves {:.3f}, PAR {:.3f}, and {:.3f} at a loss of {:.0f} to {:.0f} points": lambda: [
        *(left_on_mixed_captions(name) for name in ("finetune", "par")),
        *par_at_largest_rate(),
    ],
    "plain finetuning leaves {:.3f} (seeds {:.3f}, {:.3f}, {:.3f}) and PAR {:.3f} ({:.3f}, {:.3f}, {:.3f})": lambda: [
        figure
        for name in ("finetune", "par")
        for figure in (left_on_mixed_captions(name), *on_mixed_by_seed(name).values())
    ],
    "which is {:.0f} [{:.0f}, {:.0f}] points below TA-Cleaner": lambda: gap_on_mixed_captions(TA, "par"),
    "control leaves {:.3f} of BadCLIP at a loss of 2 points, as much as with K 100%, and TA-Cleaner {:.3f}": lambda: [
        on_mixed_by_seed(name)[3] for name in ("cleanclip_short K 10 %", "ta_cleaner K 10 %, formula reviewed")
    ],
    "leaves {:.3f} at a loss of 2 points, TA-Cleaner {:.3f} and the control {:.3f}": lambda: [
        left_on_mixed_captions(name) for name in (BASELINE, TA, CONTROL)
    ],
    "a gap of {:.0f} [{:.0f}, {:.0f}] points": lambda: lead(summary.at_equal_accuracy(mixed_cells(), rule.BUDGET), TA),
    "({:.0f} words on average)": lambda: [fmean(count_words("clean"))],
    "the model was trained on, {:.0f}% have five words or fewer": lambda: [
        100 * fmean(n <= 5 for n in count_words("train"))
    ],
    "On a small ViT with such pairs plain finetuning leaves {:.3f} of BadCLIP and {:.3f} of TrojVQA, TA-Cleaner {:.3f} "
    "and {:.3f}, CleanCLIP {:.3f} and {:.3f}": lambda: [
        on_vit(attack, name) for name in ("finetune", "ta_cleaner", "cleanclip") for attack in ("badclip", "trojvqa")
    ],
    "Every learning rate of CleanCLIP costs {:.0f} points or more": lambda: [
        min(floor(100 * cell.loss) for cell in main_cells("badclip") if cell.name == BASELINE)
    ],
    "{:.0f} [{:.0f}, {:.0f}] points lower after TA-Cleaner": lambda: lead_at_equal_accuracy(TA),
    "(`reviewed`), {:.0f} [{:.0f}, {:.0f}] with ours": lambda: lead_at_equal_accuracy(OWN),
    "The control is {:.0f} [{:.0f}, {:.0f}] points below": lambda: lead_at_equal_accuracy(CONTROL),
    "the gap to CleanCLIP is {:.0f} [{:.0f}, {:.0f}] points with overlap": lambda: lead(with_overlap(), TA),
    "CF {:.2f} after TA-Cleaner, {:.2f} after the control, {:.2f} before": lambda: [
        fmean(at_rates(protocol.ATTACKS, [name], "CF")) for name in (TA, CONTROL, NO_METHOD)
    ],
    "{:.0f} [{:.0f}, {:.0f}] points less in the top 10": lambda: lead(fine("ASR@10"), TA),
    "({3:.0f}, {4:.0f} and {5:.0f} on the three seeds)": lambda: lead(fine("ASR@1"), TA),
    "TA-Cleaner is {:.0f} to {:.0f} points more accurate": lambda: spread(
        [100 * gap for gap in paired_gaps(fine("CA")[CONTROL], fine("CA")[TA]).values()]
    ),
    "missed on BadCLIP ({:.3f} [{:.3f}, {:.3f}], {:.3f} [{:.3f}, {:.3f}], {:.3f} [{:.3f}, {:.3f}]": lambda: [
        value
        for name in REMOVERS
        for value in with_range(by_method(summary.select_chosen(main_cells("badclip")))[name])
    ],
    "{:.3f} [{:.3f}, {:.3f}] (`reviewed`) and {:.3f} [{:.3f}, {:.3f}] (ours), the control {:.3f} [{:.3f}, {:.3f}], "
    "CleanCLIP {:.3f}": with_twice_the_steps,
    "(zero-shot {:.3f}, {:.3f}, {:.3f} and {:.3f})": lambda: [
        *at_rates(["badclip"], (NO_METHOD, TA, CONTROL)),
        *at_rates(["badclip"], [NO_METHOD], "floor"),
    ],
    FINETUNING: lambda: finetuning_at(3e-3),
    "*cup* TA-Cleaner leaves {:.3f} (`reviewed`) and {:.3f} (ours), the control {:.3f}, CleanCLIP {:.3f}": lambda: (
        at_rates(["badclip"], (*REMOVERS, BASELINE), target="cup")
    ),
    "*carrot* {:.3f}, {:.3f}, {:.3f} and {:.3f}": lambda: at_rates(["badclip"], (*REMOVERS, BASELINE), target="carrot"),
    "*cup*, it leaves {:.3f}": lambda: at_rates(["badclip"], [TA], target="cup"),
    "it leaves {:.3f} and {:.3f} of them (control {:.3f} and {:.3f})": lambda: [
        *at_rates(["badclip", "trojvqa"], [TA]),
        *at_rates(["badclip", "trojvqa"], [CONTROL]),
    ],
    "of the other four attacks {:.3f} or less": lambda: [max(at_rates(["badnet", "blended", "sig", "ssba"], [TA]))],
    "On noise TA-Cleaner leaves {:.3f} (`reviewed`) and {:.3f} (ours), the control {:.3f}": lambda: at_rates(
        ["blended"], REMOVERS
    ),
    "TrojVQA is at {:.3f}, {:.3f} and {:.3f} with a floor of {:.3f}": lambda: [
        *at_rates(["trojvqa"], REMOVERS),
        *at_rates(["trojvqa"], [NO_METHOD], "floor"),
    ],
    "CleanCLIP loses {:.0f} to {:.0f} and leaves {:.2f} to {:.2f} on the four": lambda: [
        *spread(at_rates(OTHERS, [BASELINE], "points lost")),
        *spread(at_rates(OTHERS, [BASELINE])),
    ],
    "and loses {:.1f} to {:.1f} points of validation accuracy, the control": lambda: spread(
        [100 * cell.loss for cell in by_method(summary.select(on_pairs("1,500 pairs"), attack="badclip"))[TA]]
    ),
    "clean ones it leaves {:.2f} (control {:.2f}": lambda: [
        fmean(with_poison("0.1 % poisoned", "badclip", name)) for name in (TA, CONTROL)
    ],
    "remove BadCLIP ({:.3f} or more) or the patch ({:.3f} or more)": lambda: [
        min(min(with_poison("1 % poisoned", attack, name)) for name in (TA, CONTROL, BASELINE))
        for attack in ("badclip", "badnet")
    ],
    "TA-Cleaner leaves {:.3f} of BadCLIP instead of {:.3f}": asr_of_attackers,
    "({:.0f}, {:.0f} and {:.0f} points by seed; mean {:.0f} [{:.0f}, {:.0f}])": gaps_of_attackers,
    "leaves {:.3f} of noise and {:.3f} of SSBA": lambda: at_rates(["blended", "ssba"], ["par"]),
    "bring back to {:.3f} and {:.3f}": lambda: at_rates(["blended", "ssba"], ["par"], "rebound ASR@1"),
    "and TrojVQA it leaves {:.3f} or more": lambda: sorted(at_rates(["badnet", "badclip", "sig", "trojvqa"], ["par"])),
    "at losses of {:.1f}, {:.1f}, {:.1f} and {:.1f} points: there": lambda: [
        lost_on_mixed_captions(name) for name in QUICK_METHODS
    ],
    "PAR at 3.5e-3 leaves {:.3f} for {:.1f} points": lambda: [
        on_mixed_captions("badclip", "par"),
        lost_on_mixed_captions("par"),
    ],
    "finetuning leaves {:.3f} of BadCLIP on mixed captions, TA-Cleaner {:.3f}, the control {:.3f}, CleanCLIP {:.3f}": (
        lambda: [on_mixed_captions("badclip", name) for name in QUICK_METHODS]
    ),
}


def left_on_photos(attack: str, *methods: str) -> Figures:
    """Return the ASR@1 that methods leave of an attack on the test photos, averaged over the seeds."""
    return [fmean(row["metrics"]["asr"]["1"] for row in photo_rows(attack, name)) for name in methods]


def photo_rows(attack: str, method: str | None) -> list[dict[str, Any]]:
    return [row for row in PHOTOS()["rows"] if (row["trigger"], row["defense"]) == (attack, method)]


def left_on_corrupted_photos(*methods: str) -> Figures:
    """Return the ASR@1 that methods leave of the patch, averaged over corruptions and seeds."""
    return [
        fmean(each["asr"] for row in photo_rows("badnet", name) for each in row["transfer"].values())
        for name in methods
    ]


def fine_detail_on_photos(*methods: str | None) -> Figures:
    """Return the lowest and the highest CF that methods have against an attack, averaged over the seeds."""
    values = [
        fmean(row["metrics"]["counterfactual_accuracy"] for row in photo_rows(attack, method))
        for attack in photos.PHOTO_ATTACKS
        for method in methods
    ]
    return [min(values), max(values)]


def lost_to_corruption() -> Figures:
    """Return the lowest and the highest loss of accuracy to corruptions, in points, averaged over the seeds."""
    lost = [
        fmean(
            100 * (row["metrics"]["ca"]["1"] - fmean(each["ca"] for each in row["transfer"].values())) for row in rows
        )
        for attack in photos.PHOTO_ATTACKS
        for method in (None, *ON_PHOTOS)
        if (rows := photo_rows(attack, method))
    ]
    return [min(lost), max(lost)]


def cost_of_the_control() -> Figures:
    """Return how much more accuracy the control loses than TA-Cleaner, K 10%, in points: the mean of the attacks."""
    kept, kept_by_control = (
        fmean(fmean(row["metrics"]["ca"]["1"] for row in photo_rows(attack, name)) for attack in photos.PHOTO_ATTACKS)
        for name in ("ta_cleaner", "cleanclip_short")
    )
    return [100 * (kept - kept_by_control)]


def left_before_the_correction(*methods: str) -> Figures:
    """Return the mean ASR@1 that methods without subtexts leave of the patch on the backdoored models of that time."""
    rows = [row for row in photos.task_file().rows("rows") if row["trigger"] == "badnet"]
    now = {row["suspect_sha256"] for row in rows if row.get("texts") == photos.TEXTS}
    left = [(row["defense"], row["metrics"]["asr"]["1"]) for row in rows if row["suspect_sha256"] not in now]
    return [fmean(asr for name, asr in left if name == method) for method in methods]


def tried_on_photos(lr: float, *methods: str) -> Figures:
    """Return validation points lost and ASR@1 on the patch of methods at a learning rate, the losses first."""
    settings = read_settings(PHOTOS()["rate_trials"])
    tried = [next(each for each in settings[name] if each.lr == lr) for name in methods]
    return [*(100 * each.loss for each in tried), *(each.asr for each in tried)]


def at_equal_accuracy_on_photos() -> Figures:
    settings = read_settings(PHOTOS()["rate_trials"])
    options = {
        "max_loss": PHOTOS()["budget"],
        "undefended": find_undefended_asr(PHOTOS()["rows"]),
        "grid": PHOTOS()["grid"],
    }
    methods = ("finetune", "par", *ON_PHOTOS[:4], BASELINE)
    return [interpolate_asr(settings[name], **options) for name in methods]


PHOTOS = cache(lambda: read_json(RESULTS_DIR / "cifar10.json"))
ON_PHOTOS = ("ta_cleaner", OWN, "cleanclip_short", CONTROL, BASELINE, "par", "finetune")
PHOTO_FIGURES = {
    "finetuning leaves {:.2f} of the patch, PAR {:.2f}, TA-Cleaner {:.2f} (K 10%) and {:.2f} (K 100%), the control "
    "{:.2f} and {:.2f}, CleanCLIP {:.2f}": at_equal_accuracy_on_photos,
    "on the patch ({:.3f} and {:.3f} against {:.3f}) and on noise ({:.3f} and {:.3f} against {:.3f})": lambda: [
        left for attack in ("badnet", "blended") for left in left_on_photos(attack, *ON_PHOTOS[:2], BASELINE)
    ],
    "where CleanCLIP would lose {:.2f} points and leave {:.3f} of the patch": lambda: tried_on_photos(3e-4, BASELINE),
    "The control leaves {:.3f} (K 10%) and {:.3f} (K 100%) of the patch, {:.3f} and {:.3f} of noise": lambda: [
        left for attack in ("badnet", "blended") for left in left_on_photos(attack, *ON_PHOTOS[2:4])
    ],
    "TA-Cleaner loses {:.1f} (K 10%) and {:.1f} (K 100%) points and leaves {:.3f} and {:.3f} of the patch": (
        lambda: tried_on_photos(3e-4, *ON_PHOTOS[:2])
    ),
    "its control loses {:.1f} and {:.1f} and leaves {:.3f} and {:.3f}": lambda: tried_on_photos(3e-4, *ON_PHOTOS[2:4]),
    "finetuning leaves {:.3f} and {:.3f} of them, PAR {:.3f} and {:.3f}": lambda: [
        left_on_photos(attack, name)[0] for name in ("finetune", "par") for attack in ("badnet", "blended")
    ],
    "Of the wave TA-Cleaner leaves {:.3f} (K 10%) and {:.3f} (K 100%), the control {:.3f} and {:.3f}, CleanCLIP "
    "{:.3f}, PAR {:.3f}, finetuning {:.3f}": lambda: left_on_photos("sig", *ON_PHOTOS),
    "of BadCLIP, in the same order, {:.3f}, {:.3f}, {:.3f}, {:.3f}, {:.3f}, {:.3f} and {:.3f}": lambda: left_on_photos(
        "badclip", *ON_PHOTOS
    ),
    "of the patch {:.3f} after finetuning, {:.3f} after PAR, {:.3f} and {:.3f} after TA-Cleaner, {:.3f} and {:.3f} "
    "after its control, {:.3f} after CleanCLIP": lambda: left_on_corrupted_photos("finetune", "par", *ON_PHOTOS[:5]),
    "the clean model has {:.3f}": lambda: [
        fmean(row["metrics"]["asr_clean_model"]["1"] for row in photo_rows("badclip", None))
    ],
    "for {:.1f} points more accuracy lost": cost_of_the_control,
    "CF {:.2f} to {:.2f}, the others {:.2f} to {:.2f}, before any defense {:.2f} to {:.2f}": lambda: [
        *fine_detail_on_photos(*ON_PHOTOS[:2]),
        *fine_detail_on_photos(*ON_PHOTOS[2:]),
        *fine_detail_on_photos(None),
    ],
    "accuracy falls by {:.0f} to {:.0f} points": lost_to_corruption,
    "plain finetuning, PAR and CleanCLIP, which read no subtexts, left {:.3f}, {:.3f} and {:.3f}": lambda: (
        left_before_the_correction("finetune", "par", BASELINE)
    ),
}


@pytest.mark.parametrize("template", PHOTO_FIGURES)
def test_prose_quotes_what_was_measured_on_photos(template: str) -> None:
    assert template.format(*PHOTO_FIGURES[template]()) in read_prose(tables.ROOT / "docs/results.md")


@pytest.mark.parametrize("text", [PROSE, FINDINGS["photos-rn"]])
def test_readme_and_app_quote_the_photos_at_equal_accuracy(text: str) -> None:
    assert next(iter(PHOTO_FIGURES)).format(*at_equal_accuracy_on_photos()) in text


@pytest.mark.parametrize("template", FIGURES)
def test_prose_quotes_what_was_measured(template: str) -> None:
    assert template.format(*FIGURES[template]()) in f"{PROSE} {CLAIM}"


def test_the_protocol_quotes_the_same_rate_of_finetuning() -> None:
    assert FINETUNING.format(*finetuning_at(3e-3)) in CLAIM


FINDINGS_FIGURES = {
    "There plain finetuning leaves {:.2f} and PAR {:.2f}, TA-Cleaner {:.2f}": lambda: [
        left_on_mixed_captions(name) for name in ("finetune", "par", TA)
    ],
    "short captions the gap is {:.0f} [{:.0f}, {:.0f}] points": FIGURES["a gap of {:.0f} [{:.0f}, {:.0f}] points"],
    "leaves {:.0f} [{:.0f}, {:.0f}] points less of BadCLIP than CleanCLIP": lambda: lead_at_equal_accuracy(TA),
    "without false ones, is {:.0f} [{:.0f}, {:.0f}] points below CleanCLIP": lambda: lead_at_equal_accuracy(CONTROL),
    "train on: {:.2f} instead of {:.2f} after the control": lambda: [
        fmean(at_rates(protocol.ATTACKS, [name], "CF")) for name in (TA, CONTROL)
    ],
}


@pytest.mark.parametrize("template", FINDINGS_FIGURES)
def test_the_app_quotes_what_was_measured(template: str) -> None:
    assert template.format(*FINDINGS_FIGURES[template]()) in FINDINGS["scenes-lite"]


def test_false_texts_add_detail_of_counts_relations_and_verbs_alone() -> None:
    for kind in ("count", "relation", "verb"):
        assert detail(kind, TA) > max(detail(kind, other) for other in ("finetune", CONTROL, NO_METHOD)) + 0.05
    for kind in ("attribute", "object"):
        assert detail(kind, TA) < detail(kind, "finetune")


def test_no_rate_kept_cleanclip_alone_within_the_budget_of_the_quick_setting() -> None:
    result = read_json(RESULTS_DIR / "quick_setting.json")
    lost = {name for name, choice in result["chosen"][presets.QUICK_MODEL].items() if choice["lost_accuracy"]}
    assert lost == {"cleanclip"}
    assert f"none kept CleanCLIP within {100 * result['budget']:g} points" in state.RATES_NOTE
