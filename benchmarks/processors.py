"""How much the kind of processor changes a result: python -m benchmarks.processors

The quick setting of the app (benchmarks/quick_setting.py), trained with the same seed several times: with the vector
instructions of this processor, with those of an older one, without any, and with another number of threads. Only the
order in which numbers are summed and rounded differs, as it does on another processor, for which this stands in.
`ATEN_CPU_CAPABILITY` limits torch, `ONEDNN_MAX_CPU_ISA` its convolutions and matrix products. Each row is written when
it is done; a second call continues. Times do not count: it may run beside other work.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import RESULTS_DIR, protocol, quick_setting
from benchmarks.protocol2.records import describe_processor
from benchmarks.quick_plan import CONFIRM_SEEDS, VARIANTS
from benchmarks.rows import add_row, read_rows
from cleaner.data.base import load_data
from cleaner.files import child_environment
from cleaner.models.devices import configure_torch
from cleaner.presets import QUICK_MODEL
from cleaner.runs.run import Run

RESULT_PATH = RESULTS_DIR / "processors.json"
PROCESSORS = {
    "all instructions, 1 thread": ("", "ALL", 1),
    "AVX2, 1 thread": ("avx2", "AVX2", 1),
    "SSE4.1, 1 thread": ("default", "SSE41", 1),
    "all instructions, 2 threads": ("", "ALL", 2),
}
"""Name -> ATEN_CPU_CAPABILITY (empty: as it is), ONEDNN_MAX_CPU_ISA, threads."""


@dataclass(frozen=True)
class Options:
    """Train what is missing and write the result file."""

    seeds: tuple[int, ...] = CONFIRM_SEEDS[:2]
    """Seeds of the quick setting's table, so that seeds and processors can be compared."""
    model: str = QUICK_MODEL
    """Built-in model."""
    attack: str = "badnet"
    """Attack."""
    out: Path = RESULT_PATH
    """Result file."""
    processor: str = ""
    """Train in this process, which the environment limits already; for the calls that this program makes itself."""


def main(options: Options) -> int:
    """Train and write; return the exit status of the first process that failed, else 0."""
    protocol.read_started_commit()
    if options.processor:
        train(options)
        return 0
    for seed in options.seeds:
        for name, (capability, isa, threads) in PROCESSORS.items():
            limits = {"ONEDNN_MAX_CPU_ISA": isa, "OMP_NUM_THREADS": str(threads)}
            limits |= {"ATEN_CPU_CAPABILITY": capability} if capability else {}
            command = [sys.executable, "-m", "benchmarks.processors", "--processor", name, "--seeds", str(seed)]
            command += ["--model", options.model, "--attack", options.attack, "--out", str(options.out)]
            status = subprocess.run(command, env={**child_environment(), **limits}, check=False).returncode
            if status:
                return status
    for row in read_rows(options.out):
        print(f"{row['seed']} {row['method']:16} {row['processor']:28} CA {row['ca']:.4f} ASR@1 {row['asr']:.4f}")
    return 0


def train(options: Options) -> None:
    """Train what is missing of one seed, and write a row for each method."""
    configure_torch()
    (seed,) = options.seeds
    chosen = quick_setting.find_choice(options.model)
    key = {"model": options.model, "trigger": options.attack, "seed": seed, "processor": options.processor}
    done = [row["method"] for row in read_rows(options.out) if key.items() <= row.items()]
    if set(done) >= {"none", *chosen}:
        return
    for method, run in train_methods(options, chosen, done):
        row = key | {"method": method, **quick_setting.trial_figures(run), "sha256": run.clip.sha256()}
        add_row(options.out, row, processor=describe_processor()["name"])


def train_methods(options: Options, chosen: dict[str, dict[str, Any]], done: list[str]) -> Iterator[tuple[str, Run]]:
    """Yield name and run of the backdoored model and of each defense that is missing."""
    test = load_data("scenes", split="test")
    suspect = quick_setting.poison_quickly(options.model, options.attack, options.seeds[0], test)
    if "none" not in done:
        yield "none", suspect
    for name, choice in chosen.items():
        if name not in done:
            defense = VARIANTS[name][choice["form"]]
            label = f"{options.processor} {options.seeds[0]} {name}"
            yield name, quick_setting.defend_quickly(suspect, defense, choice["lr"], test, label=label)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
