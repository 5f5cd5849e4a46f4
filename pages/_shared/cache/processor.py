"""The server shares the processor with trainings on this machine."""

import sys

_defaults: dict[str, int] = {}
"""Threads of torch in this process before the first training."""


def yield_to_training(is_training: bool) -> None:
    """Compute with one thread while a training uses all cores, else with torch's default; does nothing without torch.

    Two threads of the server and two of a training on two cores wait for each other: an attribution then takes three
    times the processor time of one thread, and the training stalls.
    """
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_num_threads"):  # not loaded, or being loaded by another thread
        return
    _defaults.setdefault("threads", torch.get_num_threads())
    threads = 1 if is_training else _defaults["threads"]
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
