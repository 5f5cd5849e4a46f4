"""Tables of README.md, SECURITY.md and docs/ from result files and model cards: python -m benchmarks.tables [--check]

Everything between <!-- table:NAME --> and <!-- /table -->, and between <!-- figure:NAME --> and <!-- /figure -->, is
generated; do not edit it by hand. Generated, too: the learning rates of the presets, cleaner/chosen_rates.json, the
labels of the registered classes, cleaner/labels.json, assets/reference.json and assets/exercises/figures.json."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks import chosen_rates, exercise_figures, reference
from benchmarks.markdown import (
    asset_tables,
    class_tables,
    detection_tables,
    headline,
    inversion_tables,
    photo_tables,
    protocol2_tables,
    protocol3_tables,
    quick_tables,
    reliability_tables,
    scale_tables,
    size_tables,
    text_tables,
    timing_tables,
    views_tables,
    zoo_tables,
)
from benchmarks.markdown.figures import format_figure
from benchmarks.methods import list_methods
from cleaner.attacks import TRIGGERS
from cleaner.defenses import DEFENSES
from cleaner.detectors import DETECTORS
from cleaner.files import write_text
from cleaner.labels import LABELS
from cleaner.presets import CHOSEN_RATES
from cleaner.registry import DATASETS, EXPLAINERS
from cleaner.reports.reference import Reference

ROOT = Path(__file__).resolve().parent.parent
PAGES = (*(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "SECURITY")), *sorted((ROOT / "docs").glob("*.md")))
REFERENCE = ROOT / "assets" / "reference.json"
EXERCISE_FIGURES = ROOT / "assets" / "exercises" / "figures.json"
TABLE_BLOCK = re.compile(r"(<!-- table:(\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)
FIGURE = re.compile(r"(<!-- figure:([^>]+) -->)[^<]*(<!-- /figure -->)")
TABLES: dict[str, Callable[[Path], str]] = {
    "headline": headline.headline,
    "audits": zoo_tables.audits,
    "removal": zoo_tables.removal,
    "image_detectors": zoo_tables.image_detectors,
    "zoo_leaks": zoo_tables.leaks,
    "attacks": lambda _: list_methods("attack", TRIGGERS),
    "defenses": lambda _: list_methods("defense", DEFENSES),
    "claim": protocol2_tables.equal_accuracy,
    "claim_aware": protocol2_tables.aware,
    "claim_data": protocol2_tables.defender_data,
    "claim_fine": protocol2_tables.fine,
    "claim_long": protocol2_tables.long,
    "claim_methods": protocol2_tables.at_rates,
    "claim_rates": protocol2_tables.rates,
    "protocol3": protocol3_tables.protocol3,
    "claim_views": views_tables.gentler_views,
    "claim_captions": views_tables.mixed_captions,
    "class_key": class_tables.class_key,
    "class_models": class_tables.class_models,
    "class_room": class_tables.class_room,
    "detection": detection_tables.detection,
    "detectors": lambda _: list_methods("detector", DETECTORS),
    "first_minute": quick_tables.first_minute,
    "full_size": size_tables.full_size,
    "growth": timing_tables.growth,
    "inversion": inversion_tables.inversion,
    "models": asset_tables.models,
    "photos": photo_tables.photos,
    "photos_rates": photo_tables.photo_rates,
    "quick_captions": quick_tables.quick_captions,
    "protocol2_processors": reliability_tables.protocol2_processors,
    "reliability": reliability_tables.reliability,
    "sessions": reliability_tables.sessions,
    "variation": reliability_tables.variation,
    "rival": timing_tables.rival,
    "scale": scale_tables.scale,
    "siglip": text_tables.siglip,
    "step": timing_tables.step,
    "text_triggers": text_tables.text_triggers,
    "vit_rivals": quick_tables.vit_rivals,
    "watching": timing_tables.watching,
}
"""Name in the pages -> function from the repository's root to Markdown."""


@dataclass(frozen=True)
class Options:
    """Write the tables of the pages."""

    check: bool = False
    """Only compare; exit status 1 if a file is out of date."""


def main(options: Options) -> int:
    """Write or compare; return the exit status."""
    rates = json.dumps(chosen_rates.collect(), indent=1, sort_keys=True) + "\n"
    shipped = json.dumps(reference.collect(ROOT), separators=(",", ":"), sort_keys=True) + "\n"
    exercises = exercise_figures.collect(Reference.model_validate_json(shipped))
    figures = json.dumps(exercises, separators=(",", ":")) + "\n"
    texts = {CHOSEN_RATES: rates, REFERENCE: shipped, LABELS: collect_labels(), EXERCISE_FIGURES: figures} | {
        page: render(page.read_text(encoding="utf-8"), ROOT) for page in PAGES
    }
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in changed:
        if options.check:
            print(f"{path.name} is out of date: run make tables", file=sys.stderr)
        else:
            write_text(path, texts[path])
    return int(options.check and bool(changed))


def collect_labels() -> str:
    """Return the labels of all registered classes, as `cleaner.labels` reads them, as JSON."""
    registries = (TRIGGERS, DATASETS, DEFENSES, DETECTORS, EXPLAINERS)
    labels = {r.package: {name: label for name in r if (label := getattr(r[name], "label", ""))} for r in registries}
    lines = [f"{json.dumps(package)}: {json.dumps(names)}" for package, names in labels.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def render(text: str, root: Path = ROOT) -> str:
    """Return `text` with every table and figure regenerated from the files below `root`.

    Raises `KeyError` for unknown names.
    """
    text = FIGURE.sub(lambda match: f"{match[1]}{format_figure(match[2], root)}{match[3]}", text)
    return TABLE_BLOCK.sub(lambda match: f"{match[1]}{_close_percent(TABLES[match[2]](root))}\n{match[3]}", text)


def _close_percent(table: str) -> str:
    """Return a table with percentages as in prose: result files name methods "ta_cleaner K 100 %"."""
    return re.sub(r"(?<=\d) %", "%", table)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
