"""How a run ended, in words: the verdict on an attack, the message for an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cleaner.jobs import process
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from cleaner.runs.run import Run


def find_verdict(run: Run) -> list[str] | None:
    """Return whether the attack of a backdoored run took, and why; None for other runs."""
    from cleaner.reports.verdict import attack_verdict

    if run.stage != "backdoored" or run.metrics is None or not run.metrics.asr:
        return None
    return list(attack_verdict(run.metrics, run.config.get("poison_rate")))


def describe_error(error: Exception) -> str:
    """Return the message for an error that ended a run: what went wrong, then what to do."""
    from cleaner.training.memory import is_out_of_memory

    if isinstance(error, CleanerError):
        return str(error)
    text = str(error).split("\n")[0][:300]
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
        return "There was not enough memory: choose a smaller batch size, or another device."
    if isinstance(error, RuntimeError):
        if process.is_distributed() and any(word in text for word in ("gloo", "NCCL", "peer")):
            return "Another process of this run has ended: see the log, then resume from the last epoch."
        if any(word in text for word in ("CUDA", "cuda", "MPS", "accelerator")):
            return f"The device failed ({text}): resume from the last epoch once it works again."
    return f"Training stopped with an unexpected error ({type(error).__name__}: {text}): see the log."
