"""Table of the built-in models in assets/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.markdown.cells import format_number, join_unique, markdown_table, read_result
from cleaner.evaluation.evaluate import COUNTERFACTUAL_PAIRS
from cleaner.labels import to_label
from cleaner.runs.request import strip_split

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
