"""Metric: one row of the table of metrics, with its name, meaning, direction and format."""

from dataclasses import dataclass
from typing import Any, Literal

View = Literal["card", "table", "report", "export"]
VIEWS: tuple[View, ...] = ("card", "table", "report", "export")
"""From the most compact view to the most complete one.

card: result cards; table: tables of the app and the command line; report: HTML report and CSV; export: TensorBoard.
"""
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
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
        ranks_classes: whether k counts classes; a k near their number then means nothing.
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
    ranks_classes: bool = True

    @property
    def help(self) -> str:
        """Short name, meaning and direction in one line."""
        return f"{self.short}: {self.meaning}" + (f" {self.better.capitalize()} is better." if self.better else "")

    def meaning_at(self, k: int) -> str:
        """Return the meaning for one k: "... with the target among the 3 best classes."."""
        place = "ranked first" if k == 1 else f"among the {k} best classes"
        return self.meaning.replace("among the k best classes", place)

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

    def format_change(self, before: float, after: float) -> str:
        """Return the difference of two values as `format_percent` shows them, so that it adds up with these."""
        digits = 3 if self.is_share else 4
        return self.format_delta(round(after, digits) - round(before, digits))

    def format_delta(self, value: float) -> str:
        """Return a difference as the app shows it: of shares in points, "±" where it rounds to 0."""
        number = f"{100 * value:+.1f}" if self.is_share else f"{value:+.4g}"
        if float(number) == 0:
            number = f"±{number[1:]}"
        return f"{number} points" if self.is_share else number


def row(label: str, short: str, meaning: str, **options: Any) -> dict[str, Metric]:
    """Return the metadata of a field of `Metrics` that is a metric; `options` are other attributes of `Metric`."""
    return {"metric": Metric(key="", label=label, short=short, meaning=meaning, **options)}


def is_meaningful(k: int, classes: int | None) -> bool:
    """Return whether a metric at k says anything: for k >= C / 3 chance often puts the target into the top k.

    True if the number of classes is unknown.
    """
    return classes is None or k < classes / 3
