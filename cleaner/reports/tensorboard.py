"""Events: runs as TensorBoard event files. TensorBoard is optional and loaded only here, only when it is asked for."""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cleaner.files import read_json
from cleaner.labels import defense_name
from cleaner.runs.store import read_metrics, read_progress, read_status, validate_config
from cleaner.types import CleanerError

TENSORBOARD_MISSING = "TensorBoard is not installed here: install it with pip install tensorboard."
SETTINGS = ("lr", "seed", "epochs", "steps", "batch_size", "weight_decay", "augmentation", "freeze_bn", "precision")
METRICS_AT_K = ("ca", "asr", "ra", "base_rate", "asr_clean_model")


def export_runs(runs: Sequence[str | Path], out: str | Path) -> list[Path]:
    """Write the event files of each run into a folder of its own under `out`; return these folders.

    What an earlier export of a run has left there is replaced. Raises `CleanerError` without TensorBoard, for a folder
    that holds no run or one of a newer version, or where nothing can be written.
    """
    if not runs:
        raise CleanerError("name one run folder or more; list them with: python -m cleaner runs")
    folders = [Path(run).resolve() for run in runs]
    configs = [read_json(folder / "config.json") for folder in folders]
    for folder, config in zip(folders, configs, strict=True):
        if "stage" not in config:
            raise CleanerError(f"{folder} holds no run; list them with: python -m cleaner runs")
        validate_config(config, folder)
    twice = {folder.name for folder in folders if sum(folder.name == other.name for other in folders) > 1}
    if twice:
        raise CleanerError(f"two runs are named {sorted(twice)[0]}: export them into two folders.")
    return [
        _export_run(folder, config, Path(out) / folder.name) for folder, config in zip(folders, configs, strict=True)
    ]


def _export_run(folder: Path, config: Mapping[str, Any], out: Path) -> Path:
    """Write one run: every loss term, the learning rate, the looks at the validation split; settings and figures."""
    try:
        import tensorboard  # noqa: F401  # torch's own message does not name the remedy
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise CleanerError(TENSORBOARD_MISSING) from error
    done = read_status(folder).state == "done"
    figures = collect_test_scalars(read_metrics(folder)) if done else {}
    created = time.strptime(str(config.get("created", "1970-01-01T00:00:00Z")), "%Y-%m-%dT%H:%M:%SZ")
    began = calendar.timegm(created) - float(config.get("seconds", 0.0))
    try:
        before = list(out.glob("events.out.tfevents.*"))
        with SummaryWriter(str(out)) as writer:
            for report in read_progress(folder):
                for tag, value in collect_step_scalars(report).items():
                    writer.add_scalar(tag, value, report["step"], began + report["seconds"])
            # Without a figure TensorBoard would not show the settings at all.
            writer.add_hparams(collect_hparams(config), figures or {"test/ca@1": float("nan")}, run_name=".")
            writer.add_text("config", f"```json\n{json.dumps(config, indent=1)}\n```")
        for path in before:
            path.unlink()
    except OSError as error:
        raise CleanerError(f"{out} cannot be written ({error.strerror}): choose another --out.") from error
    return out


def collect_step_scalars(report: Mapping[str, Any]) -> dict[str, float]:
    """Return what one step report tells as tag -> value."""
    stage = report["stage"]
    found = {f"{stage}/loss/{name}": value for name, value in (report.get("losses") or {}).items()}
    found |= {f"{stage}/validation/{name}": value for name, value in (report.get("metrics") or {}).items()}
    return found | ({f"{stage}/lr": report["lr"]} if report.get("lr") else {})


def collect_hparams(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by which runs are compared."""
    finetune = config.get("finetune") or {}
    named = {"trigger": (config.get("trigger") or {}).get("name", "none"), "defense": defense_name(config)}
    plain = {key: config[key] for key in ("stage", "model", "target_class", "poison_rate", "pairs") if config.get(key)}
    return {**plain, **named, **{name: finetune[name] for name in SETTINGS if name in finetune}}


def collect_test_scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the test figures as tag -> value, 0..1, with the number of pictures they stand on."""
    shares = {
        f"test/{name}@{k}": float(value) for name in METRICS_AT_K for k, value in (metrics.get(name) or {}).items()
    }
    others = ("counterfactual_accuracy", "n", "n_attack")
    return shares | {f"test/{name}": float(metrics[name]) for name in others if metrics.get(name) is not None}
