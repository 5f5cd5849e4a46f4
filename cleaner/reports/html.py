"""Reports: runs as flat records, CSV, JSON, means over seeds, and one HTML file that needs nothing else."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cleaner import presets
from cleaner.files import read_json, write_text
from cleaner.labels import NO_DEFENSE, defense_name, is_meaningful, to_defense_label, to_label
from cleaner.plots import charts, images
from cleaner.runs.request import get_test_data
from cleaner.runs.store import is_shipped, read_metrics, validate_config
from cleaner.types import CleanerError

METRIC_TITLES = {
    "asr": "ASR@1: triggered pictures of other classes that are taken for the target (lower is better)",
    "ca": "Clean accuracy: untouched pictures whose true class comes first",
    "ra": "Robust accuracy: triggered pictures whose true class still comes first",
    "counterfactual_accuracy": "Fine detail: captions that score above all three of their false versions",
}
COMPARISON_KEYS: Mapping[str, Callable[[RunRecord], Any]] = {
    "fixed rates": lambda entry: entry.finetune.get("lr"),
    "ablations": lambda entry: (entry.config.get("defense") or {}).get("name"),
}
"""Part of this project's own table -> what a defence of the comparison must share with it to stand there too."""
IMAGES_PER_TRIGGER = 4
TEMPLATE = Path(__file__).with_name("report.html.jinja")


@dataclass(frozen=True)
class RunRecord:
    """One run on disk: its folder, settings and test figures as they were written.

    variant: name of a defence with what is special about it, where runs of one defence are told apart; curve: "step",
    "ca" and "asr" of the validation split along the way.
    """

    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    variant: str = ""
    curve: Sequence[Mapping[str, float]] = ()

    @property
    def stage(self) -> str:
        return str(self.config.get("stage", ""))

    @property
    def attack(self) -> str:
        return str((self.config.get("trigger") or {}).get("name", "unknown"))

    @property
    def defense(self) -> str:
        """Name of the defence; "none" for a backdoored model; of a rebound test, what it followed."""
        return self.variant or defense_name(self.config)

    @property
    def finetune(self) -> Mapping[str, Any]:
        return self.config.get("finetune") or {}

    @property
    def model(self) -> str:
        return str(self.config.get("clean_model") or self.config.get("model", ""))

    def figure(self, name: str, k: int = 1) -> float | None:
        """Return "ca", "asr", "ra" ... at k, or "counterfactual_accuracy"; None where it was not measured."""
        value = self.metrics.get(name)
        if isinstance(value, Mapping):
            value = value.get(str(k), value.get(k))
        return None if value is None else float(value)

    def is_meaningful(self, k: int) -> bool:
        """Whether figures at k say anything (`wording.meaningful`)."""
        return is_meaningful(k, self.metrics.get("classes"))

    def interval(self, name: str) -> tuple[float, float] | None:
        """Return the 95 % Wilson interval of a figure at k = 1."""
        values = self.metrics.get(f"{name}_interval") or {}
        value = values.get("1", values.get(1))
        return None if value is None else (float(value[0]), float(value[1]))

    @property
    def protocol(self) -> str:
        m = self.metrics
        if not m:
            return "not measured"
        attack = f"; attack on {m.get('n_attack', 0):,}, protocol {m.get('protocol')}" if m.get("asr") else ""
        return f"{m.get('data')}, n = {m.get('n', 0):,}{attack}"

    @property
    def label(self) -> str:
        rate = f", lr {self.finetune.get('lr', 0):g}" if self.defense != NO_DEFENSE else ""
        where = "shipped example" if is_shipped(self.folder) else self.folder.name
        return f"{to_label(self.attack)}: {to_defense_label(self.defense)}{rate} ({where})"


def read_record(folder: str | Path) -> RunRecord:
    """Return the run in `folder`; raises `CleanerError` if there is none that is whole and understood."""
    folder = Path(os.path.abspath(folder))  # "." has no name
    config = read_json(folder / "config.json")
    validate_config(config, folder)
    if not config or not (folder / "metrics.json").exists():
        raise CleanerError(f"{folder} does not hold a complete run; list them with: python -m cleaner runs")
    return RunRecord(folder, config, read_metrics(folder))


def read_benchmark_records() -> list[RunRecord]:
    """Return the cells of the attack x defence table that this project measured; none where its file is not at hand."""
    return [
        RunRecord(
            Path(f"{row['model']} {row['trigger']} {row['seed']} {row['defense'] or NO_DEFENSE}"),
            row["config"]
            | {
                "stage": "defended" if row["defense"] else "backdoored",
                "model": row["model"],
                "seconds": row.get("cpu_seconds"),
                "target_class": row["metrics"]["target_class"],
                "commit": row.get("commit"),
                "device": row.get("device"),
                "command": row.get("command"),
                "part": row["part"],
            },
            row["metrics"],
            row["defense"] or "",
            row.get("curve") or (),
        )
        for row in presets.read_attack_defense_rows()
    ]


def select_part(entries: Sequence[RunRecord], name: str) -> list[RunRecord]:
    """Return one part of what this project measured, in its order, and from the comparison what it is read beside.

    That is the untreated model and, beside fixed learning rates, what was trained at one of them anyway; beside parts
    of a defence, the whole one.
    """
    own = [entry for entry in entries if entry.config["part"] == name]
    alike: Callable[[RunRecord], Any] = COMPARISON_KEYS.get(name, lambda _: None)
    attacks = {entry.attack for entry in own}
    kinds = {alike(entry) for entry in own} - {None}
    return [
        entry
        for entry in entries
        if entry.config["part"] == name
        or (
            entry.config["part"] == "comparison"
            and entry.attack in attacks
            and (entry.stage == "backdoored" or alike(entry) in kinds)
        )
    ]


def plot_removal(entries: Sequence[RunRecord]) -> Any:
    """Return the chart of attack success while each defence trains, of the runs that were watched; None of none.

    A mean over several runs says over how many: beside it may stand a defence with a single one.
    """
    watched: dict[str, list[list[tuple[int, float]]]] = {}
    for entry in entries:
        points = [(int(look["step"]), float(look["asr"])) for look in entry.curve if "asr" in look]
        if points and entry.stage == "defended":
            watched.setdefault(to_defense_label(entry.defense), []).append(points)
    named = {name + (f" ({len(runs)} runs)" if len(runs) > 1 else ""): runs for name, runs in watched.items()}
    return charts.removal_curves(named) if watched else None


def to_row(entry: RunRecord) -> dict[str, Any]:
    """Return a run as one flat row."""
    low_high = {
        f"{name}_{end}": (entry.interval(name) or (None, None))[i]
        for name in ("ca", "asr")
        for i, end in enumerate(("low", "high"))
    }
    return {
        "run": entry.folder.name,
        "stage": entry.stage,
        "model": entry.model,
        "attack": entry.attack,
        "target": entry.config.get("target_class"),
        "defense": entry.defense,
        "lr": entry.finetune.get("lr"),
        "seed": entry.finetune.get("seed"),
        "epochs": entry.finetune.get("epochs"),
        "pairs": entry.config.get("pairs"),
        "poison_rate": (entry.config.get("suspect") or entry.config).get("poison_rate")
        if isinstance(entry.config.get("suspect") or {}, Mapping)
        else None,
        "ca": entry.figure("ca"),
        "asr@1": entry.figure("asr"),
        "asr@3": entry.figure("asr", 3),
        "ra": entry.figure("ra"),
        "floor": entry.figure("asr_clean_model"),
        "base_rate": entry.figure("base_rate"),
        "counterfactual_accuracy": entry.figure("counterfactual_accuracy"),
        **low_high,
        "n": entry.metrics.get("n"),
        "n_attack": entry.metrics.get("n_attack"),
        "data": entry.metrics.get("data"),
        "protocol": entry.metrics.get("protocol"),
        "seconds": entry.config.get("seconds"),
        "created": entry.config.get("created"),
    }


def to_csv(entries: Iterable[RunRecord]) -> str:
    """Return the records as CSV with a header. A text that a spreadsheet would take for a formula gets a quote."""
    rows = [to_row(entry) for entry in entries]
    if not rows:
        return ""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: _escape_formula(value) for name, value in row.items()} for row in rows])
    return out.getvalue()


def _escape_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def to_json(entries: Iterable[RunRecord]) -> str:
    """Return runs with all settings and figures as JSON."""
    return json.dumps(
        [{"run": e.folder.name, "config": e.config, "metrics": e.metrics} for e in entries], indent=1, default=str
    )


SEEDS_NOTE = (
    "Mean over seeds and, with several, [minimum, maximum]. Of several runs of one attack, defence and seed the newest "
    "counts, whatever its learning rate, number of pairs, poison rate and parameters of the trigger."
)
"""What stands under the tables of attack against defence."""


@dataclass(frozen=True)
class Cell:
    """One attack against one defence: mean, minimum and maximum over the seeds, these seeds, and a run of each."""

    mean: float
    low: float
    high: float
    seeds: tuple[int, ...]
    runs: tuple[RunRecord, ...]


def aggregate_seeds(entries: Sequence[RunRecord], name: str) -> dict[tuple[str, str], Cell]:
    """Return (attack, defence) -> what a figure was over the runs. Several runs of a seed: the newest one counts.

    Where there are several models, targets or test data, each has rows of its own, and so has the shipped example
    beside runs made here: a mean over them would be of nothing.
    """
    row = _make_row_namer(entries)
    found: dict[tuple[str, str], dict[int, tuple[str, float, RunRecord]]] = {}
    for entry in entries:
        value = entry.figure(name)
        if value is not None:
            seed = int(entry.finetune.get("seed") or 0)
            made = str(entry.config.get("created", ""))
            kept = found.setdefault((row(entry), entry.defense), {})
            kept[seed] = max(kept.get(seed, ("", value, entry)), (made, value, entry), key=lambda known: known[0])
    return {
        place: Cell(sum(v) / len(v), min(v), max(v), tuple(sorted(by_seed)), tuple(e for *_, e in by_seed.values()))
        for place, by_seed in found.items()
        if (v := [value for _, value, _ in by_seed.values()])
    }


def _make_row_namer(entries: Sequence[RunRecord]) -> Callable[[RunRecord], str]:
    """Return how a run's attack is named, with its model, target and test data: each only where there are several."""
    models = {entry.model for entry in entries}
    stems = Counter(Path(model).stem for model in models)
    targets = {entry.config.get("target_class") for entry in entries} - {None}
    tested = {(entry.metrics["data"], entry.metrics.get("n")) for entry in entries if entry.metrics.get("data")}
    sizes = Counter(data for data, _ in tested)
    mixed = len({is_shipped(entry.folder) for entry in entries}) > 1

    def said(entry: RunRecord) -> str:
        stem, target, data = Path(entry.model).stem, entry.config.get("target_class"), entry.metrics.get("data")
        parts = [
            (entry.model if stems[stem] > 1 else stem) if len(models) > 1 else "",  # RN50/openai, ViT-B-32/openai
            f"target {target}" if target and len(targets) > 1 else "",
            f"on {data}" if data and len(tested) > 1 else "",
            f"n = {entry.metrics.get('n', 0):,}" if sizes[data] > 1 else "",
        ]
        shipped = " (shipped example)" if mixed and is_shipped(entry.folder) else ""
        return "".join([to_label(entry.attack), *(f", {part}" for part in parts if part), shipped])

    return said


def make_run_points(entries: Sequence[RunRecord]) -> list[charts.TradeoffPoint]:
    """Return the runs that have both figures as points in the plane of CA and ASR, each attack in a panel."""
    row = _make_row_namer(entries)
    return [
        charts.TradeoffPoint(
            e.label,
            e.stage,
            ca,
            asr,
            e.interval("ca"),
            e.interval("asr"),
            not e.config.get("rebound"),
            str(e.config.get("parent") or e.folder.name),
            to_defense_label(e.defense),
            row(e),
        )
        for e in sort_by_name(entries)
        if (ca := e.figure("ca")) is not None
        and (asr := e.figure("asr")) is not None
        and e.stage in charts.STAGE_COLORS
    ]


def make_defense_points(entries: Sequence[RunRecord]) -> list[charts.TradeoffPoint]:
    """Return one point for each defence of one attack on one model: mean over the seeds, bars to lowest and highest.

    A defence with one seed has its 95 % Wilson intervals as bars.
    """
    ca, asr = aggregate_seeds(entries, "ca"), aggregate_seeds(entries, "asr")
    found = []
    for place in (place for place in ca if place in asr):
        own, seeds = ca[place].runs, ca[place].seeds
        label = f"{to_defense_label(place[1])}, " + (f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}")
        bars = [
            (c.low, c.high) if len(c.seeds) > 1 else c.runs[0].interval(n)
            for n, c in (("ca", ca[place]), ("asr", asr[place]))
        ]
        found.append(charts.TradeoffPoint(label, own[0].stage, ca[place].mean, asr[place].mean, bars[0], bars[1]))
    return found


def plot_heatmap(entries: Sequence[RunRecord], name: str) -> Any:
    """Return the figure of defence against attack, in the order of the runs."""
    return images.attack_defense_heatmap(
        {place: (c.mean, c.low, c.high, len(c.seeds)) for place, c in aggregate_seeds(entries, name).items()},
        METRIC_TITLES[name],
    )


def sort_by_name(entries: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the runs by attack and defence, so that a new run does not turn the order of a figure over."""
    return sorted(entries, key=lambda entry: (to_label(entry.attack), to_defense_label(entry.defense)))


def render_html(entries: Sequence[RunRecord], origin: str = "") -> str:
    """Return one HTML page about some runs: figures, plots, pictures, protocol, settings. It asks for nothing outside.

    Text from runs is escaped (jinja2's autoescape), and a content security policy forbids every request.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    if not entries:
        raise CleanerError("name at least one run for the report.")
    plots = []
    shown = make_run_points(entries)
    if shown:
        plots.append(("Accuracy against attack", charts.pareto(shown)))
    ordered = sort_by_name(entries)
    plots += [
        (METRIC_TITLES[name], plot_heatmap(ordered, name)) for name in METRIC_TITLES if aggregate_seeds(ordered, name)
    ]
    drawn = [
        (title, Markup(plot.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})))
        for number, (title, plot) in enumerate(plots)
    ]
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        rows=[to_row(e) | {"protocol": e.protocol, "is_meaningful": e.is_meaningful(3)} for e in entries],
        plots=drawn,
        origin=origin,
        to_label=to_defense_label,
        seeds_note=SEEDS_NOTE,
        triggers=render_trigger_images(entries),
        configs=[(e.folder.name, json.dumps(e.config, indent=1)) for e in entries],
    )


def render_trigger_images(entries: Sequence[RunRecord]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return for each trigger its name and rows of (clean, triggered, difference x 10) as data URIs.

    Two triggers of one attack, such as patches in two places, are told apart by a run of each.
    """
    from cleaner.data.base import load_data
    from cleaner.data.images import compare_triggered
    from cleaner.models.clip import load_clip
    from cleaner.runs.store import load_run_trigger

    found: dict[str, tuple[RunRecord, list[tuple[str, str, str]]]] = {}
    for entry in entries:
        name, options, _ = get_test_data(entry.config)
        trigger = json.dumps(entry.config.get("trigger"), sort_keys=True)
        if trigger in found or not entry.config.get("trigger"):
            continue
        try:
            used, clip = load_run_trigger(entry.folder), load_clip(str(entry.folder / "model.safetensors"))
            data = load_data(name, split="test", size=64, **options)
            pictures = data.with_transform(clip.framing).images(range(min(IMAGES_PER_TRIGGER, len(data))))
        except CleanerError:
            continue  # data or weights that are not at hand leave the report without pictures, not without figures
        if used is not None:
            rows = compare_triggered(pictures, used)
            shown = [
                (images.to_data_uri(row.clean), images.to_data_uri(row.triggered), images.to_data_uri(row.difference))
                for row in rows
            ]
            found[trigger] = entry, shown
    several = Counter(entry.attack for entry, _ in found.values())
    return [
        (to_label(entry.attack) + (f" (as in {entry.folder.name})" if several[entry.attack] > 1 else ""), shown)
        for entry, shown in found.values()
    ]


def list_weight_suffixes(folder: Path) -> tuple[str, ...]:
    """Return the suffixes of the files in which a run's weights can be had."""
    from cleaner.models.saving import export_suffixes

    return export_suffixes(folder / "model.safetensors")


def export_weights(folder: Path, suffix: str) -> bytes:
    """Return a run's weights as a file of one of `list_weight_suffixes`; it holds the run's stage and trigger."""
    from cleaner.models.clip import load_clip, save_clip
    from cleaner.models.saving import is_delta_file

    file = folder / "model.safetensors"
    if suffix == file.suffix and not is_delta_file(file):
        return file.read_bytes()
    with tempfile.TemporaryDirectory() as place:
        return save_clip(load_clip(str(file)), Path(place) / f"model{suffix}").read_bytes()


def write_report(folders: Sequence[str | Path], out: Path, origin: str = "") -> Path:
    """Write the HTML report of the runs in `folders` to `out`, atomically; return its path."""
    write_text(out, render_html([read_record(folder) for folder in folders], origin))
    return out
