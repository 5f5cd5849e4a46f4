"""The message for an error that ended a run."""

from __future__ import annotations

from cleaner.jobs import process
from cleaner.types import CleanerError


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
