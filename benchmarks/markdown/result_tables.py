"""Tables of attack x defense, of learning rates, budgets and photos, from benchmarks/results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import protocol
from benchmarks.learning_rates import current_trials
from benchmarks.markdown.captions import describe_protocol, describe_trigger, format_caption
from benchmarks.markdown.cells import (
    Row,
    describe_origins,
    format_number,
    group_rows,
    join_unique,
    markdown_table,
    mean,
    method_label,
    read_measurement,
)
from benchmarks.markdown.comparison import COMPARISON_COLUMNS, format_comparison, format_metrics, format_summary
from cleaner.evaluation.equal_accuracy import Setting, interpolate_asr
from cleaner.labels import format_count
from cleaner.reports import results

OTHER_TRIGGER_COLUMNS = (
    "trigger",
    "parameters",
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
COMMAND = "python -m benchmarks.attack_defense"
PHOTOS_COMMAND = "python -m benchmarks.photos"
TRIED_SUSPECT = ("badnet", 0, None)
"""Attack, seed and method of the row of the model that the learning rates of the photos were tried on."""
LostPairs = set[tuple[str, ...]]
"""(model, method) pairs whose chosen learning rate lost more accuracy than the budget."""


def at_a_glance(root: Path) -> str:
    """Return one summary per model."""
    return build_tables(root, ("model",), lambda rows, _, lost: format_summary(rows, lost), is_no_ablation)


def attack_defense(root: Path) -> str:
    """Return one table per model and attack, over all seeds."""
    return build_tables(root, ("model", "trigger"), format_comparison, is_no_ablation)


def ablations(root: Path) -> str:
    """Return one table per model and attack with an ablation of TA-Cleaner."""
    full = [name for name, defense in protocol.METHODS.items() if defense.state_dict()["name"] == "ta_cleaner"]
    return build_tables(
        root,
        ("model", "trigger"),
        format_comparison,
        lambda row: row["defense"] in {None, *full, *protocol.ABLATIONS},
        keep_group=lambda rows: any(row["defense"] in protocol.ABLATIONS for row in rows),
    )


def is_no_ablation(row: Row) -> bool:
    """Whether a row is of a whole method."""
    return row["defense"] not in protocol.ABLATIONS


def build_tables(
    root: Path,
    keys: tuple[str, ...],
    format_group: Callable[[list[Row], dict[str, Any], LostPairs], str],
    keep_row: Callable[[Row], bool],
    keep_group: Callable[[list[Row]], bool] = bool,
) -> str:
    """Return one table per group of kept rows with the same `keys`; only the paper's six attacks."""
    result = _read_cells(root)
    lost = lost_accuracy_pairs(read_measurement(root, "learning_rates.json"))
    rows = [row for row in result["rows"] if row["trigger"] in protocol.ATTACKS and keep_row(row)]
    return "\n\n".join(format_group(group, result, lost) for group in group_rows(rows, *keys) if keep_group(group))


def _read_cells(root: Path) -> dict[str, Any]:
    """Return the file of attack x defense; its own command is only the last of many that filled it."""
    return read_measurement(root, "attack_defense.json") | {"command": COMMAND}


def lost_accuracy_pairs(rates: dict[str, Any]) -> LostPairs:
    """Return the (model, method) pairs of a file of rates that lost more accuracy than the budget."""
    return {tuple(pair) for pair in rates.get("lost_accuracy", [])}


def counterfactual_by_kind(root: Path) -> str:
    """Return CF by kind of edit, where one kind was held out of TA-Cleaner's training."""
    result = _read_cells(root)
    held_out = {name for name, defense in protocol.ABLATIONS.items() if defense.state_dict()["held_out"] != "none"}
    return "\n\n".join(
        format_kinds(rows, result["command"])
        for rows in group_rows(result["rows"], "model", "trigger", "seed")
        if held_out & {row["defense"] for row in rows}
    )


def format_kinds(rows: list[Row], command: str) -> str:
    """Return CF by kind of edit for one model, attack and seed."""
    metrics_list = [results.parse_row_metrics(row) for row in rows]
    kinds = sorted({kind for metrics in metrics_list for kind in metrics.counterfactual_by_kind})
    lines = [
        (
            method_label(row["defense"]),
            format_number(metrics.counterfactual_accuracy),
            *(format_number(metrics.counterfactual_by_kind.get(kind)) for kind in kinds),
        )
        for row, metrics in zip(rows, metrics_list, strict=True)
    ]
    model, trigger, seed = (rows[0][key] for key in ("model", "trigger", "seed"))
    return (
        f"**`{model}`, `{trigger}`**\n\n{markdown_table(('defense', 'CF', *kinds), lines)}\n\n"
        "CF: the caption scores above all three of its negative subtexts. By kind: it scores above one of that kind "
        f"(chance: 0.5). {metrics_list[0].n_counterfactual:,} pairs of {metrics_list[0].data}, seed {seed}; "
        f"commit {join_unique(row['commit'] for row in rows)}; `{command}`."
    )


def other_triggers(root: Path) -> str:
    """Return one row per trigger beyond the paper's six: before and after TA-Cleaner."""
    result = _read_cells(root)
    rows = [row for row in result["rows"] if row["trigger"] in protocol.OTHER_TRIGGERS]
    tables = []
    for of_model in group_rows(rows, "model"):
        lines = [other_trigger_line(group) for group in group_rows(of_model, "trigger")]
        without_trigger = [{**row, "config": {**row["config"], "trigger": None}} for row in of_model]
        caption = format_caption(without_trigger, result)
        table = markdown_table(OTHER_TRIGGER_COLUMNS, lines)
        tables.append(f"**`{of_model[0]['model']}`**\n\n{table}\n\nAfter: `ta_cleaner`. {caption}")
    return "\n\n".join(tables)


def other_trigger_line(rows: list[Row]) -> tuple[str, ...]:
    """Return the cells of one trigger under `OTHER_TRIGGER_COLUMNS`."""
    before, after = ([row for row in rows if row["defense"] == name] for name in (None, "ta_cleaner"))
    ca, _, asr, _, ra, floor, _ = format_metrics(before)
    ca_after, cf_after, asr_after, _, ra_after, *_ = format_metrics(after)
    parameters = describe_trigger(before[0]["config"]["trigger"]).removeprefix(", trigger with ")
    rebounds = [results.parse_row_metrics(row["rebound"]).asr or {} for row in after]
    rebound = format_number(mean([asr[1] for asr in rebounds]))
    name = f"`{rows[0]['trigger']}`"
    return (name, parameters, ca, asr, floor, ra, ca_after, cf_after, asr_after, ra_after, rebound)


def budget(root: Path) -> str:
    """Return what each method removes by clean pairs, steps and learning rate."""
    groups = group_rows(read_measurement(root, "budget.json")["rows"], "model", "trigger", "seed")
    return "\n\n".join(map(format_budget, groups))


def format_budget(rows: list[Row]) -> str:
    """Return one model under one attack, one row per budget, learning rate and method."""
    rows = sorted(rows, key=lambda row: (row["pairs"], row["steps"], -row["lr"]))
    model, trigger, seed = (rows[0][key] for key in ("model", "trigger", "seed"))
    programs = join_unique(f"`{row['command'].partition(' --')[0]}`" for row in rows)
    lines = [
        (f"{row['pairs']:,}", f"{row['steps']:,}", f"{row['lr']:g}", row["defense"], *format_metrics([row]))
        for row in rows
    ]
    return (
        f"**`{model}`, `{trigger}`**\n\n"
        f"{markdown_table(('pairs', 'steps', 'learning rate', *COMPARISON_COLUMNS), lines)}\n\n"
        f"{describe_protocol(rows)}. Seed {seed}; [..]: 95% Wilson interval. "
        f"{describe_origins(rows)}; {programs}."
    )


def learning_rates(root: Path) -> str:
    """Return CA and ASR@1 at each learning rate of the grid; the chosen rate in bold."""
    result = read_measurement(root, "learning_rates.json")
    groups = group_rows(current_trials(result["trials"]), "model")
    return "\n\n".join(format_rates(trials, result) for trials in groups)


def format_rates(trials: list[Row], result: dict[str, Any]) -> str:
    """Return one model's trials, one row per method and one column per rate."""
    rates, model = sorted(result["grid"], reverse=True), trials[0]["model"]
    trial_of = {(trial["defense"], trial["lr"]): trial for trial in trials}
    lines = []
    for name in dict.fromkeys(trial["defense"] for trial in trials):
        chosen = result["chosen"].get(model, {}).get(name)
        cells = [format_trial(trial_of.get((name, lr), {}), is_chosen=lr == chosen) for lr in rates]
        lines.append((method_label(name, marked=[model, name] in result["lost_accuracy"]), *cells))
    backdoored = ", ".join(sorted({f"{trial['backdoored_ca']:.3f}" for trial in trials}))
    n, n_attack = (join_unique(f"{t[key]:,}" for t in trials if key in t) for key in ("n", "n_attack"))
    return (
        f"**`{model}`, `badnet`**\n\n{markdown_table(('CA / ASR@1 at', *(f'{lr:g}' for lr in rates)), lines)}\n\n"
        f"{result['split']}: n {n} for CA (backdoored {backdoored}), {n_attack} for ASR@1, which plays no part in the "
        f"choice and was not always measured. {result['clean_pairs']:,} pairs, {result['epochs']} epochs, seed "
        f"{join_unique(map(str, result['seeds']))}; commit {join_unique(t['commit'] for t in trials)}. Bold: chosen. "
        f"-: not tried, because a larger rate meets the budget of {result['budget']:g}. †: no rate meets it."
    )


def format_trial(trial: Row, *, is_chosen: bool) -> str:
    """Return CA, and ASR@1 if measured; "-" for no trial."""
    text = " / ".join(format_number(trial[key]) for key in ("ca", "asr") if key in trial) or "-"
    return f"**{text}**" if is_chosen else text


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
    return f"{origin}\n\n{format_summary(result['rows'], lost_accuracy_pairs(result))}"


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


def photo_subtexts(root: Path) -> str:
    """Return accuracy, fine detail and ASR@1 before and after the subtexts of photo captions were corrected."""
    subtexts = read_photos(root)["subtexts"]
    lines = []
    for before, after in zip(subtexts["before"], subtexts["after"], strict=True):
        metrics = [results.parse_row_metrics(row) for row in (before, after)]
        assert before["suspect_sha256"] == after["suspect_sha256"]
        values = ([m.ca[1], m.counterfactual_accuracy, (m.asr or {}).get(1)] for m in metrics)
        lines.append(
            (method_label(before["defense"]), *(f"{old:.3f} → {new:.3f}" for old, new in zip(*values, strict=True)))
        )
    row = subtexts["after"][0]
    before, after = (join_unique(each["commit"] for each in subtexts[when]) for when in ("before", "after"))
    return (
        f"{markdown_table(('defense', 'CA', 'CF', 'ASR@1'), lines)}\n\nBefore → after, `{row['trigger']}`, seed "
        f"{row['seed']}, one backdoored model, at the same rates; test photos. Commits {before} → {after}; only "
        f"at the second of them does `{PHOTOS_COMMAND}` measure these rows again."
    )


def read_settings(trials: list[Row]) -> dict[str, list[Setting]]:
    """Return method -> what each of its learning rates cost and left."""
    settings: dict[str, list[Setting]] = {}
    for t in trials:
        settings.setdefault(t["defense"], []).append(Setting(t["lr"], t["backdoored_ca"] - t["ca"], t["asr"]))
    return settings


def photos_by_attack(root: Path) -> str:
    """Return one table per attack on the model trained on photos."""
    result = read_photos(root)
    format_group = partial(format_comparison, result=result, lost=lost_accuracy_pairs(result))
    return "\n\n".join(map(format_group, group_rows(result["rows"], "trigger")))
