"""Runs as TensorBoard event files. TensorBoard is optional: it is imported here alone, on the first export."""

import calendar
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cleaner.config import FinetuneConfig
from cleaner.evaluation.result import METRICS
from cleaner.labels import UNKNOWN_ATTACK
from cleaner.registry import DEFENSES
from cleaner.runs.record import RunRecord
from cleaner.runs.run import read_progress
from cleaner.runs.status import RunState
from cleaner.runs.store import read_record
from cleaner.types import CleanerError

TENSORBOARD_MISSING = "TensorBoard is not installed here: install it with pip install tensorboard."
SETTINGS = ("lr", "seed", "epochs", "steps", "batch_size", "weight_decay", "augmentation", "freeze_bn", "precision")


def export_runs(runs: Sequence[str | Path], out: str | Path) -> list[Path]:
    """Write each run's event files into a folder of its own under `out`, replacing older ones; return these."""
    if not runs:
        raise CleanerError("name one run folder or more; list them with: python -m cleaner runs")
    records = [read_record(Path(run).resolve(), needs_metrics=False) for run in runs]
    name, count = Counter(record.id for record in records).most_common(1)[0]
    if count > 1:
        raise CleanerError(f"two runs are named {name}: export them into two folders.")
    return [_export_run(record, Path(out) / record.id) for record in records]


def _export_run(record: RunRecord, out: Path) -> Path:
    """Write one run: loss terms, learning rate and validation metrics by step; settings and test metrics."""
    try:
        import tensorboard  # noqa: F401  # torch's own message does not name the remedy
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise CleanerError(TENSORBOARD_MISSING) from error
    scalars = collect_test_scalars(record) if record.status.state == RunState.DONE else {}
    created = 0
    with suppress(ValueError):  # not written by this project
        created = calendar.timegm(time.strptime(record.created, "%Y-%m-%dT%H:%M:%SZ"))
    started = created - float(record.seconds)
    try:
        before = list(out.glob("events.out.tfevents.*"))
        with SummaryWriter(str(out)) as writer:
            for report in read_progress(record.folder):
                for tag, value in collect_step_scalars(report).items():
                    writer.add_scalar(tag, value, report["step"], started + report["seconds"])
            # TensorBoard shows no settings without a metric.
            writer.add_hparams(collect_hparams(record), scalars or {"test/ca@1": float("nan")}, run_name=".")
            writer.add_text("config", f"```json\n{json.dumps(record.config, indent=1)}\n```")
        for path in before:
            path.unlink()
    except OSError as error:
        raise CleanerError(f"{out} cannot be written ({error.strerror}): choose another --out.") from error
    return out


def collect_step_scalars(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of one step report as tag -> value."""
    stage = report["stage"]
    scalars = {f"{stage}/loss/{name}": value for name, value in (report.get("losses") or {}).items()}
    scalars |= {f"{stage}/validation/{name}": value for name, value in (report.get("metrics") or {}).items()}
    return scalars | ({f"{stage}/lr": report["lr"]} if report.get("lr") else {})


def collect_hparams(record: RunRecord) -> dict[str, Any]:
    """Return the settings by which runs are compared; those that are not stated are left out."""
    config, finetune = record.config, _read_used_settings(record.config)
    names = ("stage", "model", "target_class", "poison_rate", "pairs")
    return {
        **{name: config[name] for name in names if config.get(name)},
        "trigger": record.attack or UNKNOWN_ATTACK,
        "defense": record.defense_variant.key,
        **{name: finetune[name] for name in SETTINGS if name in finetune},
    }


def _read_used_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings that the training used: a method may replace some that config.json requests."""
    stated, method = config.get("finetune") or {}, config.get("defense") or config.get("attack_losses")
    if not method:
        return stated
    try:
        used = asdict(DEFENSES.load(method).adapt(FinetuneConfig(**stated)))
    except (CleanerError, TypeError):  # no method that is trained, or settings of another version
        return stated
    return {name: used[name] for name in stated}


def collect_test_scalars(record: RunRecord) -> dict[str, float]:
    """Return the test metrics as tag -> value, with the numbers of images behind them."""
    scalars: dict[str, float] = {}
    for name in METRICS:
        value = record.metrics.get(name)
        by_k = {f"{name}@{k}": share for k, share in value.items()} if isinstance(value, Mapping) else {name: value}
        scalars |= {f"test/{tag}": float(share) for tag, share in by_k.items() if share is not None}
    counts = {name: record.metrics.get(name) for name in ("n", "n_attack")}
    return scalars | {f"test/{name}": float(count) for name, count in counts.items() if count is not None}
