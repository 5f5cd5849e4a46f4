"""The command scan: search an untrusted model for known triggers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from cleaner.cli.options import OWN_DATA_HELP, RUN_OR_MODEL_HELP, Device, stated_default, validate_minima
from cleaner.cli.output import Progress, format_table, print_json
from cleaner.labels import format_count
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from cleaner.evaluation.scan import ScanResult

TOP_LINES = 10
SCAN_COLUMNS = (
    "trigger",
    "class",
    "without",
    "with",
    "increase, simultaneous 95% interval",
    "increase in the trusted model",
)


@dataclass(frozen=True)
class Scan:
    """Scan an untrusted model for backdoors: try the built-in triggers, at many settings, against every class."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|MODEL", help=RUN_OR_MODEL_HELP)]
    data: Annotated[tuple[str, ...], stated_default(help=f"{OWN_DATA_HELP} The test split is used.")] = ()
    trigger: Annotated[
        tuple[str, ...], stated_default(help="Try only this trigger: patch_image path=sticker.png.")
    ] = ()
    variants: Annotated[
        bool, tyro.conf.arg(help="Try other sizes, positions, ratios and seeds too, on a few images first.")
    ] = True
    reference: Annotated[str | None, tyro.conf.arg(help="Trusted model to scan for comparison.")] = None
    images: Annotated[int, tyro.conf.arg(help="Number of images to apply each trigger to.")] = 1000
    device: Device = "auto"
    json: Annotated[bool, tyro.conf.arg(help="Print all results as JSON.")] = False

    def run(self) -> None:
        from cleaner.cli.inputs import (
            load_run_or_model,
            load_split,
            print_activation,
            print_metadata,
            resolve_data,
            resolve_trigger,
        )
        from cleaner.evaluation.scan import SCAN_WARNING, find_scannable_triggers, scan, unscannable_reason
        from cleaner.evaluation.scan_variants import SCREENED_IMAGES, scan_variants

        validate_minima(self, images=1)
        triggers, skipped = find_scannable_triggers()
        if self.trigger:
            triggers, skipped = {self.trigger[0]: resolve_trigger(self.trigger)}, {}
        if reason := next(filter(None, map(unscannable_reason, triggers.values())), ""):
            raise CleanerError(reason)
        # The images that choose among the settings are not those that measure them.
        few = SCREENED_IMAGES if self.variants and not self.trigger else 0
        data = load_split(resolve_data(self.data, self.model), "test", self.images + few)
        clip, tried = load_run_or_model(self.model, self.device), len(triggers)
        # Fails before the scan.
        reference = load_run_or_model(self.reference, self.device) if self.reference else None
        print_activation(clip, data)
        if few:
            found = scan_variants(clip, data, triggers, self.images, Progress())
            results, triggers, tried, data = found.results, found.triggers, found.tried, found.data
        else:
            results = scan(clip, data, triggers, self.images, Progress())
        trusted = []
        if reference is not None:
            print_metadata(reference)
            print_activation(reference, data)
            trusted = scan(reference, data, triggers, self.images, Progress("reference"))
        if self.json:
            lines = {"lines": [asdict(line) for line in results], "reference": [asdict(line) for line in trusted]}
            subject = {"model": self.model, "model_sha256": clip.sha256(), "reference_model": self.reference or None}
            measured = {**subject, "data": data.name, "data_sha256": data.fingerprint()}
            print_json({**measured, **lines, "tried": tried, "not_tried": skipped, "warning": SCAN_WARNING})
            return
        reference_rises = {(line.trigger, line.class_name): f"{line.rise:+.3f}" for line in trusted}
        rows = [
            (*format_rise(line), reference_rises.get((line.trigger, line.class_name), "-"))
            for line in results[:TOP_LINES]
        ]
        print(format_table(rows, SCAN_COLUMNS))
        summary = f"{format_count(tried, 'settings')} tried. "
        summary += f"Top {len(rows)} of {len(results):,} combinations of trigger and class, by the lower bound of the "
        summary += f"increase, n = {results[0].n:,} images of {data.name}"
        print(f"\n{summary}. {SCAN_WARNING}")
        print(*(f"Not tried: {name}, {reason.partition(':')[0]}." for name, reason in skipped.items()), sep="\n")


def format_rise(line: ScanResult) -> tuple[str, ...]:
    """Return a scan result as the cells of a table row."""
    low, high = line.interval
    rise = f"{line.rise:+.3f} [{low:+.3f}, {high:+.3f}]"
    return (line.trigger, line.class_name, f"{line.before:.3f}", f"{line.after:.3f}", rise)
