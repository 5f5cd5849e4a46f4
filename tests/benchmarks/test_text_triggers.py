"""Text triggers: a second call measures what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import protocol, text_triggers


def test_a_second_call_poisons_only_for_missing_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned: list[tuple[str, int, int]] = []

    def poison(model: str, attack: str, seed: int, test: Any, *, epochs: int) -> tuple[str, int]:
        poisoned.append((attack, seed, epochs))
        return attack, seed

    def append(path: Path, name: str | None, captions: str, run: Any) -> None:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
        row = {"model": "scenes-lite", "trigger": run[0], "seed": run[1], "defense": name, "captions": captions}
        path.write_text(json.dumps({"rows": [*rows, row]}), encoding="utf-8")

    monkeypatch.setattr(protocol, "start", lambda: None)
    monkeypatch.setattr(text_triggers, "load_data", lambda *_, **__: None)
    monkeypatch.setattr(text_triggers, "poison_quickly", poison)
    monkeypatch.setattr(text_triggers, "defend_as_chosen", lambda suspect, *_: suspect)
    monkeypatch.setattr(text_triggers, "append", append)
    first = text_triggers.Options(
        "scenes-lite", ("input_aware",), ("finetune",), ("full",), (7, 8), tmp_path / "x.json"
    )
    text_triggers.main(first)
    assert poisoned == [("input_aware", 7, 4), ("input_aware", 8, 4)]
    more = text_triggers.Options("scenes-lite", ("input_aware",), ("finetune",), ("mixed",), (8,), first.out)
    text_triggers.main(more)
    text_triggers.main(more)
    rows = json.loads(first.out.read_text(encoding="utf-8"))["rows"]
    assert poisoned[2:] == [("input_aware", 8, 4)]
    assert [(row["seed"], row["defense"], row["captions"]) for row in rows] == [
        (7, None, "full"),
        (7, "finetune", "full"),
        (8, None, "full"),
        (8, "finetune", "full"),
        (8, "finetune", "mixed"),
    ]


@pytest.mark.parametrize("captions", ["full", "mixed"])
def test_every_method_has_a_choice_for_these_captions(captions: str) -> None:
    assert set(text_triggers.METHODS) <= set(text_triggers.find_choices(captions))
