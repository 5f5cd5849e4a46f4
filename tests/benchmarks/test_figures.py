"""Figures in prose and the README's table: they are those of assets/reference.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.markdown import figures, headline
from cleaner.files import write_json

ROW = {"attack": "badclip", "target": "key", "lr": 0.003, "seeds": [3, 4], "n": 100, "n_attack": 90, "floor": 0.066}
ROW |= {"label": "", "is_over_budget": False, "is_on_copy": False}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    def make_row(defense: str | None, asr: float, ca: float, **changes: Any) -> dict[str, Any]:
        return {**ROW, "defense": defense, "asr": [asr, 0, 1], "ca": [ca, 0, 1], "cf": [0.604, 0, 1], **changes}

    defenses = [name for name in headline.METHODS if name not in {figures.NO_DEFENSE, "cleanclip"}]
    rows = [make_row(None, 0.998, 0.976), *(make_row(name, 0.382, 0.964) for name in defenses)]
    rows.append(make_row("cleanclip", 0.99, 0.895, is_over_budget=True, floor=None))
    table = {"title": "Full schedule", "model": "lite", "protocol": "", "budget": 0.02, "file": "", "rows": rows}
    table |= {"commits": [], "devices": [], "text_versions": []}
    write_json(tmp_path / "assets" / "reference.json", {"tables": [table], "variation": ""})
    write_json(tmp_path / "assets" / "lite" / "card.json", {"seconds": 1809})
    return tmp_path


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("full/badclip/none/asr", "100%"),
        ("full/badclip/cleanclip/lost", "8.1"),
        ("full/badclip/finetune/cf", "60%"),
        ("full/badclip/finetune/floor", "7%"),
        ("pretrain/lite", "30"),
    ],
)
def test_a_figure_is_a_mean_as_percentage_a_loss_in_points_or_minutes(key: str, expected: str, root: Path) -> None:
    assert figures.format_figure(key, root) == expected


@pytest.mark.parametrize("key", ["full/sig/finetune/asr", "full/badclip/cleanclip/floor"])
def test_what_was_not_measured_has_no_figure(key: str, root: Path) -> None:
    with pytest.raises(KeyError):
        figures.format_figure(key, root)
