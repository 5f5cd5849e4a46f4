"""Tables of README.md and docs/ from result files and model cards: python -m benchmarks.tables [--check]

What stands between <!-- table:NAME --> and <!-- /table --> is written anew; nothing there is edited by hand. With
--check nothing is written, and the exit status is 1 if a page and the files differ.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import protocol
from benchmarks.comparison import (
    COMPARISON_COLUMNS,
    Row,
    describe_protocol,
    describe_trigger,
    format_caption,
    format_comparison,
    format_metrics,
    format_number,
    format_summary,
    group_rows,
    join_unique,
    markdown_table,
    mean,
    method_label,
)
from benchmarks.learning_rates import current_trials
from cleaner.evaluation.evaluate import COUNTERFACTUAL_PAIRS
from cleaner.files import write_text
from cleaner.reports import results

ROOT = Path(__file__).resolve().parent.parent
PAGES = tuple(ROOT / name for name in ("README.md", "docs/results.md"))
TABLE_BLOCK = re.compile(r"(<!-- table:(\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)

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
    """Write the tables of README.md and docs/."""

    check: bool = False
    """Only compare; exit status 1 if they differ."""


def main(options: Options) -> int:
    """Write or compare; return the exit status."""
    status = 0
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = render(old, ROOT)
        if new == old:
            continue
        if options.check:
            print(f"{page.name} does not show what is in benchmarks/results: run make tables", file=sys.stderr)
            status = 1
        else:
            write_text(page, new)
    return status


def render(text: str, root: Path = ROOT) -> str:
    """Return `text` with every table made anew from the files below `root`; raises `KeyError` for an unknown name."""
    return TABLE_BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]](root)}\n{found[3]}", text)


def at_a_glance(root: Path) -> str:
    """Return one table for each model, all attacks side by side."""
    return build_tables(root, ("model",), format_summary, lambda row: row["defense"] not in protocol.ABLATIONS)


def attack_defense(root: Path) -> str:
    """Return one table for each model and attack, over all seeds."""
    return build_tables(
        root, ("model", "trigger"), format_comparison, lambda row: row["defense"] not in protocol.ABLATIONS
    )


def ablations(root: Path) -> str:
    """Return one table for each model and attack where parts of TA-Cleaner were taken away."""
    whole = [name for name, defense in protocol.METHODS.items() if defense.state_dict()["name"] == "ta_cleaner"]
    return build_tables(
        root,
        ("model", "trigger"),
        format_comparison,
        lambda row: row["defense"] in {None, *whole, *protocol.ABLATIONS},
        keep_group=lambda rows: any(row["defense"] in protocol.ABLATIONS for row in rows),
    )


def counterfactual_by_kind(root: Path) -> str:
    """Return CF by kind of edit, where a kind was held out of TA-Cleaner's training."""
    result = read_result(root / "benchmarks" / "results" / "attack_defense.json") or {"rows": []}
    held = {name for name, defense in protocol.ABLATIONS.items() if defense.state_dict()["held_out"] != "none"}
    tables = []
    for rows in group_rows(result["rows"], "model", "trigger", "seed"):
        if not held & {row["defense"] for row in rows}:
            continue
        found = [results.parse_row_metrics(row) for row in rows]
        kinds = sorted({kind for metrics in found for kind in metrics.counterfactual_by_kind})
        lines = [
            (
                method_label(row["defense"]),
                format_number(metrics.counterfactual_accuracy),
                *(format_number(metrics.counterfactual_by_kind.get(kind)) for kind in kinds),
            )
            for row, metrics in zip(rows, found, strict=True)
        ]
        model, trigger, seed = (rows[0][key] for key in ("model", "trigger", "seed"))
        tables.append(
            f"**`{model}`, `{trigger}`**\n\n{markdown_table(('defence', 'CF', *kinds), lines)}\n\n"
            "CF: the caption beats all of its three false subtexts; by kind: it beats one of that kind (chance: 0.5). "
            f"On {found[0].n_counterfactual:,} pairs of {found[0].data}, seed {seed}; "
            f"commit {join_unique(row['commit'] for row in rows)}; `{result['command']}`."
        )
    return "\n\n".join(tables) or not_measured_note(
        "python -m benchmarks.attack_defense --attacks badnet --methods 'ta_cleaner relation held out'"
    )


def build_tables(
    root: Path,
    keys: tuple[str, ...],
    format_group: Callable[..., str],
    keep_row: Callable[[Row], bool],
    keep_group: Callable[[list[Row]], bool] = bool,
) -> str:
    """Return a table of the kept rows of the paper's six attacks for each group that shares `keys`."""
    result = read_result(root / "benchmarks" / "results" / "attack_defense.json")
    rates = read_result(root / "benchmarks" / "results" / "learning_rates.json") or {}
    rows = [row for row in result["rows"] if row["trigger"] in protocol.ATTACKS and keep_row(row)] if result else []
    tables = [
        format_group(group, result, lost_accuracy_pairs(rates))
        for group in group_rows(rows, *keys)
        if keep_group(group)
    ]
    return "\n\n".join(tables) or not_measured_note(
        "python -m benchmarks.learning_rates", "python -m benchmarks.attack_defense"
    )


def other_triggers(root: Path) -> str:
    """Return one row for each further trigger: before and after TA-Cleaner."""
    result = read_result(root / "benchmarks" / "results" / "attack_defense.json") or {"rows": []}
    rows = [row for row in result["rows"] if row["trigger"] in protocol.OTHER_TRIGGERS]
    if not rows:
        return not_measured_note(
            f"python -m benchmarks.attack_defense --attacks {' '.join(protocol.OTHER_TRIGGERS)} --methods ta_cleaner"
        )
    lines = []
    for own in group_rows(rows, "trigger"):
        before, after = ([row for row in own if row["defense"] == name] for name in (None, "ta_cleaner"))
        ca, _, attacked, _, seen, floor, _ = format_metrics(before)
        again = [results.parse_row_metrics(row["rebound"]).asr or {} for row in after]
        made = describe_trigger(before[0]["config"]["trigger"]).removeprefix(", trigger of ")
        kept, fine, left, _, found, *_ = format_metrics(after)
        rebound = format_number(mean([asr[1] for asr in again]))
        lines.append((f"`{own[0]['trigger']}`", made, ca, attacked, floor, seen, kept, fine, left, found, rebound))
    header = (
        "trigger",
        "of",
        "CA",
        "ASR@1",
        "floor",
        "RA",
        "CA after",
        "CF after",
        "ASR@1 after",
        "RA after",
        "rebound ASR@1",
    )
    bare = [{**row, "config": {**row["config"], "trigger": None}} for row in rows]
    return f"{markdown_table(header, lines)}\n\nAfter: `ta_cleaner`. {format_caption(bare, result)}"


def budget(root: Path) -> str:
    """Return what each method removes with how many pairs and steps, at which learning rate."""
    result = read_result(root / "benchmarks" / "results" / "budget.json")
    if result is None:
        return not_measured_note("python -m benchmarks.budget")
    tables = []
    for rows in group_rows(result["rows"], "model", "trigger", "seed"):
        model, trigger, seed = (rows[0][key] for key in ("model", "trigger", "seed"))
        rows.sort(key=lambda row: (row["pairs"], row["steps"], -row["lr"]))
        lines = [
            (f"{row['pairs']:,}", f"{row['steps']:,}", f"{row['lr']:g}", row["defense"], *format_metrics([row]))
            for row in rows
        ]
        tables.append(
            f"**`{model}`, `{trigger}`**\n\n{markdown_table(('pairs', 'steps', 'rate', *COMPARISON_COLUMNS), lines)}\n\n"
            f"{describe_protocol(rows)}. Seed {seed}; [..]: 95 % Wilson interval. "
            f"{join_unique(row['device'] for row in rows)}; commit "
            f"{join_unique(row['commit'] for row in rows)}; `{result['command']}`."
        )
    return "\n\n".join(tables)


def learning_rates(root: Path) -> str:
    """Return accuracy and attack success at each rate of the grid that was tried, the chosen one in bold."""
    result = read_result(root / "benchmarks" / "results" / "learning_rates.json")
    if result is None:
        return not_measured_note("python -m benchmarks.learning_rates")
    rates = sorted(result["grid"], reverse=True)
    tables = []
    for trials in group_rows(current_trials(result["trials"]), "model"):
        model, tried = trials[0]["model"], {(t["defense"], t["lr"]): t for t in trials}
        lines = []
        for name in dict.fromkeys(t["defense"] for t in trials):
            cells = [tried.get((name, lr), {}) for lr in rates]
            texts = [" / ".join(format_number(t[key]) for key in ("ca", "asr") if key in t) or "-" for t in cells]
            chosen = result["chosen"].get(model, {}).get(name)
            bold = [f"**{text}**" if lr == chosen else text for lr, text in zip(rates, texts, strict=True)]
            lines.append((name + " †" * ([model, name] in result["lost_accuracy"]), *bold))
        before = ", ".join(sorted({f"{t['backdoored_ca']:.3f}" for t in trials}))
        n, n_attack = (join_unique(f"{t[key]:,}" for t in trials if key in t) for key in ("n", "n_attack"))
        tables.append(
            f"**`{model}`, `badnet`**\n\n{markdown_table(('CA / ASR@1 at', *(f'{lr:g}' for lr in rates)), lines)}\n\n"
            f"{result['split']}: n {n} for CA (backdoored {before}), {n_attack} for ASR@1, which chooses nothing and "
            f"was not always taken. {result['clean_pairs']:,} pairs, {result['epochs']} epochs, seed "
            f"{join_unique(map(str, result['seeds']))}; commit {join_unique(t['commit'] for t in trials)}. Bold: chosen; -: not "
            f"tried, as a larger one keeps the budget of {result['budget']:g}; †: none does."
        )
    return "\n\n".join(tables)


def photos(root: Path) -> str:
    """Return where the model trained on real photos comes from, and all attacks on it side by side."""
    result = read_result(root / "benchmarks" / "results" / "photos.json")
    if result is None or not result["rows"]:
        return not_measured_note("python -m benchmarks.photos")
    card = result["card"]
    low, high = card["zero_shot_interval"]
    chosen = join_unique(f"{trial['n']:,}" for trial in result["rate_trials"])
    origin = (
        f"The clean model: {card['parameters'] / 1e6:.1f} M parameters, trained on {card['pairs']:,} photos of "
        f"{card['image_size']} px in {card['steps']:,} steps by `{card['command']}`; zero-shot accuracy "
        f"{card['zero_shot_ca']:.3f} [{low:.3f}, {high:.3f}] on {card['n']:,} test photos; held out: "
        f"{card['heldout_by']}. Rates: the largest of {', '.join(f'{lr:g}' for lr in result['grid'])} that keeps the "
        f"accuracy budget of {result['budget']:g} on {chosen} validation photos, else (†) the best one."
    )
    return f"{origin}\n\n{format_summary(result['rows'], result, lost_accuracy_pairs(result))}"


def photos_by_attack(root: Path) -> str:
    """Return one table for each attack on the model trained on real photos."""
    result = read_result(root / "benchmarks" / "results" / "photos.json") or {"rows": []}
    tables = [
        format_comparison(rows, result, lost_accuracy_pairs(result)) for rows in group_rows(result["rows"], "trigger")
    ]
    return "\n\n".join(tables) or not_measured_note("python -m benchmarks.photos")


def lost_accuracy_pairs(rates: dict[str, Any]) -> set[tuple[str, ...]]:
    """Return model and method of each choice of rates that lost more accuracy than the budget."""
    return {tuple(pair) for pair in rates.get("lost_accuracy", [])}


def demo(root: Path) -> str:
    """Return the table of the small comparison that `python -m cleaner demo` runs."""
    result = read_result(root / "benchmarks" / "results" / "demo.json")
    if result is None:
        return not_measured_note("python -m cleaner demo --out benchmarks/results/demo.json")
    whole = f" The whole demo took {result['seconds']:.0f} s." if "seconds" in result else ""
    tables = "\n\n".join(format_comparison(rows, result) for rows in group_rows(result["rows"], "model", "trigger"))
    return tables + whole + describe_job_time(read_result(root / "benchmarks" / "results" / "job.json"))


def describe_job_time(result: dict[str, Any] | None) -> str:
    """Return in words how long the full setting takes as a page starts it."""
    if result is None:
        return ""
    parts = ", ".join(f"{row['stage']} {row['seconds']:.0f} s for {row['steps']} steps" for row in result["rows"])
    return (
        "\n\nThe full setting as a page starts it, badnet and TA-Cleaner on "
        f"`{result['model']}`: {result['seconds']:.0f} s from the start of a worker to its test figures ({parts}). "
        f"{result['device']}; commit {result['commit']}; `{result['command']}`."
    )


def models(root: Path) -> str:
    """Return a table of the model cards."""
    found = [card for path in sorted((root / "assets").glob("*/card.json")) if (card := read_result(path)) is not None]
    cards = [card for card in found if "zero_shot_ca" in card]
    if not cards:
        return not_measured_note("python -m cleaner pretrain scenes-rn")
    header = ("model", "parameters", "zero-shot accuracy", "CF", "recall@1 of 1000", "pairs", "steps", "hours", "seed")
    lines = []
    for card in cards:
        low, high = card["zero_shot_interval"]
        lines.append(
            (
                f"`{card['model']}`",
                f"{card['parameters'] / 1e6:.1f} M",
                f"{card['zero_shot_ca']:.3f} [{low:.3f}, {high:.3f}]",
                format_number(card.get("counterfactual_accuracy")),
                format_number((card.get("image_to_text_recall_of_1000") or {}).get("1")),
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
    fine = join_unique(f"{card.get('n_counterfactual', COUNTERFACTUAL_PAIRS):,}" for card in cards)
    caption = (
        f"On {' and '.join(shown)} single-object test pictures; [..]: 95 % Wilson interval. CF: on {fine} test pairs."
    )
    other = f" The same classes drawn in another way: {'; '.join(moved)}." if moved else ""
    return f"{markdown_table(header, lines)}\n\n{caption}{other} Weights and cards lie in `assets/`."


def ssba(root: Path) -> str:
    """Return the figures on the card of SSBA's networks."""
    card = read_result(root / "assets" / "ssba" / "card.json")
    if card is None:
        return not_measured_note("python -m benchmarks.ssba")
    lines = [
        (
            name,
            f"{f['n']:,}",
            f"{f['bit_accuracy']:.3f}",
            f"{f['psnr_mean']:.1f} ({f['psnr_min']:.1f})",
            f"{f['similarity']:.2f}",
        )
        for name, f in card["figures"].items()
    ]
    header = ("pictures", "n", "bit accuracy", "PSNR in dB, mean (minimum)", "cosine of two pictures' residuals")
    about = (
        f"{card['bits']} drawn bits for each picture, kept with 8 bits per colour, at {card['psnr_db']:g} dB, the "
        f"default; the cosine is for equal bits. {card['parameters']:,} parameters, {card['steps']:,} steps, "
        f"{card['seconds'] / 60:.0f} min, seed {card['seeds'][0]}; `{card['command']}`. The networks never saw a photo."
    )
    return f"{markdown_table(header, lines)}\n\n{about}"


def step(root: Path) -> str:
    """Return the time of a training step of each model and method, and how times grow."""
    result = read_result(root / "benchmarks" / "results" / "step.json")
    if result is None or "models" not in result:
        return not_measured_note("python -m benchmarks.step")
    header = ("model", "method", "seconds of a step", "share of the bare rate", "over CleanCLIP")
    lines = [
        (
            f"`{found['model']}`",
            row["method"],
            f"{row['seconds']:.3f}",
            f"{row['of_bare_rate']:.2f}",
            f"{row['over_cleanclip']:.2f}",
        )
        for found in result["models"]
        for row in found["rows"]
    ]
    bare = join_unique(f"`{found['model']}` {found['bare_seconds']:.3f} s" for found in result["models"])
    texts = ", ".join(f"{f['seconds']:.2f} s for {f['pairs']:,} pairs" for f in result["texts_of_an_epoch"])
    classes = "; ".join(
        f"`{found['model']}` " + ", ".join(f"{f['seconds']:.2f} s for {f['classes']:,}" for f in found["classifier"])
        for found in result["models"]
    )
    clock = "seconds of the processor" if result["clock"] == "processor" else "by the clock"
    about = (
        f"Bare: forward, backward and optimizer step with CLIP's loss, all in memory: {bare}. Batch "
        f"{result['batch_size']}, {result['precision']}, {result['threads']} thread(s), {clock}; medians of "
        f"{result['rounds']} rounds of {result['steps']} steps in turn. Writing the subtexts of an epoch, K 10 %: "
        f"{texts}. A zero-shot classifier, 4 prompts a class: {classes}. Peak memory "
        f"{result['peak_mb'] / 1000:.2f} GB. {result['device']}; commit {result['commit']}; `{result['command']}`."
    )
    return f"{markdown_table(header, lines)}\n\n{about}"


def screenshots(root: Path) -> str:
    """Return the screenshots that are there."""
    folder = Path("assets") / "screenshots"
    named = [(folder / f"{name}.png", text) for name, text in SCREENSHOTS.items()]
    lines = [f"![{text}]({path.as_posix()})" for path, text in named if (root / path).exists()]
    return "\n".join(lines) or "(Screenshots follow.)"


TABLES: dict[str, Callable[[Path], str]] = {
    "at_a_glance": at_a_glance,
    "attack_defense": attack_defense,
    "ablations": ablations,
    "budget": budget,
    "demo": demo,
    "fine_detail": counterfactual_by_kind,
    "learning_rates": learning_rates,
    "models": models,
    "others": other_triggers,
    "photos": photos,
    "photos_each": photos_by_attack,
    "screenshots": screenshots,
    "ssba": ssba,
    "step": step,
}


def read_result(path: Path) -> dict[str, Any] | None:
    """Return a JSON file, or None if it is not there."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def not_measured_note(*commands: str) -> str:
    return "Not measured yet. Measure it with: " + ", then ".join(f"`{command}`" for command in commands)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
