"""Tables of README.md from result files and model cards: python -m benchmarks.tables [--check]

What stands between <!-- table:NAME --> and <!-- /table --> is written anew; nothing there is edited by hand. With
--check nothing is written, and the exit status is 1 if the README and the files differ.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from cleaner import results
from cleaner.evaluation import Metrics
from cleaner.files import write_text
from cleaner.metrics import wilson_interval

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- table:(\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)
Row = dict[str, Any]

HEADER = ("defence", "CA", "CF", "ASR@1", "ASR@3", "RA", "floor", "base rate", "seconds")
SCREENSHOTS = {
    "overview": "Overview: what the backdoor did and what is left of it",
    "poison": "Poison: clean and triggered pictures, live curves, the verdict",
    "defend": "Defend: learning rate first, live curves, the price of the cure",
    "embeddings": "Embeddings: clean and triggered pictures on one map, before and after",
    "attention": "Attention: what speaks for the target, for three models",
    "subtexts": "Subtexts: true and false short texts of a caption",
    "try_it": "Try it: the trigger put by hand, three models side by side",
    "compare": "Compare: all runs, accuracy against attack",
}


@dataclass(frozen=True)
class Options:
    """Write the tables of README.md."""

    check: bool = False
    """Only compare; exit status 1 if they differ."""


def main(options: Options) -> int:
    """Write or compare; return the exit status."""
    old = README.read_text(encoding="utf-8")
    new = render(old, ROOT)
    if options.check:
        if new != old:
            print("README.md does not show what is in benchmarks/results and assets: run make tables", file=sys.stderr)
        return int(new != old)
    if new != old:
        write_text(README, new)
    return 0


def render(text: str, root: Path = ROOT) -> str:
    """Return `text` with every table made anew from the files below `root`; raises `KeyError` for an unknown name."""
    return BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]](root)}\n{found[3]}", text)


def attack_defense(root: Path) -> str:
    """Return one table for each model and attack, over all seeds."""
    result = read(root / "benchmarks" / "results" / "attack_defense.json")
    if result is None:
        return not_measured("python -m benchmarks.learning_rates", "python -m benchmarks.attack_defense")
    rates = read(root / "benchmarks" / "results" / "learning_rates.json") or {}
    lost = {tuple(pair) for pair in rates.get("lost_accuracy", [])}
    return "\n\n".join(comparison(rows, result, lost) for rows in grouped(result["rows"]))


def photos(root: Path) -> str:
    """Return the tables of the model trained on real photos, and where that model comes from."""
    result = read(root / "benchmarks" / "results" / "photos.json")
    if result is None or not result["rows"]:
        return not_measured("python -m benchmarks.photos")
    card, lost = result["card"], {tuple(pair) for pair in result["lost_accuracy"]}
    low, high = card["zero_shot_interval"]
    chosen = sorted({f"{trial['n']:,}" for trial in result["rate_trials"]})
    origin = (
        f"The clean model: {card['parameters'] / 1e6:.1f} M parameters, trained on {card['pairs']:,} photos of "
        f"{card['image_size']} px in {card['steps']:,} steps by `{card['command']}`; zero-shot accuracy "
        f"{card['zero_shot_ca']:.3f} [{low:.3f}, {high:.3f}] on {card['n']:,} test photos; held out: "
        f"{card['heldout_by']}. Rates: the largest of {', '.join(f'{lr:g}' for lr in result['grid'])} that keeps the "
        f"accuracy budget of {result['budget']:g} on {' / '.join(chosen)} validation photos, else (†) the best one."
    )
    return "\n\n".join([origin, *(comparison(rows, result, lost) for rows in grouped(result["rows"]))])


def demo(root: Path) -> str:
    """Return the table of the small comparison that `python -m cleaner demo` runs."""
    result = read(root / "benchmarks" / "results" / "demo.json")
    if result is None:
        return not_measured("python -m cleaner demo --out benchmarks/results/demo.json")
    whole = f" The whole demo took {result['seconds']:.0f} s." if "seconds" in result else ""
    return "\n\n".join(comparison(rows, result) for rows in grouped(result["rows"])) + whole


def models(root: Path) -> str:
    """Return a table of the model cards."""
    cards = [card for path in sorted((root / "assets").glob("*/card.json")) if (card := read(path)) is not None]
    if not cards:
        return not_measured("python -m cleaner pretrain scenes-rn")
    header = ("model", "parameters", "zero-shot accuracy", "CF", "recall@1 of 1000", "pairs", "steps", "hours", "seed")
    lines = []
    for card in cards:
        low, high = card["zero_shot_interval"]
        lines.append(
            (
                f"`{card['model']}`",
                f"{card['parameters'] / 1e6:.1f} M",
                f"{card['zero_shot_ca']:.3f} [{low:.3f}, {high:.3f}]",
                number(card.get("counterfactual_accuracy")),
                number((card.get("image_to_text_recall_of_1000") or {}).get("1")),
                f"{card['pairs']:,}",
                f"{card['steps']:,}" + (f" + {card['distil_epochs']} epochs of distillation" * bool(card["teacher"])),
                f"{card['seconds'] / 3600:.1f}",
                str(card["finetune"]["seed"]),
            )
        )
    shown = sorted({f"{card['n']:,}" for card in cards})
    moved = [
        f"`{card['model']}` on `{name}` {figure['ca']:.3f} (n {figure['n']:,})"
        for card in cards
        for name, figure in (card.get("transfer") or {}).items()
    ]
    caption = f"On {' and '.join(shown)} single-object test pictures; [..]: 95 % Wilson interval."
    other = f" The same classes drawn in another way: {'; '.join(moved)}." if moved else ""
    return f"{markdown(header, lines)}\n\n{caption}{other} Weights and cards lie in `assets/`."


def screenshots(root: Path) -> str:
    """Return the screenshots that are there."""
    folder = Path("assets") / "screenshots"
    named = [(folder / f"{name}.png", text) for name, text in SCREENSHOTS.items()]
    lines = [f"![{text}]({path.as_posix()})" for path, text in named if (root / path).exists()]
    return "\n".join(lines) or "(Screenshots follow.)"


TABLES: dict[str, Callable[[Path], str]] = {
    "attack_defense": attack_defense, "demo": demo, "models": models, "photos": photos, "screenshots": screenshots,
}  # fmt: skip


def comparison(rows: Sequence[Row], result: dict[str, Any], lost: Iterable[tuple[str, ...]] = ()) -> str:
    """Return title, table and caption of one model under one attack."""
    model, trigger = rows[0]["model"], rows[0]["trigger"]
    marked = {name for lost_model, name in lost if lost_model == model}
    names = list(dict.fromkeys(row["defense"] for row in rows))
    lines = [table_row(name, [row for row in rows if row["defense"] == name], name in marked) for name in names]
    note = " †: no learning rate kept the accuracy budget." if marked & set(names) else ""
    return f"**`{model}`, `{trigger}`**\n\n{markdown(HEADER, lines)}\n\n{caption(rows, result)}{note}"


def table_row(name: str | None, rows: Sequence[Row], marked: bool) -> tuple[str, ...]:
    """Return one line: mean with minimum and maximum over seeds, or one seed with its 95 % Wilson interval."""
    found = [results.metrics(row) for row in rows]

    def figure(which: str, k: int = 1) -> str:
        values = [value for metrics in found if (value := (getattr(metrics, which) or {}).get(k)) is not None]
        return spread(values, found[0].interval(which, k) if len(values) == 1 == len(found) else None)

    fine = [metrics.counterfactual_accuracy for metrics in found if metrics.counterfactual_accuracy is not None]
    interval = wilson_interval(fine[0], found[0].n_counterfactual) if len(fine) == 1 == len(found) else None
    top3 = figure("asr", 3) + ("" if all(metrics.meaningful(3) for metrics in found) else " n. m.")
    seconds = f"{sum(row['seconds'] for row in rows) / len(rows):.0f}"
    label = (name or "none (backdoored)") + (" †" if marked else "")
    return (
        label, figure("ca"), spread(fine, interval), figure("asr"), top3, figure("ra"), figure("asr_clean_model"),
        figure("base_rate"), seconds,
    )  # fmt: skip


def caption(rows: Sequence[Row], result: dict[str, Any]) -> str:
    """Return protocol, n, seeds, settings, device and commit in words."""
    metrics = results.metrics(rows[0])
    seeds = sorted({row["seed"] for row in rows})
    defended = [row for row in rows if row["defense"] is not None]
    several = "mean [minimum, maximum] over the seeds" if len(seeds) > 1 else "[..]: 95 % Wilson interval"
    rates = {row["defense"]: f"{row['config']['finetune']['lr']:g}" for row in defended}
    sentences = [
        f"Protocol `{metrics.protocol}` on {metrics.data}: n {metrics.n:,} pictures for CA, "
        f"{metrics.n_attack:,} triggered ones, target {metrics.target_class!r}{counterfactual(metrics)}",
        f"Seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}; {several}",
        f"Poisoned: {poisoned(rows)}",
    ]
    if defended:
        views = joined(row["config"]["finetune"]["augmentation"] for row in defended)
        sentences += [
            f"Defended: {joined(steps(row) for row in defended)}, augmentation {views}",
            f"Learning rates: {', '.join(f'{name} {rate}' for name, rate in rates.items())}",
        ]
    sentences.append(
        f"{joined(str(row.get('device', result.get('device'))) for row in rows)}; "
        f"commit {joined(str(row.get('commit', result.get('commit'))) for row in rows)}; `{result['command']}`"
    )
    return ". ".join(sentences) + "."


def counterfactual(metrics: Metrics) -> str:
    return f", {metrics.n_counterfactual:,} pairs for CF" if metrics.n_counterfactual else ""


def poisoned(rows: Sequence[Row]) -> str:
    """Return what the attacker did, from the backdoored rows."""
    attacked = [row for row in rows if row["defense"] is None and "poison_rate" in row["config"]]
    return joined(f"{100 * row['config']['poison_rate']:g} % of {steps(row)}" for row in attacked) or "not recorded"


def steps(row: Row) -> str:
    """Return pairs, batch, epochs and steps of a row in words."""
    count, finetune = row["config"]["pairs"], row["config"]["finetune"]
    batch = min(finetune["batch_size"], count)
    total = finetune["epochs"] * (count // batch)
    return f"{count:,} pairs, batch {batch}, {finetune['epochs']} epochs, {total:,} steps"


def spread(values: Sequence[float], interval: tuple[float, float] | None) -> str:
    """Return "mean [low, high]": the interval of a single value, else minimum and maximum; "-" for no values."""
    if not values:
        return "-"
    low, high = interval or (min(values), max(values))
    return f"{sum(values) / len(values):.3f} [{low:.3f}, {high:.3f}]"


def grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows of each (model, trigger), in order of appearance."""
    keys = dict.fromkeys((row["model"], row["trigger"]) for row in rows)
    return [[row for row in rows if (row["model"], row["trigger"]) == key] for key in keys]


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *lines])


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def joined(words: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(words))


def read(path: Path) -> dict[str, Any] | None:
    """Return a JSON file, or None if it is not there."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def not_measured(*commands: str) -> str:
    return "Not measured yet. Measure it with: " + ", then ".join(f"`{command}`" for command in commands)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
