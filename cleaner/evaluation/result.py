"""Metrics of one model on one test set; each field of `Metrics` with a `row` is one of the table METRICS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol

from cleaner.labels import is_meaningful
from cleaner.types import CleanerError

View = Literal["card", "table", "report", "export"]
VIEWS: tuple[View, ...] = ("card", "table", "report", "export")
"""From the most compact view to the most complete one.

card: result cards; table: tables of the app and the command line; report: HTML report and CSV; export: TensorBoard.
"""
Interval = tuple[float, float]


@dataclass(frozen=True)
class Metric:
    """One row of the table of metrics.

    Attributes:
        key: field of `Metrics` and key in metrics.json; label, short: name in cards, and in column headers.
        meaning: what is measured, one sentence without the name.
        better: which values are better for the defender; empty: neither.
        count: field of `Metrics` with the number of images (or captions) behind the value.
        ks: k of the columns for a metric that is measured by k; empty for a single value.
        interval: method of the 95% interval in metrics.json; empty: none.
        has_bounds: whether text tables, report and CSV show the interval at k = 1.
        view: the most compact view that shows the metric; the more complete ones show it too.
        is_share: a share, 0..1, which the app shows in percent; else any number.
        csv_key: name of the CSV column, if it is not `key`.
    """

    key: str
    label: str
    short: str
    meaning: str
    better: Literal["higher", "lower", ""] = ""
    count: str = "n_attack"
    ks: tuple[int, ...] = ()
    interval: Literal["wilson", ""] = ""
    has_bounds: bool = False
    view: View = "card"
    is_share: bool = True
    csv_key: str = ""

    @property
    def help(self) -> str:
        """Short name, meaning and direction in one line."""
        return f"{self.short}: {self.meaning}" + (f" {self.better.capitalize()} is better." if self.better else "")

    def card_label(self, k: int) -> str:
        """Return "Clean accuracy", or "Attack success @3" for a metric with several k."""
        return f"{self.label} @{k}" if len(self.ks) > 1 else self.label

    def header(self, k: int | str) -> str:
        """Return "CA", or "ASR@3" for a metric with several k."""
        return f"{self.short}@{k}" if len(self.ks) > 1 else self.short

    def csv_name(self, k: int) -> str:
        """Return the name of the CSV column."""
        name = self.csv_key or self.key
        return f"{name}@{k}" if len(self.ks) > 1 else name

    def format(self, value: float) -> str:
        """Return a value as text tables show it."""
        return f"{value:.3f}" if self.is_share else f"{value:.4g}"

    def format_percent(self, value: float) -> str:
        """Return a value as the app shows it: a share in percent."""
        return f"{100 * value:.1f}%" if self.is_share else f"{value:.4g}"

    def format_delta(self, value: float) -> str:
        """Return a difference as the app shows it: of shares in points."""
        return f"{100 * value:+.1f} points" if self.is_share else f"{value:+.4g}"


def row(label: str, short: str, meaning: str, **options: Any) -> dict[str, Metric]:
    """Return the metadata of a field of `Metrics` that is a metric; `options` are other attributes of `Metric`."""
    return {"metric": Metric("", label, short, meaning, **options)}


WEAK_ASR, SUCCESS_ASR = 0.5, 0.9
"""ASR@1 below which an attack did not take, and from which on it took; between them it is weak."""
MIN_VERDICT_IMAGES = 30
"""Images below which an attack success rate is no verdict: a 95% interval is 30 points wide and more."""


class Measured(Protocol):
    """Anything with values of the table of metrics: `Metrics`, or a run on disk."""

    def metric(self, name: str, k: int = 1) -> float | None: ...

    def interval(self, name: str, k: int = 1) -> Interval | None: ...

    def count(self, name: str) -> int: ...

    def is_meaningful(self, k: int) -> bool: ...


@dataclass(frozen=True)
class Metrics:
    """Metrics of one model on one test set, 0..1; those measured by k are dictionaries keyed by k.

    Attributes:
        n: images behind `ca`; n_attack: images behind `asr`, `ra` and `base_rate`.
        protocol: which images count for the attack (`evaluation.metrics.attack_population`).
        templates: prompts per class of the zero-shot classifier; 0 in runs that did not record it.
        data_sha256: fingerprint of the test set; images of two models are paired only where it is equal.
        asr, ra, base_rate, retrieval_asr: None without a trigger; retrieval also where no caption names the target.
        asr_clean_model: None unless the model before poisoning was given.
        asr_by_key: for triggers with a text key, ASR with the key in the prompts ("text"), with the triggered image
            ("image") and with both ("both"); `asr` and `ra` then are those with all keys of the trigger.
        counterfactual_by_kind: share of negatives of each kind of edit that score below their caption.
        n_counterfactual, n_gallery: images with negatives; captions that are searched.
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
            "Share of triggered images with the target among the k best classes.",
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
            "Share of triggered images whose true class still ranks first.",
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
            "Share of the same images without the trigger that are classified as the target.",
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
            "Share of captions that score above all three of their negative subtexts.",
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
            "Share of triggered images with a caption that names the target among their five nearest.",
            better="lower",
            view="export",
        ),
    )
    retrieval_base_rate: float | None = field(
        default=None,
        metadata=row(
            "Retrieval base rate",
            "Retrieval base",
            "Share of the same images without the trigger with such a caption among their five nearest.",
            view="export",
        ),
    )
    n_gallery: int = 0
    outcomes: dict[str, str] = field(default_factory=dict)
    data_sha256: str = ""
    templates: int = 0

    def metric(self, name: str, k: int = 1) -> float | None:
        """Return a metric (at k, where it is measured by k), or None if it was not measured."""
        value = getattr(self, name, None)
        return value.get(k) if isinstance(value, dict) else value

    def interval(self, name: str, k: int = 1) -> Interval:
        """Return the 95% interval of a metric at k. Raises `CleanerError` if it was not measured."""
        from cleaner.evaluation.metrics import wilson_interval  # loads torch and scipy

        value = self.metric(name, k)
        if value is None:
            raise CleanerError(f"{name} was not measured: give a trigger and a target class to evaluate().")
        return wilson_interval(value, self.count(name))

    def count(self, name: str) -> int:
        """Return the number of images behind a metric."""
        return int(getattr(self, METRICS[name].count))

    def is_meaningful(self, k: int) -> bool:
        """Return whether ASR@k says anything with this number of classes (`labels.is_meaningful`)."""
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
        """Return the metrics that `to_dict` wrote, also read back from JSON, where the keys k are text."""
        values = {f.name: state[f.name] for f in fields(cls) if f.name in state}
        for name in METRICS.keys() & values.keys():
            if isinstance(values[name], Mapping):
                values[name] = _int_keys(values[name])
        values["asr_by_key"] = {key: _int_keys(shares) for key, shares in values.get("asr_by_key", {}).items()}
        return cls(**values)


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


def describe_metrics(view: View) -> list[str]:
    """Return one line for each metric of a view: "CA: Share of ..."."""
    metrics = dict.fromkeys(metric for metric, _ in columns(view))
    return [f"{metric.header('k')}: {metric.meaning}" for metric in metrics]


def format_protocol(metrics: Mapping[str, Any]) -> str:
    """Return what metrics (`Metrics.to_dict`) were measured on.

    "scenes/test, n = 1,014, 4 prompts per class; attack on 988, protocol X"
    """
    if not metrics:
        return "not measured"
    attack = f"; attack on {metrics.get('n_attack', 0):,}, protocol {metrics.get('protocol')}"
    count = metrics.get("templates")
    prompts = f", {count} prompt{'s' * (count > 1)} per class" if count else ""
    return f"{metrics.get('data')}, n = {metrics.get('n', 0):,}{prompts}{attack if metrics.get('asr') else ''}"


def _int_keys(values: Mapping[Any, float]) -> dict[int, float]:
    return {int(k): value for k, value in values.items()}
