"""demo: poison a built-in model, clean it with four methods, and print the comparison."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.cli.folders import check_writable
from cleaner.cli.options import instantiate
from cleaner.cli.output import (
    Progress,
    describe_protocol,
    format_command_line,
    format_row,
    format_table,
    metric_legend,
    print_json,
)
from cleaner.data.base import load_data
from cleaner.defenses import DEFENSES
from cleaner.models.clip import load_clip
from cleaner.reports import results
from cleaner.types import CleanerError
from cleaner.workflow import attack_verdict, defend, poison

DEMO_DEFENSES = ("finetune", "cleanclip", "cleanclip_short", "ta_cleaner")


@dataclass(frozen=True)
class Demo:
    """Poison a model, clean it with four methods, and compare, in three to four minutes on two cores.

    Fewer pairs and steps than the full setting, the same method. TA-Cleaner is a re-implementation from the public
    description (arXiv:2409.17601).
    """

    model: Annotated[str, tyro.conf.arg(help="Model to poison.")] = "scenes-rn"
    trigger: Annotated[tuple[str, ...], tyro.conf.arg(help="Trigger and its options.")] = ("badnet",)
    target_class: Annotated[str, tyro.conf.arg(help="Class that triggered pictures shall become.")] = "banana"
    pairs: Annotated[int, tyro.conf.arg(help="Pairs to poison.")] = presets.DEMO_POISON_PAIRS
    clean_pairs: Annotated[int, tyro.conf.arg(help="Clean pairs for the defences.")] = presets.DEMO_CLEAN_PAIRS
    test_pairs: Annotated[int, tyro.conf.arg(help="Test pairs to measure on, half of them with one object.")] = 2000
    seed: Annotated[int, tyro.conf.arg(help="Seed of poisoning and defence.")] = 0
    device: Annotated[str, tyro.conf.arg(help="auto, cpu, cuda or mps.")] = "auto"
    json: Annotated[bool, tyro.conf.arg(help="Print figures as JSON.")] = False
    out: Annotated[Path | None, tyro.conf.arg(help="Also write the figures to this JSON file.")] = None

    def run(self) -> None:
        if self.out is not None:
            check_writable(self.out, "file")
        begun = time.perf_counter()
        trigger = instantiate(TRIGGERS, self.trigger)
        clip = load_clip(self.model)
        clean_data = load_data("scenes", split="clean", size=self.clean_pairs, on_step=Progress())
        test = load_data("scenes", split="test", size=self.test_pairs, on_step=Progress())
        config = replace(presets.DEMO_POISON, seed=self.seed, device=self.device)
        backdoored = poison(
            clip,
            load_data("scenes", split="train", size=self.pairs, on_step=Progress()),
            trigger,
            self.target_class,
            presets.DEMO_POISON_RATE,
            config,
            test=test,
            on_step=Progress(self.trigger[0]),
        )
        if backdoored.metrics is None:
            raise CleanerError("the backdoored model was not measured.")
        rows = [results.make_row("backdoored", backdoored)]
        for name in DEMO_DEFENSES:
            config = replace(presets.DEMO_DEFEND, seed=self.seed, device=self.device)
            run = defend(backdoored, DEFENSES[name](), clean_data, config, test=test, on_step=Progress(name))
            rows.append(results.make_row(name, run))
            del run  # the next one needs its memory
        seconds = time.perf_counter() - begun
        result = results.add_provenance(format_command_line(), seeds=[self.seed], seconds=round(seconds, 1), rows=rows)
        if self.json:
            print_json(result)
        else:
            self._print_comparison(rows, seconds)
        if self.out is not None:  # last: a disk that is full by now takes no figures away
            results.write_result(self.out, result)

    def _print_comparison(self, rows: list[dict[str, Any]], seconds: float) -> None:
        """Print the comparison, and beside it the one at the full setting."""
        metrics = [results.parse_row_metrics(entry) for entry in rows]
        lines = [
            format_row(entry["defense"] or "none", m, entry["seconds"]) for entry, m in zip(rows, metrics, strict=True)
        ]
        verdict, why = attack_verdict(metrics[0])
        setting = f"{self.model}, {self.trigger[0]}, target {self.target_class!r}, seed {self.seed}"
        print(f"\n{setting}; {seconds:.0f} s in all")
        print(
            f"The attack {verdict}. {why}\n",
            format_table(lines),
            "",
            describe_protocol(metrics[0]),
            metric_legend(),
            sep="\n",
        )
        self._print_full_setting()

    def _print_full_setting(self) -> None:
        """Print the same comparison at the full setting, where its result file is at hand."""
        known = [
            e
            for e in presets.read_attack_defense_rows()
            if e["model"] == self.model and e["trigger"] == self.trigger[0]
        ]
        if known:
            seed = min(entry["seed"] for entry in known)
            full = [entry for entry in known if entry["seed"] == seed]
            lines = [
                format_row(entry["defense"] or "none", results.parse_row_metrics(entry), entry["seconds"])
                for entry in full
            ]
            title = f"\nThe full setting (more pairs and steps; seed {seed}; from benchmarks/results):\n"
            print(
                title,
                format_table(lines),
                "",
                describe_protocol(results.parse_row_metrics(full[0])),
                sep="\n",
            )
