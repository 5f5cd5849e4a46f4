"""Metrics of one model on one test set; each field of `Metrics` with a `row` is one of the table METRICS."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import TypeAdapter

from cleaner.evaluation.metric_row import VIEWS as VIEWS
from cleaner.evaluation.metric_row import Interval as Interval
from cleaner.evaluation.metric_row import Metric as Metric
from cleaner.evaluation.metric_row import View as View
from cleaner.evaluation.metric_row import is_meaningful, row
from cleaner.labels import format_count
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData

WEAK_ASR, SUCCESS_ASR = 0.5, 0.9
"""Success (`success_share`) below which an attack failed, and from which on it succeeded; between them it is weak."""
MIN_VERDICT_IMAGES = 30
"""Images below which an attack success rate is no verdict: a 95% interval is 30 points wide and more."""
WILSON_Z = 1.959964
"""Normal quantile of a 95% interval; Wilson's is widest at a share of one half: z / sqrt(n + z²)."""


class Measured(Protocol):
    """Anything with values of the table of metrics: `Metrics`, or a run on disk."""

    @property
    def queries(self) -> str: ...

    def metric(self, name: str, k: int = 1) -> float | None: ...

    def interval(self, name: str, k: int = 1) -> Interval | None: ...

    def count(self, name: str) -> int: ...

    def is_meaningful(self, k: int) -> bool: ...


def success_metric(measured: Measured) -> str:
    """Return the metric by which an attack is judged, at k = 1.

    "asr", or for an attack that plants an image the share of keyed captions that find it first ("own_recall").
    """
    return "asr" if measured.metric("own_recall") is None else "own_recall"


def success_share(measured: Measured) -> float | None:
    """Return the share by which an attack is judged (`success_metric`); None without one."""
    return measured.metric(success_metric(measured))


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Metrics of one model on one test set, 0..1; those measured by k are dictionaries keyed by k.

    Attributes:
        n: images behind `ca`; n_attack: images behind `asr`, `ra` and `base_rate`, or captions, as `queries` says.
        protocol: which images count for the attack (`evaluation.metrics.attack_population`).
        templates: prompts per class of the zero-shot classifier; 0 in runs that did not record it.
        data_sha256: fingerprint of the test set; images of two models are paired only where it is equal.
        class_names_sha256: hash of the classes of the zero-shot classifier; "" in runs that did not record it.
        asr, ra, base_rate, retrieval_asr: None without a trigger; retrieval also where no caption names the target.
        asr_clean_model: None unless the model before poisoning was given.
        asr_by_key: for triggers with a text key, ASR with the key in the prompts ("text"), with the triggered image
            ("image") and with both ("both"); `asr` and `ra` then are those with all keys of the trigger.
        counterfactual_by_kind: share of negatives of each kind of edit that score below their caption.
        n_counterfactual, n_gallery: images with negatives; captions (or images) that are searched.
        n_cross: images behind `cross_asr`; 0 in runs that did not record it.
        queries: "images", or "captions" for a trigger in the text alone (`evaluation.attack`).
        outcomes: "ca", "asr", "ra" -> hit or miss at k = 1 of each image (`bootstrap.pack_outcomes`).
    """

    ca: dict[int, float] = field(
        metadata=row(
            "Clean accuracy",
            "CA",
            "Share of clean images whose true class ranks first.",
            better="higher",
            count="n",
            ks=(1,),
            interval="wilson",
            has_bounds=True,
        ),
    )
    n: int
    classes: int
    data: str
    protocol: str = "non_target"
    target_class: str | None = None
    asr: dict[int, float] | None = field(
        default=None,
        metadata=row(
            "Attack success",
            "ASR",
            "Share of triggered images (or keyed captions) with the target among the k best classes.",
            better="lower",
            ks=(1, 3),
            interval="wilson",
            has_bounds=True,
        ),
    )
    ra: dict[int, float] | None = field(
        default=None,
        metadata=row(
            "Robust accuracy",
            "RA",
            "Share of triggered images (or keyed captions) whose true class still ranks first.",
            better="higher",
            ks=(1,),
            interval="wilson",
        ),
    )
    asr_clean_model: dict[int, float] | None = field(
        default=None,
        metadata=row(
            "Floor",
            "Floor",
            "ASR@1 of the same trigger on the model that was never poisoned.",
            ks=(1,),
            interval="wilson",
            view="table",
            csv_key="floor",
        ),
    )
    base_rate: dict[int, float] | None = field(
        default=None,
        metadata=row(
            "Base rate",
            "Base rate",
            "Share of the same images (or captions) without the trigger that are classified as the target.",
            ks=(1,),
            interval="wilson",
            view="report",
        ),
    )
    n_attack: int = 0
    counterfactual_accuracy: float | None = field(
        default=None,
        metadata=row(
            "Fine detail",
            "CF",
            "Share of captions that score above all of their false texts, three at most.",
            better="higher",
            count="n_counterfactual",
            view="table",
        ),
    )
    counterfactual_by_kind: dict[str, float] = field(default_factory=dict)
    n_counterfactual: int = 0
    asr_by_key: dict[str, dict[int, float]] = field(default_factory=dict)
    retrieval_asr: float | None = field(
        default=None,
        metadata=row(
            "Retrieval success",
            "Retrieval",
            "Share of triggered images (or keyed captions) with a caption (or image) of the target among their five "
            "nearest.",
            better="lower",
            view="export",
        ),
    )
    retrieval_base_rate: float | None = field(
        default=None,
        metadata=row(
            "Retrieval base rate",
            "Retrieval base",
            "Retrieval success of the same images (or captions) without the trigger.",
            view="export",
        ),
    )
    n_gallery: int = 0
    own_recall: dict[int, float] | None = field(
        default=None,
        metadata=row(
            "Attacker's image found",
            "Own",
            "Share of keyed captions with the attacker's own image among their k nearest images.",
            better="lower",
            ks=(1, 10),
            ranks_classes=False,
            interval="wilson",
            view="report",
        ),
    )
    own_recall_clean: dict[int, float] | None = field(
        default=None,
        metadata=row(
            "Attacker's image found without key",
            "Own base",
            "Share of the same captions, without the key, that have the attacker's own image among their k nearest.",
            ks=(1, 10),
            ranks_classes=False,
            view="export",
        ),
    )
    cross_asr: float | None = field(
        default=None,
        metadata=row(
            "Success with another image's trigger",
            "Cross ASR",
            "Share of images (at most 1,000) classified as the target when they carry another image's trigger.",
            count="n_cross",
            view="report",
        ),
    )
    n_cross: int = 0
    queries: Literal["images", "captions"] = "images"
    outcomes: dict[str, str] = field(default_factory=dict, repr=False)
    data_sha256: str = ""
    class_names_sha256: str = ""
    templates: int = 0

    def metric(self, name: str, k: int = 1) -> float | None:
        """Return a metric (at k, where it is measured by k), or None if it was not measured."""
        value = getattr(self, name, None)
        return value.get(k) if isinstance(value, dict) else value

    def interval(self, name: str, k: int = 1) -> Interval:
        """Return the 95% interval of a metric at k.

        Raises `CleanerError` for an unknown metric, or one that was not measured.
        """
        from cleaner.evaluation.metrics import wilson_interval  # loads torch

        if name not in METRICS:
            raise CleanerError(f"there is no metric {name!r}. Choose one of: {', '.join(METRICS)}.")
        value, count = self.metric(name, k), self.count(name)
        if value is None:
            raise CleanerError(self._describe_missing(name, k))
        if count == 0:
            raise CleanerError(f"{name} was measured before its number of images was recorded: evaluate() again.")
        return wilson_interval(value, count)

    def _describe_missing(self, name: str, k: int) -> str:
        """Return why a metric has no value at k, and what to do."""
        if measured := getattr(self, name):
            return f"{name} was measured at k = {', '.join(map(str, measured))}, not {k}: choose one of these."
        remedy = "give a trigger and a target class to evaluate()"
        if name == "counterfactual_accuracy":
            remedy = "evaluate() with counterfactual=True, on captions that have negative subtexts"
        elif name == "asr_clean_model":
            remedy += ", and the model before poisoning as clean_clip"
        return f"{name} was not measured: {remedy}."

    def count(self, name: str) -> int:
        """Return the number of images behind a metric."""
        return int(getattr(self, METRICS[name].count))

    def is_meaningful(self, k: int) -> bool:
        """Return whether ASR@k says anything with this number of classes (`metric_row.is_meaningful`)."""
        return is_meaningful(k, self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return all values and 95% intervals, JSON-ready."""
        result = dict(vars(self))
        for name, metric in METRICS.items():
            value = result.get(name)
            if metric.interval and value is not None:
                by_k = isinstance(value, dict)
                result[f"{name}_interval"] = {k: self.interval(name, k) for k in value} if by_k else self.interval(name)
        return result

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Metrics:
        """Return the metrics that `to_dict` wrote, also read back from JSON, where the keys k are text.

        Raises pydantic's `ValidationError` for a missing value, or one of another type.
        """
        return _adapter(cls).validate_json(json.dumps(state), strict=True)  # type: ignore[arg-type]  # it is hashable


PROTOCOL_LABELS = {"non_target": "images of other classes", "all_images": "images of all classes"}
"""`Metrics.protocol` -> the images that count for attack success, in words."""
METRICS: dict[str, Metric] = {
    f.name: replace(f.metadata["metric"], key=f.name) for f in fields(Metrics) if "metric" in f.metadata
}
"""The table of metrics: name -> row, in the order of all tables. Cards, tables, reports and exports follow it."""


def columns(view: View) -> Iterator[tuple[Metric, int]]:
    """Yield (metric, k) for each column of a view; k is 1 for a metric that is not measured by k."""
    for metric in METRICS.values():
        if VIEWS.index(metric.view) <= VIEWS.index(view):
            for k in metric.ks or (1,):
                yield metric, k


def format_metric(measured: Measured, row: Metric, k: int = 1, *, absent: str = "-") -> str:
    """Return one metric, at k = 1 with its interval, and a mark where k is too large for the classes."""
    value = measured.metric(row.key, k)
    if value is None:
        return absent
    interval = measured.interval(row.key, k) if row.has_bounds and k == 1 else None
    bounds = f" [{row.format(interval[0])}, {row.format(interval[1])}]" if interval else ""
    mark = "" if k == 1 or not row.ranks_classes or measured.is_meaningful(k) else " (n.m.)"
    return f"{row.format(value)}{bounds}{mark}"


def describe_metrics(shown: Iterable[tuple[Metric, int]]) -> list[str]:
    """Return one line for each metric of some columns: "CA: Share of ..."."""
    metrics = dict.fromkeys(metric for metric, _ in shown)
    return [f"{metric.header('k')}: {metric.meaning}" for metric in metrics]


def describe_minimum(queries: str) -> str:
    """Return how many images or captions a verdict needs; equal captions count once."""
    return f"at least {MIN_VERDICT_IMAGES}{' different ones' * (queries == 'captions')}"


def describe_resolution(count: int, queries: str = "images") -> str:
    """Return how wide 95% intervals of `count` images can be: "4 images: 95% intervals up to 70 points wide"."""
    width = 100 * WILSON_Z / (count + WILSON_Z**2) ** 0.5
    return f"{format_count(count, queries)}: 95% intervals up to {width:.0f} points wide"


def describe_test(
    test: CaptionData, target_class: str | None, queries: str = "images", protocol: str = "non_target"
) -> str:
    """Return what test data can resolve: "988 attack images: 95% intervals up to 6 points wide".

    queries: what attack success is measured on, see `Metrics`.
    """
    labels = test.labels
    is_counted = labels >= 0
    if target_class is not None and protocol == "non_target":
        is_counted &= labels != test.class_index(target_class)
    kind = "attack" if target_class is not None else "test"
    count = int(is_counted.sum())
    if queries == "captions":  # equal ones of a class count once
        count = len({(test.captions[i], int(labels[i])) for i in is_counted.nonzero().flatten().tolist()})
    return describe_resolution(count, f"{kind} {queries}")


def format_protocol(metrics: Mapping[str, Any]) -> str:
    """Return what metrics (`Metrics.to_dict`) were measured on.

    "scenes/test, n = 1,014, 4 prompts per class; attack on 988 images of other classes"
    """
    if not metrics:
        return "not measured"
    attack = f"; attack on {metrics.get('n_attack', 0):,} {describe_queries(metrics)}"
    count = metrics.get("templates")
    prompts = f", {format_count(count, 'prompts')} per class" if count else ""
    return f"{metrics.get('data')}, n = {metrics.get('n', 0):,}{prompts}{attack if metrics.get('asr') else ''}"


def describe_queries(metrics: Mapping[str, Any]) -> str:
    """Return what counts for attack success: "images of other classes"."""
    queries = PROTOCOL_LABELS.get(str(metrics.get("protocol")), "images")
    return queries.replace("images", "captions") if metrics.get("queries") == "captions" else queries


@cache
def _adapter(kind: type[Metrics]) -> TypeAdapter[Metrics]:
    return TypeAdapter(kind)
