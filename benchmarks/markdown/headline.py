"""The table of the README: what each method leaves of BadCLIP and what that costs, from assets/reference.json."""

from __future__ import annotations

from pathlib import Path

from benchmarks.markdown.cells import markdown_table
from benchmarks.markdown.figures import find_row, format_figure
from cleaner.labels import NO_DEFENSE

TABLE, ATTACK = "full", "badclip"
METHODS = {
    NO_DEFENSE: "none",
    "finetune": "plain finetuning",
    "cleanclip": "CleanCLIP",
    "cleanclip_short K 100 %": "the control, K 100%",
    "ta_cleaner K 10 %, formula reviewed": "TA-Cleaner, K 10%",
    "ta_cleaner K 100 %, formula reviewed": "TA-Cleaner, K 100%",
}
"""Method in assets/reference.json -> its name here."""


def headline(root: Path) -> str:
    """Return one line per method: attack success, accuracy lost, fine detail; † marks those over the budget."""
    lines = []
    for method, name in METHODS.items():
        asr, lost, cf = (format_figure(f"{TABLE}/{ATTACK}/{method}/{metric}", root) for metric in ("asr", "lost", "cf"))
        mark = " †" if find_row(TABLE, ATTACK, method, root).is_over_budget else ""
        lines.append((name + mark, asr, lost if method != NO_DEFENSE else "", cf))
    return markdown_table(("defense", "attack success left", "points of accuracy lost", "fine detail"), lines)
