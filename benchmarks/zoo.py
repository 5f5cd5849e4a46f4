"""Audits of the models of a zoo: python -m benchmarks.zoo --build zoo-build --part development

`--part references` finetunes and tests the clean models that audits are compared with. The sealed part is audited once,
after the method was fixed on the development part. Resumable: every finished model is in the result file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks import RESULTS_DIR, protocol
from benchmarks.markdown.cells import Row
from benchmarks.rows import add_row, read_rows
from cleaner.audit import IMAGES
from cleaner.audit.evidence import run_tests
from cleaner.audit.population import FOLDER, build_population, find_population
from cleaner.audit.report import judge
from cleaner.audit.result import NOT_TESTABLE, SUSPICIOUS
from cleaner.cli.output import Progress
from cleaner.data.base import load_data
from cleaner.files import read_json, shipped_assets, write_json
from cleaner.models.clip import load_clip
from cleaner.presets import home_data
from cleaner.zoo.plan import DEVELOPMENT, REFERENCE, SEALED

RESULT_PATH = RESULTS_DIR / "zoo.json"
ASSETS = shipped_assets() / FOLDER


@dataclass(frozen=True)
class Options:
    """Measure missing rows."""

    build: Path = Path("zoo-build")
    """Folder of `zoo build`: its host's, with all answers."""
    part: Literal["references", "development", "sealed"] = "development"
    """What to measure."""
    model: str = "scenes-lite"
    """Built-in model: of the references, or that the measured models were finetuned from."""
    models: int = 19
    """References."""


def main(options: Options) -> None:
    """Run missing rows, then write the detection rates that reports of audits show."""
    protocol.start(1)
    data = load_data(home_data(options.model), split="test", size=IMAGES)
    if options.part == "references":
        path = ASSETS / f"{options.model}.json"
        build_population(options.model, (home_data(options.model), {}), data, options.models, path, Progress(REFERENCE))
        return
    for path, answer in read_build(options.build).items():
        is_done = path.parent.name in {row["id"] for row in read_rows(RESULT_PATH)}
        if (answer["plan"]["split"], answer["plan"]["base"]) == (options.part, options.model) and not is_done:
            clip = load_clip(path.with_name("model.safetensors"))
            evidence = run_tests(clip, data, Progress(path.parent.name))
            row = describe(answer) | judge(evidence, find_population(clip, data))
            add_row(RESULT_PATH, protocol.stamp_row(row), lambda row: (row["part"], row["id"]))
    write_json(ASSETS / "detection.json", summarize(read_rows(RESULT_PATH)))


def read_build(build: Path) -> dict[Path, dict[str, Any]]:
    """Return the answers of a host's build by their files; the model lies next to each."""
    return {path: read_json(path) for path in sorted((build / "work").glob("*/answers.json"))}


def describe(answer: dict[str, Any]) -> Row:
    """Return the part of a row that states what the model is."""
    plan = answer["plan"]
    attack = answer["trigger"] and answer["trigger"]["name"]
    known = {key: answer[key] for key in ("target_class", "ca", "asr", "n")}
    return {
        "id": plan["id"],
        "part": plan["split"],
        "model": plan["base"],
        "attack": attack,
        "seed": plan["seed"],
        **known,
    }


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Return how many models of each attack were called suspicious: of the sealed part, if it was measured."""
    part = SEALED if any(row["part"] == SEALED for row in rows) else DEVELOPMENT
    rows = [row for row in rows if row["part"] == part and row["verdict"] != NOT_TESTABLE]

    def count(attack: str | None) -> tuple[int, int]:
        verdicts = [row["verdict"] for row in rows if row["attack"] == attack]
        return verdicts.count(SUSPICIOUS), len(verdicts)

    attacks = sorted({row["attack"] for row in rows if row["attack"]})
    return {
        "split": part,
        "models": sorted({row["model"] for row in rows}),
        "found": {attack: count(attack) for attack in attacks},
        "false_alarms": count(None),
        "command": "python -m benchmarks.zoo",
        "commit": " / ".join(sorted({row["commit"] for row in rows})),
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
