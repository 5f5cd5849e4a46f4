"""Who may use the app, and which files it may read: a password for other machines, CLEANER_DATA_ROOTS for paths."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

from cleaner.files import assets, cache_root, runs_root, shipped_assets
from cleaner.types import CleanerError

PASSWORD = "CLEANER_PASSWORD"
"""Environment variable with the password of the app. If it is set, everyone needs it, on this machine too."""
MIN_PASSWORD_LENGTH = 8
DATA_ROOTS = "CLEANER_DATA_ROOTS"
"""Environment variable with the folders that the app may read, separated as in PATH; unset: all."""


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches a server at this address; a host name may resolve to anything."""
    try:
        return address == "localhost" or ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def allowed_folders() -> list[Path]:
    """Return the folders of CLEANER_DATA_ROOTS; empty if the app may read all."""
    return [Path(root).resolve() for root in os.environ.get(DATA_ROOTS, "").split(os.pathsep) if root]


def validate_allowed(path: str | Path) -> None:
    """Raise `CleanerError` for a path outside the folders of CLEANER_DATA_ROOTS, if that variable is set.

    Links are followed. Runs, cache and shipped files are always allowed. The message does not tell whether the path
    exists.
    """
    if not os.environ.get(DATA_ROOTS):  # a value without a folder, such as ":", allows none
        return
    own = [Path(os.path.realpath(folder)) for folder in (runs_root(), cache_root(), assets(), shipped_assets())]
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(folder) for folder in (*allowed_folders(), *own)):
        return
    raise CleanerError(
        f"{str(path)[:200]} is outside the folders that this server may read ({DATA_ROOTS}): move it into one of "
        "them, or upload it."
    )
