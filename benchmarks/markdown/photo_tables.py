"""Tables of the photos from benchmarks/results/cifar10.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.equal_accuracy import interpolate_asr
from benchmarks.markdown.cells import (
    Row,
    format_number,
    join_unique,
    markdown_table,
    read_measurement,
)
from benchmarks.markdown.comparison import format_summary
from cleaner.evaluation.equal_accuracy import Setting
from cleaner.labels import format_count
from cleaner.reports import results

PHOTOS_COMMAND = "python -m benchmarks.photos"
TRIED_SUSPECT = ("badnet", 0, None)
"""Attack, seed and method of the row of the model that the learning rates of the photos were tried on."""
LostPairs = set[tuple[str, ...]]
"""(model, method) pairs whose chosen learning rate lost more accuracy than the budget."""


def lost_accuracy_pairs(rates: dict[str, Any]) -> LostPairs:
    """Return the (model, method) pairs of a file of rates that lost more accuracy than the budget."""
    return {tuple(pair) for pair in rates.get("lost_accuracy", [])}


def read_photos(root: Path) -> dict[str, Any]:
    """Return the table on photos. Its own command is that of the last process, which may only have gathered."""
    return read_measurement(root, "cifar10.json") | {"command": PHOTOS_COMMAND}


def photos(root: Path) -> str:
    """Return the origin of the model trained on photos, and all attacks on it side by side."""
    result = read_photos(root)
    card = result["card"]
    low, high = card["zero_shot_interval"]
    n_validation = join_unique(f"{trial['n']:,}" for trial in result["rate_trials"])
    origin = (
        f"Clean model: {card['parameters'] / 1e6:.1f} M parameters, trained on {card['pairs']:,} photos, which it sees "
        f"at {card['image_size']} px, in {card['steps']:,} steps by `{card['command']}`; zero-shot accuracy "
        f"{card['zero_shot_ca']:.3f} [{low:.3f}, {high:.3f}] on {card['n']:,} test photos; held out: "
        f"{card['heldout_by']}.{describe_attack_choice(result)} Learning rates: the largest of "
        f"{', '.join(f'{lr:g}' for lr in result['grid'])} that meets the accuracy budget of {result['budget']:g} on "
        f"{n_validation} validation photos, else (†) the most accurate{describe_rate_trials(result)}."
        f"{describe_missing(result)}"
    )
    return f"{origin}\n\n{format_summary(result['rows'], PHOTOS_COMMAND, lost_accuracy_pairs(result))}"


def describe_attack_choice(result: dict[str, Any]) -> str:
    """Return how the setting of all attacks was chosen."""
    setting = result["attack_setting"]
    seeds = join_unique(str(row["seed"]) for row in result["attack_trials"])
    return (
        f" Attacks: {setting['rate']:.0%} of {setting['pairs']:,} pairs, {setting['epochs']} epochs, lr "
        f"{setting['lr']:g}; of {len(result['attack_grid'])} settings tried on seed {seeds}, before any defense, the "
        f"one with the highest mean ASR that costs at most {result['attack_budget']:g} accuracy, else the most "
        f"accurate; it costs {result['attack_cost']:.3f}."
    )


def describe_rate_trials(result: dict[str, Any]) -> str:
    """Return the backdoored models of the trials: another type of processor makes another one of the same seed."""
    return f"; tried on `badnet`, seed 0 ({describe_suspects(result['rate_trials'])})"


def describe_suspects(trials: Sequence[Row]) -> str:
    """Return the number of backdoored models of some trials, and the start of their hashes."""
    digests = list(dict.fromkeys(trial["suspect_sha256"][:8] for trial in trials))
    return f"{format_count(len(digests), 'models')}, SHA-256: {', '.join(digests)}"


def describe_missing(result: dict[str, Any]) -> str:
    """Return the attacks and seeds that are planned but not in the table."""
    measured = {(row["trigger"], row["seed"]) for row in result["rows"]}
    missing = {
        attack: ", ".join(str(seed) for seed in result["seeds"] if (attack, seed) not in measured)
        for attack in result["attacks"]
    }
    listed = "; ".join(f"{attack} {seeds}" for attack, seeds in missing.items() if seeds)
    return f" Seeds not measured yet: {listed}." if listed else ""


def photo_rates(root: Path) -> str:
    """Return what each learning rate costs and leaves on photos, and the ASR@1 of each method at equal accuracy."""
    result = read_photos(root)
    trials, budget, rates = result["rate_trials"], result["budget"], sorted(result["grid"], reverse=True)
    undefended = find_undefended_asr(result["rows"])
    lines = []
    for name, settings in read_settings(trials).items():
        texts = {each.lr: f"{100 * each.loss:.1f} / {format_number(each.asr)}" for each in settings}
        chosen = result["chosen"][trials[0]["model"]][name]
        texts[chosen] = f"**{texts[chosen]}**"
        at_budget = format_number(interpolate_asr(settings, budget, undefended=undefended, grid=rates))
        lines.append((name, *(texts.get(lr, "-") for lr in rates), at_budget))
    header = ("points lost / ASR@1 at", *(f"{lr:g}" for lr in rates), f"ASR@1 at {100 * budget:g} points")
    n, n_attack = (join_unique(f"{trial[key]:,}" for trial in trials) for key in ("n", "n_attack"))
    return (
        f"{markdown_table(header, lines)}\n\n`badnet`, seed 0 ({describe_suspects(trials)}): n {n} validation photos "
        f"for accuracy, {n_attack} for ASR@1, which plays no part in the choice. Bold: chosen. -: not tried, because a "
        "larger rate meets the budget. Last column: the lowest ASR@1 at this loss or less, interpolated between "
        "neighboring rates. "
        f"Commit {join_unique(trial['commit'] for trial in trials)}; `{PHOTOS_COMMAND}`."
    )


def find_undefended_asr(rows: Sequence[Row]) -> float:
    """Return the ASR@1 of the model that the learning rates were tried on; 1, the highest, until it is measured."""
    suspect = next((row for row in rows if (row["trigger"], row["seed"], row["defense"]) == TRIED_SUSPECT), None)
    return 1.0 if suspect is None else (results.parse_row_metrics(suspect).asr or {})[1]


def read_settings(trials: list[Row]) -> dict[str, list[Setting]]:
    """Return method -> what each of its learning rates cost and left."""
    settings: dict[str, list[Setting]] = {}
    for t in trials:
        settings.setdefault(t["defense"], []).append(Setting(t["lr"], t["backdoored_ca"] - t["ca"], t["asr"]))
    return settings
