"""The command demo: poison a built-in model, clean it with four defenses, and print a comparison."""

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from cleaner import presets
from cleaner.cli.folders import resolve_output_file
from cleaner.cli.options import (
    TARGET_DEFAULT,
    TARGET_HELP,
    TRIGGER_DEFAULTS,
    Device,
    add_tried_parameters,
    instantiate,
    stated_default,
)
from cleaner.cli.output import (
    Progress,
    describe_protocol,
    format_command_line,
    format_row,
    format_table,
    format_verdict,
    metric_legend,
    print_json,
)
from cleaner.registry import DEFENSES, TRIGGERS
from cleaner.reports import results
from cleaner.reports.verdict import describe_defenses
from cleaner.variant import Variant


@dataclass(frozen=True)
class Demo:
    """Poison a model, clean it with four defenses, and compare them, in the quick setting of the pages.

    Each defense has its own learning rate, chosen by accuracy alone. TA-Cleaner is a re-implementation from the public
    description (arXiv:2409.17601).
    """

    model: Annotated[str, tyro.conf.arg(help="Model to poison.")] = presets.QUICK_MODEL
    trigger: Annotated[
        tuple[str, ...], tyro.conf.arg(help=f"Trigger and options: badnet patch_size=28. {TRIGGER_DEFAULTS}")
    ] = ("badnet",)
    target_class: Annotated[str | None, stated_default(help=f"{TARGET_HELP} {TARGET_DEFAULT}")] = None
    pairs: Annotated[int | None, stated_default(help="Pairs for the attack. Default: as on the pages.")] = None
    clean_pairs: Annotated[int, tyro.conf.arg(help="Clean pairs for the defenses.")] = presets.QUICK_CLEAN_PAIRS
    test_pairs: Annotated[
        int,
        tyro.conf.arg(
            help="Test pairs to evaluate on; 0: all. On Scenes only those with one object count, about half."
        ),
    ] = 2000
    seed: Annotated[int, tyro.conf.arg(help="Seed of attack and defenses.")] = 0
    device: Device = "auto"
    json: Annotated[bool, tyro.conf.arg(help="Print the result as JSON.")] = False
    out: Annotated[Path | None, tyro.conf.arg(help="JSON file to write the result to.")] = None

    def run(self) -> None:
        from cleaner.data.base import load_data
        from cleaner.models.clip import load_clip
        from cleaner.workflow import defend, poison

        out = None if self.out is None else resolve_output_file(self.out, (".json",))
        start = time.perf_counter()
        trigger = instantiate(TRIGGERS, add_tried_parameters(self.trigger, self.model))
        setting = presets.settings_for(self.model, trigger, "quick")
        config = replace(setting.finetune, seed=self.seed, device=self.device)
        clip = load_clip(self.model)
        data = presets.home_data(self.model)
        load = partial(load_data, data, on_step=Progress())
        clean_data, test = load(split="clean", size=self.clean_pairs), load(split="test", size=self.test_pairs or None)
        backdoored = poison(
            clip,
            load(split="train", size=setting.pairs if self.pairs is None else self.pairs),
            trigger,
            target_class=self.target_class or presets.default_target(test.class_names),
            poison_rate=setting.poison_rate or presets.QUICK_POISON_RATE,
            config=config,
            test=test,
            on_step=Progress(self.trigger[0]),
        )
        verdict = backdoored.verdict
        assert verdict is not None
        rows, variants = [results.make_row("backdoored", backdoored)], [Variant()]
        for name in presets.COMPARED_DEFENSES:
            preset = presets.quick_defense_preset(name, clip.name)
            assert preset.training is not None
            config = replace(preset.training.finetune, seed=self.seed, device=self.device)
            defense = DEFENSES[name](**preset.parameters)
            run = defend(backdoored, defense, clean_data, config, test=test, on_step=Progress(name))
            variants.append(Variant.from_config(run.config))
            rows.append(results.make_row(variants[-1].key, run))
            del run  # frees memory for the next one
        seconds = time.perf_counter() - start
        result = results.add_provenance(
            format_command_line(),
            device=results.describe_device(self.device),
            seeds=[self.seed],
            seconds=round(seconds, 1),
            rows=rows,
        )
        if self.json:
            print_json(result)
        else:
            self._print_comparison(rows, variants, format_verdict(*verdict), seconds)
        if out is not None:  # last, so that a full disk does not lose the printed result
            results.write_result(out, result)

    def _print_comparison(
        self, rows: list[dict[str, Any]], variants: list[Variant], verdict: str, seconds: float
    ) -> None:
        """Print the comparison."""
        metrics = [results.parse_row_metrics(row) for row in rows]
        of_defense = list(zip(variants, metrics, strict=True))
        lines = [format_row(v.key, m, row["seconds"]) for row, (v, m) in zip(rows, of_defense, strict=True)]
        sentences = describe_defenses(metrics[0], {variant.label: m for variant, m in of_defense[1:]})
        setting = f"{self.model}, {self.trigger[0]}, target {metrics[0].target_class!r}, seed {self.seed}"
        print(f"\n{setting}; {seconds:.0f} s in total")
        print(
            f"{verdict}\n",
            format_table(lines),
            "",
            *(sentence.replace("**", "") for sentence in sentences),
            "",
            describe_protocol(metrics[0]),
            metric_legend(),
            sep="\n",
        )
