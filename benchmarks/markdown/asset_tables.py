"""Tables of what assets/ contains: built-in models, SSBA's networks, screenshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.markdown.cells import format_number, join_unique, markdown_table, read_result
from cleaner.evaluation.evaluate import COUNTERFACTUAL_PAIRS
from cleaner.labels import to_label
from cleaner.reports import talk as speaker_notes
from cleaner.runs.request import strip_split
from cleaner.runs.store import list_entries

MODEL_COLUMNS = (
    "model",
    "parameters",
    "zero-shot accuracy",
    "CF",
    "recall@1 of 1000",
    "pairs",
    "steps",
    "hours",
    "seed",
)
SCREENSHOTS = {
    "overview": "Overview: what the backdoor did and what is left of it",
    "poison": "Poison: clean and triggered images, live curves, verdict",
    "defend": "Defend: learning rate, live curves, cost in accuracy",
    "embeddings": "Embeddings: clean and triggered images on one map, before and after",
    "attention": "Attention: evidence for the target in three models",
    "subtexts": "Subtexts: true and false short texts of a caption",
    "try_it": "Try it: place the trigger by hand, three models side by side",
    "compare": "Compare: all runs, accuracy against attack success",
    "film": "Film: a training plays, with map, curves and labels",
    "detect": "Detect: the most suspicious training pairs, with the truth",
    "trigger_search": "Trigger search: how easily each class gives way, and the inverted trigger next to the true one",
}


def models(root: Path) -> str:
    """Return a table of the model cards."""
    all_cards = map(read_result, sorted((root / "assets").glob("*/card.json")))
    cards = [card for card in all_cards if "zero_shot_ca" in card]
    tested = {
        f"{card['n']:,} labeled test images of {to_label(strip_split(card.get('data', 'scenes')))}": None
        for card in cards
    }
    n_pairs = join_unique(f"{card.get('n_counterfactual', COUNTERFACTUAL_PAIRS):,}" for card in cards)
    transfer = [
        f"`{card['model']}` on `{name}` {entry['ca']:.3f} (n {entry['n']:,})"
        for card in cards
        for name, entry in (card.get("transfer") or {}).items()
    ]
    caption = (
        f"On {' and '.join(tested)}; [..]: 95% Wilson interval. CF: on {n_pairs} test pairs."
        + (f" The same classes in other styles: {'; '.join(transfer)}." if transfer else "")
        + " Weights and model cards are in `assets/`."
    )
    return f"{markdown_table(MODEL_COLUMNS, [model_line(card) for card in cards])}\n\n{caption}"


def model_line(card: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of one model card under `MODEL_COLUMNS`."""
    low, high = card["zero_shot_interval"]
    distillation = f" + {card['distil_epochs']} epochs of distillation" if card["teacher"] else ""
    return (
        f"`{card['model']}`",
        f"{card['parameters'] / 1e6:.1f} M",
        f"{card['zero_shot_ca']:.3f} [{low:.3f}, {high:.3f}]",
        format_number(card.get("counterfactual_accuracy")),
        format_number((card.get("image_to_text_recall_of_1000") or {}).get("1")),
        f"{card['pairs']:,}",
        f"{card['steps']:,}{distillation}",
        f"{card['seconds'] / 3600:.1f}",
        str(card["finetune"]["seed"]),
    )


def ssba(root: Path) -> str:
    """Return the measurements on the card of SSBA's networks."""
    card = read_result(root / "assets" / "ssba" / "card.json")
    lines = [
        (
            name.replace("shards:cifar10_small/train.tar", "CIFAR-10 sample"),
            f"{entry['n']:,}",
            f"{entry['bit_accuracy']:.3f}",
            f"{entry['psnr_mean']:.1f} ({entry['psnr_min']:.1f})",
            f"{entry['similarity']:.2f}",
        )
        for name, entry in card["figures"].items()
    ]
    header = ("images", "n", "bit accuracy", "PSNR in dB, mean (minimum)", "cosine of two images' residuals")
    caption = (
        f"{card['bits']} random bits per image, stored with 8 bits per channel, at {card['psnr_db']:g} dB, the "
        f"default; the cosine is for equal bits. {card['parameters']:,} parameters, {card['steps']:,} steps, "
        f"{card['seconds'] / 60:.0f} min, seed {card['seeds'][0]}; `{card['command']}`. No photo was used in training."
    )
    return f"{markdown_table(header, lines)}\n\n{caption}"


def screenshots() -> str:
    """Return the screenshots as images of a page in docs/."""
    return "\n".join(f"![{text}](../assets/screenshots/{name}.png)" for name, text in SCREENSHOTS.items())


def talk(root: Path) -> str:
    """Return the speaker notes with the figures of the shipped example."""
    runs = list_entries(root / "assets" / "example")
    run = next(run for run in runs if run.stage == "backdoored")
    return speaker_notes.render(run, [other for other in runs if other.started_from(run)])
